package datadir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// site makes a directory with all kinds of files.
func site(t *testing.T, dir string) {
	t.Helper()
	ok(t, os.MkdirAll(filepath.Join(dir, "below", "empty"), 0o750))
	write(t, filepath.Join(dir, "file"), "text")
	ok(t, os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "below", "again")))
	ok(t, os.Symlink("../file", filepath.Join(dir, "below", "link")))
	ok(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o640))
	ok(t, os.Truncate(filepath.Join(dir, "file"), 1<<20))
}

func TestWhatIsNotTheSameInACopyIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		words  string
	}{
		"nothing":     {func(*testing.T, string) {}, ""},
		"a file less": {func(t *testing.T, dir string) { ok(t, os.Remove(filepath.Join(dir, "pipe"))) }, "1 other files in "},
		"a link that became a file of its own": {func(t *testing.T, dir string) {
			ok(t, os.Remove(filepath.Join(dir, "below", "again")))
			write(t, filepath.Join(dir, "below", "again"), "text")
			ok(t, os.Truncate(filepath.Join(dir, "below", "again"), 1<<20))
		}, "1 files with 2 names"},
		"a shorter file":                {func(t *testing.T, dir string) { ok(t, os.Truncate(filepath.Join(dir, "file"), 1)) }, "and 1 bytes"},
		"another mode":                  {func(t *testing.T, dir string) { ok(t, os.Chmod(filepath.Join(dir, "below"), 0o755)) }, "below has mode drwxr-x---, and drwxr-xr-x in the copy"},
		"another mode of the directory": {func(t *testing.T, dir string) { ok(t, os.Chmod(dir, 0o711)) }, "the directory itself has mode"},
		"another target": {func(t *testing.T, dir string) {
			ok(t, os.Remove(filepath.Join(dir, "below", "link")))
			ok(t, os.Symlink("/etc/passwd", filepath.Join(dir, "below", "link")))
		}, `below/link points to "../file", and to "/etc/passwd" in the copy`},
		"a file under another name": {func(t *testing.T, dir string) {
			ok(t, os.Rename(filepath.Join(dir, "pipe"), filepath.Join(dir, "pipe2")))
		}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			a, b := filepath.Join(base, "a"), filepath.Join(base, "b")
			ok(t, os.Mkdir(a, 0o750))
			ok(t, os.Mkdir(b, 0o750))
			site(t, a)
			site(t, b)
			c.change(t, b)
			differs, err := Compare(t.Context(), a, b)
			if err != nil {
				differs = err.Error()
			}
			if (c.words == "") != (differs == "") || !strings.Contains(differs, c.words) {
				t.Errorf("it says %q", differs)
			}
		})
	}
}

func TestAnExtendedAttributeThatACopyLacksIsTold(t *testing.T) {
	base := t.TempDir()
	a, b := filepath.Join(base, "a"), filepath.Join(base, "b")
	write(t, a, "")
	write(t, b, "")
	now := time.Now()
	ok(t, os.Chtimes(a, now, now))
	if err := unix.Setxattr(a, "user.holds", []byte("site"), 0); err != nil {
		t.Skip("this filesystem has no extended attributes: ", err)
	}
	if differs, err := Compare(t.Context(), a, b); err != nil || !strings.Contains(differs, "extended attribute user.holds") {
		t.Errorf("it says %q, %v", differs, err)
	}
	ok(t, unix.Setxattr(b, "user.holds", []byte("site"), 0))
	if differs, err := Compare(t.Context(), a, b); err != nil || differs != "" {
		t.Errorf("it says %q, %v", differs, err)
	}
}
