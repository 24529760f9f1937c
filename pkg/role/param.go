package role

import (
	"fmt"
	"regexp"
	"strings"

	"bootagent/pkg/role/expand"
	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
)

// A Param is a parameter that the user-data sets, unless it has a default.
type Param struct {
	Name    string
	Pattern string  // regular expression for the whole value; "" for any
	Default *string // nil for none

	pattern *regexp.Regexp
}

var paramSection = section{
	Key: key.Key{
		Name: "params", Says: "The parameters of the role, by name. The user-data sets them.", Unset: "none",
		Kind: mapOf(paramKeys.Keys(), "params: {cluster: {default: orders}}"),
	},
	read: readParams,
	plan: planParams,
}

var paramKeys = key.Table[*reading, Param]{
	{
		key.Key{Name: "pattern", Says: "A regular expression for the whole value, in Go's syntax.", Unset: "any value", Kind: key.Kind{Type: key.Text, Doc: "a regular expression"}},
		func(d *reading, r key.Reader, p *Param) {
			if text, ok := r.Text(); ok {
				p.Pattern, p.pattern = text, compile(r.Value, text)
			}
		},
	},
	{
		key.Key{Name: "default", Says: "The value where the user-data sets none.", Unset: "the user-data has to set it", Kind: textKind},
		func(d *reading, r key.Reader, p *Param) {
			if text, ok := r.Text(); ok {
				p.Default = &text
				if err := p.check(text); err != nil {
					r.Failf("the default of %s %v", r.What, err)
				}
			}
		},
	},
}

func readParams(d *reading, v strictyaml.Value) {
	for _, e := range v.Map("params").Entries() {
		var p Param
		p.Name, _ = e.Key.Name()
		paramKeys.Decode(d, e.Value.Example(e.Key.String()+": {default: orders}"), "parameter "+strictyaml.Quote(e.Key.String()), &p)
		d.role.Params = append(d.role.Params, p)
	}
	byName(d.role.Params, func(p Param) string { return p.Name })
}

// compile anchors a pattern. It compiles the pattern alone first: "a)|(b" must
// not become whole by the anchors around it.
func compile(v strictyaml.Value, pattern string) *regexp.Regexp {
	if _, err := regexp.Compile(pattern); err != nil {
		v.Failf("the pattern is not a regular expression of Go: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	anchored, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		v.Failf("the pattern is too large or nested too deeply")
		return nil
	}
	return anchored
}

// check refuses a value that the parameter can't have. Its error goes on from
// the name of the parameter, and does not quote the value.
func (p Param) check(value string) error {
	if err := expand.CheckValue(value); err != nil {
		return err
	}
	if p.pattern != nil && !p.pattern.MatchString(value) {
		return fmt.Errorf("does not match its pattern %s", p.Pattern)
	}
	return nil
}

// planParams gives every parameter of the role its value.
func planParams(p *planning) {
	var names []string
	for _, param := range p.role.Params {
		names = append(names, param.Name)
		value, set := p.selected.Params[param.Name]
		switch {
		case set:
			if err := param.check(value); err != nil {
				p.unfit("params", param.Name, fmt.Errorf("parameter %q %w", param.Name, err))
			}
			p.values.Params[param.Name] = value
		case param.Default != nil:
			p.values.Params[param.Name] = *param.Default
		default:
			p.unfit("params", "", fmt.Errorf("parameter %q is not set and has no default; set it below params in the user-data", param.Name))
		}
	}
	p.refuseUnknown("params", "parameter", p.selected.Params, names)
}
