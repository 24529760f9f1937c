// Package source knows how role files write where the payload of a secret is.
// Which kinds of sources there are, its callers say.
package source

import (
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/policy"
	"bootagent/pkg/role/expand"
	"bootagent/pkg/strictyaml"
)

// A Syntax is how role files write one kind of source of secrets:
// SCHEME://REFERENCE.
type Syntax struct {
	Scheme string // s3
	Form   string // s3://BUCKET/KEY, as errors and the reference show it

	// Fixed returns the part of a reference, from its beginning, where no
	// expansion may stand.
	Fixed func(ref string) string

	// Check refuses a reference. Its error goes on after "secret NAME: ". A
	// reference with expansions is first checked with a letter for each of
	// them, and checked again as it is on an instance.
	Check func(ref string) error

	// Near returns what a person meant who wrote a source that begins with no
	// known scheme, or "". It may be nil.
	Near func(text string) string

	// Permit adds what IAM has to allow for a reference. Nil is nothing.
	Permit func(needs *policy.Needs, ref string)

	// Cloud says that the source is reached through the API of a cloud.
	Cloud bool

	// File returns the path of the file in the image that a reference names.
	// Nil is for sources that are not in the image.
	File func(ref string) string
}

// A Source is where the payload of a secret is.
type Source struct {
	Scheme string // of a Syntax
	Ref    string // what stands after ://; in a Role it may have expansions
}

// String returns a source as a role file writes it: "s3://bucket/key".
func (s Source) String() string { return s.Scheme + "://" + s.Ref }

// MarshalText writes a source as a role file does.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Source) UnmarshalText(text []byte) error {
	scheme, ref, is := strings.Cut(string(text), "://")
	if !is {
		return fmt.Errorf("not a source of secrets: %q", text)
	}
	*s = Source{scheme, ref}
	return nil
}

// Syntaxes are the kinds of sources that there are.
type Syntaxes []Syntax

// Of returns how a source is written. It is false where nobody knows its
// scheme.
func (all Syntaxes) Of(s Source) (Syntax, bool) {
	for _, syntax := range all {
		if syntax.Scheme == s.Scheme {
			return syntax, true
		}
	}
	return Syntax{}, false
}

// Forms lists how sources are written.
func (all Syntaxes) Forms() (forms []string) {
	for _, syntax := range all {
		forms = append(forms, syntax.Form)
	}
	return forms
}

// Schemes lists what sources begin with.
func (all Syntaxes) Schemes() (schemes []string) {
	for _, syntax := range all {
		schemes = append(schemes, syntax.Scheme)
	}
	return schemes
}

// Read reads a source, which may have expansions of these parameters. What is
// how errors call what comes from it. Without any syntax it accepts any text.
func (all Syntaxes) Read(v strictyaml.Value, what string, params expand.Parameters) Source {
	text, ok := v.TextOf("a source")
	if !ok {
		return Source{}
	}
	scheme, ref, cut := strings.Cut(text, "://")
	source := Source{scheme, ref}
	how, known := all.Of(source)
	switch {
	case len(all) == 0:
		return source
	case !cut || !known:
		v.Failf("%s can't come from %s%s (allowed: %s)", what, strictyaml.Quote(text), all.near(text), strings.Join(all.Forms(), ", "))
		return source
	case strings.Contains(how.Fixed(ref), "$"):
		v.Failf("%s: ${...} is not allowed in %s", what, strictyaml.Quote(scheme+"://"+how.Fixed(ref)))
		return source
	}
	likely := func(string) error { return how.Check(expand.Likely(ref)) }
	if err := params.Check(ref, how.Check, likely); err != nil {
		v.Failf("%s: %v", what, err)
	}
	return source
}

// near is the hint for a text that is not a source of these.
func (all Syntaxes) near(text string) string {
	schemes := all.Schemes()
	for _, syntax := range all {
		if syntax.Near != nil {
			if right := syntax.Near(text); right != "" {
				return "; did you mean " + strictyaml.Quote(right) + "?"
			}
		}
	}
	scheme, _, cut := strings.Cut(text, ":")
	if i := slices.Index(schemes, scheme); cut && i >= 0 {
		return "; write " + all[i].Form
	}
	if !cut {
		scheme, _, _ = strings.Cut(text, "/")
	}
	return strictyaml.DidYouMean(scheme, schemes)
}
