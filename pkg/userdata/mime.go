package userdata

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"regexp"
	"strings"
)

// mediaType is that of the part that is ours. cloud-init passes over parts of
// a type it does not know.
const mediaType = "application/vnd.bootagent+yaml"

// maxNested bounds how deep one MIME message may be in another; cloud-init's
// tools make one level.
const maxNested = 4

// A part is a part of a MIME message.
type part struct {
	name string // what errors call it
	line int    // of the user-data in which its text begins, or its header
	text []byte
}

// A fault is what is wrong with a MIME message, and in which line. It quotes
// nothing of the line, which may hold a secret.
type fault struct {
	line    int
	problem string
}

// findPart gives our part of a MIME message, or nil where text is no message
// or has no such part. A message is faulty only if it seems to hold such a part:
// otherwise it is another program's concern.
func (s *search) findPart(text []byte) (*part, error) {
	if !isMessage.Match(text) {
		return nil, nil
	}
	p := parts{search: s}
	bad := p.message(text)
	switch {
	case p.misnamed != nil && len(p.ours) == 0:
		return nil, p.misnamed
	case bad != nil && concernsUs(text) && strings.Contains(firstLine(text), `\n`):
		return nil, broken(s.name, 1, `a MIME message with a part of the type %s, but its line breaks are written as \n; pass real ones, from a file or with the shell's printf`, mediaType)
	case bad != nil && concernsUs(text):
		return nil, broken(s.name, bad.line, "a broken MIME message with a part of the type %s: %s", mediaType, bad.problem)
	case bad != nil:
		return nil, nil
	case p.misnamed != nil:
		return nil, p.misnamed
	case len(p.ours) > 1:
		return nil, broken(p.ours[1].name, 1, "a second part of the type %s, after %s; only one is allowed", mediaType, p.ours[0].name)
	case len(p.ours) == 1:
		return &p.ours[0], nil
	}
	if at := lostPart.FindIndex(text); at != nil {
		return nil, broken(s.name, bytes.Count(text[:at[0]], []byte("\n"))+1,
			"a part of the type %s outside of the message: the line before its header must be -- and the boundary of the message, and the closing boundary must come after it", mediaType)
	}
	return nil, nil
}

var (
	// isMessage matches what begins as the header of a message that has parts,
	// or is one. Python's tools may begin it with "From nobody".
	isMessage = regexp.MustCompile(`(?i)^[ \t\r\n]*(?:From [^\n]*\n)?(?:[a-z0-9-]+:[^\n]*\n|[ \t]+[^\n]+\n)*?(?:content-[a-z-]+|mime-version)[ \t]*:`)

	// lostPart matches the header of a part of ours below a line like a boundary.
	lostPart = regexp.MustCompile(`(?im)^--[^\n]*\n(?:[a-z0-9-]+:[^\n]*\n|[ \t]+[^\n]+\n)*?content-type[ \t]*:[ \t\r\n]*"?application/vnd\.bootagent\+yaml`)

	// markLine matches a line that is our mark.
	markLine = regexp.MustCompile(`(?m)^` + mark + `[ \t\r]*$`)
)

// concernsUs tells whether our type or our mark stands in the text of a message.
func concernsUs(text []byte) bool {
	return bytes.Contains(bytes.ToLower(text), []byte(mediaType)) || markLine.Match(text)
}

// parts gathers what is ours of a MIME message.
type parts struct {
	search   *search
	count    int // all parts so far, without those that hold others
	ours     []part
	misnamed error // a part of ours that has another type
}

func (p *parts) message(text []byte) *fault {
	body := bytes.TrimLeft(text, "\r\n")
	line := 1 + bytes.Count(text[:len(text)-len(body)], []byte("\n"))
	if bytes.HasPrefix(body, []byte("From ")) {
		_, body, _ = bytes.Cut(body, []byte("\n"))
		line++
	}
	return p.collect(body, line, "the message", 0)
}

// An entity is a message, or a part of one (RFC 2045, section 2.4).
type entity struct {
	header map[string]string // by names in small letters; the first of a name counts
	lines  map[string]int    // in which each of them stands
	body   []byte
	line   int // in which the body begins
}

// readEntity takes a header and its body apart. The body is a part of text.
func readEntity(text []byte, line int, whose string) (entity, *fault) {
	e := entity{header: make(map[string]string), lines: make(map[string]int), body: text, line: line}
	last := ""
	for len(e.body) > 0 {
		raw, rest, _ := bytes.Cut(e.body, []byte("\n"))
		row := string(bytes.TrimRight(raw, "\r"))
		if row == "" {
			e.body, e.line = rest, e.line+1
			return e, nil
		}
		if folded := strings.TrimLeft(row, " \t"); folded != row && last != "" {
			e.header[last] += " " + folded
			e.body, e.line = rest, e.line+1
			continue
		}
		name, value, isHeader := strings.Cut(row, ":")
		name = strings.ToLower(strings.TrimRight(name, " \t"))
		switch {
		case strings.HasPrefix(row, "--"):
			return e, &fault{e.line, "an empty line is missing before this boundary, after the header of " + whose}
		case !isHeader || !headerName.MatchString(name), isKey(name):
			return e, &fault{e.line, "an empty line is missing before this line, after the header of " + whose}
		}
		if last = name; e.lines[name] == 0 {
			e.header[name], e.lines[name] = strings.TrimSpace(value), e.line
		} else {
			last = "" // what is folded below it does not count either
		}
		e.body, e.line = rest, e.line+1
	}
	return e, nil
}

