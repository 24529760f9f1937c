package secret

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const source = "s3://secrets/db.age"

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestTheLastGoodCiphertextIsCached(t *testing.T) {
	cache := Cache(filepath.Join(t.TempDir(), "secrets"))
	keys := keysOf(t, machine)
	if _, _, err := cache.Get("root-sql", source); !errors.Is(err, ErrNotCached) || err.Error() != "no ciphertext is cached of root-sql from s3://secrets/db.age" {
		t.Errorf("before: %v", err)
	}
	began := time.Now().Add(-time.Second)
	for _, text := range []string{"first", "second"} {
		ciphertext := sealed(t, text, false, machine)
		if err := cache.Put("root-sql", source, opens(t, ciphertext, keys)); err != nil {
			t.Fatal(err)
		}
		got, when, err := cache.Get("root-sql", source)
		if err != nil || !bytes.Equal(got, ciphertext) || when.Before(began) || when.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: got %d bytes of %v, %v", text, len(got), when, err)
		}
	}
	names := files(t, string(cache))
	if len(names) != 1 {
		t.Fatalf("there are %q", names)
	}
	path := filepath.Join(string(cache), names[0])
	info, err := os.Stat(path)
	dir, errDir := os.Stat(string(cache))
	if err := errors.Join(err, errDir); err != nil || info.Mode().Perm() != 0o600 || dir.Mode().Perm() != 0o700 {
		t.Errorf("%s has mode %v in %v, %v", path, info.Mode(), dir.Mode(), err)
	}
	if content, err := os.ReadFile(path); err != nil || bytes.Contains(content, []byte("second")) || !bytes.HasPrefix(content, []byte(binaryMark)) {
		t.Errorf("%s holds %q, %v", path, content, err)
	}
}

// What is the same is not written again, and is good as of now.
func TestTheSameCiphertextIsNotWrittenTwice(t *testing.T) {
	cache := Cache(t.TempDir())
	p := opens(t, sealed(t, canary, false, machine), keysOf(t, machine))
	if err := cache.Put("s", source, p); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(string(cache), files(t, string(cache))[0])
	before, err := os.Stat(path)
	long := time.Now().Add(-48 * time.Hour)
	if err := errors.Join(err, os.Chtimes(path, long, long), cache.Put("s", source, p)); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again, %v", err)
	}
	if _, when, err := cache.Get("s", source); err != nil || time.Since(when) > time.Minute {
		t.Errorf("good as of %v, %v", when, err)
	}
}

func TestAnotherSourcesCiphertextIsNotTaken(t *testing.T) {
	cache := Cache(t.TempDir())
	p := opens(t, sealed(t, canary, false, machine), keysOf(t, machine))
	for _, name := range []string{"a", "a.b", "a.0123456789abcdef"} {
		if err := cache.Put(name, source, p); err != nil {
			t.Fatal(err)
		}
	}
	const other = "s3://secrets/other.age"
	if _, _, err := cache.Get("a", other); !errors.Is(err, ErrNotCached) {
		t.Errorf("got %v", err)
	}
	if err := cache.Put("a", other, p); err != nil {
		t.Fatal(err)
	}
	if _, _, err := cache.Get("a", source); !errors.Is(err, ErrNotCached) {
		t.Errorf("that of the old source is still there: %v", err)
	}
	for _, name := range []string{"a.b", "a.0123456789abcdef"} {
		if _, _, err := cache.Get(name, source); err != nil {
			t.Errorf("that of %s is gone: %v", name, err)
		}
	}
}

func TestTheCacheStaysInItsDirectory(t *testing.T) {
	cache := Cache(filepath.Join(t.TempDir(), "secrets"))
	p := opens(t, sealed(t, canary, false, machine), keysOf(t, machine))
	for _, name := range []string{"", "..", "a/b", ".hidden", "a\x00b", strings.Repeat("x", 256)} {
		_, _, err := cache.Get(name, source)
		for _, err := range []error{err, cache.Put(name, source, p)} {
			if err == nil || !strings.HasSuffix(err.Error(), "can't be the name of a file here") {
				t.Errorf("%q: got %v", name, err)
			}
		}
	}
	if _, err := os.Stat(string(cache)); err == nil {
		t.Errorf("%s was made", cache)
	}
}

func TestACacheThatCantBeUsedIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := opens(t, sealed(t, canary, false, machine), keysOf(t, machine))
	if err := Cache(file).Put("s", source, p); err == nil || !strings.HasPrefix(err.Error(), "cannot cache the ciphertext of s: ") {
		t.Errorf("got %v", err)
	}
	if _, _, err := Cache(file).Get("s", source); err == nil || errors.Is(err, ErrNotCached) || !strings.HasPrefix(err.Error(), "cannot read "+file) {
		t.Errorf("got %v", err)
	}
}
