package userdata

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"regexp"
	"strings"

	"bootagent/pkg/strictyaml"
)

// maxUnpacked bounds what packed user-data may unpack to: gzip packs a
// thousand bytes into one, and EC2 hands out 16 KiB at the most.
const maxUnpacked = 1 << 20

// broken gives the error for user-data that can't be read as ours.
func broken(name string, line int, format string, args ...any) error {
	return strictyaml.Errors{{File: name, Line: line, Column: 1, Problem: fmt.Sprintf(format, args...)}}
}

// unpack gives what gzip packed, or data itself where it is not packed.
func unpack(name string, data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	packed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, broken(name, 1, "gzip data that can't be unpacked: %v", err)
	}
	text, err := io.ReadAll(io.LimitReader(packed, maxUnpacked+1))
	switch {
	case len(text) > maxUnpacked:
		return nil, broken(name, 1, "gzip data that unpacks to more than 1 MiB; bootagent unpacks no more")
	case err != nil:
		return nil, broken(name, 1, "gzip data that can't be unpacked: %v", err)
	}
	return text, nil
}

// firstLine gives the first line without what may follow its text unseen.
func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimRight(line, " \t\r"))
}

// lostMark matches a document of ours without its first line.
var lostMark = regexp.MustCompile(`^(?:[ \t\r]*\n|---[ \t\r]*\n|# [^\n]*\n)*(?:version: ?1[ \t\r]*\n(?s:.*\n)?role:|role:(?s:.*)\nversion:)`)

// encodedMark is how the first line begins after base64.
const encodedMark = "I2Jvb3RhZ2VudA"

// nearMiss gives an error for user-data that is meant for bootagent but does
// not begin as it has to. Taken for another program's it would be passed over,
// and the instance would get another role or none.
func nearMiss(text []byte) error {
	blank := len(text) - len(bytes.TrimLeft(text, " \t\r\n"))
	line := bytes.Count(text[:blank], []byte("\n")) + 1
	first := firstLine(text[blank:])
	switch {
	case blank > 0 && first == mark:
		return broken("user-data", line, "%s has to be the very first line, without spaces or lines before it", mark)
	case isUnicodeMark(text):
		return broken("user-data", 1, "begins with a byte order mark; save it as UTF-8 without one, so that the first line is %s", mark)
	case soundsLikeMark(first):
		return broken("user-data", line, "this line seems to be meant for bootagent; it has to be %s and nothing else", mark)
	case strings.HasPrefix(first, encodedMark):
		return broken("user-data", line, "encoded by base64, as it seems once too often; hand it in as text, so that the first line is %s", mark)
	case lostMark.Match(text):
		return broken("user-data", line, "seems to be meant for bootagent, but the first line is not %s; add it", mark)
	}
	return nil
}

// isUnicodeMark reports whether there is a byte order mark, of UTF-8 or UTF-16,
// and a mark of ours behind it.
func isUnicodeMark(text []byte) bool {
	for _, bom := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		if rest, ok := bytes.CutPrefix(text, []byte(bom)); ok {
			ascii := bytes.ReplaceAll(rest[:min(len(rest), 64)], []byte{0}, nil)
			return soundsLikeMark(firstLine(ascii))
		}
	}
	return false
}

// soundsLikeMark reports whether a comment line is our mark, or a slip
// away from it.
func soundsLikeMark(line string) bool {
	rest, ok := strings.CutPrefix(line, "#")
	if !ok || len(line) > 64 {
		return false
	}
	letters := strings.Map(func(r rune) rune {
		if r < 'a' || r > 'z' {
			return -1
		}
		return r
	}, strings.ToLower(rest))
	return strings.HasPrefix(letters, "bootagent") || strictyaml.DidYouMean(letters, []string{"bootagent"}) != ""
}
