package role

import (
	"slices"
	"strings"

	"bootagent/pkg/policy"
	"bootagent/pkg/role/expand"
	"bootagent/pkg/role/find"
	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
)

// version is the version of the format that is read here.
const version = 1

// sections lists the keys of a role file. Each has a file of its own. A new key
// is one line here and a file; a key that others name comes before them.
var sections = []section{
	{Key: key.Key{Name: "version", Says: "The version of the format.", Kind: key.Kind{Type: key.Integer, Doc: "`1`"}}},
	{Key: key.Key{Name: "role", Says: "The name of the role. No two files may have the same.", Kind: nameKind}, read: readRoleName},
	paramSection,
	volumeSection,
	dataSection,
	secretSection,
	fileSection,
	serviceSection,
}

// A section is a key of the role file, and all that follows from it. Whatever
// does not apply to a key is nil.
type section struct {
	key.Key
	read   func(d *reading, v strictyaml.Value)          // decodes and checks its value
	plan   func(p *planning)                             // puts what the instance has into the plan
	permit func(g Grammar, r *Role, needs *policy.Needs) // adds what IAM has to allow
}

// Patterns of kinds that several keys have.
const (
	namePattern = `^[a-z][a-z0-9-]{0,62}$`
	pathPattern = `^/`
)

var (
	nameKind    = key.Kind{Type: key.Text, Doc: "a name", Pattern: namePattern}
	pathKind    = key.Kind{Type: key.Text, Doc: "an absolute path", Pattern: pathPattern}
	serviceKind = key.Kind{Type: key.Text, Doc: "a service", Pattern: `\.service$`}
)

// mapOf is the kind of a map from names to objects with these keys.
func mapOf(keys []key.Key, example string) key.Kind {
	return key.Kind{Type: key.Map, Names: namePattern, Entry: &key.Kind{Type: key.Object, Keys: keys}, Example: example}
}

// A reading is a role file that is being read: what is known of it so far.
type reading struct {
	grammar Grammar
	role    *Role
	known   map[string][]string // names by the key of the file that declares them, also of what is wrong otherwise
	given   map[string]bool     // keys of the file that are there
	strange bool                // the file has a key that is none: a misspelt one may be missing elsewhere

	mounts      []syntax.Place
	binds       []syntax.Place
	finds       find.Disks
	credentials map[string]string // service and credential, and its secret
	held        map[string]string // a unit, and the service that it is held with
}

// lost tells whether a key of the file is missing, and that is a mistake which
// is told already: so nothing is said about the names that it would declare.
func (d *reading) lost(section string) bool {
	return !d.given[section] && (d.strange || section == "services")
}

// Decode reads a role file. File is what errors call it. All mistakes of the
// file are returned at once, as strictyaml.Errors.
func (g Grammar) Decode(file string, src []byte) (*Role, error) {
	doc := strictyaml.Parse(file, src)
	doc.Scalars(g.refuseExpansion)
	root := doc.Root("the role file")
	d := reading{
		grammar: g, role: &Role{File: file, Extra: make(Extra), grammar: g},
		known: make(map[string][]string), given: make(map[string]bool), finds: make(find.Disks),
		credentials: make(map[string]string), held: make(map[string]string),
	}
	if root.Version(version) {
		d.decode(root)
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return d.role, nil
}

func (d *reading) decode(root *strictyaml.Map) {
	values := make([]strictyaml.Value, len(sections))
	for i, s := range sections {
		v := root.Take(s.Name)
		if s.Required() && s.Name != "version" {
			v = root.Need(s.Name)
		}
		values[i] = v.Example(s.Kind.Example)
		d.given[s.Name] = v.Given()
		if s.Kind.Type != key.Map {
			continue
		}
		for _, e := range values[i].Map(s.Name).Entries() {
			d.known[s.Name] = append(d.known[s.Name], e.Key.String())
		}
	}
	d.strange = !root.Done()
	for i, s := range sections {
		if s.read != nil && values[i].Given() {
			s.read(d, values[i])
		}
	}
}

// refuseExpansion refuses expansions wherever they would make the user-data
// decide about more than which disk, or which object, is meant.
func (g Grammar) refuseExpansion(path []string, v strictyaml.Value) {
	switch text := v.String(); {
	case strings.Contains(text, "{{"), strings.Contains(text, "{%"):
		v.Failf("a template was not rendered: {{ ... }} or {%% ... %%} stands here; role files have expansions of their own: %s", expand.Form)
	case len(path) > 0 && !slices.ContainsFunc(g.Keys(), func(k key.Key) bool { return k.Name == path[0] }):
		// The key is the mistake: what is below it may be right where it belongs.
	case strings.Contains(text, "${") && !key.MayExpand(g.Keys(), path):
		v.Failf("${...} is not allowed here; it is allowed in %s", strings.Join(key.Expanding(g.Keys()), ", "))
	}
}

// parameters are those that expansions may name.
func (d *reading) parameters() expand.Parameters {
	if d.lost("params") {
		return expand.Parameters{}
	}
	params := expand.Parameters{Names: append([]string{}, d.known["params"]...)}
	for _, p := range d.role.Params {
		if p.Default != nil && strings.Contains(*p.Default, "/") {
			params.Slashed = append(params.Slashed, p.Name)
		}
	}
	return params
}

func readRoleName(d *reading, v strictyaml.Value) { d.role.Name, _ = v.Name() }

// byName sorts what a section read.
func byName[T any](all []T, name func(T) string) {
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(name(a), name(b)) })
}

func listOrNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
