package strictyaml

import (
	"slices"
	"strconv"
	"strings"
	"time"

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
	m.known = append(m.known, key)
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

// Need gives the value of a key that may not be left out. That it is missing
// is told of the map.
func (m *Map) Need(key string) Value {
	v := m.Take(key)
	if m.node != nil && !v.Given() {
		m.doc.fail(m.node.Line, m.node.Column, "%q is missing in %s", key, m.what)
	}
	return v
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

// Done refuses every key that was not asked for.
func (m *Map) Done() {
	for _, e := range m.Entries() {
		key := e.Key.node.Value
		if !slices.Contains(m.known, key) {
			e.Key.Failf("unknown key %s in %s%s (known keys: %s)",
				Quote(key), m.what, DidYouMean(key, m.known), strings.Join(m.known, ", "))
		}
	}
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
	case v.node.Kind == yaml.ScalarNode && v.node.Value == text:
		v.Failf("%s has to be the number %s, without quotes", v.what, text)
	default:
		v.Failf("%s is not one that this bootagent knows; it knows version: %s", v.what, text)
	}
	return false
}

// A Value is a value of a map, an entry of a list, or a key. Its methods tell
// the document what is wrong with it, once, and report ok only for a value
// that is given and right.
type Value struct {
	doc  *Document
	node *yaml.Node // nil where the key was left out
	what string     // how errors call it: `"wait" in volume "data"`
}

// Given reports whether there is a value at all, be it wrong.
func (v Value) Given() bool { return v.node != nil }

// String gives a scalar as it stands in the document, whether it is right or
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
	if kind(v.node) == "empty" {
		v.Failf("%s is empty; it has to be %s, or the key left out", v.what, wanted)
		return
	}
	v.Failf("%s has to be %s, not %s", v.what, wanted, kind(v.node))
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
		v.Failf("%s has to be text, not %s%s", v.what, kind(v.node), quotesHelp(v.node))
	default:
		v.notA("text")
	}
	return "", false
}

// maxName is how long a name may be: that of a DNS label, so that a name can
// be part of a host name, a tag or a unit name.
const maxName = 63

// Name reads the name of a role, or of something in one: small letters, digits
// and dashes, the first a letter, 63 at the most. An error quotes it.
func (v Value) Name() (name string, ok bool) {
	name, ok = v.Text()
	if !ok {
		return "", false
	}
	for i, r := range name {
		letter := 'a' <= r && r <= 'z'
		if !letter && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			v.Failf("%s is not a name: small letters, digits and dashes, beginning with a letter", Quote(name))
			return "", false
		}
	}
	if name == "" || len(name) > maxName {
		v.Failf("%s is not a name: it has %d characters, and may have 1 to %d", Quote(name), len(name), maxName)
		return "", false
	}
	return name, true
}

// OneOf reads one of the allowed words. An error quotes what stands there
// instead.
func (v Value) OneOf(allowed ...string) (word string, ok bool) {
	word, ok = v.Text()
	if !ok {
		return "", false
	}
	if !slices.Contains(allowed, word) {
		v.Failf("%s can't be %s%s (allowed: %s)", v.what, Quote(word), DidYouMean(word, allowed), strings.Join(allowed, ", "))
		return "", false
	}
	return word, true
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
	v.Failf("%s has to be true or false, without quotes", v.what)
	return false, false
}

// Duration reads a duration such as 90s, 20m or 1h30m that is more than
// nothing and at most the longest.
func (v Value) Duration(longest time.Duration) (d time.Duration, ok bool) {
	if !v.usable() {
		return 0, false
	}
	d, err := time.ParseDuration(v.String())
	switch {
	case v.node.Kind != yaml.ScalarNode || kind(v.node) == "empty":
		v.notA("a duration such as 90s or 20m")
	case err != nil || kind(v.node) != "text":
		v.Failf("%s is no duration; write it with its unit, such as 90s, 20m or 1h30m", v.what)
	case d <= 0 || d > longest:
		v.Failf("%s is out of range: it has to be more than 0s, and at most %s", v.what, shortDuration(longest))
	default:
		return d, true
	}
	return 0, false
}

// shortDuration writes 24h where time.Duration writes 24h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, nothing) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// List reads a list. An empty value is no list: whether it means none or the
// default, a reader would have to guess.
func (v Value) List() (list []Value, ok bool) {
	if !v.usable() {
		return nil, false
	}
	if v.node.Kind != yaml.SequenceNode {
		v.notA("a list such as [a, b]")
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
	default:
		v.Failf("%s has to be a map, not %s", what, kind(v.node))
	}
	return m
}
