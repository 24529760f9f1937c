package sources

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/fault"
	"bootagent/pkg/golden"
	"bootagent/pkg/policy"
	"bootagent/pkg/role/source"
)

func TestFileIsReadWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.age")
	want := bytes.Repeat([]byte{7}, Max)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := File{}.Fetch(t.Context(), path)
	if err != nil || !bytes.Equal(got.Bytes(), want) || !got.Encrypted || got.Version != Digest(want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFileRefusals(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, make := range []error{
		os.Mkdir(at("dir"), 0o755),
		unix.Mkfifo(at("pipe"), 0o600),
		os.WriteFile(at("large"), nil, 0o600),
		os.Truncate(at("large"), Max+1),
	} {
		if make != nil {
			t.Fatal(make)
		}
	}
	var got strings.Builder
	for _, name := range []string{"absent", "dir", "pipe", "large", "null"} {
		path := at(name)
		if name == "null" {
			path = "/dev/null"
		}
		// A pipe that nobody writes to must not hold it up.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := File{}.Fetch(ctx, path)
		cancel()
		fmt.Fprintf(&got, "%s: %v\n", name, err)
		if hint := fault.HintOf(err); hint != "" {
			fmt.Fprintf(&got, "    hint: %s\n", hint)
		}
		if fault.IsPermanent(err) {
			t.Errorf("%s is permanent: somebody may put a file there", name)
		}
	}
	golden.Check(t, filepath.Join("testdata", "file.golden"), strings.ReplaceAll(got.String(), dir, "DIR"))
}

// bucket is S3 with one object.
type bucket struct {
	content, version string
	err              error
	asked            string
}

func (b *bucket) Get(_ context.Context, name, key string) ([]byte, string, error) {
	b.asked = name + " " + key
	return []byte(b.content), b.version, b.err
}

func TestAnObjectHasTheVersionThatS3Says(t *testing.T) {
	for given, want := range map[string]string{"9b2cf535": "9b2cf535", "": Digest([]byte("ciphertext"))} {
		b := &bucket{content: "ciphertext", version: given}
		got, err := S3{b}.Fetch(t.Context(), "secrets/db/root pass.age")
		if err != nil || string(got.Bytes()) != "ciphertext" || got.Version != want || !got.Encrypted || b.asked != "secrets db/root pass.age" {
			t.Errorf("got %+v, %v, asked for %s", got, err, b.asked)
		}
	}
	if _, err := (S3{}).Fetch(t.Context(), "secrets/k"); err == nil || err.Error() != "cannot fetch s3://secrets/k: this machine does not use AWS" {
		t.Errorf("got %v", err)
	}
}

func TestAPlaceIsOneOfASource(t *testing.T) {
	for place, want := range map[string]string{
		"s3://secrets/db/root.age": "<nil>",
		"file:///etc/s.age":        "<nil>",
		"s3://secrets":             "key: must not be empty",
		"s3://Secrets/key":         "bucket: not a bucket name",
		"file://etc/s.age":         "not the path of a file: write three slashes",
		"file:///etc/../s.age":     "file: ",
		"ssm://p":                  `unknown source of secrets: "ssm://p"`,
	} {
		scheme, ref, _ := strings.Cut(place, "://")
		if _, err := Of(All(nil), source.Source{Scheme: scheme, Ref: ref}); !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("%q: got %v, want %s", place, err, want)
		}
	}
}

func TestEverySourceIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/reference/role-file.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range All(nil) {
		if form := s.Syntax().Form; !strings.Contains(string(page), "\n| `"+form+"` | ") {
			t.Errorf("docs/reference/role-file.md has no row for %s in its table of sources; add one", form)
		}
	}
}

func TestEachSourceSaysWhatIAMHasToAllow(t *testing.T) {
	var needs policy.Needs
	for _, s := range All(nil) {
		if permit := s.Syntax().Permit; permit != nil {
			permit(&needs, "secrets/db.age")
		}
	}
	if want := []string{"secrets/db.age"}; !slices.Equal(needs.Objects, want) || len(needs.Volumes) > 0 {
		t.Errorf("got %+v", needs)
	}
}
