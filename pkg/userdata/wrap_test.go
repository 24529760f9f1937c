package userdata

import (
	"archive/tar"
	pkzip "archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"bootagent/pkg/strictyaml"
)

// wraps are what tools put around a text, by the name that an error calls it.
var wraps = []struct {
	tool, name string
	wrap       func(string) string
}{
	{"base64 of coreutils", "base64", func(s string) string { return inLines(inBase64(s), 76) }},
	{"base64 in one line", "base64", inBase64},
	{"base64 for URLs, unpadded", "base64", func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }},
	{"base64 of Windows", "base64", func(s string) string { return strings.ReplaceAll(inLines(inBase64(s), 64), "\n", "\r\n") }},
	{"base64 of certutil", "base64", func(s string) string {
		return "-----BEGIN CERTIFICATE-----\r\n" + inLines(inBase64(s), 64) + "-----END CERTIFICATE-----\r\n"
	}},
	{"base64 in a data URL", "base64", func(s string) string { return "data:text/plain;base64," + inBase64(s) }},
	{"gzip", "gzip", zip},
	{"zlib", "zlib", func(s string) string {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		io.WriteString(w, s)
		w.Close()
		return b.String()
	}},
	{"zip", "a zip archive", func(s string) string {
		var b bytes.Buffer
		w := pkzip.NewWriter(&b)
		for _, text := range []string{"read me", s} {
			f, _ := w.Create("user-data")
			io.WriteString(f, text)
		}
		w.Close()
		return b.String()
	}},
	{"zip that stores", "a zip archive", func(s string) string {
		var b bytes.Buffer
		w := pkzip.NewWriter(&b)
		f, _ := w.CreateRaw(&pkzip.FileHeader{Name: "u", CompressedSize64: uint64(len(s)), UncompressedSize64: uint64(len(s))})
		io.WriteString(f, s)
		w.Close()
		return b.String()
	}},
	{"tar", "a tar archive", func(s string) string {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, text := range []string{"read me", s} {
			w.WriteHeader(&tar.Header{Name: "user-data", Size: int64(len(text)), Mode: 0o644, Format: tar.FormatUSTAR})
			io.WriteString(w, text)
		}
		w.Close()
		return b.String()
	}},
	{"byte order mark", "a byte order mark", func(s string) string { return "\xef\xbb\xbf" + s }},
	{"byte order mark, encoded anew", "a byte order mark", func(s string) string { return "\u00ef\u00bb\u00bf" + s }},
	{"UTF-16 of PowerShell", "UTF-16", func(s string) string { return "\xff\xfe" + inUTF16(s, binary.LittleEndian) }},
	{"UTF-16, big end first", "UTF-16", func(s string) string { return "\xfe\xff" + inUTF16(s, binary.BigEndian) }},
	{"UTF-16 without a mark", "UTF-16", func(s string) string { return inUTF16(s, binary.LittleEndian) }},
	{"UTF-16, big end first, without a mark", "UTF-16", func(s string) string { return inUTF16(s, binary.BigEndian) }},
	{"UTF-32", "UTF-32", func(s string) string {
		var b []byte
		for _, r := range "\ufeff" + s {
			b = binary.LittleEndian.AppendUint32(b, uint32(r))
		}
		return string(b)
	}},
	{"zero-width space", "characters that can't be seen", func(s string) string { return "\u200b" + s }},
	{"JSON string", "quotes", func(s string) string {
		b, _ := json.Marshal(s)
		return string(b)
	}},
	{"single quotes", "quotes", func(s string) string { return "'" + s + "'" }},
	{"percent", "% escapes", url.PathEscape},
	{"form", "% escapes", func(s string) string { return url.QueryEscape(s) }},
	{"hex", "hexadecimal digits", func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{"aws ec2 describe-instance-attribute", "a value in YAML or JSON", func(s string) string {
		b, _ := json.Marshal(map[string]any{"InstanceId": "i-1", "UserData": map[string]string{"Value": s}})
		return string(b)
	}},
	{"CloudFormation that was not transformed", "a value in YAML or JSON", func(s string) string {
		b, _ := json.Marshal(map[string]string{"Fn::Base64": s})
		return string(b)
	}},
}

