package engines

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/datadir"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What the real cp makes is the same in all that a copy has to have.
func TestACopyHasAllThatTheDirectoryHas(t *testing.T) {
	base := t.TempDir()
	from, to := filepath.Join(base, "from"), filepath.Join(base, "to")
	ok(t, os.MkdirAll(filepath.Join(from, "below"), 0o750))
	ok(t, os.Mkdir(to, 0o700))
	sparse := filepath.Join(from, "sparse")
	ok(t, os.WriteFile(sparse, []byte("head"), 0o640))
	ok(t, os.Truncate(sparse, 64<<20))
	ok(t, os.Link(sparse, filepath.Join(from, "below", "again")))
	ok(t, os.Symlink("/etc/passwd", filepath.Join(from, "below", "link")))
	ok(t, os.Symlink("nowhere", filepath.Join(from, ".hidden")))
	ok(t, unix.Mkfifo(filepath.Join(from, "pipe"), 0o600))
	if os.Getuid() == 0 {
		ok(t, os.Chown(filepath.Join(from, "below"), 65534, 12))
		ok(t, os.Lchown(filepath.Join(from, ".hidden"), 12, 65534))
	}
	ok(t, os.Chmod(filepath.Join(from, "below"), 0o750|os.ModeSetgid))
	// The root filesystem of a container may lack them; that of an image does not.
	if err := unix.Setxattr(sparse, "user.holds", []byte("site"), 0); err != nil {
		t.Log("this filesystem has no extended attributes: ", err)
	}
	argv := copyCommand(from, to)
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if differs, err := datadir.Compare(t.Context(), from, to); err != nil || differs != "" {
		t.Errorf("it says %q, %v", differs, err)
	}
	info, err := os.Stat(filepath.Join(to, "sparse"))
	ok(t, err)
	if blocks := info.Sys().(*syscall.Stat_t).Blocks; blocks*512 > 1<<20 {
		t.Errorf("a sparse file takes %d bytes", blocks*512)
	}
}

func TestADatabaseIsMadeAtItsUsualPath(t *testing.T) {
	set := host.EngineSettings{Elsewhere: []host.Place{{In: "/var/lib/redo"}, {In: "/var/lib/redo"}}}
	d := host.Data{Name: "mysql", Engine: "mariadb", Owner: "mysql", Bind: "/var/lib/mysql", Dir: "/srv/data/mysql.initializing-1"}
	c, err := Engines{}.command(d, set)
	ok(t, err)
	if !slices.Contains(c.Argv, "--datadir=/var/lib/mysql") || !slices.Equal(c.Binds, []systemd.Bind{{From: d.Dir, To: d.Bind}}) ||
		!slices.Equal(c.Writable, []string{"/var/lib/mysql", "/var/lib/redo"}) || !slices.Equal(c.Mounts, []string{"/srv/data", "/var/lib/redo"}) || c.User != "mysql" {
		t.Errorf("got %+v", c)
	}

	// A copy is root's, and may write to the new directory alone.
	d.From = "/usr/share/site"
	c, err = Engines{}.command(d, host.EngineSettings{})
	ok(t, err)
	if c.User != "" || !slices.Equal(c.Writable, []string{d.Dir}) || c.Binds != nil || !slices.Equal(c.Argv[len(c.Argv)-2:], []string{d.From, d.Dir}) {
		t.Errorf("got %+v", c)
	}

	d.From, d.Engine = "", "none"
	if c, err = (Engines{}).command(d, host.EngineSettings{}); err != nil || c.Argv != nil {
		t.Errorf("got %+v, %v", c, err)
	}
}
