package secret

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

func utf16LE(text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

func TestASecretThatMayNotBeWhatWasMeantRaisesADoubt(t *testing.T) {
	for name, c := range map[string]struct {
		plaintext string
		says      []string
	}{
		"a password":                    {canary, nil},
		"a password and a line break":   {canary + "\n", []string{"ends with a line break"}},
		"of Windows":                    {canary + "\r\n", []string{"ends with a line break"}},
		"one in another alphabet":       {"пароль\n", []string{"ends with a line break"}},
		"a file of lines":               {"-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n", []string{"ends with a line break"}},
		"a space at the end":            {canary + " ", nil},
		"bytes that end so by chance":   {"\x00\x01" + canary + "\n", nil},
		"bytes that are no UTF-8":       {"\xff\x80" + canary + "\n", nil},
		"a byte order mark":             {"\xef\xbb\xbf" + canary, []string{"begins with a byte order mark"}},
		"both":                          {"\xef\xbb\xbf" + canary + "\n", []string{"begins with a byte order mark", "ends with a line break"}},
		"UTF-16 of PowerShell":          {utf16LE("\ufeff" + canary), []string{"is saved in UTF-16"}},
		"UTF-16 without a mark":         {utf16LE(canary), []string{"is saved in UTF-16"}},
		"bytes with some zeros in them": {"\x00\x00\x07\x00" + canary, nil},
	} {
		doubts := Doubts([]byte(c.plaintext))
		if !slices.EqualFunc(doubts, c.says, strings.Contains) {
			t.Errorf("%s: got %q, want %q", name, doubts, c.says)
		}
		for _, d := range doubts {
			if strings.Contains(d, canary) {
				t.Errorf("%s: it tells the secret: %s", name, d)
			}
		}
	}
}