func inLines(s string, width int) string {
	var b strings.Builder
	for chunk := range slices.Chunk([]byte(s), width) {
		b.Write(chunk)
		b.WriteByte('\n')
	}
	return b.String()
}

func inUTF16(s string, order binary.AppendByteOrder) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

// takesText are those that are put around text only.
var takesText = map[string]bool{"quotes": true, "a value in YAML or JSON": true, "UTF-16": true, "UTF-32": true, "characters that can't be seen": true}

// isText tells what may be put into a JSON string or the like and come out of it.
func isText(s string) bool { return strings.ToValidUTF8(s, "") == s && !strings.Contains(s, "\x00") }

// forms are the forms in which bootagent takes user-data.
var forms = map[string]string{
	"document":               ours,
	"message":                message(cloudInit, ourType+"\n"+ours),
	"message, part in gzip":  message(ourType + "Content-Transfer-Encoding: base64\n\n" + inBase64(zip(ours))),
	"document, no last line": strings.TrimSuffix(ours, "\n"),
	"document of Windows":    strings.ReplaceAll(ours, "\n", "\r\n"),
}

func TestOursInAWrappingTooManySaysWhichToTakeOff(t *testing.T) {
	for form, text := range forms {
		for _, outer := range wraps {
			name := form + " in " + outer.tool
			raw := outer.wrap(text)
			if outer.name != "gzip" {
				saysWrapped(t, name, raw, outer.name)
			}
			for _, again := range wraps {
				wrapped := again.wrap(raw)
				switch {
				case !isText(raw) && takesText[again.name], wrapped == raw:
					continue
				case again.name == outer.name && !strings.HasPrefix(outer.name, "base64"), again.name == "characters that can't be seen" && outer.name == "a byte order mark":
					continue // one of that kind
				case again.name == "UTF-16" && outer.tool == "byte order mark":
					continue // which makes the mark of UTF-16
				}
				in := again.name + ", in it " + outer.name
				if outer.name == "gzip" {
					in = again.name + "; remove it"
				}
				saysWrapped(t, name+" in "+again.tool, wrapped, in)
			}
		}
	}
}

// saysWrapped wants user-data to be refused for being wrapped.
func saysWrapped(t *testing.T, name, raw, in string) {
	t.Helper()
	s, err := Parse("user-data", []byte(raw))
	if err == nil && strings.HasPrefix(in, "characters") {
		return // white space before a message is taken
	}
	var mistakes strictyaml.Errors
	if !errors.As(err, &mistakes) || !strings.Contains(err.Error(), "this is meant for bootagent, but wrapped in "+in) {
		t.Errorf("%s: got %+v, %v; want it wrapped in %s", name, s, err, in)
	}
}

