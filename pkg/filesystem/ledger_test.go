package filesystem

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is a user that owns nothing.
const nobody = 65534

// onEach runs a test on each filesystem that a volume may hold, mounted at root
// from an image.
func onEach(t *testing.T, test func(t *testing.T, image, root string)) {
	for _, fstype := range types {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			if os.Getuid() != 0 {
				lack(t, "mounting needs root")
			}
			if _, err := os.Stat("/dev/loop-control"); err != nil {
				lack(t, "mounting an image needs a loop device: "+err.Error())
			}
			need(t, "mkfs."+fstype)
			image := newImage(t)
			// XFS mounts only one of those that have the same UUID, and these run at the same time.
			unique, err := os.ReadFile("/proc/sys/kernel/random/uuid")
			if err != nil {
				t.Fatal(err)
			}
			succeed(t, makeCommand(t, fstype, strings.TrimSpace(string(unique)), image)...)
			test(t, image, mount(t, image))
		})
	}
}

// mount mounts an image until the test ends, where everybody may look.
func mount(t *testing.T, image string) (root string) {
	t.Helper()
	dir := t.TempDir()
	root = filepath.Join(dir, "root")
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Mkdir(root, 0o755)); err != nil {
		t.Fatal(err)
	}
	succeed(t, "mount", "-o", "loop", image, root)
	t.Cleanup(func() {
		if exec.Command("mountpoint", "-q", root).Run() == nil {
			succeed(t, "umount", root)
		}
	})
	return root
}

func read(t *testing.T, root string) string {
	t.Helper()
	ledger, err := ReadLedger(root)
	if err != nil {
		t.Fatal(err)
	}
	return string(ledger)
}

func write(t *testing.T, root, ledger string) {
	t.Helper()
	if err := WriteLedger(root, []byte(ledger)); err != nil {
		t.Fatal(err)
	}
}

func TestLedgerIsReadAsItWasWritten(t *testing.T) {
	onEach(t, func(t *testing.T, image, root string) {
		if ledger, err := ReadLedger(root); ledger != nil || err != nil {
			t.Errorf("on a new filesystem: %q, %v", ledger, err)
		}
		largest := strings.Repeat("x", ledgerMax)
		for _, ledger := range []string{`{"version":1}`, largest, `{"version":2}`} {
			write(t, root, ledger)
			if got := read(t, root); got != ledger {
				t.Errorf("got %d bytes: %.20s", len(got), got)
			}
		}
		succeed(t, "umount", root)
		if got := read(t, mount(t, image)); got != `{"version":2}` {
			t.Errorf("mounted again, got %q", got)
		}
	})
}

func TestATooLargeLedgerIsRefusedAndTheOldOneStays(t *testing.T) {
	onEach(t, func(t *testing.T, _, root string) {
		write(t, root, "old")
		if err := WriteLedger(root, bytes.Repeat([]byte("x"), ledgerMax+1)); err == nil || !strings.Contains(err.Error(), "3073 bytes") {
			t.Errorf("got %v", err)
		}
		if got := read(t, root); got != "old" {
			t.Errorf("there is %q", got)
		}
		// A ledger that only another program can have written.
		if err := unix.Setxattr(root, attribute, bytes.Repeat([]byte("x"), ledgerMax+1), 0); err != nil {
			t.Fatal(err)
		}
		if ledger, err := ReadLedger(root); err == nil {
			t.Errorf("read %d bytes of it", len(ledger))
		}
	})
}

// A copy of the image of a mounted filesystem is what a machine finds on the
// disk after it lost its power.
func TestLedgerSurvivesACrash(t *testing.T) {
	onEach(t, func(t *testing.T, image, root string) {
		write(t, root, `{"stopped":{"clean":true}}`)
		write(t, root, `{"generation":2}`)
		after, without := filepath.Join(t.TempDir(), "after"), filepath.Join(t.TempDir(), "without")
		succeed(t, "cp", "--sparse=always", image, after)
		// A ledger that is not synced is not there, or this test would show nothing.
		if err := unix.Setxattr(root, attribute, []byte(`{"generation":3}`), 0); err != nil {
			t.Fatal(err)
		}
		succeed(t, "cp", "--sparse=always", image, without)
		succeed(t, "umount", root) // two mounts of one UUID are refused
		for copied, says := range map[string]string{after: "the ledger that was written", without: "what was not synced"} {
			root := mount(t, copied)
			if got := read(t, root); got != `{"generation":2}` {
				t.Errorf("%s: got %q", says, got)
			}
			succeed(t, "umount", root)
		}
	})
}

// A copy that keeps extended attributes carries it: that is why a ledger names
// the disk that it was written on.
func TestACopyOfTheFilesDoesNotCarryTheLedger(t *testing.T) {
	onEach(t, func(t *testing.T, _, root string) {
		from, to := filepath.Join(root, "from"), filepath.Join(root, "to")
		for copied, carried := range map[string]string{
			`cp -a --no-preserve=xattr "$1" "$2"`:                    "",
			`mkdir "$2" && tar -C "$1" -cf - . | tar -C "$2" -xpf -`: "",
			`cp -a "$1" "$2"`: "ledger",
		} {
			if err := os.Mkdir(from, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, from, "ledger")
			succeed(t, "sh", "-ec", copied, "sh", from, to)
			if got := read(t, to); got != carried {
				t.Errorf("%s carried %q", copied, got)
			}
			if err := errors.Join(os.Remove(from), os.Remove(to)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A service may own the root directory of its volume.
func TestOnlyRootSeesTheLedger(t *testing.T) {
	onEach(t, func(t *testing.T, _, root string) {
		write(t, root, "ledger")
		if err := os.Chown(root, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		as(t, nobody, func() {
			if unix.Getuid() != nobody || unix.Access(root, unix.W_OK) != nil {
				t.Error("the user may not write to its own directory")
			}
			if ledger, err := ReadLedger(root); len(ledger) > 0 || err != nil {
				t.Errorf("it reads %q, %v", ledger, err)
			}
			if err := WriteLedger(root, []byte("forged")); !errors.Is(err, unix.EPERM) {
				t.Errorf("it writes: %v", err)
			}
			if err := unix.Removexattr(root, attribute); !errors.Is(err, unix.EPERM) {
				t.Errorf("it removes: %v", err)
			}
			names := make([]byte, 1024)
			if n, err := unix.Listxattr(root, names); err != nil || strings.Contains(string(names[:n]), attribute) {
				t.Errorf("it lists %q, %v", names[:n], err)
			}
		})
		if got := read(t, root); got != "ledger" {
			t.Errorf("there is %q", got)
		}
	})
}

// as runs a function in a thread of another user's, which ends with it. Each
// thread has a user of its own, credentials(7).
func as(t *testing.T, uid int, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is no use to others
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			t.Error(errno)
			return
		}
		do()
	}()
	<-done
}

func TestLedgerErrorsNameTheFilesystem(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	if _, err := ReadLedger(absent); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), absent) {
		t.Errorf("got %v", err)
	}
	if err := WriteLedger(absent, nil); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), absent) {
		t.Errorf("got %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := WriteLedger(link, []byte("ledger")); err == nil {
		t.Error("it was written behind a link")
	}
}
