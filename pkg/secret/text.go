package secret

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// Editors and shells of Windows save text with a byte order mark, or in UTF-16.
const (
	byteOrderMark = "\xef\xbb\xbf"

	hintUTF8 = "save it as UTF-8 without a byte order mark; in PowerShell 7: Set-Content -Encoding utf8NoBOM"
)

// encodedAs says in which encoding a text is saved that nothing here accepts, or
// "". The words complete "it".
func encodedAs(text []byte) string {
	switch {
	case bytes.HasPrefix(text, []byte(byteOrderMark)):
		return "begins with a byte order mark"
	case bytes.HasPrefix(text, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(text, []byte("\x00\x00\xfe\xff")):
		return "is saved in UTF-32"
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return "is saved in UTF-16"
	}
	// Without a mark, every other byte of plain text is zero.
	head := text[:min(len(text), 64)]
	zeros := [2]int{}
	for i, b := range head {
		if b == 0 {
			zeros[i%2]++
		}
	}
	if few := len(head) / 2; few >= 4 && (zeros[0] == 0 && zeros[1] == few || zeros[1] == 0 && zeros[0] >= few) {
		return "is saved in UTF-16"
	}
	return ""
}

// Doubts returns what a person should know about a secret before it is encrypted,
// in words that tell nothing of it. Data that is not text raises no doubt.
func Doubts(plaintext []byte) (doubts []string) {
	if as := encodedAs(plaintext); as != "" {
		doubts = append(doubts, "the secret "+as+", and is encrypted like that; if a program needs plain text, "+hintUTF8)
	}
	if end := bytes.TrimRight(plaintext, "\r\n"); len(end) < len(plaintext) && isText(plaintext) {
		doubts = append(doubts, "the secret ends with a line break, which is encrypted with it. That is right for a file of lines, such as a key, "+
			"and wrong for a password: write a password with printf %s, or at a terminal press Ctrl-D twice and not Enter")
	}
	return doubts
}

// isText tells text that people write from other data.
func isText(text []byte) bool {
	strange := func(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\r' && r != '\n' }
	return utf8.Valid(text) && bytes.IndexFunc(text, strange) < 0
}
