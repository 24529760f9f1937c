package userdata

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/strictyaml"
)

func takeHex(_ *search, text []byte) [][]byte {
	plain, err := hex.DecodeString(string(joined(bytes.TrimPrefix(bytes.TrimSpace(text), []byte("0x")))))
	if err != nil || len(plain) < len(mark) {
		return nil
	}
	return [][]byte{plain}
}

// joined is a text without its white space.
func joined(text []byte) []byte {
	return bytes.Join(bytes.Fields(text), nil)
}

var (
	// armored matches lines around base64 as certutil, openssl and PGP make them.
	armored = regexp.MustCompile(`(?m)^-----(?:BEGIN|END) [^\n]*-----[ \t\r]*$`)

	// named matches what says that base64 follows.
	named = regexp.MustCompile(`(?i)^(?:data:[^,\n]*;base64,|base64:|b64:|!!binary[ \t]*[|>]?)`)

	base64Text = regexp.MustCompile(`^(?:[A-Za-z0-9+/]+=*)+$`)
)

// takeBase64 undoes base64 of any kind: with the letters of URLs, in lines,
// without its padding, or cut off.
func takeBase64(_ *search, text []byte) [][]byte {
	text = armored.ReplaceAll(bytes.TrimSpace(text), nil)
	text = named.ReplaceAll(bytes.TrimSpace(text), nil)
	text = bytes.Map(func(r rune) rune {
		switch r {
		case '-':
			return '+'
		case '_':
			return '/'
		}
		return r
	}, joined(text))
	if len(text) < len(mark) || !base64Text.Match(text) {
		return nil
	}
	var plain []byte
	for _, piece := range bytes.FieldsFunc(text, func(r rune) bool { return r == '=' }) {
		if len(piece)%4 == 1 {
			piece = piece[:len(piece)-1]
		}
		decoded, err := base64.RawStdEncoding.AppendDecode(nil, piece)
		if err != nil {
			return nil
		}
		plain = append(plain, decoded...)
	}
	return [][]byte{plain}
}

// archive matches cloud-init's list of parts.
var archive = regexp.MustCompile(`^\s*#cloud-config-archive`)

func takeArchive(s *search, text []byte) (found [][]byte) {
	if !archive.Match(text) {
		return nil
	}
	strictyaml.Parse("", text).Scalars(func(path []string, v strictyaml.Value) {
		switch {
		case len(path) == 0 || len(path) == 1 && path[0] == "content":
			found = append(found, []byte(v.String()))
		case path[0] == "type" && strings.Contains(letters(v.String()), "bootagent"):
			found = append(found, []byte(mark))
		}
	})
	return found
}

// around are the keys, by their letters, that hold user-data in the templates
// and answers of AWS's tools and of those that drive them.
var around = []string{"userdata", "userdatabase", "fnbase", "fnsub", "fnjoin", "value", "launchtemplatedata", "data"}

var mayHold = regexp.MustCompile(`(?i)user[_-]?data|fn::|^\s*["{]`)

// takeValue takes what stands under such keys, and nothing else: a file that a
// cloud-config writes is not ours.
func takeValue(_ *search, text []byte) (found [][]byte) {
	if !mayHold.Match(text) {
		return nil
	}
	strictyaml.Parse("", text).Scalars(func(path []string, v strictyaml.Value) {
		strange := func(key string) bool { return !slices.Contains(around, letters(key)) }
		if len(path) > 0 && !slices.ContainsFunc(path, strange) && len(found) < maxFiles && v.String() != path[len(path)-1] {
			found = append(found, []byte(v.String()))
		}
	})
	return found
}

func takeLines(_ *search, text []byte) [][]byte {
	lines, rest := leading(text)
	if len(lines) == 0 || len(rest) == 0 {
		return nil
	}
	return [][]byte{rest}
}