// Each is what people and their tools make by mistake, and what has to be said.
func TestOursBehindWhatToolsPutThereIsToldApart(t *testing.T) {
	msg := message(cloudInit, ourType+"\n"+ours)
	for name, c := range map[string]struct{ raw, want string }{
		"gzip twice":                       {zip(zip(ours)), "wrapped in gzip; remove it, so that the first line is #bootagent; the gzip in it can stay"},
		"gzip three times":                 {zip(zip(zip(ours))), "wrapped in gzip, in it gzip; remove them"},
		"gzip, then base64":                {inBase64(zip(ours)), "wrapped in base64; remove it, so that the first line is #bootagent; the gzip in it can stay"},
		"base64, then gzip":                {zip(inBase64(ours)), "wrapped in gzip, in it base64; remove them"},
		"base64 of a message":              {inBase64(msg), "wrapped in base64; remove it, so that it begins with the header of the MIME message"},
		"a comment before a message":       {"# made by make\n" + msg, "wrapped in lines before it; remove it"},
		"a comment before base64":          {"# made by make\n" + inBase64(ours), "wrapped in lines before it, in it base64; remove them"},
		"a comment before the mark":        {"# made by make\n\n" + ours, "user-data:3:1: #bootagent must be the very first line"},
		"a document's begin":               {"---\n" + ours, "user-data:2:1: #bootagent must be the very first line"},
		"a template's header":              {"## template: jinja\n" + ours, "user-data:2:1: #bootagent must be the very first line"},
		"below cloud-init's first line":    {"#cloud-config\n" + ours, "user-data:2:1: #bootagent must be the very first line"},
		"a tag before it":                  {"{{ header }}\n" + ours, "user-data:2:1: #bootagent must be the very first line"},
		"a fence of Markdown":              {"```yaml\n" + ours + "```\n", "user-data:2:1: #bootagent must be the very first line"},
		"a here-document of Terraform":     {"user_data = <<-EOF\n  " + strings.ReplaceAll(ours, "\n", "\n  ") + "EOF\n", "user-data:2:1: #bootagent must be the very first line"},
		"a block of CloudFormation":        {"UserData:\n  Fn::Base64: !Sub |\n    " + strings.ReplaceAll(ours, "\n", "\n    "), "user-data:3:1: #bootagent must be the very first line"},
		"line breaks of a shell's string":  {strings.ReplaceAll(ours, "\n", `\n`), `the line breaks are written as \n`},
		"line breaks of an old Macintosh":  {strings.ReplaceAll(ours, "\n", "\r"), "the lines end in carriage returns alone"},
		"a message with escaped breaks":    {strings.ReplaceAll(msg, "\n", `\n`), `its line breaks are written as \n`},
		"JSON instead of YAML":             {`{"version": 1, "role": "mysql"}`, "but the first line is not #bootagent; add it"},
		"an archive of cloud-init, type":   {"#cloud-config-archive\n- type: application/vnd.bootagent+yaml\n  content: |\n    version: 1\n    role: x\n", "wrapped in #cloud-config-archive"},
		"an archive of cloud-init, text":   {"#cloud-config-archive\n- |\n  #bootagent\n  version: 1\n  role: x\n- content: |\n    #cloud-config\n", "wrapped in #cloud-config-archive"},
		"an archive of cloud-init, packed": {"#cloud-config-archive\n- content: " + inBase64(ours) + "\n", "wrapped in #cloud-config-archive, in it base64"},
		"a message packed as a whole":      {"Content-Type: multipart/mixed; boundary=\"===42==\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n" + inBase64(msg), "can have a Content-Transfer-Encoding"},
		"a text without a type, packed":    {"Content-Transfer-Encoding: base64\n\n" + inBase64(ours), "its content type is not application/vnd.bootagent+yaml"},
		"a part of another type, packed":   {message("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + inBase64(zip(inBase64(ours)))), "its content type is not application/vnd.bootagent+yaml"},
		"a message attached to a message":  {message("Content-Type: message/rfc822\n\n" + strings.ReplaceAll(msg, "===42==", "inner")), "its content type is not application/vnd.bootagent+yaml"},
		"our part, packed twice":           {message(ourType + "Content-Transfer-Encoding: base64\n\n" + inBase64(inBase64(ours))), "user-data, MIME part 1:1:1: this is meant for bootagent, but wrapped in base64"},
		"our part in gzip in gzip":         {message(ourType + "Content-Transfer-Encoding: base64\n\n" + inBase64(zip(zip(ours)))), "wrapped in gzip; remove it"},
		"our type after a greeting":        {"Hello\n\n" + ourType + "\n" + ours, "user-data:3:1: this names the type application/vnd.bootagent+yaml, but the text is not a MIME message"},
		"xz":                               {"\xfd7zXZ\x00\x00", "packed by xz, which bootagent can't read"},
		"zstd":                             {"\x28\xb5\x2f\xfd\x04", "packed by zstd, which bootagent can't read"},
		"zstd in base64":                   {inBase64("\x28\xb5\x2f\xfd\x04 and more"), "packed by zstd, which bootagent can't read"},
		"gzip that is cut off, in base64":  {inBase64(zip(ours)[:60]), "gzip data that can't be unpacked"},
		"a tag that was to be all of it":   {"${file(\"user-data.yaml\")}\n", "a template was not rendered"},
	} {
		_, err := Parse("user-data", []byte(c.raw))
		var mistakes strictyaml.Errors
		if !errors.As(err, &mistakes) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\ngot  %v\nwant %s", name, err, c.want)
		}
	}
}

func TestBzip2OfOursIsToldApart(t *testing.T) {
	// printf '#bootagent\nversion: 1\nrole: web\n' | bzip2 | base64
	const packed = "QlpoOTFBWSZTWQ9yxO4AAALZgAAQSAAgEDKlnYAgACIg9E0NGnqFNMjExMRhLIFjK1eDB4fI5JEqvQJ+LuSKcKEgHuWJ3A=="
	raw, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		t.Fatal(err)
	}
	saysWrapped(t, "bzip2", string(raw), "bzip2")
}

