package file

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
)

// What names of files and of variables look like.
const (
	namePattern = `^[a-z][a-z0-9-]*([.][a-z0-9-]+)*$`
	varPattern  = `^[a-zA-Z_][a-zA-Z0-9_]*$`
	userPattern = `^[a-zA-Z_][a-zA-Z0-9_-]{0,30}$`
	nameMax     = 63
)

var (
	nameRegexp = regexp.MustCompile(namePattern)
	varRegexp  = regexp.MustCompile(varPattern)
)

// Kind is what the key "files" may be.
var Kind = key.Kind{
	Type: key.Map, Names: namePattern, Entry: &key.Kind{Type: key.Object, Keys: keys.Keys(), OneOf: []string{"content", "env"}},
	Example: `files: {server-id.cnf: {content: "[mysqld]\nserver_id=${volume.data.tag.server-id}\n", services: [mariadb.service]}}`,
}

const otherWay = "the other of `content` and `env`"

var keys = key.Table[Reading, filing]{
	{
		key.Key{Name: "content", Says: "The text of the file.", Unset: otherWay, Kind: key.Kind{Type: key.Text, Doc: "text", Expands: true}},
		func(known Reading, r key.Reader, f *filing) {
			f.ways++
			text, ok := r.Text()
			if !ok {
				return
			}
			f.Content = read(known, r, "content", text)
			if strings.ContainsFunc(text, func(c rune) bool { return c != '\n' && c != '\t' && CheckLine(string(c)) != nil }) {
				r.Failf("%s: content: only printable characters, spaces, tabs and line breaks are allowed", r.What)
			}
		},
	},
	{
		key.Key{
			Name: "env", Says: "The variables of an environment file, as `EnvironmentFile=` of systemd reads them.", Unset: otherWay,
			Kind: key.Kind{Type: key.Map, Doc: "a map of texts", Names: varPattern, Entry: &key.Kind{Type: key.Text, Expands: true}, Least: 1, Example: `env: {BROKER_ID: "${volume.data.tag.broker-id}"}`},
		},
		readEnv,
	},
	{
		key.Key{Name: "owner", Says: "The user that the file belongs to.", Unset: "`root`", Kind: key.Kind{Type: key.Text, Doc: "the name of a user", Pattern: userPattern}},
		func(_ Reading, r key.Reader, f *filing) { f.Owner = readUser(r, "owner", "a user, such as mysql") },
	},
	{
		key.Key{Name: "group", Says: "The group that the file belongs to.", Unset: "the group of the owner", Kind: key.Kind{Type: key.Text, Doc: "the name of a group", Pattern: userPattern}},
		func(_ Reading, r key.Reader, f *filing) { f.Group = readUser(r, "group", "a group, such as mysql") },
	},
	{
		key.Key{Name: "mode", Says: "Who may read the file: everybody, the owner and the group, or the owner. A file with a secret is for nobody else.", Unset: "`0444`; `0400` with a secret", Kind: key.OneOf(OfOwner, OfGroup, All)},
		func(_ Reading, r key.Reader, f *filing) {
			text, ok := r.Text()
			if ok && !slices.Contains(r.Key.Kind.Words, text) {
				r.Failf("%s: mode can't be %s (allowed: %s)", r.What, strictyaml.Quote(text), strings.Join(r.Key.Kind.Words, ", "))
			}
			f.Mode, f.mode = Mode(text), r.Value
		},
	},
	{
		key.Key{
			Name: "services", Says: "The services that need it. They do so whatever their `needs` say.",
			Kind: key.Kind{Type: key.List, Doc: "a list of services of the role", Entry: &key.Kind{Type: key.Text, Pattern: `\.service$`}, Least: 1, Example: "services: [mariadb.service]"},
		},
		func(known Reading, r key.Reader, f *filing) { f.Services = known.Services(r) },
	},
	{
		key.Key{
			Name: "patterns", Says: "For values of tags, a regular expression for the whole value, in Go's syntax.", Unset: "letters, digits and `.`, `_`, `:`, `@`, `+`, `-`",
			Kind: key.Kind{Type: key.Map, Doc: "a map of regular expressions", Names: `^volume[.]`, Entry: &key.Kind{Type: key.Text}, Least: 1, Example: `patterns: {volume.data.tag.server-id: "[0-9]+"}`},
		},
		readPatterns,
	},
}

// A Reading is what the files of a role may name, and how the names of services
// are read.
type Reading struct {
	Known
	Services func(r key.Reader) []string
}

