// Package key declares the keys of YAML maps: what each is, what its value may
// be and how it is read. Decoding, the reference and the JSON Schema follow
// from the declarations.
package key

import (
	"slices"
	"strings"
	"time"

	"bootagent/pkg/strictyaml"
)

// A Key is a key of a map, as the reference and the schema describe it.
type Key struct {
	Name  string
	Says  string // what it is, in one or two sentences
	Unset string // what applies without it; "" where it is required
	With  string // another key of the map that has to stand beside it; "" for none
	Kind  Kind
}

// Required reports whether the key can't be left out.
func (k Key) Required() bool { return k.Unset == "" }

// A Kind is what a value may be.
type Kind struct {
	Type    string   // one of the types below
	Doc     string   // what it may be, as the reference says it; "" where Words or Keys say it
	Example string   // what errors show: a whole value, with its key
	Words   []string // all allowed words; none for any
	Pattern string   // regular expression, as far as one tells; "" for none
	Names   string   // regular expression of the keys of a Map; "" for any
	Entry   *Kind    // of each entry of a List or a Map
	Keys    []Key    // of an Object
	OneOf   []string // of these keys of an Object there is exactly one
	Least   int      // how many entries there are at least
	Expands bool     // expansions ${...} may stand in it
	Repeats bool     // an entry of a List may stand there twice
	Filled  string   // who fills in what it may be, where that is known elsewhere
}

// The types of values. An Object has the keys that it declares; a Map has
// those that people give.
const (
	Text    = "text"
	Integer = "integer"
	Boolean = "boolean"
	List    = "list"
	Map     = "map"
	Object  = "object"
)

// OneOf is the kind of a text that is one of some words.
func OneOf[W ~string](all ...W) Kind {
	k := Kind{Type: Text}
	for _, word := range all {
		k.Words = append(k.Words, string(word))
	}
	return k
}

// Fill returns keys in which fill has changed each kind, at any depth.
func Fill(keys []Key, fill func(*Kind)) []Key {
	keys = slices.Clone(keys)
	for i := range keys {
		fillKind(&keys[i].Kind, fill)
	}
	return keys
}

func fillKind(k *Kind, fill func(*Kind)) {
	fill(k)
	k.Keys = Fill(k.Keys, fill)
	if k.Entry != nil {
		entry := *k.Entry
		fillKind(&entry, fill)
		k.Entry = &entry
	}
}

// MayExpand tells whether expansions may stand in the value that a path of
// names leads to, from a map with these keys. No name has one itself.
func MayExpand(keys []Key, path []string) bool {
	k := Kind{Type: Object, Keys: keys}
	for _, name := range path {
		at := slices.IndexFunc(k.Keys, func(key Key) bool { return key.Name == name })
		switch {
		case strings.Contains(name, "${"):
			return false
		case k.Type == Map:
			k = *k.Entry
		case k.Type == Object && at >= 0:
			k = k.Keys[at].Kind
		default:
			return false
		}
	}
	return k.Expands
}

// Expanding lists the paths of the values where expansions may stand.
func Expanding(keys []Key) (paths []string) {
	for _, k := range keys {
		paths = append(paths, k.Kind.expanding(k.Name)...)
	}
	return paths
}

func (k Kind) expanding(path string) (paths []string) {
	if k.Expands {
		paths = append(paths, path)
	}
	if k.Entry != nil {
		paths = append(paths, k.Entry.expanding(path+".NAME")...)
	}
	for _, below := range k.Keys {
		paths = append(paths, below.Kind.expanding(path+"."+below.Name)...)
	}
	return paths
}

// A Table lists the keys of one map and how each is read into a T. An F is what
// is known of the file that is being read.
type Table[F, T any] []struct {
	Key
	Read func(f F, r Reader, into *T)
}

// A Reader is the value of a key that is being read.
type Reader struct {
	strictyaml.Value
	Key  Key
	What string // how errors call the map: `volume "data"`
}

// Word reads one of the words that the key may have, or any text where it has
// none of its own.
func (r Reader) Word() (string, bool) {
	if len(r.Key.Kind.Words) == 0 {
		return r.Text()
	}
	return r.OneOf(r.Key.Kind.Words...)
}

// Word returns how a key with words of its own is read into a field.
func Word[F, T any, W ~string](field func(*T) *W) func(F, Reader, *T) {
	return func(_ F, r Reader, into *T) {
		if word, ok := r.OneOf(r.Key.Kind.Words...); ok {
			*field(into) = W(word)
		}
	}
}

// Longest is the longest duration that a key may have: more is most likely a
// mistake.
const Longest = 24 * time.Hour

// DurationKind is the kind of a duration.
var DurationKind = Kind{Type: Text, Doc: "a duration, at most `24h`", Pattern: `^([0-9]+(\.[0-9]*)?(h|m|s|ms|us|µs|ns))+$`}

// Duration returns how a duration is read into a field.
func Duration[F, T any](field func(*T) *time.Duration) func(F, Reader, *T) {
	return func(_ F, r Reader, into *T) {
		if d, ok := r.Value.Duration(Longest); ok {
			*field(into) = d
		}
	}
}

// Keys returns what a table declares.
func (t Table[F, T]) Keys() (keys []Key) {
	for _, k := range t {
		keys = append(keys, k.Key)
	}
	return keys
}

// Decode reads a map into a T, key by key in the order of the table, and
// refuses all other keys. What is how errors call the map.
func (t Table[F, T]) Decode(f F, v strictyaml.Value, what string, into *T) {
	m := v.Map(what)
	values := make([]strictyaml.Value, len(t))
	for i, k := range t {
		if k.Required() {
			values[i] = m.Need(k.Name)
		} else {
			values[i] = m.Take(k.Name)
		}
	}
	m.Done()
	for i, k := range t {
		if values[i].Given() {
			k.Read(f, Reader{values[i].Example(k.Kind.Example), k.Key, what}, into)
		}
	}
}