// anothersOnes are user-data of other programs, some of which mention us.
var anothersOnes = map[string]string{
	"cloud-config":                "#cloud-config\npackages: [nginx]\n",
	"cloud-config that writes us": "#cloud-config\nwrite_files:\n- content: |\n    #bootagent\n    version: 1\n    role: x\n- encoding: b64\n  content: " + inBase64(ours) + "\n",
	"archive without us":          "#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    packages: [nginx]\n",
	"script about us":             "#!/bin/sh\n# configures #bootagent, see bootagent(8)\necho '#bootagent'\n",
	"script that writes us":       "#!/bin/sh\nset -e\ncat > f <<.\n#bootagent\nversion: 1\nrole: x\n.\n",
	"script that makes a message": "#!/bin/sh\ncat > f <<.\nContent-Type: application/vnd.bootagent+yaml\n\n#bootagent\n.\n",
	"script that unpacks us":      "#!/bin/sh\nbase64 -d <<. > f\n" + inBase64(ours) + "\n.\n",
	"PowerShell":                  "<powershell>\n#bootagent\n</powershell>\n",
	"Ignition":                    `{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/f", "contents": {"source": "data:;base64,` + inBase64(ours) + `"}}]}}`,
	"Bottlerocket":                "[settings.host-containers.admin]\nenabled = true\nuser-data = \"" + inBase64(ours) + "\"\n",
	"Talos":                       "version: v1alpha1\nmachine:\n  type: worker\n",
	"a word":                      "hello",
	"a token in base64":           inBase64("{\"token\": \"0123456789\"}"),
	"bytes":                       "\x00\x01\x02\xff\x80\x81",
	"message about us":            message(cloudInit, "Content-Type: text/x-shellscript\n\n#!/bin/sh\n# see application/vnd.bootagent+yaml\n"),
}

func TestAnothersStaysAnothersInAnyWrapping(t *testing.T) {
	for name, text := range anothersOnes {
		if _, err := Parse("user-data", []byte(text)); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
		for _, w := range wraps {
			if _, err := Parse("user-data", []byte(w.wrap(text))); !errors.Is(err, ErrForeign) {
				t.Errorf("%s in %s: %v", name, w.tool, err)
			}
		}
	}
}

// Whoever wraps without end is told so, in little time and memory.
func TestASearchIsBounded(t *testing.T) {
	deep := ours
	for range 40 {
		deep = zip(deep)
	}
	if _, err := Parse("user-data", []byte(deep)); err == nil || errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "wrapped more than 12 times") {
		t.Errorf("40 times in gzip: %v", err)
	}
	for name, text := range map[string]string{
		"base64 of a bomb": inBase64(zip(strings.Repeat("#", 1<<23))),
		"zlib of a bomb":   wraps[7].wrap(strings.Repeat("#", 1<<23)),
	} {
		if _, err := Parse("user-data", []byte(text)); err == nil || !strings.Contains(err.Error(), "of more than 1 MiB") {
			t.Errorf("%s: %v", name, err)
		}
	}
	bombs := archiveOf(6, strings.Repeat("x ", 1<<19))
	if _, err := Parse("user-data", []byte(bombs)); err == nil || !strings.Contains(err.Error(), "wrapped too often or too large to search") {
		t.Errorf("many bombs: %v", err)
	}
}

