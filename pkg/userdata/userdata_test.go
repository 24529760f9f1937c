package userdata

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"bootagent/pkg/golden"
	"bootagent/pkg/strictyaml"
)

const ours = `#bootagent
version: 1
role: mysql
params: {cluster: orders, disk: "007"}
volumes: {data: vol-0123456789abcdef0}
`

var oursSelects = Selection{
	Role:    "mysql",
	Params:  map[string]string{"cluster": "orders", "disk": "007"},
	Volumes: map[string]string{"data": "vol-0123456789abcdef0"},
}

// selects compares what selections say, wherever it stands.
func selects(got, want Selection) bool {
	got.places = nil
	return reflect.DeepEqual(got, want)
}

func zip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

func inBase64(text string) string {
	return base64.StdEncoding.EncodeToString([]byte(text))
}

// message makes a MIME message as cloud-init's tools do. Each part is its
// header, an empty line and its text.
func message(parts ...string) string {
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=\"===42==\"\nMIME-Version: 1.0\n\n")
	for _, p := range parts {
		b.WriteString("--===42==\n" + p + "\n")
	}
	b.WriteString("--===42==--\n")
	return b.String()
}

const (
	ourType   = "Content-Type: application/vnd.bootagent+yaml; charset=\"utf-8\"\nMIME-Version: 1.0\n"
	cloudInit = "Content-Type: text/cloud-config\n\n#cloud-config\npackages: [nginx]\n"
)

