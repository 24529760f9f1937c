package secret

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const unit = "mariadb.service"

// badNames are no names of files, or of hidden ones.
var badNames = []string{"", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\x00b", "a\nb", strings.Repeat("x", 256)}

// anywhere is a store whose root may be on a disk.
func anywhere(root string) Store {
	return Store{Root: root, Check: func(*os.File) error { return nil }}
}

func plaintext(t testing.TB, text string) *Plaintext {
	t.Helper()
	return opens(t, sealedBy(t, text, machineRecipient(t)), keysOf(t, machine))
}

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
		first := store.Stage(unit, "root-sql", plaintext(t, "first"))
		second := store.Stage(unit, "root-sql", plaintext(t, canary))
		other := store.Stage("nginx@a\\x2db.service", "tls.key", plaintext(t, "k"))
		unix.Umask(old)
		if err := errors.Join(err, first, second, other); err != nil || staged {
			t.Fatalf("umask %o: staged before: %v, %v", umask, staged, err)
		}
		path := filepath.Join(root, unit, "root-sql")
		if got, err := os.ReadFile(path); err != nil || string(got) != canary {
			t.Errorf("umask %o: %s holds %q, %v", umask, path, got, err)
		}
		if dir, file := modeOf(t, filepath.Dir(path)), modeOf(t, path); dir != "drwx------ true" || file != "-r-------- true" {
			t.Errorf("umask %o: %s and %s", umask, dir, file)
		}
		if names := files(t, filepath.Dir(path)); len(names) != 1 {
			t.Errorf("umask %o: left behind: %q", umask, names)
		}
		if staged, err := store.Staged(unit, "root-sql"); err != nil || !staged {
			t.Errorf("staged after: %v, %v", staged, err)
		}
		for _, absent := range [][2]string{{unit, "other"}, {"other.service", "root-sql"}} {
			if staged, err := store.Staged(absent[0], absent[1]); err != nil || staged {
				t.Errorf("%q: staged: %v, %v", absent, staged, err)
			}
		}
	}
}

func TestStagedWithoutARootIsNo(t *testing.T) {
	if staged, err := anywhere(filepath.Join(t.TempDir(), "absent")).Staged(unit, "s"); err != nil || staged {
		t.Errorf("staged: %v, %v", staged, err)
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
	if staged, err := store.Staged(unit, "root-sql"); staged || err != nil {
		t.Errorf("half a secret counts: %v, %v", staged, err)
	}
	if err := store.Stage(unit, "root-sql", plaintext(t, canary)); err != nil {
		t.Fatal(err)
	}
	if names := files(t, filepath.Dir(left)); len(names) != 1 || names[0] != "root-sql" {
		t.Errorf("there are %q", names)
	}
	if mode := modeOf(t, filepath.Dir(left)); mode != "drwx------ true" {
		t.Errorf("the folder stays %s", mode)
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
			for _, err := range []error{err, store.Stage(at[0], at[1], plaintext(t, canary))} {
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
	if err := store.Stage(unit, "s", plaintext(t, canary)); err == nil {
		t.Error("staged through a link")
	}
	if names := files(t, parent); len(names) != 1 {
		t.Errorf("outside of the root there are %q", names)
	}
}

func TestStageKeepsToWhatSystemdTakes(t *testing.T) {
	root := t.TempDir()
	store := anywhere(root)
	largest := plaintext(t, strings.Repeat("x", PlaintextMax))
	if err := store.Stage(unit, strings.Repeat("n", nameMax-1), largest); err != nil {
		t.Fatalf("the largest, with a long name: %v", err)
	}
	err := store.Stage(unit, "b", plaintext(t, "xx"))
	want := "cannot stage b for mariadb.service: with it the secrets of the unit would have 1048578 bytes, and systemd takes 1048576 for all credentials of a unit\n" +
		"    hint: give the unit fewer or smaller secrets"
	if words(err) != want {
		t.Errorf("got %s", words(err))
	}
	if staged, err := store.Staged(unit, "b"); staged || err != nil {
		t.Errorf("staged: %v, %v", staged, err)
	}
	// The same again is not counted twice, and another unit not at all.
	if err := errors.Join(store.Stage(unit, strings.Repeat("n", nameMax-1), largest), store.Stage("other.service", "b", largest)); err != nil {
		t.Error(err)
	}
}

func TestAWipedSecretIsNotStaged(t *testing.T) {
	p := plaintext(t, canary)
	p.Wipe()
	if err := anywhere(t.TempDir()).Stage(unit, "s", p); err == nil || err.Error() != "cannot stage s for mariadb.service: it is empty" {
		t.Errorf("got %v", err)
	}
}

func TestStageRefusesADisk(t *testing.T) {
	root := t.TempDir()
	err := Store{Root: root}.Stage(unit, "s", plaintext(t, canary))
	want := "cannot stage s for mariadb.service: " + root + " is not on ramfs, so what is in it could be written to a disk\n" +
		"    hint: systemctl start run-bootagent-secrets.mount"
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
	var keys Keys
	keys.Add([]byte(os.Getenv("KEY")))
	ciphertext, err := os.ReadFile(os.Getenv("FILE"))
	p, errOpen := Decrypt(ciphertext, &keys)
	if err := errors.Join(err, errOpen); err != nil {
		fmt.Println(err)
		return
	}
	store := Store{Root: dir}
	fmt.Println(store.Stage(unit, "s", p))
	fmt.Println(store.Staged(unit, "s"))
}

func TestOnlyRamfsIsTaken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.age")
	if err := os.WriteFile(file, sealed(t, canary, false, machine), 0o600); err != nil {
		t.Fatal(err)
	}
	for fstype, want := range map[string]string{
		"ramfs": "<nil>\ntrue <nil>\n",
		"tmpfs": "cannot stage s for mariadb.service: DIR is not on ramfs, so what is in it could be written to a disk\nfalse <nil>\n",
	} {
		dir := t.TempDir()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{asChild + "=" + fstype, "DIR=" + dir, "KEY=" + machine.private, "FILE=" + file}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if os.Getuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil || strings.HasPrefix(string(out), "no mount here") {
			lack(t, fmt.Sprintf("no mount namespace here: %v %s", err, out))
		}
		if got := strings.ReplaceAll(string(out), dir, "DIR"); got != want {
			t.Errorf("%s: got %s", fstype, got)
		}
	}
}