func archiveOf(files int, text string) string {
	var b bytes.Buffer
	w := pkzip.NewWriter(&b)
	for i := range files {
		f, _ := w.Create(fmt.Sprint(i))
		io.WriteString(f, text)
	}
	w.Close()
	return b.String()
}

func TestFaultsOfAMessageAreNamedWithTheirLine(t *testing.T) {
	const head = "Content-Type: multipart/mixed; boundary=\"x\"\nMIME-Version: 1.0\n\n"
	const part = "Content-Type: application/vnd.bootagent+yaml\n\nversion: 1\nrole: web\n"
	for name, c := range map[string]struct{ raw, want string }{
		"no empty line before the first boundary": {
			"Content-Type: multipart/mixed; boundary=\"x\"\nMIME-Version: 1.0\n--x\n" + part + "--x--\n",
			"user-data:3:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: an empty line is missing before this boundary, after the header of the message",
		},
		"no empty line after a part's header": {
			head + "--x\nContent-Type: text/plain\n\nhello\n--x\nContent-Type: application/vnd.bootagent+yaml\n#bootagent\nversion: 1\nrole: web\n--x--\n",
			"user-data:10:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: an empty line is missing before this line, after the header of part 2",
		},
		"no empty line, and keys that look like a header": {
			head + "--x\nContent-Type: application/vnd.bootagent+yaml\nversion: 1\nrole: web\n--x--\n",
			"user-data:6:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: an empty line is missing before this line, after the header of part 1",
		},
		"no empty line in another's part": {
			head + "--x\nContent-Type: text/cloud-config\n#cloud-config\n--x\n" + part + "--x--\n",
			"user-data:6:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: an empty line is missing before this line, after the header of part 1",
		},
		"a boundary with a slash and no quotes": {
			"Content-Type: multipart/mixed; boundary=a/b\n\n--a/b\n" + part + "--a/b--\n",
			"user-data:1:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: the boundary in the content type of the message has \"/\" in it, so it must be in quotes: boundary=\"...\"",
		},
		"a boundary with equals signs and no quotes": {
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary===42==\n\n--===42==\n" + part + "--===42==--\n",
			"user-data:2:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: the boundary in the content type of the message has \"=\" in it, so it must be in quotes: boundary=\"...\"",
		},
		"a boundary whose quote is open": {
			"Content-Type: multipart/mixed; boundary=\"x\n\n--x\n" + part + "--x--\n",
			"user-data:1:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: the content type of the message can't be read: the quote before its boundary is not closed after it",
		},
		"no boundary named": {
			"Content-Type: multipart/mixed\n\n--x\n" + part + "--x--\n",
			"user-data:1:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: the content type of the message has no boundary: boundary=\"...\" is missing",
		},
		"another boundary than the one named": {
			head + "--y\n" + part + "--y--\n",
			"user-data:9:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: no line is -- and the boundary in the content type of the message",
		},
		"no closing boundary": {
			head + "--x\n" + part,
			"user-data:8:1: a broken MIME message with a part of the type application/vnd.bootagent+yaml: the closing boundary is missing after part 1: a last line with --, the boundary of the message and -- again",
		},
		"our part below another boundary": {
			head + "--x\nContent-Type: text/plain\n\nhello\n--y\n" + part + "--x--\n",
			"user-data:8:1: a part of the type application/vnd.bootagent+yaml outside of the message: the line before its header must be -- and the boundary of the message, and the closing boundary must come after it",
		},
		"our part after the end": {
			head + "--x\nContent-Type: text/plain\n\nhello\n--x--\n--x\n" + part + "--x--\n",
			"user-data:9:1: a part of the type application/vnd.bootagent+yaml outside of the message: the line before its header must be -- and the boundary of the message, and the closing boundary must come after it",
		},
	} {
		for ends, raw := range map[string]string{"": c.raw, ", as on Windows": strings.ReplaceAll(c.raw, "\n", "\r\n")} {
			_, err := Parse("user-data", []byte(raw))
			if err == nil || err.Error() != c.want {
				t.Errorf("%s%s:\ngot  %v\nwant %s", name, ends, err, c.want)
			}
		}
	}
}

