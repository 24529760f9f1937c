package role

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/strictyaml"
)

// An Instance is what an instance of EC2 is to the expansions of a role. It is
// zero on a local machine.
type Instance struct {
	ID     string // ${instance.id}
	Zone   string // ${instance.zone}, such as eu-central-1a
	Region string // ${instance.region}
	Type   string // ${instance.type}
}

// instanceFacts are the names that a role file has for what an Instance is.
var instanceFacts = []string{"id", "zone", "region", "type"}

func (i Instance) fact(name string) string {
	switch name {
	case "id":
		return i.ID
	case "zone":
		return i.Zone
	case "region":
		return i.Region
	case "type":
		return i.Type
	}
	return ""
}

// The two scopes that an expansion can be of.
const (
	ofParams   = "params"
	ofInstance = "instance"
)

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

// howExpansions says how expansions are written.
const howExpansions = "${params.NAME} or ${instance.id}, .zone, .region, .type"

// expansions gives the references in a text, and the parts of it between them.
// The error goes on from the name of the text.
func expansions(text string, params []string) (refs []reference, parts []string, err error) {
	parts = expansion.Split(text, -1)
	for _, part := range parts {
		if strings.Contains(part, "$") {
			return nil, nil, fmt.Errorf("has a $ that does not begin an expansion, which is written as %s", howExpansions)
		}
	}
	for _, match := range expansion.FindAllStringSubmatch(text, -1) {
		ref := refer(match[1])
		if err := ref.check(params); err != nil {
			return nil, nil, err
		}
		refs = append(refs, ref)
	}
	return refs, parts, nil
}

// check refuses a reference to what there is not.
func (r reference) check(params []string) error {
	switch {
	case r.scope == ofParams && slices.Contains(params, r.name):
		return nil
	case r.scope == ofParams:
		return fmt.Errorf("has an unknown parameter %s%s (parameters: %s)",
			strictyaml.Quote(r.name), strictyaml.DidYouMean(r.name, params), listOrNone(params))
	case r.scope == ofInstance && slices.Contains(instanceFacts, r.name):
		return nil
	case r.scope == ofInstance:
		return fmt.Errorf("has an unknown fact of the instance %s%s (facts: %s)",
			strictyaml.Quote(r.name), strictyaml.DidYouMean(r.name, instanceFacts), strings.Join(instanceFacts, ", "))
	}
	return fmt.Errorf("has an expansion of nothing known, %s%s (known: %s)",
		strictyaml.Quote(r.scope), strictyaml.DidYouMean(r.scope, []string{ofParams, ofInstance}), howExpansions)
}

// values are what expansions stand for on one instance.
type values struct {
	params   map[string]string
	instance Instance
}

// expand puts values into a text. What is put in is not expanded again. The
// error goes on from the name of the text.
func (v values) expand(text string) (string, error) {
	var err error
	expanded := expansion.ReplaceAllStringFunc(text, func(match string) string {
		value, problem := v.of(refer(expansion.FindStringSubmatch(match)[1]))
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

func (v values) of(ref reference) (string, error) {
	if ref.scope == ofParams {
		return v.params[ref.name], nil
	}
	fact := v.instance.fact(ref.name)
	switch {
	case v.instance == Instance{}:
		return "", fmt.Errorf("has %s, and this machine is local: no instance of EC2, which would have one", ref)
	case fact == "":
		return "", fmt.Errorf("has %s, which the metadata service of this instance did not tell", ref)
	}
	if err := checkParam(fact); err != nil {
		return "", fmt.Errorf("has %s, and the %s of this instance %w", ref, ref.name, err)
	}
	return fact, nil
}
