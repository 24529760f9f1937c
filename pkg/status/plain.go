package status

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Plain is a text as it may be printed: what a terminal could take for more
// than a letter, and what turns the direction of writing or can't be seen, is
// written as an escape. Lines stay lines. A status tells what EC2, a tag, or
// the ledger of a foreign disk say, and none of these is to be trusted.
func Plain(text string) string {
	if !strings.ContainsFunc(text, strange) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case !strange(r):
			b.WriteString(text[:size])
		case r > 0xffff: // as JSON has it, since JSON is printed, too
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[size:]
	}
	return b.String()
}

func strange(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }

// oneLine is a text on one line. It joins the lines of an error, as a role file
// with several mistakes gives: what is sent to systemd as STATUS= ends with its
// line, and the next one would be an order to it.
func oneLine(text string) string {
	return Plain(strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
}

// Printer returns a writer of text that is printed Plain.
func Printer(w io.Writer) io.Writer { return printer{w} }

type printer struct{ to io.Writer }

func (p printer) Write(text []byte) (int, error) {
	if _, err := io.WriteString(p.to, Plain(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}
