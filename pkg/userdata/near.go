package userdata

import (
	"bytes"
	"regexp"
	"strings"

	"bootagent/pkg/strictyaml"
)

// firstLine gives the first line without what may follow its text unseen.
func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimRight(line, " \t\r"))
}

var (
	// lostMark matches a document of ours without its first line.
	lostMark = regexp.MustCompile(`^(?:[ \t\r]*\n|---[ \t\r]*\n|# [^\n]*\n)*(?:version: ?1[ \t\r]*\n(?s:.*\n)?role:|role:(?s:.*)\nversion:)`)

	// anothers matches the first line of what is made for another program: cloud-init,
	// a shell, or EC2Launch.
	anothers = regexp.MustCompile(`(?i)^(?:#!|#cloud-config|#cloud-boothook|#include|#part-handler|#upstart-job|## template:|<powershell|<script)`)

	// before matches a line that may come before ours where a tool put it: an
	// empty line, a comment, the begin of a YAML document, a key such as UserData:
	// or Fn::Base64:, the begin of a here-document, or a tag of a template.
	before = regexp.MustCompile(`(?i)^\s*(?:|#.*|//.*|;.*|---.*|%yaml.*|` + "```.*" + `|["']?[\w:.-]*(?:user[_-]?data|base64|fn::sub)\w*["']?\s*[:=].*|.*<<[-~]?\s*\\?["']?\w+["']?|\{\{.*\}\}|\{%.*%\}|\{#.*#\}|<%.*%>|%\{.*\}|\$\{.*\}|\$\(.*\))\s*$`)

	// scripted matches what comes before a message that a text makes of others.
	scripted = regexp.MustCompile(`#!|<<|#cloud-|\x00|<powershell`)

	// ourHeader matches a header that names our type.
	ourHeader = regexp.MustCompile(`(?im)^content-type[ \t]*:[ \t]*"?application/vnd\.bootagent\+yaml`)
)

// isAnothers tells what is plainly made for another program, by its first line.
func isAnothers(text []byte) bool { return anothers.Match(bytes.TrimLeft(text, " \t\r\n")) }

// maxLeading bounds how long a line before ours may be.
const maxLeading = 1 << 10

// leading gives the lines at the beginning of text before which ours may stand.
// The first that is none of them is left out.
func leading(text []byte) (lines [][]byte, rest []byte) {
	rest = text
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		if len(line) > maxLeading || bytes.IndexByte(line, 0) >= 0 || !before.Match(bytes.TrimRight(line, "\r")) {
			break
		}
		lines, rest = append(lines, line), after
	}
	return lines, rest
}

// nearMiss gives an error for user-data that is meant for bootagent but does
// not begin as it has to. Taken for another program's it would be passed over,
// and the instance would get another role or none.
//
// Ours is: a mark, or a slip away from it, in the first line that is not
// empty; the mark itself in a line of its own among the comments that the text
// begins with, also below another program's first line; and the keys of our
// grammar without the mark. A mark further down is a text's own concern: a
// script or a cloud-config may write such a file.
func nearMiss(name string, text []byte) error {
	blank := len(text) - len(bytes.TrimLeft(text, " \t\r\n"))
	line := bytes.Count(text[:blank], []byte("\n")) + 1
	first := firstLine(text[blank:])
	head, _, inOne := strings.Cut(first, "\r")
	switch {
	case strings.HasPrefix(first, mark+`\n`), strings.HasPrefix(first, mark+`\r\n`):
		return broken(name, line, `the line breaks are written as \n; pass real ones, from a file or with the shell's printf, so that the first line is %s`, mark)
	case inOne && strings.TrimRight(head, " \t") == mark:
		return broken(name, line, "the lines end in carriage returns alone; save them with line feeds, so that the first line is %s", mark)
	case blank > 0 && first == mark:
		return broken(name, line, "%s must be the very first line, without spaces or lines before it", mark)
	case soundsLikeMark(first):
		return broken(name, line, "this line seems to be meant for bootagent; it must be %s and nothing else", mark)
	}
	lines, _ := leading(text)
	for i, l := range lines {
		if string(bytes.TrimSpace(l)) == mark {
			return broken(name, i+1, "%s must be the very first line, without spaces or lines before it", mark)
		}
	}
	switch {
	case isAnothers(text):
		return nil
	case lostMark.Match(text), isBare(text):
		return broken(name, line, "this seems to be meant for bootagent, but the first line is not %s; add it", mark)
	}
	return nil
}

// strayHeader gives an error for a text that names our type where no message is.
func strayHeader(name string, text []byte) error {
	at := ourHeader.FindIndex(text)
	if at == nil || scripted.Match(text[:at[0]]) {
		return nil
	}
	return broken(name, bytes.Count(text[:at[0]], []byte("\n"))+1,
		"this names the type %s, but the text is not a MIME message: a message begins with its header, Content-Type: multipart/mixed; boundary=\"...\"", mediaType)
}

// isBare tells a whole document of ours, but for its mark.
func isBare(text []byte) bool {
	if !bytes.Contains(text, []byte("role")) || !bytes.Contains(text, []byte("version")) {
		return false
	}
	_, err := decode("", text)
	return err == nil
}

// soundsLikeMark reports whether a comment line is our mark, or a slip
// away from it.
func soundsLikeMark(line string) bool {
	rest, ok := strings.CutPrefix(line, "#")
	if !ok || len(line) > 64 || strings.ContainsRune(line, 0) {
		return false
	}
	found := letters(rest)
	return strings.HasPrefix(found, "bootagent") || strictyaml.DidYouMean(found, []string{"bootagent"}) != ""
}

// letters gives the letters of a text, as small ones.
func letters(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 'a' || r > 'z' {
			return -1
		}
		return r
	}, strings.ToLower(text))
}
