// Package strictyaml reads one small YAML document by hand, key by key, and
// forgives nothing: what a reader does not ask for by name is a mistake, and
// every mistake of the document is told with its place, the near miss and what
// would be right.
//
// Of YAML it takes maps, lists and scalars. Anchors, aliases, merge keys,
// explicit tags, duplicate keys and further documents are refused, since each
// of them makes a document mean something else than it seems to say. It
// touches neither disk nor network.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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

// A Document is a YAML document that is being read, and what is wrong with it.
type Document struct {
	file   string
	root   *yaml.Node // nil where the document is no YAML at all
	errs   Errors
	blamed map[*yaml.Node]bool // nodes with a mistake: one each is enough
}

// Parse takes a document apart. What is wrong with it, is told by Err; file is
// what its errors call it.
func Parse(file string, src []byte) *Document {
	d := &Document{file: file, blamed: make(map[*yaml.Node]bool)}
	if len(src) > MaxSize {
		d.fail(1, 1, "has %d bytes; a document may have %d", len(src), MaxSize)
		return d
	}
	if line, column, ok := invalidUTF8(src); !ok {
		d.fail(line, column, "not UTF-8 text")
		return d
	}
	if bytes.HasPrefix(src, []byte("\ufeff")) {
		d.fail(1, 1, "begins with a byte order mark; save it as UTF-8 without one")
		return d
	}
	first, second, err := parse(bytes.NewReader(src))
	if err != nil {
		line, column, text := locate(src)
		d.fail(line, column, "%s", explain(err, text))
		return d
	}
	d.root = first
	if second != nil {
		d.fail(second.Line, second.Column, "a second document begins here; the file may hold only one")
	}
	d.inspect(first)
	return d
}

// Err gives all mistakes found so far as Errors, or nil.
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

// Root gives the map that the document is. An empty document is an empty map.
func (d *Document) Root(what string) *Map {
	if d.root == nil {
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
		d.blame(n, "an alias (*) is not accepted; write out what it stands for, or put a text that begins with * in quotes")
	case n.Anchor != "":
		d.blame(n, "an anchor (&) is not accepted; put a text that begins with & in quotes")
	case n.Style&yaml.TaggedStyle != 0:
		d.blame(n, "a tag (!) is not accepted; put a text that begins with ! in quotes")
	}
	if n.Kind == yaml.MappingNode {
		d.inspectKeys(n)
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
			d.blame(key, "a merge key (<<) is not accepted; write out what it stands for")
		case key.Kind == yaml.AliasNode, key.Style&yaml.TaggedStyle != 0, key.Anchor != "":
			// Told by inspect.
		case kind(key) != "text":
			d.blame(key, "a key has to be text, not %s%s", kind(key), quotesHelp(key))
		case first[key.Value] != nil:
			d.blame(key, "key %s stands twice; the first is in line %d", Quote(key.Value), first[key.Value].Line)
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

// byLine reads a document one line at a time, so that rest tells how far its
// reader came.
type byLine struct{ rest []byte }

func (b *byLine) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	line, _, _ := bytes.Cut(b.rest, []byte("\n"))
	n := copy(p, b.rest[:min(len(line)+1, len(b.rest))])
	b.rest = b.rest[n:]
	return n, nil
}

// maxBack bounds how far back from where the parser gave up the line is
// looked for that made it do so.
const maxBack = 30

// locate finds the line that makes src no YAML. yaml.v3 tells either no line,
// or the one where the surrounding block begins, or the one before. But a
// document that breaks in a line parses up to that line: so the line is the
// one after the longest part that does. With an unclosed quote or bracket that
// is where it opens.
func locate(src []byte) (line, column int, text string) {
	reader := byLine{rest: src}
	_, _, _ = parse(&reader) // fails as it did before; how far it came is what matters
	lines := bytes.SplitAfter(bytes.TrimSuffix(src[:len(src)-len(reader.rest)], []byte("\n")), []byte("\n"))
	last := len(lines)
	bad := last
	for n := last - 1; n >= max(0, last-maxBack); n-- {
		if _, _, err := parse(bytes.NewReader(bytes.Join(lines[:n], nil))); err == nil {
			bad = n + 1
			break
		}
	}
	text = strings.TrimRight(string(lines[bad-1]), "\r\n")
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	return bad, utf8.RuneCountInString(indent) + 1, text
}

// explain puts an error of yaml.v3 in words that help with the line at fault.
// None of them quotes a value.
func explain(err error, line string) string {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if _, problem, ok := strings.Cut(rest, ": "); ok {
			message = problem
		}
	}
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(indent, "\t"):
		return "not YAML: a tab indents this line; use spaces"
	case strings.HasPrefix(message, "unknown anchor"):
		return "an alias (*) is not accepted; put a text that begins with * in quotes"
	case strings.Contains(line, "${"):
		return "not YAML: " + message + "; put a value with ${...} in quotes"
	case strings.Contains(message, "cannot start any token"):
		return "not YAML: a value can't begin with this character; put it in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		return "not YAML: a \": \" too many in this line, or it is indented too far; put a value that holds \": \" in quotes"
	case strings.Contains(message, "could not find expected ':'"):
		return "not YAML: a key without \":\" after it"
	case strings.Contains(message, "unexpected end of stream"), strings.Contains(message, "did not find expected ','"):
		return "not YAML: a quote or bracket that opens in this line is not closed, or a comma is missing"
	case strings.Contains(message, "did not find expected key"):
		return "not YAML: this line does not go on from the one before; is it indented as its neighbours are?"
	}
	return "not YAML: " + message
}

// invalidUTF8 finds the first byte that is no UTF-8.
func invalidUTF8(src []byte) (line, column int, ok bool) {
	if utf8.Valid(src) {
		return 0, 0, true
	}
	good := 0
	for {
		r, size := utf8.DecodeRune(src[good:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		good += size
	}
	before := src[:good]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1, false
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

// Quote quotes what a document holds for an error: on one line, and short.
func Quote(s string) string {
	if runes := []rune(s); len(runes) > maxQuoted {
		s = string(runes[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}
