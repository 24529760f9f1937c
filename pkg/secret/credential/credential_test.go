package credential

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/fault"
)

const (
	unit   = "mariadb.service"
	canary = "hush-be-quiet-hush"
)

// asChild has this program be a child of a test, with a filesystem to mount.
const asChild = "BOOTAGENT_TEST_CHILD"

func TestMain(m *testing.M) {
	if fstype := os.Getenv(asChild); fstype != "" {
		onFilesystem(fstype)
		return
	}
	os.Exit(m.Run())
}

// badNames are no names of files, or of hidden ones.
var badNames = []string{"", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\x00b", "a\nb", strings.Repeat("x", 256)}

// anywhere is a store whose root may be on a disk.
func anywhere(root string) Store {
	return Store{Root: root, Check: func(*os.File) error { return nil }}
}

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

// words is an error with its hint.
func words(err error) string { return fmt.Sprintf("%v\n    hint: %s", err, fault.HintOf(err)) }

func modeOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	return fmt.Sprintf("%v %v", info.Mode(), int(owner) == os.Geteuid())
}

func TestASecretIsStagedForItsUnit(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		root := t.TempDir()
		old := unix.Umask(umask)
		store := anywhere(root)
		staged, err := store.Staged(unit, "root-sql")
		first := store.Stage(unit, "root-sql", []byte("first"), "v1")
		second := store.Stage(unit, "root-sql", []byte(canary), "v2")
		other := store.Stage("nginx@a\\x2db.service", "tls.key", []byte("k"), "v1")
		unix.Umask(old)
		if err := errors.Join(err, first, second, other); err != nil || staged != "" {
			t.Fatalf("umask %o: staged before: %q, %v", umask, staged, err)
		}
		path := filepath.Join(root, unit, "root-sql")
		if got, err := os.ReadFile(path); err != nil || string(got) != canary {
			t.Errorf("umask %o: %s holds %q, %v", umask, path, got, err)
		}
		for _, path := range []string{path, filepath.Join(root, ".versions", unit, "root-sql")} {
			if dir, file := modeOf(t, filepath.Dir(path)), modeOf(t, path); dir != "drwx------ true" || file != "-r-------- true" {
				t.Errorf("umask %o: %s: %s and %s", umask, path, dir, file)
			}
		}
		if names := files(t, filepath.Dir(path)); len(names) != 1 {
			t.Errorf("umask %o: left behind: %q", umask, names)
		}
		if staged, err := store.Staged(unit, "root-sql"); err != nil || staged != "v2" {
			t.Errorf("staged after: %q, %v", staged, err)
		}
		for _, absent := range [][2]string{{unit, "other"}, {"other.service", "root-sql"}} {
			if staged, err := store.Staged(absent[0], absent[1]); err != nil || staged != "" {
				t.Errorf("%q: staged: %q, %v", absent, staged, err)
			}
		}
	}
}

func TestStagedWithoutARootIsNo(t *testing.T) {
	if staged, err := anywhere(filepath.Join(t.TempDir(), "absent")).Staged(unit, "s"); err != nil || staged != "" {
		t.Errorf("staged: %q, %v", staged, err)
	}
}

// What a crash left of a step is no hindrance, and no secret.
func TestStagingGoesOnAfterACrash(t *testing.T) {
	root := t.TempDir()
	left := filepath.Join(root, unit, ".root-sql")
	if err := errors.Join(os.Mkdir(filepath.Dir(left), 0o755), os.WriteFile(left, []byte("half"), 0o400)); err != nil {
		t.Fatal(err)
	}
	store := anywhere(root)
	if staged, err := store.Staged(unit, "root-sql"); staged != "" || err != nil {
		t.Errorf("half a secret counts: %q, %v", staged, err)
	}
	if err := store.Stage(unit, "root-sql", []byte(canary), "v1"); err != nil {
		t.Fatal(err)
	}
	if names := files(t, filepath.Dir(left)); len(names) != 1 || names[0] != "root-sql" {
		t.Errorf("there are %q", names)
	}
	if mode := modeOf(t, filepath.Dir(left)); mode != "drwx------ true" {
		t.Errorf("the folder stays %s", mode)
	}
}