var headerName = regexp.MustCompile(`^[a-z0-9-]+$`)

// isKey tells a key of our documents, which no header is named like.
func isKey(name string) bool {
	return name == "version" || name == "role" || name == "params" || name == "volumes"
}

func (p *parts) collect(text []byte, line int, whose string, depth int) *fault {
	e, bad := readEntity(text, line, whose)
	if bad != nil {
		return bad
	}
	given := e.header["content-type"]
	kind, params, err := mime.ParseMediaType(given)
	if err != nil && given != "" {
		return &fault{e.lines["content-type"], badType(given, whose)}
	}
	if !strings.HasPrefix(kind, "multipart/") {
		return p.leaf(kind, e)
	}
	switch {
	case depth == maxNested:
		return &fault{line, "its parts have parts that have parts, too deep to follow"}
	case params["boundary"] == "":
		return &fault{e.lines["content-type"], `the content type of ` + whose + ` has no boundary: boundary="..." is missing`}
	}
	return p.split(e, params["boundary"], whose, depth)
}

// badType says what is wrong with a content type that can't be read.
func badType(given, whose string) string {
	_, boundary, names := strings.Cut(strings.ToLower(given), "boundary=")
	special := strings.IndexAny(boundary, `()<>@,:\/[]?=`)
	switch {
	case names && strings.HasPrefix(boundary, `"`):
		return "the content type of " + whose + " can't be read: the quote before its boundary is not closed after it"
	case names && special >= 0:
		return fmt.Sprintf("the boundary in the content type of %s has %q in it, so it must be in quotes: boundary=\"...\"", whose, boundary[special:special+1])
	}
	return "the content type of " + whose + " can't be read; write it as " + mediaType + ", or as the type that it is"
}

// split takes the parts of a message apart (RFC 2046, section 5.1.1).
func (p *parts) split(e entity, boundary, whose string, depth int) *fault {
	delimiter := "--" + boundary
	start, startLine := -1, 0 // of the part that is open
	line, last := e.line, e.line
	for at := 0; at < len(e.body); line++ {
		end := len(e.body)
		if n := bytes.IndexByte(e.body[at:], '\n'); n >= 0 {
			end = at + n + 1
		}
		row := string(bytes.TrimRight(e.body[at:end], " \t\r\n"))
		if row != "" {
			last = line
		}
		if row == delimiter || row == delimiter+"--" {
			if start >= 0 {
				text := bytes.TrimSuffix(bytes.TrimSuffix(e.body[start:at], []byte("\n")), []byte("\r"))
				if bad := p.collect(text, startLine, fmt.Sprintf("part %d", p.count+1), depth+1); bad != nil {
					return bad
				}
			}
			if row != delimiter {
				return nil
			}
			start, startLine = end, line+1
		}
		at = end
	}
	if start >= 0 {
		return &fault{last, fmt.Sprintf("the closing boundary is missing after part %d: a last line with --, the boundary of %s and -- again", p.count+1, whose)}
	}
	// Some tools pack the body of the message as they would a part's.
	if text, err := decodeTransfer(e.header["content-transfer-encoding"], e.body); err == nil && p.search.look(text, nil) != nil {
		p.misname(p.search.name, "this is meant for bootagent, but the whole message is encoded; only a part can have a Content-Transfer-Encoding")
	}
	return &fault{last, "no line is -- and the boundary in the content type of " + whose}
}

func (p *parts) misname(name, problem string) {
	if p.misnamed == nil {
		p.misnamed = broken(name, 1, "%s", problem)
	}
}

func (p *parts) leaf(kind string, e entity) *fault {
	p.count++
	name := fmt.Sprintf("%s, MIME part %d", p.search.name, p.count)
	text, err := decodeTransfer(e.header["content-transfer-encoding"], e.body)
	// What can't be looked into of another's part is its own concern.
	defer func(before error) { p.search.refused = before }(p.search.refused)
	switch {
	case kind == mediaType && err != nil:
		return &fault{e.line, fmt.Sprintf("part %d can't be decoded with its Content-Transfer-Encoding; bootagent knows base64, quoted-printable, 7bit, 8bit and binary", p.count)}
	case kind == mediaType:
		p.ours = append(p.ours, part{name, e.line, text})
	case strings.Contains(letters(kind), "bootagent"), p.search.look(text, nil) != nil, err != nil && p.search.look(e.body, nil) != nil:
		p.misname(name, "this part seems to be meant for bootagent, but its content type is not "+mediaType)
	}
	return nil
}

var errTransfer = errors.New("a transfer encoding that nobody knows")

// decodeTransfer undoes a transfer encoding (RFC 2045, section 6).
func decodeTransfer(encoding string, encoded []byte) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return encoded, nil
	case "base64":
		return io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(encoded)))
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(bytes.NewReader(encoded)))
	}
	return nil, errTransfer
}
