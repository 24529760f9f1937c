package image

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func newCache(t *testing.T) *cache {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	c, err := openCache()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// request requests an entry, and reports whether it was built. Each entry contains a file with its key.
func (c *cache) request(t *testing.T, key string) (lock io.Closer, built bool) {
	t.Helper()
	dir, lock, err := c.entry(t.Context(), "thing", key, 2, slog.New(slog.DiscardHandler), func(tmp string) error {
		built = true
		return os.WriteFile(filepath.Join(tmp, "content"), []byte(key), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "content")); err != nil || string(content) != key {
		t.Fatalf("entry %s has %q, %v", key, content, err)
	}
	return lock, built
}

func (c *cache) has(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(c.dir, "*-*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range dirs {
		dirs[i] = filepath.Base(dirs[i])
	}
	return dirs
}

func TestCacheBuildsOnceAndKeepsTheNewest(t *testing.T) {
	c := newCache(t)
	old := time.Now().Add(-time.Hour)
	for _, key := range []string{"a", "b"} {
		lock, built := c.request(t, key)
		if !built {
			t.Errorf("%s existed before it was built", key)
		}
		lock.Close()
		if err := os.Chtimes(filepath.Join(c.dir, "thing-"+key), old, old); err != nil {
			t.Fatal(err)
		}
	}
	lock, built := c.request(t, "a") // makes it the newest
	if built {
		t.Error("a was built twice")
	}
	lock.Close()
	lock, _ = c.request(t, "c")
	lock.Close()
	if got, want := c.has(t), []string{"thing-a", "thing-c"}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

func TestCacheDropsNothingInUse(t *testing.T) {
	c := newCache(t)
	for _, key := range []string{"a", "b", "c", "d"} {
		lock, _ := c.request(t, key)
		defer lock.Close()
	}
	if got, want := c.has(t), []string{"thing-a", "thing-b", "thing-c", "thing-d"}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

func TestCacheDoesNotShowHalfABuild(t *testing.T) {
	c := newCache(t)
	left := filepath.Join(c.dir, "build-thing", "root") // of a builder that was killed
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("no space left")
	_, _, err := c.entry(t.Context(), "thing", "a", 2, slog.New(slog.DiscardHandler), func(tmp string) error {
		if _, err := os.Stat(filepath.Join(tmp, "root")); err == nil {
			t.Error("a build started with the files of another build")
		}
		return errors.Join(failure, os.WriteFile(filepath.Join(tmp, "content"), nil, 0o600))
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if got := c.has(t); len(got) != 0 {
		t.Errorf("a failed build left %v", got)
	}
	lock, built := c.request(t, "a")
	if !built {
		t.Error("a failed build is in the cache")
	}
	lock.Close()
}

func TestCacheWaitsForAnotherBuildWithADeadline(t *testing.T) {
	c := newCache(t)
	building, err := lockFile(t.Context(), filepath.Join(c.dir, "thing.lock"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer building.Close()
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = c.entry(soon, "thing", "a", 2, slog.New(slog.DiscardHandler), func(string) error {
		t.Error("two builds of a kind ran at the same time")
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Names change: an entry of a kind that the lab has no more is removed when it was not used for long.
// Nothing else is, whatever its age.
func TestCacheDropsWhatNobodyHasUsedForLong(t *testing.T) {
	c := newCache(t)
	const key = "-0123456789abcdef"
	for name, age := range map[string]time.Duration{
		"base" + key: 2 * unusedFor, "sid-image" + key: 2 * unusedFor, "image" + key: unusedFor / 2, "inuse" + key: 2 * unusedFor,
		"build-base": 2 * unusedFor, "my-photos": 2 * unusedFor, "base-0123": 2 * unusedFor, "Base" + key: 2 * unusedFor,
	} {
		dir := filepath.Join(c.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if name == "inuse"+key {
			lock, err := c.use(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
		}
		if err := os.Chtimes(dir, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	lock, _ := c.request(t, "a")
	lock.Close()
	if got, want := c.has(t), []string{"Base" + key, "base-0123", "build-base", "image" + key, "inuse" + key, "my-photos", "thing-a"}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}
