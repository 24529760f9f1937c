package strictyaml

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

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

// locate finds the line where src stops being YAML. yaml.v3 reports either no
// line, or the one where the surrounding block begins, or the one before. But
// the lines up to the broken one parse: so it is the one after the longest part
// that does. For an unclosed quote or bracket that is where it opens.
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

// syntax tells which line makes src no YAML, and why.
func (d *Document) syntax(src []byte, err error) {
	line, column, text := locate(src)
	// Without the space after its colon, or without the colon, a line is a text
	// that the next line can't continue.
	if strings.Contains(err.Error(), "mapping values are not allowed") && line > 1 {
		before := string(bytes.Split(src, []byte("\n"))[line-2])
		if trimmed := strings.TrimSpace(before); unspaced.MatchString(trimmed) || word.MatchString(trimmed) {
			line, column, text = line-1, strings.Index(before, trimmed)+1, before
		}
	}
	d.fail(line, column, "%s", explain(err, text))
}

var (
	// unspaced matches a key whose colon no space follows.
	unspaced = regexp.MustCompile(`^(?:- )?[a-zA-Z][a-zA-Z0-9_.@\\-]*:[^\s:/]`)

	// word matches what may be a key without its colon.
	word = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.@-]*(?: *=.*)?$`)
)

// missingSpace says of a line or a text what is most likely wrong with it.
const missingSpace = "a space is missing after the colon"

// unrendered says of a tag of a template what is wrong with it.
const unrendered = "a template was not rendered: {{ ... }} or {% ... %} stands here; render it first"

// isTemplate tells {{ x }}, which YAML reads as a map whose key is a map.
func isTemplate(n *yaml.Node) bool {
	return n.Style&yaml.FlowStyle != 0 && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode && n.Content[0].Style&yaml.FlowStyle != 0
}

const curlyQuotes = "“”„‟‘’‚‛«»"

// curlyQuote returns the quote that an unquoted text begins or ends with, where
// it is one that a word processor makes.
func curlyQuote(n *yaml.Node) string {
	if n.Style != 0 {
		return ""
	}
	first, _ := utf8.DecodeRuneInString(n.Value)
	last, _ := utf8.DecodeLastRuneInString(n.Value)
	for _, r := range []rune{first, last} {
		if strings.ContainsRune(curlyQuotes, r) {
			return string(r)
		}
	}
	return ""
}

// maxStrange bounds how many strange spaces are told.
const maxStrange = 20

// strangeSpaces tells the spaces outside of comments that look like the plain
// one and are letters to YAML.
func (d *Document) strangeSpaces(src []byte) bool {
	n := 0
	for line := range bytes.Lines(src) {
		n++
		line = WithoutComment(line)
		at := bytes.IndexFunc(line, func(r rune) bool {
			return r != ' ' && unicode.Is(unicode.Zs, r) || r == '\u200b' || r == '\u2060' || r == '\ufeff'
		})
		if at < 0 || len(d.errs) == maxStrange {
			continue
		}
		r, _ := utf8.DecodeRune(line[at:])
		what := "a space that is not the plain one"
		switch {
		case r == '\u00a0':
			what = "a non-breaking space"
		case !unicode.Is(unicode.Zs, r):
			what = "a space that can't be seen"
		}
		d.fail(n, utf8.RuneCount(line[:at])+1, "%s (U+%04X) stands here; replace it by a plain space or remove it", what, r)
	}
	return len(d.errs) > 0
}

// WithoutComment cuts a line where a comment begins: at a # after white space,
// outside of quotes.
func WithoutComment(line []byte) []byte {
	var quote byte
	for i, c := range line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			if i == 0 || bytes.IndexByte([]byte(" \t[{,:"), line[i-1]) >= 0 {
				quote = c
			}
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return line[:i]
		}
	}
	return line
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
		return "aliases (*) are not allowed; put a text that begins with * in quotes"
	case strings.Contains(line, "{{"), strings.Contains(line, "{%"):
		return "not YAML: " + unrendered
	case strings.ContainsAny(line, curlyQuotes):
		return "not YAML: this line has a curly quote; use \" or '"
	case unspaced.MatchString(strings.TrimSpace(line)):
		return "not YAML: " + missingSpace
	case strings.Contains(line, "${"):
		return "not YAML: " + message + "; put a value with ${...} in quotes"
	case strings.Contains(message, "cannot start any token"):
		return "not YAML: a value can't begin with this character; put it in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		return "not YAML: this line has one \": \" too many, or it is indented too far; put a value that has \": \" in it in quotes"
	case strings.Contains(message, "could not find expected ':'"):
		return "not YAML: \": \" is missing after the key"
	case strings.Contains(message, "unexpected end of stream"), strings.Contains(message, "did not find expected ','"):
		return "not YAML: a quote or a bracket that opens in this line is not closed, or a comma is missing"
	case strings.Contains(message, "did not find expected key"):
		if strings.ContainsAny(line, `'"`) {
			return "not YAML: text stands after a closing quote; put the whole value in quotes, and double a quote that is part of it"
		}
		return "not YAML: this line does not continue the one before; indent it like its neighbours"
	}
	return "not YAML: " + message
}

// invalidUTF8 finds the first byte that is not UTF-8.
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
