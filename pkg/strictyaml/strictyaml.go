// Package strictyaml reads one small YAML document, key by key. A key that the
// reader does not ask for is a mistake. Every mistake is reported with its
// place, the nearest known word and what would be right.
//
// It accepts maps, lists and scalars. It refuses anchors, aliases, merge keys,
// explicit tags, duplicate keys and further documents: each of them makes a
// document mean something else than it seems to say. It touches neither disk
// nor network.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// MaxSize is how many bytes a document may have. Role files are a page long
// and EC2's user-data has 16 KiB at the most, so this is plenty.
const MaxSize = 64 << 10

// An Error is one mistake of a document.
type Error struct {
	File         string
	Line, Column int // from 1; columns count characters
	Problem      string
}

// Error gives the mistake as file:line:column: problem.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}

// Errors are all mistakes of a document, sorted by their place.
type Errors []*Error

// maxTold bounds how many mistakes are put into words: a document that is
// something else altogether has one on every line, and nobody reads on.
const maxTold = 50

// Error gives one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, 0, min(len(e), maxTold)+1)
	for _, one := range e[:min(len(e), maxTold)] {
		lines = append(lines, one.Error())
	}
	if more := len(e) - maxTold; more > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d further mistakes", e[0].File, more))
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the mistakes one by one, for errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// A Document is a YAML document that is being read, with its mistakes so far.
type Document struct {
	file    string
	root    *yaml.Node // nil where the document is not YAML at all
	strange bool       // a space in it is not the plain one: what it says is not judged
	errs    Errors
	blamed  map[*yaml.Node]bool // nodes with a mistake: one each is enough
}

// Parse parses a document. Err returns its mistakes, which name it as file.
func Parse(file string, src []byte) *Document {
	d := &Document{file: file, blamed: make(map[*yaml.Node]bool)}
	if len(src) > MaxSize {
		d.fail(1, 1, "too large: %d bytes; a document can have %d", len(src), MaxSize)
		return d
	}
	if line, column, ok := invalidUTF8(src); !ok {
		d.fail(line, column, "this is not UTF-8 text")
		return d
	}
	if bytes.HasPrefix(src, []byte("\ufeff")) {
		d.fail(1, 1, "the text begins with a byte order mark; save it as UTF-8 without one")
		return d
	}
	d.strange = d.strangeSpaces(src)
	first, second, err := parse(bytes.NewReader(src))
	if err != nil {
		if !d.strange {
			d.syntax(src, err)
		}
		return d
	}
	d.root = first
	if second != nil {
		d.fail(second.Line, second.Column, "a second document begins here; only one is allowed")
	}
	if !d.strange {
		d.inspect(first)
	}
	return d
}

// Err returns all mistakes found so far as Errors, or nil.
func (d *Document) Err() error {
	if len(d.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(d.errs, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return d.errs
}

// Root returns the map that the document is. An empty document is an empty map.
func (d *Document) Root(what string) *Map {
	if d.root == nil || d.strange {
		return &Map{doc: d, what: what}
	}
	return Value{doc: d, node: d.root}.Map(what)
}

// Scalars visits every key and every scalar value of the document, each with
// the keys that lead to it; a list does not add to them.
func (d *Document) Scalars(visit func(path []string, v Value)) {
	var walk func(path []string, n *yaml.Node)
	walk = func(path []string, n *yaml.Node) {
		switch n.Kind {
		case yaml.ScalarNode:
			visit(path, Value{doc: d, node: n})
		case yaml.SequenceNode:
			for _, child := range n.Content {
				walk(path, child)
			}
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				below := append(slices.Clip(path), n.Content[i].Value)
				walk(below, n.Content[i])
				walk(below, n.Content[i+1])
			}
		}
	}
	if d.root != nil {
		walk(nil, d.root)
	}
}

func (d *Document) fail(line, column int, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, Line: line, Column: column, Problem: fmt.Sprintf(format, args...)})
}

// blame tells a mistake of a node, unless one was told already.
func (d *Document) blame(n *yaml.Node, format string, args ...any) {
	if d.blamed[n] {
		return
	}
	d.blamed[n] = true
	d.fail(n.Line, n.Column, format, args...)
}

// inspect refuses what no document may hold, wherever it stands. It does not
// quote values: a document may hold what must not get into a log.
func (d *Document) inspect(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		d.blame(n, "aliases (*) are not allowed; write out the value, or put a text that begins with * in quotes")
	case n.Anchor != "":
		d.blame(n, "anchors (&) are not allowed; put a text that begins with & in quotes")
	case n.Style&yaml.TaggedStyle != 0:
		d.blame(n, "tags (!) are not allowed; put a text that begins with ! in quotes")
	}
	switch n.Kind {
	case yaml.MappingNode:
		if isTemplate(n) {
			d.blame(n, "%s", unrendered)
			return
		}
		d.inspectKeys(n)
	case yaml.ScalarNode:
		if quote := curlyQuote(n); quote != "" {
			d.blame(n, "%s is not a quote of YAML; use \" or '", quote)
		}
	}
	for _, child := range n.Content {
		d.inspect(child)
	}
}

func (d *Document) inspectKeys(n *yaml.Node) {
	first := make(map[string]*yaml.Node)
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			d.blame(key, "merge keys (<<) are not allowed; write out the keys")
		case key.Kind == yaml.AliasNode, key.Style&yaml.TaggedStyle != 0, key.Anchor != "":
			// Told by inspect.
		case key.Kind != yaml.ScalarNode:
			d.blame(key, "a key must be text, not %s", kind(key))
		case first[key.Value] != nil:
			d.blame(key, "duplicate key %s; the first is in line %d", Quote(key.Value), first[key.Value].Line)
		default:
			first[key.Value] = key
		}
	}
}

// parse gives the first document, never nil, and the second where there is
// one.
//
// yaml.v3 has panicked on text that is no YAML before
// (github.com/go-yaml/yaml/issues/666, 767). An unreadable document must not
// end the program that is to guard the services, so a panic is an error here.
func parse(r io.Reader) (first, second *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("yaml: the parser gave up")
		}
	}()
	decoder := yaml.NewDecoder(r)
	first, err = next(decoder)
	if errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: 1, Column: 1}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	second, err = next(decoder)
	if errors.Is(err, io.EOF) {
		return first, nil, nil
	}
	return first, second, err
}

func next(decoder *yaml.Decoder) (*yaml.Node, error) {
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		return nil, err
	}
	return document.Content[0], nil
}

// kind names what a node is, for "has to be a map, not ...".
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "empty"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}

// quotesHelp is the hint for a scalar that would be text with quotes.
func quotesHelp(n *yaml.Node) string {
	switch kind(n) {
	case "a number", "true or false", "a date":
		return "; put it in quotes"
	}
	return ""
}

// maxQuoted bounds, in characters, what an error quotes of a document.
const maxQuoted = 64

// Quote quotes a part of a document for an error: on one line, and short.
func Quote(s string) string {
	if runes := []rune(s); len(runes) > maxQuoted {
		s = string(runes[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}