func TestOursIsFoundInWhateverItIsPacked(t *testing.T) {
	for name, raw := range map[string]string{
		"plain":                                 ours,
		"lines end as on Windows":               strings.ReplaceAll(ours, "\n", "\r\n"),
		"space after the first line":            strings.Replace(ours, "#bootagent", "#bootagent \t", 1),
		"gzip":                                  zip(ours),
		"one part":                              message(ourType + "\n" + ours),
		"part without our first line":           message(ourType + "\n" + strings.TrimPrefix(ours, "#bootagent\n")),
		"beside cloud-init":                     message(cloudInit, ourType+"\n"+ours, cloudInit),
		"part in base64":                        message(cloudInit, ourType+"Content-Transfer-Encoding: base64\n\n"+inBase64(ours)),
		"part in gzip, in base64":               message(ourType + "Content-Transfer-Encoding: Base64\n\n" + inBase64(zip(ours))),
		"part in quoted-printable":              message(ourType + "Content-Transfer-Encoding: quoted-printable\n\n" + strings.ReplaceAll(ours, "o", "=6F")),
		"message in gzip":                       zip(message(ourType + "\n" + ours)),
		"message after an empty line":           "\n" + message(ourType+"\n"+ours),
		"message whose lines end as on Windows": strings.ReplaceAll(message(cloudInit, ourType+"\n"+ours), "\n", "\r\n"),
		"message in a message":                  message(strings.ReplaceAll(message(ourType+"\n"+ours), "===42==", "inner")),
		"message of ours alone":                 ourType + "\n" + ours,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse("user-data", []byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			if !selects(got, oursSelects) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestARoleIsAllThatHasToBeSelected(t *testing.T) {
	got, err := Parse("user-data", []byte("#bootagent\nversion: 1\nrole: web"))
	if err != nil || got.Role != "web" || len(got.Params)+len(got.Volumes) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestNothingIsToldApartFromAnothers(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		want      error
	}{
		{"empty", "", ErrNone},
		{"white space", " \n\t\r\n", ErrNone},
		{"nothing in gzip", zip("\n"), ErrNone},
		{"cloud-config", "#cloud-config\npackages: [nginx]\n", ErrForeign},
		{"cloud-config about roles", "#cloud-config\nversion: 1\nrole: mysql\n", ErrForeign},
		{"cloud-config that writes ours", "#cloud-config\nwrite_files:\n- content: |\n    #bootagent\n    version: 1\n    role: x\n", ErrForeign},
		{"cloud-config in gzip", zip("#cloud-config\n"), ErrForeign},
		{"script", "#!/bin/sh\ncat > f <<.\n#bootagent\nversion: 1\nrole: x\n.\n", ErrForeign},
		{"script that calls us", "#!/usr/bin/env bootagent\n", ErrForeign},
		{"include", "#include\nhttps://example.com/bootagent\n", ErrForeign},
		{"boot hook", "#cloud-boothook\n", ErrForeign},
		{"part handler", "#part-handler\n", ErrForeign},
		{"template", "## template: jinja\n#cloud-config\n", ErrForeign},
		{"ignition", `{"ignition": {"version": "3.4.0"}}`, ErrForeign},
		{"PowerShell", "<powershell>\nversion: 1\nrole: x\n</powershell>\n", ErrForeign},
		{"Bottlerocket", "[settings.host-containers.admin]\nenabled = true\n", ErrForeign},
		{"text about us", "Content-Type says application/vnd.bootagent+yaml\n", ErrForeign},
		{"header and no body", "Content-Type: text/plain\n", ErrForeign},
		{"message without a part of ours", message(cloudInit, "Content-Type: text/x-shellscript\n\n#!/bin/sh\n"), ErrForeign},
		{"broken message of another", strings.TrimSuffix(message(cloudInit), "--===42==--\n"), ErrForeign},
		{"part of another in a strange encoding", message("Content-Type: text/plain\nContent-Transfer-Encoding: uuencode\n\nx"), ErrForeign},
		{"bytes", "\x00\x01\x02\xff", ErrForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			if s, err := Parse("user-data", []byte(c.raw)); !errors.Is(err, c.want) {
				t.Errorf("got %+v, %v; want %v", s, err, c.want)
			}
		})
	}
}

// brokenOnes are user-data that is ours, or seems to be, and can't be read. No
// other role may be taken in its place, so it must not pass for another's.
var brokenOnes = []struct{ name, raw string }{
	{"first line with a dash", "#boot-agent\nversion: 1\nrole: web\n"},
	{"first line with a space", "# bootagent\nversion: 1\nrole: web\n"},
	{"first line with a colon", "#bootagent: \nversion: 1\nrole: web\n"},
	{"first line in capitals", "#BootAgent\nversion: 1\nrole: web\n"},
	{"first line with a version", "#bootagent v1\nversion: 1\nrole: web\n"},
	{"first line like a script's", "#!bootagent\nversion: 1\nrole: web\n"},
	{"first line misspelt", "#bootagnet\nversion: 1\nrole: web\n"},
	{"first line indented", "  #bootagent\n  version: 1\n  role: web\n"},
	{"first line is the second", "\n#bootagent\nversion: 1\nrole: web\n"},
	{"no first line", "version: 1\nrole: web\n"},
	{"no first line, and another order", "# my web tier\n---\nrole: web\nversion: 1\n"},
	{"byte order mark", "\xef\xbb\xbf#bootagent\nversion: 1\nrole: web\n"},
	{"UTF-16", "\xff\xfe#\x00b\x00o\x00o\x00t\x00a\x00g\x00e\x00n\x00t\x00\n\x00"},
	{"base64 twice", inBase64(ours)},
	{"keys", "#bootagent\nversion: 1\nrloe: web\nparms: {a: hunter2}\npassword: hunter2\nparams:\n  Token: hunter2\n  a: hunter2\n  a: hunter2\n"},
	{"kinds", "#bootagent\nversion: 1\nrole: [web]\nparams: [hunter2]\nvolumes: {data: {id: hunter2}, logs: 7, more: , yet: [hunter2]}\n"},
	{"numbers", "#bootagent\nversion: 1\nrole: web\nparams: {port: 3306, day: 2024-01-01, on: true, none: null}\n"},
	{"aliases", "#bootagent\nversion: 1\nrole: web\nparams: {a: &x hunter2, b: *x, c: !hunter2 x}\n"},
	{"alias to nothing", "#bootagent\nversion: 1\nrole: web\nparams: {a: *hunter2}\n"},
	{"not a name", "#bootagent\nversion: 1\nrole: ../web\n"},
	{"no role", "#bootagent\nversion: 1\n"},
	{"nothing but the first line", "#bootagent"},
	{"another version", "#bootagent\nversion: 2\nrole: web\nsecrets: {a: hunter2}\n"},
	{"two documents", "#bootagent\nversion: 1\nrole: web\n---\nrole: hunter2\n"},
	{"no YAML", "#bootagent\nversion: 1\nrole: \"hunter2\n"},
	{"no map", "#bootagent\nhunter2\n"},
	{"no UTF-8", "#bootagent\nversion: 1\nrole: w\xff\n"},
	{"too large", "#bootagent\n#" + strings.Repeat("x", strictyaml.MaxSize)},
	{"gzip bomb", zip(ours + strings.Repeat("#", 1<<21))},
	{"gzip cut off", zip(ours)[:40]},
	{"gzip without a header", "\x1f\x8b\xff\xff"},
	{"part with a mistake", message(cloudInit, ourType+"\n#bootagent\nversion: 1\nroel: hunter2\n")},
	{"gzip in gzip", zip(zip(ours))},
	{"unrendered templates", "#bootagent\nversion: 1\nrole: ${role:-hunter2}\nparams: {a: \"{{ hunter2 }}\", b: ok, c: <%= hunter2 %>}\n"},
	{"two parts", message(ourType+"\n"+ours, cloudInit, ourType+"\n"+ours)},
	{"part of another type", message("Content-Type: text/plain\n\n" + ours)},
	{"part of nearly our type", message("Content-Type: application/x-bootagent+yaml\n\n" + ours)},
	{"part with a bomb", message(ourType + "Content-Transfer-Encoding: base64\n\n" + inBase64(zip(ours+strings.Repeat("#", 1<<21))))},
	{"part in broken base64", message(ourType + "Content-Transfer-Encoding: base64\n\n" + "hunter2!")},
	{"part in broken quoted-printable", message(ourType + "Content-Transfer-Encoding: quoted-printable\n\n" + "hunter2\x01")},
	{"part in an unknown encoding", message(ourType + "Content-Transfer-Encoding: hunter2\n\n" + ours)},
	{"message cut off", strings.TrimSuffix(message(ourType+"\n"+ours), "--===42==--\n")},
	{"message with a broken header", "Content-Type: multipart/mixed; boundary=x\nhunter2\n\n--x\n" + ourType + "\n" + ours + "\n--x--\n"},
	{"message without a boundary", "Content-Type: multipart/mixed\n\n--x\n" + ourType + "\n" + ours + "\n--x--\n"},
	{"message with a broken type", message("Content-Type: text/;hunter2\n\nx", ourType+"\n"+ours)},
	{"message with a broken part", message("hunter2\n\nx", ourType+"\n"+ours)},
	{"message too deep", nested(6)},
}

func nested(deep int) string {
	m := message(ourType + "\n" + ours)
	for i := range deep {
		m = message(strings.ReplaceAll(m, "===42==", fmt.Sprintf("inner%d", i)))
	}
	return m
}

func TestBrokenUserDataOfOursNeverPassesForAnothers(t *testing.T) {
	var told strings.Builder
	for _, c := range brokenOnes {
		s, err := Parse("user-data", []byte(c.raw))
		var mistakes strictyaml.Errors
		if !errors.As(err, &mistakes) || errors.Is(err, ErrForeign) || errors.Is(err, ErrNone) {
			t.Errorf("%s: got %+v, %v", c.name, s, err)
		}
		if strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: the error quotes a value: %v", c.name, err)
		}
		fmt.Fprintf(&told, "%s\n\t%s\n", c.name, strings.ReplaceAll(fmt.Sprint(err), "\n", "\n\t"))
	}
	file := filepath.Join("testdata", "broken.golden")
	golden.Check(t, file, told.String())
}

func TestABombIsNotUnpacked(t *testing.T) {
	bomb := []byte(zip(ours + strings.Repeat("#", 1<<23)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Parse("user-data", bomb); err == nil {
		t.Error("accepted")
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<23 {
		t.Errorf("%d bytes of memory for %d bytes of user-data", took, len(bomb))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(ours))
	f.Add([]byte(zip(ours)))
	f.Add([]byte(message(cloudInit, ourType+"Content-Transfer-Encoding: base64\n\n"+inBase64(zip(ours)))))
	f.Add([]byte("#cloud-config\n"))
	for _, c := range brokenOnes {
		if len(c.raw) < 1<<10 {
			f.Add([]byte(c.raw))
		}
	}
	for _, text := range anothersOnes {
		f.Add([]byte(text))
	}
	for _, w := range wraps {
		f.Add([]byte(w.wrap(ours)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Parse("user-data", raw)
		again, errAgain := Parse("user-data", raw)
		if !reflect.DeepEqual(s, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Errorf("read twice: %+v, %v and %+v, %v", s, err, again, errAgain)
		}
		if err == nil {
			if s.Role == "" {
				t.Error("accepted without a role")
			}
			return
		}
		if !reflect.DeepEqual(s, Selection{}) {
			t.Errorf("an error, and a selection: %+v", s)
		}
		if bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte(mark+"\n")) && (errors.Is(err, ErrForeign) || errors.Is(err, ErrNone)) {
			t.Errorf("ours passes for another's: %v", err)
		}
		if errors.Is(err, ErrNone) || errors.Is(err, ErrForeign) {
			return
		}
		var mistakes strictyaml.Errors
		if !errors.As(err, &mistakes) {
			t.Fatalf("not strictyaml.Errors: %T %v", err, err)
		}
		for _, m := range mistakes {
			if m.Line < 1 || m.Column < 1 {
				t.Errorf("no place: %v", m)
			}
		}
	})
}
