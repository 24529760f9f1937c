package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPlainLeavesNothingThatATerminalObeys(t *testing.T) {
	for text, want := range map[string]string{
		"orders: 7 Tage, später":  "orders: 7 Tage, später",
		"two\nlines\tand a tab":   "two\nlines\tand a tab",
		"\x1b[2J\x1b]0;title\x07": `\u001b[2J\u001b]0;title\u0007`,
		"back\rover\b":            `back\u000dover\u0008`,
		"c1: \u009b31m":           `c1: \u009b31m`,
		"db\u202egpj.exe":         `db\u202egpj.exe`,
		"a\u2066b\u2069\u200b":    `a\u2066b\u2069\u200b`,
		"line\u2028para\u2029":    `line\u2028para\u2029`,
		"tag \U000e0041":          `tag \udb40\udc41`,
		"not \xff UTF-8 \x9b":     `not \xff UTF-8 \x9b`,
		"\x7f\x00":                `\u007f\u0000`,
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// hostile is what a ledger, a tag or EC2 may say.
const hostile = "db\x1b[31m\nREADY=1\u202etxt\xff"

func harmless(t *testing.T, what, text string, lines bool) {
	t.Helper()
	if !lines && strings.Contains(text, "\n") {
		t.Errorf("%s has a line of another's: %q", what, text)
	}
	for _, no := range []string{"\x1b", "\u202e", "\xff"} {
		if strings.Contains(text, no) {
			t.Errorf("%s is not harmless: %q", what, text)
		}
	}
}

func TestAStatusOfForeignTextsIsPrintedHarmless(t *testing.T) {
	now := time.Now()
	s := Status{
		Role: hostile, State: Failed, Since: now, Reason: "EC2 says: " + hostile, Hint: "see " + hostile,
		Warnings: []string{hostile}, Held: []Held{{hostile, hostile}},
		Steps: []Step{{Name: hostile, State: "waiting", Since: now, Began: &now, For: hostile, Error: hostile, Warning: hostile}},
	}
	harmless(t, "Line", s.Line(), false)
	var printed, timeline bytes.Buffer
	s.Print(&printed)
	harmless(t, "Print", printed.String(), true)
	s.Timeline(&timeline, now)
	harmless(t, "Timeline", strings.TrimSuffix(timeline.String(), "\n"), false)
	if strings.Contains(printed.String(), "\nREADY=1") {
		t.Errorf("a line is another's:\n%s", printed.String())
	}
}

func TestAPrinterKeepsJSONWhatItWas(t *testing.T) {
	var out bytes.Buffer
	if err := json.NewEncoder(Printer(&out)).Encode(map[string]string{"role": hostile, "tag": "\U000e0041"}); err != nil {
		t.Fatal(err)
	}
	harmless(t, "JSON", strings.TrimSuffix(out.String(), "\n"), false)
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["role"] != strings.ToValidUTF8(hostile, "\ufffd") || back["tag"] != "\U000e0041" {
		t.Errorf("got %q, %v", back, err)
	}
}

func TestAPrinterSaysWhenItCantWrite(t *testing.T) {
	broken := errors.New("broken pipe")
	r, w := io.Pipe()
	r.CloseWithError(broken)
	if n, err := Printer(w).Write([]byte("x")); n != 0 || !errors.Is(err, broken) {
		t.Errorf("got %d, %v", n, err)
	}
}

func FuzzPlain(f *testing.F) {
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, text string) {
		got := Plain(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, strange) || Plain(got) != got {
			t.Errorf("%q became %q", text, got)
		}
	})
}
