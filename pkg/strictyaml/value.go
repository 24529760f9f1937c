package strictyaml

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Map reads the keys of a map. Take and Need ask for those it may hold, Done
// refuses all others; Entries takes whatever keys there are.
type Map struct {
	doc   *Document
	node  *yaml.Node // nil where there is no map to read
	what  string     // how errors call it: `volume "data"`
	known []string
}

// Take gives the value of a key that may be left out; a Value that is not
// Given then.
func (m *Map) Take(key string) Value {
	if !slices.Contains(m.known, key) {
		m.known = append(m.known, key)
	}
	if m.node == nil {
		return Value{doc: m.doc}
	}
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		if k := m.node.Content[i]; k.Kind == yaml.ScalarNode && k.Value == key {
			return Value{doc: m.doc, node: m.node.Content[i+1], what: strconv.Quote(key) + " in " + m.what}
		}
	}
	return Value{doc: m.doc}
}

// Need returns the value of a required key. Where it is missing, that is a
// mistake of the map.
func (m *Map) Need(key string) Value {
	v := m.Take(key)
	v.required = true
	if m.node != nil && !v.Given() && !m.unspaced(key) {
		m.doc.fail(m.node.Line, m.node.Column, "%q is missing in %s", key, m.what)
	}
	return v
}

// unspaced tells a key whose colon no space follows: Done says so.
func (m *Map) unspaced(key string) bool {
	return slices.ContainsFunc(m.Entries(), func(e Entry) bool { return strings.HasPrefix(e.Key.String(), key+":") })
}

// An Entry is a key of a map, and its value.
type Entry struct {
	Key   Value
	Value Value
}

// Entries gives all keys in the order of the document, without those that are
// no keys at all.
func (m *Map) Entries() []Entry {
	if m.node == nil {
		return nil
	}
	var entries []Entry
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		key, value := m.node.Content[i], m.node.Content[i+1]
		if m.doc.blamed[key] || key.Kind != yaml.ScalarNode {
			continue
		}
		entries = append(entries, Entry{
			Key:   Value{doc: m.doc, node: key, what: "a key of " + m.what},
			Value: Value{doc: m.doc, node: value, what: Quote(key.Value) + " in " + m.what},
		})
	}
	return entries
}

// Done refuses every key that was not asked for. It reports whether there was
// none.
func (m *Map) Done() bool {
	all := true
	for _, e := range m.Entries() {
		key := e.Key.node.Value
		if slices.Contains(m.known, key) {
			continue
		}
		all = false
		if before, _, is := strings.Cut(key, ":"); is && slices.Contains(m.known, before) {
			e.Key.Failf("unknown key %s in %s: a space is missing after %q", Quote(key), m.what, before+":")
			continue
		}
		e.Key.Failf("unknown key %s in %s%s (known keys: %s)",
			Quote(key), m.what, DidYouMean(key, m.known), strings.Join(m.known, ", "))
	}
	return all
}

// Version reads the key "version" and reports whether the other keys can be
// judged: not where it is another version than the known one.
func (m *Map) Version(known int) bool {
	v := m.Need("version")
	if !v.usable() {
		return !v.Given()
	}
	text := strconv.Itoa(known)
	switch {
	case v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!int" && v.node.Value == text:
		return true
	case v.node.Kind == yaml.ScalarNode && strings.Trim(v.node.Value, "vV.0 ") == text:
		v.Failf("%s must be written as %s, without quotes", v.what, text)
	default:
		v.Failf("this bootagent does not know this version of the format; it knows version: %s", text)
	}
	return false
}

// A Value is a value of a map, an entry of a list, or a key. Its methods tell
// the document what is wrong with it, once, and report ok only for a value
// that is given and right.
type Value struct {
	doc      *Document
	node     *yaml.Node // nil where the key was left out
	what     string     // how errors call it: `"timeout" in volume "data"`
	example  string     // what would be right, as a person would write it; "" for none
	required bool       // its key can't be left out
}

// Example returns the value with an example of what would be right, which the
// error for a value of the wrong kind shows.
func (v Value) Example(example string) Value {
	v.example = example
	return v
}

// Given reports whether there is a value at all, be it wrong.
func (v Value) Given() bool { return v.node != nil }

// Place returns where a given value is: the line and the column, from 1.
func (v Value) Place() (line, column int) { return v.node.Line, v.node.Column }

// String returns a scalar as it stands in the document, whether it is right or
// not, for comparing and for Quote.
func (v Value) String() string {
	if v.node == nil || v.node.Kind != yaml.ScalarNode {
		return ""
	}
	return v.node.Value
}

// Failf tells a mistake at the place of the value, unless one was told
// already. The value has to be given.
func (v Value) Failf(format string, args ...any) { v.doc.blame(v.node, format, args...) }

// usable reports whether there is a value that nothing is known against.
func (v Value) usable() bool { return v.node != nil && !v.doc.blamed[v.node] }