// A secret that is staged has a version that is its own, or one that nobody knows:
// an agent of before wrote none, and a crash may leave a secret without one.
func TestTheVersionThatIsStagedIsNeverAnother(t *testing.T) {
	root := t.TempDir()
	store := anywhere(root)
	staged := func(want string) {
		t.Helper()
		if got, err := store.Staged(unit, "s"); err != nil || got != want {
			t.Errorf("staged: %q, %v; want %q", got, err, want)
		}
	}
	if err := store.Stage(unit, "s", []byte(canary), "v1"); err != nil {
		t.Fatal(err)
	}
	staged("v1")
	version := filepath.Join(root, ".versions", unit, "s")
	if err := os.Remove(version); err != nil {
		t.Fatal(err)
	}
	staged(UnknownVersion)
	if err := store.Stage(unit, "s", []byte(canary), "v2"); err != nil {
		t.Fatal(err)
	}
	staged("v2")
	if err := os.Remove(filepath.Join(root, unit, "s")); err != nil {
		t.Fatal(err)
	}
	staged("") // a version alone is no secret

	// What can't be written whole leaves no version of it.
	if err := store.Stage(unit, "s", []byte(canary), "v3"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(root, unit, "s")), os.Mkdir(filepath.Join(root, unit, "s"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := store.Stage(unit, "s", []byte(canary), "v4"); err == nil {
		t.Error("staged over a directory")
	}
	if _, err := os.Stat(version); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a version is left: %v", err)
	}
}

func TestStageRefusesNamesThatLeadElsewhere(t *testing.T) {
	parent := t.TempDir()
	root := filepath.Join(parent, "secrets")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	store := anywhere(root)
	for _, bad := range badNames {
		for _, at := range [][2]string{{bad, "s"}, {unit, bad}} {
			_, err := store.Staged(at[0], at[1])
			for _, err := range []error{err, store.Stage(at[0], at[1], []byte(canary), "v1")} {
				if err == nil || !strings.HasSuffix(err.Error(), "can't be the name of a file here") {
					t.Errorf("%q: got %v", at, err)
				}
			}
		}
	}
	// Nor does a link.
	if err := os.Symlink(parent, filepath.Join(root, unit)); err != nil {
		t.Fatal(err)
	}
	if err := store.Stage(unit, "s", []byte(canary), "v1"); err == nil {
		t.Error("staged through a link")
	}
	if names := files(t, parent); len(names) != 1 {
		t.Errorf("outside of the root there are %q", names)
	}
}

func TestStageKeepsToWhatSystemdTakes(t *testing.T) {
	root := t.TempDir()
	store := anywhere(root)
	largest := []byte(strings.Repeat("x", Max-NameMax))
	if err := store.Stage(unit, strings.Repeat("n", NameMax-1), largest, "v1"); err != nil {
		t.Fatalf("the largest, with a long name: %v", err)
	}
	err := store.Stage(unit, "b", []byte("xx"), "v1")
	want := "cannot stage b for mariadb.service: the secrets of the unit would have 1048578 bytes, and systemd accepts 1048576 for all credentials of a unit\n" +
		"    hint: give the unit fewer or smaller secrets"
	if words(err) != want {
		t.Errorf("got %s", words(err))
	}
	if staged, err := store.Staged(unit, "b"); staged != "" || err != nil {
		t.Errorf("staged: %q, %v", staged, err)
	}
	// The same again is not counted twice, and another unit not at all.
	if err := errors.Join(store.Stage(unit, strings.Repeat("n", NameMax-1), largest, "v1"), store.Stage("other.service", "b", largest, "v1")); err != nil {
		t.Error(err)
	}
}

func TestAnEmptySecretIsNotStaged(t *testing.T) {
	if err := anywhere(t.TempDir()).Stage(unit, "s", nil, "v1"); err == nil || err.Error() != "cannot stage s for mariadb.service: it is empty" {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsStagedCanBeRead(t *testing.T) {
	s := anywhere(t.TempDir())
	if got, err := s.Read(unit, "s"); err == nil || !errors.Is(err, fs.ErrNotExist) || got != nil {
		t.Errorf("before it is staged: %q, %v", got, err)
	}
	if err := s.Stage(unit, "s", []byte(canary), "v1"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(unit, "s"); err != nil || string(got) != canary {
		t.Errorf("got %q, %v", got, err)
	}
	for _, name := range []string{"../" + unit + "/s", ".versions", ""} {
		if got, err := s.Read(unit, name); err == nil || got != nil {
			t.Errorf("%q: got %q", name, got)
		}
	}
}

func TestStageRefusesADisk(t *testing.T) {
	root := t.TempDir()
	err := Store{Root: root}.Stage(unit, "s", []byte(canary), "v1")
	want := "cannot stage s for mariadb.service: " + root + " is not on ramfs, so what is in it could be written to a disk\n" +
		"    hint: systemctl start run-bootagent-" + filepath.Base(root) + ".mount"
	if words(err) != want {
		t.Errorf("got %s", words(err))
	}
	if names := files(t, root); len(names) != 0 {
		t.Errorf("there are %q", names)
	}
}

// onFilesystem runs in namespaces of its own.
func onFilesystem(fstype string) {
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	dir := os.Getenv("DIR")
	if err := errors.Join(err, syscall.Mount(fstype, dir, fstype, 0, "")); err != nil {
		fmt.Println("no mount here:", err)
		return
	}
	store := Store{Root: dir}
	fmt.Println(store.Stage(unit, "s", []byte(canary), "v1"))
	fmt.Println(store.Staged(unit, "s"))
}

func TestOnlyRamfsIsTaken(t *testing.T) {
	for fstype, want := range map[string]string{
		"ramfs": "<nil>\nv1 <nil>\n",
		"tmpfs": "cannot stage s for mariadb.service: DIR is not on ramfs, so what is in it could be written to a disk\n <nil>\n",
	} {
		dir := t.TempDir()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{asChild + "=" + fstype, "DIR=" + dir}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if os.Getuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil || strings.HasPrefix(string(out), "no mount here") {
			what := fmt.Sprintf("no mount namespace here: %v %s", err, out)
			if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
				t.Fatal(what)
			}
			t.Skip(what)
		}
		if got := strings.ReplaceAll(string(out), dir, "DIR"); got != want {
			t.Errorf("%s: got %s", fstype, got)
		}
	}
}
