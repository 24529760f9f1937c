package file

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"bootagent/pkg/role/expand"
)

func TestATextIsCutAtItsExpansions(t *testing.T) {
	for text, want := range map[string]Text{
		"":                              nil,
		"plain $HOME $ $$":              {{Text: "plain $HOME $ $$"}},
		"$${params.a}":                  {{Text: "${params.a}"}},
		"$$${params.a}":                 {{Text: "$${params.a}"}},
		"a${params.a}b":                 {{Text: "a"}, {Put: "params.a"}, {Text: "b"}},
		"${params.a}${volume.v.id}":     {{Put: "params.a"}, {Put: "volume.v.id"}},
		"$${x}${volume.v.tag.a b.c}}":   {{Text: "${x}"}, {Put: "volume.v.tag.a b.c"}, {Text: "}"}},
		"$${${secret.s}$${":             {{Text: "${"}, {Put: "secret.s"}, {Text: "${"}},
		"${params.a}\n$${params.a}\n$$": {{Put: "params.a"}, {Text: "\n${params.a}\n$$"}},
	} {
		if got, err := readText(Known{}, text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
		if got := want.String(); got != text {
			t.Errorf("%q is printed as %q", text, got)
		}
	}
}

func TestATextThatIsTooLongIsRefused(t *testing.T) {
	if _, err := readText(Known{}, strings.Repeat("x", textMax)); err != nil {
		t.Error(err)
	}
	if _, err := readText(Known{}, strings.Repeat("x", textMax+1)); err == nil || !strings.Contains(err.Error(), "16385 bytes; 16384 are allowed") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsPutInStaysOnItsLine(t *testing.T) {
	f := File{Name: "x", Patterns: map[string]string{"volume.v.tag.any": ".*", "volume.v.tag.number": "[0-9]+", "volume.v.tag.either": "a|b"}}
	for _, c := range []struct{ put, value, why string }{
		{"volume.v.tag.free", "orders-1.a_b:c@d+e", ""},
		{"volume.v.tag.free", "", "is empty"},
		{"volume.v.tag.free", "a b", "may have only letters, digits and . _ : @ + -, because files.x has no pattern for ${volume.v.tag.free}"},
		{"volume.v.tag.free", "1\nskip-grant-tables", "a line break"},
		{"volume.v.tag.free", "1;drop", "may have only"},
		{"volume.v.tag.free", "${secret.s}", "may have only"},
		{"volume.v.tag.free", `"`, "may have only"},
		{"volume.v.tag.any", `a "b" # c`, ""},
		{"volume.v.tag.any", "a\nb", "a line break"},
		{"volume.v.tag.any", "a\x00b", "a line break"},
		{"volume.v.tag.any", "a\u2028b", "a line break"},
		{"volume.v.tag.any", "a\xffb", "a line break"},
		{"volume.v.tag.number", "17", ""},
		{"volume.v.tag.number", "17 ", "does not match its pattern [0-9]+"},
		{"volume.v.tag.number", "", "does not match its pattern [0-9]+"},
		{"volume.v.tag.either", "ac", "does not match its pattern a|b"},
	} {
		err := f.CheckTag(c.put, c.value)
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s with %q: got %v, want %q", c.put, c.value, err, c.why)
		}
		if err != nil && len(c.value) > 2 && strings.Contains(err.Error(), c.value) {
			t.Errorf("the error quotes the value: %v", err)
		}
	}
}

func TestAParameterWithoutAPatternIsAWord(t *testing.T) {
	known := expand.Values{Params: map[string]string{"a": "x #y"}}
	text := Text{{Text: "a="}, {Put: "params.a"}, {Put: "secret.s"}}
	for _, f := range []File{{Content: text}, {Env: []Variable{{"A", text}}}} {
		_, err := f.Expand(known, func(string) bool { return false })
		if err == nil || !strings.Contains(err.Error(), "${params.a}: the value may have only letters") || strings.Contains(err.Error(), "#y") {
			t.Errorf("got %v", err)
		}
		got, err := f.Expand(known, func(string) bool { return true })
		if err != nil || !reflect.DeepEqual(got.texts()[len(got.texts())-1], Text{{Text: "a=x #y"}, {Put: "secret.s"}}) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

// systemd and a shell agree on the characters that a backslash quotes between
// double quotes: SHELL_NEED_ESCAPE of systemd's src/basic/escape.h.
func TestAShellReadsAQuotedValueAsItWas(t *testing.T) {
	for _, value := range []string{"", "plain", `a "b" 'c'`, "$HOME `id` \\", `\\$`, "# no comment", "  spaces  ", "ä€"} {
		out, err := exec.Command("sh", "-c", `eval "$1"; printf %s "$A"`, "sh", `A="`+Quote(value)+`"`).Output()
		if err != nil || string(out) != value {
			t.Errorf("%q is read as %q: %v", value, out, err)
		}
	}
}