// notA tells that the value is of the wrong kind.
func (v Value) notA(wanted string) {
	var write string
	if v.example != "" {
		write = "; write " + v.example
	}
	switch {
	case kind(v.node) == "empty" && v.required:
		v.Failf("%s is empty; it must be %s%s", v.what, wanted, write)
		return
	case kind(v.node) == "empty":
		v.Failf("%s is empty; it must be %s, or leave the key out%s", v.what, wanted, write)
		return
	}
	v.Failf("%s must be %s, not %s%s", v.what, wanted, kind(v.node), write)
}

// Text reads a text. What YAML takes for a number, a date, true, false or null
// is none: one tool would read 0123 where another reads 83.
func (v Value) Text() (text string, ok bool) {
	switch {
	case !v.usable():
		return "", false
	case kind(v.node) == "text":
		return v.node.Value, true
	case quotesHelp(v.node) != "":
		v.Failf("%s must be text, not %s%s", v.what, kind(v.node), quotesHelp(v.node))
	default:
		v.notA("text")
	}
	return "", false
}

// TextOf reads a text that can't be a number, a date, true or false, not even in
// quotes; wanted says what it is, as in "the name of a user".
func (v Value) TextOf(wanted string) (text string, ok bool) {
	switch {
	case !v.usable():
		return "", false
	case kind(v.node) == "text":
		return v.node.Value, true
	}
	v.notA(wanted)
	return "", false
}

// maxName is how long a name may be: as long as a DNS label, so that a name can
// be part of a host name, a tag or a unit name.
const maxName = 63

// NameForm says in words what a name looks like.
const NameForm = "lower-case letters, digits and dashes, beginning with a letter"

// Path reads an absolute path without . and .., and returns "" where there is
// none. What is how an error calls it; an error does not quote it.
func (v Value) Path(what string) string {
	path, ok := v.TextOf("an absolute path")
	if ok && (!filepath.IsAbs(path) || filepath.Clean(path) != path) {
		v.Failf("%s must be an absolute path without . and ..", what)
		return ""
	}
	return path
}

// Name reads the name of a role, or of something in one: lower-case letters,
// digits and dashes, the first a letter, 63 at the most. An error quotes it.
func (v Value) Name() (name string, ok bool) {
	name, ok = v.TextOf("a name (" + NameForm + ")")
	switch {
	case !ok:
		return "", false
	case !isName(name):
		var near string
		if folded := fold(name); isName(folded) {
			near = "; did you mean " + Quote(folded) + "?"
		}
		v.Failf("%s is not a name (%s)%s", Quote(name), NameForm, near)
		return "", false
	case len(name) > maxName:
		v.Failf("the name %s is too long: %d characters; %d are allowed", Quote(name), len(name), maxName)
		return "", false
	}
	return name, true
}

func isName(text string) bool {
	for i, r := range text {
		letter := 'a' <= r && r <= 'z'
		if !letter && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return false
		}
	}
	return text != ""
}

// OneOf reads one of the allowed words. An error quotes what stands there
// instead.
func (v Value) OneOf(allowed ...string) (word string, ok bool) {
	switch {
	case !v.usable():
		return "", false
	case v.node.Kind != yaml.ScalarNode || kind(v.node) == "empty":
		v.notA("one of " + strings.Join(allowed, ", "))
		return "", false
	case kind(v.node) != "text" || !slices.Contains(allowed, v.node.Value):
		word := v.node.Value
		v.Failf("%s can't be %s%s (allowed: %s)", v.what, Quote(word), DidYouMean(word, allowed), strings.Join(allowed, ", "))
		return "", false
	}
	return v.node.Value, true
}

// Bool reads true or false, in these words only.
func (v Value) Bool() (yes, ok bool) {
	if !v.usable() {
		return false, false
	}
	if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!bool" {
		switch v.node.Value {
		case "true":
			return true, true
		case "false":
			return false, true
		}
	}
	v.Failf("%s must be true or false, without quotes", v.what)
	return false, false
}

// List reads a list. An empty value is no list: a reader would have to guess
// whether it means none or the default.
func (v Value) List() (list []Value, ok bool) {
	if !v.usable() {
		return nil, false
	}
	if v.node.Kind != yaml.SequenceNode {
		v.notA("a list")
		return nil, false
	}
	for _, n := range v.node.Content {
		list = append(list, Value{doc: v.doc, node: n, what: "an entry of " + v.what})
	}
	return list, true
}

// Map reads a map; what is how errors call it. A value that is empty, left out
// or wrong gives an empty map; only of the first a key can be missing.
func (v Value) Map(what string) *Map {
	m := &Map{doc: v.doc, what: what}
	switch {
	case !v.usable():
	case v.node.Kind == yaml.MappingNode, kind(v.node) == "empty":
		m.node = v.node
	case unspaced.MatchString(v.String()):
		v.Failf("%s must be a map, not text: %s", what, missingSpace)
	default:
		v.what = what
		v.notA("a map")
	}
	return m
}
