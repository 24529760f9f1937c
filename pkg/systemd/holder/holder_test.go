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
		ok(t, os.WriteFile(filepath.Join(dir, "cgroup"), []byte("0::/system.slice/backup.service\n"), 0o600))
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
		"bash (pid 10 of * in backup.service, by its working directory)", "chroot (pid 11 of * in backup.service, by its root directory)",
		"tail (pid 12 of * in backup.service, by an open file)", "mapper (pid 13 of * in backup.service, by a mapped file)",
		`"a\x1b[2J b" (pid 15 of * in backup.service, by its working directory)`,
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

// A process that has the disk mounted in a namespace of its own keeps it in use
// after the unmount, and a mount below keeps the unmount from being done.
func TestMountsThatHoldAreNamed(t *testing.T) {
	proc := t.TempDir()
	const disk = "40 27 259:3 / %s rw %s- xfs /dev/nvme1n1 rw\n"
	add := func(pid, namespace, cgroup, mounts string) {
		dir := filepath.Join(proc, pid)
		ok(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, "comm"), []byte("job\n"), 0o600))
		ok(t, os.WriteFile(filepath.Join(dir, "cgroup"), []byte(cgroup), 0o600))
		ok(t, os.WriteFile(filepath.Join(dir, "mountinfo"), []byte(mounts), 0o600))
		ok(t, os.Symlink(namespace, filepath.Join(dir, "ns/mnt")))
	}
	host := fmt.Sprintf(disk, "/srv/data", "shared:1 ") + "41 40 0:50 / /srv/data/scratch rw - tmpfs tmpfs rw\n42 27 0:51 / /srv/data-2 rw - tmpfs tmpfs rw\n"
	add("self", "mnt:[1]", "", host)
	add("10", "mnt:[1]", "0::/system.slice/mariadb.service\n", host)
	add("11", "mnt:[2]", "0::/system.slice/slave.service\n", fmt.Sprintf(disk, "/srv/data", "master:1 ")) // the unmount reaches it
	add("12", "mnt:[3]", "0::/machine.slice/docker-1.scope/system.slice/db.service/child\n", fmt.Sprintf(disk, "/data\\040x", ""))
	add("13", "mnt:[3]", "0::/machine.slice/docker-1.scope\n", fmt.Sprintf(disk, "/data", "")) // of the same namespace
	add("14", "mnt:[4]", "0::/user.slice\n", "43 27 259:4 / /data rw - xfs /dev/nvme2n1 rw\n")
	found, err := Find(t.Context(), proc, "/srv/data")
	ok(t, err)
	text := strings.Join(found, "\n")
	if len(found) != 2 || found[0] != "the mount at /srv/data/scratch" ||
		!strings.HasPrefix(text, "the mount at /srv/data/scratch\njob (pid 12 of ") || !strings.HasSuffix(text, " in db.service, by a mount of its own namespace, at /data x)") {
		t.Errorf("the holders are\n%s", text)
	}
}
