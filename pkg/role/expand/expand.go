// Package expand puts the values of parameters and instances into texts of role
// files: ${params.NAME}, ${instance.id} and the like.
//
// Its errors continue after the name of the text and a colon. They never quote
// a value.
package expand

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"bootagent/pkg/strictyaml"
)

// The two scopes that an expansion can be of.
const (
	ofParams   = "params"
	ofInstance = "instance"
)

// instanceValues are the names of what an instance has.
var instanceValues = []string{"id", "zone", "region", "type", "private-ipv4"}

// Form says which expansions there are.
const Form = "${params.NAME} or ${instance.id}, .zone, .region, .type, .private-ipv4"

// A reference is what an expansion stands for: ${params.cluster} for the value
// of the parameter "cluster".
type reference struct{ scope, name string }

func (r reference) String() string { return "${" + r.scope + "." + r.name + "}" }

// expansion is a reference in a text.
var expansion = regexp.MustCompile(`\$\{([^${}]*)\}`)

func refer(inner string) reference {
	scope, name, _ := strings.Cut(inner, ".")
	return reference{scope, name}
}

// Parameters are the parameters of a role.
type Parameters struct {
	Names   []string // any name will do where it is nil
	Slashed []string // those whose default has a slash
}

// Check checks a text that may have expansions: the whole of it where it has
// none, or else the parts between them. No value that is put in may have a slash.
func (p Parameters) Check(text string, whole, part func(string) error) error {
	return check(text, p.Known, whole, part)
}

// CheckTag checks the value of a tag as Check does, but for slashes.
func (p Parameters) CheckTag(text string, whole, part func(string) error) error {
	return check(text, p.named, whole, part)
}

func check(text string, known, whole, part func(string) error) error {
	parts := expansion.Split(text, -1)
	for _, part := range parts {
		if strings.Contains(part, "$") {
			return fmt.Errorf("a $ must begin an expansion: %s", Form)
		}
	}
	for _, match := range expansion.FindAllStringSubmatch(text, -1) {
		if err := known(match[1]); err != nil {
			return err
		}
	}
	if len(parts) == 1 {
		return whole(text)
	}
	for _, text := range parts {
		if err := part(text); err != nil {
			return err
		}
	}
	return nil
}

// Known refuses a name that has no value, such as params.cluster or instance.id,
// and a parameter whose default has a slash.
func (p Parameters) Known(name string) error {
	if r := refer(name); r.scope == ofParams && slices.Contains(p.Slashed, r.name) {
		return fmt.Errorf("the default of parameter %s contains /, %s", strictyaml.Quote(r.name), tagsOnly)
	}
	return p.named(name)
}

// tagsOnly goes on from the name of what has a slash.
const tagsOnly = "which is allowed in the values of tags only"

func (p Parameters) named(name string) error {
	r := refer(name)
	switch {
	case r.scope == ofParams && (p.Names == nil || slices.Contains(p.Names, r.name)):
		return nil
	case r.scope == ofParams:
		return fmt.Errorf("unknown parameter %s%s (parameters of the role: %s)", strictyaml.Quote(r.name), strictyaml.DidYouMean(r.name, p.Names), listOrNone(p.Names))
	case r.scope == ofInstance && slices.Contains(instanceValues, r.name):
		return nil
	case r.scope == ofInstance:
		return fmt.Errorf("unknown value %s of the instance%s (known: %s)",
			strictyaml.Quote(r.name), strictyaml.DidYouMean(r.name, instanceValues), strings.Join(instanceValues, ", "))
	}
	near := strictyaml.DidYouMean(r.scope, []string{ofParams, ofInstance})
	if r.name == "" && slices.Contains(p.Names, r.scope) {
		near = "; did you mean " + reference{ofParams, r.scope}.String() + "?"
	}
	return fmt.Errorf("unknown name %s in ${...}%s (known: %s)", strictyaml.Quote(r.scope), near, Form)
}

func listOrNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// Likely returns a text with a letter for each expansion. A value that Put puts
// in has no slash, so a check of the whole text fits this one as well.
func Likely(text string) string { return expansion.ReplaceAllString(text, "x") }

// Values are what expansions put in on one instance.
type Values struct {
	Params   map[string]string
	Instance func(name string) string // "" where it is not known
	Local    bool                     // the machine is not an instance of EC2
}

// Put puts values into a text. What is put in is not expanded again, and has no
// slash: a value selects, so it can't become a path.
func (v Values) Put(text string) (string, error) { return put(text, v.Of) }

// PutTag puts values, which may have slashes, into the value of a tag.
func (v Values) PutTag(text string) (string, error) { return put(text, v.of) }

func put(text string, of func(name string) (string, error)) (string, error) {
	var err error
	expanded := expansion.ReplaceAllStringFunc(text, func(match string) string {
		value, problem := of(expansion.FindStringSubmatch(match)[1])
		if err == nil {
			err = problem
		}
		return value
	})
	if err != nil {
		return "", err
	}
	return expanded, nil
}

// Of returns the value of a name that Known accepts. A parameter whose value has
// a slash is a *Misfit.
func (v Values) Of(name string) (string, error) {
	value, err := v.of(name)
	if ref := refer(name); err == nil && strings.Contains(value, "/") {
		return "", &Misfit{ref.name}
	}
	return value, err
}

// A Misfit is a value of a parameter that does not fit where the role file puts it in.
type Misfit struct{ Param string }

func (m *Misfit) Error() string {
	return fmt.Sprintf("%s: the value contains /, %s", reference{ofParams, m.Param}, tagsOnly)
}

func (v Values) of(name string) (string, error) {
	ref := refer(name)
	if ref.scope == ofParams {
		return v.Params[ref.name], nil
	}
	value := v.Instance(ref.name)
	switch {
	case v.Local:
		return "", fmt.Errorf("%s has no value: this machine is set to be a local one, not an EC2 instance", ref)
	case value == "":
		return "", fmt.Errorf("%s has no value: the instance metadata service did not report it", ref)
	}
	err := CheckValue(value)
	if strings.Contains(value, "/") {
		err = errors.New("contains /, which is not allowed")
	}
	if err != nil {
		return "", fmt.Errorf("%s: the %s of this instance %w", ref, ref.name, err)
	}
	return value, nil
}

// maxValue is the longest value, in bytes. A tag of EC2 has 256.
const maxValue = 256

// CheckValue refuses what can't be put into any text: a value selects, so it
// can't become a wildcard, or lead up in a path. Where a value may have a slash,
// Values knows. Its error goes on from the name of the value: "contains *".
func CheckValue(value string) error {
	for _, no := range []string{"..", "*", "?"} {
		if strings.Contains(value, no) {
			return fmt.Errorf("contains %s, which is not allowed", no)
		}
	}
	switch {
	case len(value) > maxValue:
		return fmt.Errorf("is too long: %d bytes; %d are allowed", len(value), maxValue)
	case !utf8.ValidString(value), strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("contains a character that is neither printable nor a space")
	}
	return nil
}
