package holder

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHoldersAreFoundByWhatTheyHold(t *testing.T) {
	proc := t.TempDir()
	add := func(pid, comm, cwd, root, fd, maps string) {
		dir := filepath.Join(proc, pid)
		ok(t, os.MkdirAll(filepath.Join(dir, "fd"), 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, "comm"), []byte(comm+"\n"), 0o600))
		ok(t, os.Symlink(cwd, filepath.Join(dir, "cwd")))
		ok(t, os.Symlink(root, filepath.Join(dir, "root")))
		ok(t, os.Symlink(fd, filepath.Join(dir, "fd/3")))
		ok(t, os.WriteFile(filepath.Join(dir, "maps"), []byte(maps), 0o600))
	}
	const mapped = "7f0000000000-7f0000001000 r--p 00000000 103:03 133   "
	add("10", "bash", "/srv/data", "/", "/dev/null", "")
	add("11", "chroot", "/", "/srv/data/jail", "/dev/null", "")
	add("12", "tail", "/", "/", "/srv/data/my log (deleted)", "")
	add("13", "mapper", "/", "/", "/dev/null", "7f0000000000-7f0000001000 rw-p 0 00:00 0\n"+mapped+"/srv/data/lib.so\n")
	add("14", "other", "/srv/data-2", "/", "/srv/database", mapped+"/srv/dat\n")
	add("15", "a\x1b[2J b", "/srv/data/x", "/", "/dev/null", "")
	ok(t, os.MkdirAll(filepath.Join(proc, "self"), 0o755))
	ok(t, os.MkdirAll(filepath.Join(proc, "16"), 0o755)) // has ended meanwhile
	found, err := Find(t.Context(), proc, "/srv/data")
	ok(t, err)
	for i, want := range []string{
		"bash (pid 10 of *, by its working directory)", "chroot (pid 11 of *, by its root directory)",
		"tail (pid 12 of *, by an open file)", "mapper (pid 13 of *, by a mapped file)",
		`"a\x1b[2J b" (pid 15 of *, by its working directory)`,
	} {
		before, after, _ := strings.Cut(want, "*")
		if i >= len(found) || !strings.HasPrefix(found[i], before) || !strings.HasSuffix(found[i], after) {
			t.Errorf("the holders are\n%s\nwant %s", strings.Join(found, "\n"), want)
		}
	}
	for pid := 100; pid < 100+maxNamed; pid++ {
		add(strconv.Itoa(pid), "many", "/srv/data", "/", "/dev/null", "")
	}
	if found, err = Find(t.Context(), proc, "/srv/data"); err != nil || len(found) != maxNamed+1 || found[maxNamed] != "and 5 more" {
		t.Errorf("got %q, %v", found, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if found, err = Find(ended, proc, "/srv/data"); err != nil || len(found) != 1 || !strings.Contains(found[0], "the search took too long") {
		t.Errorf("got %q, %v", found, err)
	}
}

func TestAHolderIsFoundOnThisMachine(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	ok(t, err)
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	cmd.Dir = dir
	ok(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	found, err := Find(t.Context(), "/proc", dir)
	if want := fmt.Sprintf("sleep (pid %d of ", cmd.Process.Pid); err != nil || len(found) != 1 || !strings.HasPrefix(found[0], want) {
		t.Errorf("got %q, %v", found, err)
	}
}
