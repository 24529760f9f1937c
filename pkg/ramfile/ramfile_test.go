package ramfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func anyPlace(*os.File) error { return nil }

// mine is a file that belongs to who runs the test.
func mine(t *testing.T, name string, mode fs.FileMode) File {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return File{Name: name, Owner: me.Username, Mode: mode}
}

func TestAFileHasItsContentOwnerAndMode(t *testing.T) {
	dir := Dir{t.TempDir(), anyPlace}
	f := mine(t, "server-id.cnf", 0o440)
	for _, c := range []struct {
		content string
		mode    fs.FileMode
		changed bool
	}{
		{"server_id=7\n", 0o440, true},
		{"server_id=7\n", 0o440, false},
		{"server_id=8\n", 0o440, true},
		{"server_id=8\n", 0o400, true},
		{"server_id=80\n", 0o444, true},
		{"server_id=80\n", 0o444, false},
		{"", 0o444, true},
	} {
		f.Mode = c.mode
		changed, err := dir.Write(f, []byte(c.content))
		if err != nil || changed != c.changed {
			t.Fatalf("%q: changed %t, %v", c.content, changed, err)
		}
		path := filepath.Join(dir.Root, f.Name)
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != c.mode {
			t.Errorf("%q: %v, %v", c.content, info, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != c.content {
			t.Errorf("it has %q, %v, want %q", got, err, c.content)
		}
	}
	if names, err := os.ReadDir(dir.Root); err != nil || len(names) != 1 {
		t.Errorf("there are %v, %v", names, err)
	}
}

func TestALinkIsNotFollowed(t *testing.T) {
	dir, other := Dir{t.TempDir(), anyPlace}, filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(other, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := mine(t, "x", 0o444)
	for _, name := range []string{"x", ".x.new"} {
		if err := os.Symlink(other, filepath.Join(dir.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := dir.Has("x"); there || err != nil {
		t.Errorf("a link counts as the file: %v", err)
	}
	// The same size and content do not make a link the file.
	if changed, err := dir.Write(f, []byte("as it was")); !changed || err != nil {
		t.Errorf("changed %t, %v", changed, err)
	}
	if info, err := os.Lstat(filepath.Join(dir.Root, "x")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("it is %v, %v", info, err)
	}
	if got, err := os.ReadFile(other); err != nil || string(got) != "as it was" {
		t.Errorf("the other file has %q, %v", got, err)
	}
	if info, err := os.Lstat(other); err != nil || info.Mode() != 0o600 {
		t.Errorf("the other file is %v, %v", info, err)
	}
}

func TestAReaderFindsAWholeFile(t *testing.T) {
	dir := Dir{t.TempDir(), anyPlace}
	f := mine(t, "x", 0o444)
	contents := [][]byte{bytes.Repeat([]byte("a"), 60<<10), bytes.Repeat([]byte("b"), 50<<10)}
	if _, err := dir.Write(f, contents[0]); err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	done := make(chan struct{})
	writing.Go(func() {
		defer close(done)
		for i := range 300 {
			if _, err := dir.Write(f, contents[i%2]); err != nil {
				t.Error(err)
			}
		}
	})
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
		}
		got, err := os.ReadFile(filepath.Join(dir.Root, "x"))
		if err != nil || !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
			t.Fatalf("a reader finds %d bytes, %v", len(got), err)
		}
	}
	writing.Wait()
}

func TestWhereAFileMayNotBeNothingIsWritten(t *testing.T) {
	dir := Dir{t.TempDir(), func(*os.File) error { return errors.New("it is not on ramfs") }}
	_, err := dir.Write(mine(t, "x", 0o400), []byte("hush"))
	if err == nil || err.Error() != fmt.Sprintf("cannot write %s/x: it is not on ramfs", dir.Root) {
		t.Errorf("got %v", err)
	}
	if names, err := os.ReadDir(dir.Root); err != nil || len(names) > 0 {
		t.Errorf("there are %v, %v", names, err)
	}
}

func TestAnOwnerThatIsNotThereIsNamed(t *testing.T) {
	dir := Dir{t.TempDir(), anyPlace}
	f := mine(t, "x", 0o444)
	f.Group = "no-such-group"
	if _, err := dir.Write(f, nil); err == nil || !strings.Contains(err.Error(), "cannot find its group: group: unknown group no-such-group") {
		t.Errorf("got %v", err)
	}
	f.Owner = "no-such-user"
	if _, err := dir.Write(f, nil); err == nil || !strings.Contains(err.Error(), "cannot find its owner: user: unknown user no-such-user") {
		t.Errorf("got %v", err)
	}
}

func TestAFileBelongsToItsOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes root to give a file away")
	}
	dir := Dir{t.TempDir(), anyPlace}
	for f, want := range map[File][2]uint32{
		{Name: "user", Owner: "daemon", Mode: 0o400}:                {1, 1},
		{Name: "group", Owner: "daemon", Group: "bin", Mode: 0o440}: {1, 2},
		{Name: "root", Owner: "root", Group: "daemon", Mode: 0o440}: {0, 1},
	} {
		if _, err := dir.Write(f, []byte("x")); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(filepath.Join(dir.Root, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		if uid, gid := ownerOf(info); uid != want[0] || gid != want[1] {
			t.Errorf("%s belongs to %d:%d, not %v", f.Name, uid, gid, want)
		}
	}
}