// A filing is a File that is being read.
type filing struct {
	File
	ways int              // content and env, as they stand there
	mode strictyaml.Value // where its mode stands
}

// Read reads the files of a role, sorted by name.
func Read(known Reading, value strictyaml.Value) (files []File) {
	for _, e := range value.Map("files").Entries() {
		f := filing{File: File{Name: e.Key.String(), Owner: "root"}}
		what := "file " + strictyaml.Quote(f.Name)
		switch {
		case !nameRegexp.MatchString(f.Name):
			e.Key.Failf("%s: not the name of a file here: lower-case letters, digits, dashes and dots, beginning with a letter", what)
		case len(f.Name) > nameMax:
			e.Key.Failf("%s: the name is too long: %d characters; %d are allowed", what, len(f.Name), nameMax)
		}
		keys.Decode(known, e.Value, what, &f)
		switch {
		case f.ways == 0:
			e.Key.Failf("%s has neither content nor env; write one of them", what)
		case f.ways > 1:
			e.Key.Failf("%s has content and env; write one of them", what)
		}
		f.fit(known, what, e.Key)
		files = append(files, f.File)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

// fit checks how the keys of a file fit together.
func (f *filing) fit(known Reading, what string, at strictyaml.Value) {
	secrets := f.Secrets()
	switch {
	case f.Mode == All && len(secrets) > 0:
		f.mode.Failf("%s has a secret, so its mode has to be %s or %s", what, OfOwner, OfGroup)
	case f.Mode == "" && len(secrets) > 0:
		f.Mode = OfOwner
	case f.Mode == "":
		f.Mode = All
	}
	for _, name := range secrets {
		for _, service := range f.Services {
			if get := known.For[name]; get != nil && !slices.Contains(get, service) {
				at.Failf("%s has secret %q and is for %s, which does not get the secret; add it to services of the secret", what, name, service)
			}
		}
	}
	puts := f.Puts()
	for put := range f.Patterns {
		if !slices.Contains(puts, put) {
			at.Failf("%s has a pattern for ${%s}, which is not in it%s", what, put, strictyaml.DidYouMean(put, puts))
		}
	}
}

// read reads a text that may have expansions.
func read(known Reading, r key.Reader, what, text string) Text {
	parts, err := readText(known.Known, text)
	if err != nil {
		r.Failf("%s: %s: %v", r.What, what, err)
	}
	return parts
}

func readEnv(known Reading, r key.Reader, f *filing) {
	f.ways++
	entries := r.Map("env of " + r.What).Entries()
	if len(entries) == 0 {
		r.Failf("%s: env has no variables; write %s", r.What, r.Key.Kind.Example)
	}
	for _, e := range entries {
		name := e.Key.String()
		if !varRegexp.MatchString(name) {
			e.Key.Failf("%s: %s is not the name of a variable: letters, digits and _, not beginning with a digit", r.What, strictyaml.Quote(name))
		}
		text, ok := e.Value.Text()
		if !ok {
			continue
		}
		what := fmt.Sprintf("variable %s", name)
		value := read(known, key.Reader{Value: e.Value, What: r.What}, what, text)
		if err := CheckLine(text); err != nil {
			e.Value.Failf("%s: %s: the value %v", r.What, what, err)
		}
		f.Env = append(f.Env, Variable{name, value})
	}
	slices.SortFunc(f.Env, func(a, b Variable) int { return strings.Compare(a.Name, b.Name) })
}

func readUser(r key.Reader, what, of string) string {
	name, ok := r.TextOf("the name of " + of)
	if ok {
		if err := syntax.CheckUser(name); err != nil {
			r.Failf("%s: %s: %v", r.What, what, err)
		}
	}
	return name
}

func readPatterns(known Reading, r key.Reader, f *filing) {
	f.Patterns = make(map[string]string)
	for _, e := range r.Map("patterns of " + r.What).Entries() {
		put := e.Key.String()
		if _, tag, is := (Part{Put: put}).OfVolume(); !is || tag == "" {
			e.Key.Failf("%s: a pattern is for the value of a tag; write %s", r.What, r.Key.Kind.Example)
			continue
		}
		pattern, ok := e.Value.Text()
		if !ok {
			continue
		}
		if _, err := regexp.Compile(pattern); err != nil {
			e.Value.Failf("the pattern is not a regular expression of Go: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		f.Patterns[put] = pattern
	}
}
