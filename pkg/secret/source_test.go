package secret

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFileIsReadWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.age")
	want := bytes.Repeat([]byte{7}, CiphertextMax)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	var source Source = File(path)
	got, err := source.Fetch(t.Context())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if source.String() != "file://"+path {
		t.Errorf("it is called %s", source)
	}
}

func TestFileRefusals(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, make := range []error{
		os.Mkdir(at("dir"), 0o755),
		unix.Mkfifo(at("pipe"), 0o600),
		os.WriteFile(at("large"), nil, 0o600),
		os.Truncate(at("large"), CiphertextMax+1),
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
		_, err := File(path).Fetch(ctx)
		cancel()
		got.WriteString(name + ": " + words(err) + "\n")
	}
	golden(t, "file.golden", strings.ReplaceAll(got.String(), dir, "DIR"))
}
