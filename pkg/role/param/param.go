// Package param knows how a role file declares its parameters, and which values one
// may have.
package param

import (
	"fmt"
	"regexp"
	"slices"
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

// Keys are the keys of a parameter.
func Keys() []key.Key { return keys.Keys() }

var keys = key.Table[struct{}, Param]{
	{
		key.Key{Name: "pattern", Says: "A regular expression for the whole value, in Go's syntax.", Unset: "any value", Kind: key.Kind{Type: key.Text, Doc: "a regular expression"}},
		func(_ struct{}, r key.Reader, p *Param) {
			if text, ok := r.Text(); ok {
				p.Pattern, p.pattern = text, compile(r.Value, text)
			}
		},
	},
	{
		key.Key{Name: "default", Says: "The value where the user-data sets none.", Unset: "the user-data has to set it", Kind: key.Kind{Type: key.Text, Doc: "text"}},
		func(_ struct{}, r key.Reader, p *Param) {
			if text, ok := r.Text(); ok {
				p.Default = &text
				if err := p.Check(text); err != nil {
					r.Failf("the default of %s %v", r.What, err)
				}
			}
		},
	},
}

// Read reads the parameters of a role, sorted by name.
func Read(v strictyaml.Value) (params []Param) {
	for _, e := range v.Map("params").Entries() {
		var p Param
		p.Name, _ = e.Key.Name()
		keys.Decode(struct{}{}, e.Value.Example(e.Key.String()+": {default: orders}"), "parameter "+strictyaml.Quote(e.Key.String()), &p)
		params = append(params, p)
	}
	slices.SortFunc(params, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	return params
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

// Check refuses a value that the parameter can't have. Its error goes on from
// the name of the parameter, and does not quote the value.
func (p Param) Check(value string) error {
	if err := expand.CheckValue(value); err != nil {
		return err
	}
	if p.pattern != nil && !p.pattern.MatchString(value) {
		return fmt.Errorf("does not match its pattern %s", p.Pattern)
	}
	return nil
}