func TestATemplateThatWasNotRenderedIsToldWithItsPlace(t *testing.T) {
	for tag, column := range map[string]int{
		"${cluster}": 20, `"${cluster}"`: 21, "orders-${cluster}": 27, "{{ cluster }}": 20, "'{{ cluster }}'": 21, "<%= cluster %>": 20,
		"%{ if x }a%{ endif }": 20, "$(hostname)": 20, "{% raw %}": 20, "$CLUSTER": 20, `"$CLUSTER"`: 21, "%CLUSTER%": 20, "@@cluster@@": 20, "${cluster": 20,
	} {
		for name, doc := range map[string]string{
			"plain": "#bootagent\nversion: 1\nrole: mysql # ${not} a {{ tag }}\nparams: {cluster:  " + tag + "}\n",
			"part":  message(ourType + "\n#bootagent\nversion: 1\nrole: mysql\nparams: {cluster:  " + tag + "}\n"),
		} {
			_, err := Parse("user-data", []byte(doc))
			want := fmt.Sprintf(":4:%d: a template was not rendered", column)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("%s, %s: got %v, want %s", name, tag, err, want)
			}
		}
	}
	for line, doc := range map[int]string{
		3: "#bootagent\nversion: 1\nrole: {{ role }}\n",
		2: "#bootagent\n%{ if x }\nversion: 1\nrole: web\n",
		5: "#bootagent\nversion: 1\nrole: web\nparams:\n  a: $A\n",
	} {
		if _, err := Parse("user-data", []byte(doc)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("user-data:%d:", line)) || !strings.Contains(err.Error(), "a template was not rendered") {
			t.Errorf("line %d: %v", line, err)
		}
	}
}

func TestWhatLooksLikeATagIsAcceptedWhereItIsNone(t *testing.T) {
	for _, value := range []string{`"a$b"`, `"$5"`, `"100%"`, "a#b", `"50% of 7%"`, `"{}"`, "cost$"} {
		s, err := Parse("user-data", []byte("#bootagent\nversion: 1\nrole: web\nparams: {a: "+value+"}\n"))
		if err != nil || s.Params["a"] != strings.Trim(value, `"`) {
			t.Errorf("%s: got %+v, %v", value, s, err)
		}
	}
	if _, err := Parse("user-data", []byte("#bootagent\n# rendered from ${template}\nversion: 1\nrole: web # {{ was here }}\n")); err != nil {
		t.Error(err)
	}
}

func FuzzWrapped(f *testing.F) {
	f.Add([]byte{0}, []byte{1, 6, 13})
	f.Add([]byte{1}, []byte{6, 6, 0})
	names := slices.Sorted(maps.Keys(forms))
	f.Fuzz(func(t *testing.T, form, with []byte) {
		if len(form) == 0 || len(with) > 5 {
			return
		}
		raw := forms[names[int(form[0])%len(names)]]
		var tools []string
		for _, n := range with {
			w := wraps[int(n)%len(wraps)]
			if !isText(raw) && takesText[w.name] || len(raw) > 1<<14 {
				continue
			}
			raw = w.wrap(raw)
			tools = append(tools, w.tool)
		}
		s, err := Parse("user-data", []byte(raw))
		var mistakes strictyaml.Errors
		if err != nil && !errors.As(err, &mistakes) {
			t.Errorf("in %q: got %+v, %v", tools, s, err)
		}
		if err != nil && strings.Contains(err.Error(), "orders") {
			t.Errorf("it quotes a value: %v", err)
		}
	})
}
