package filesystem

import (
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/selinux"
)

// onLoop runs a test on each filesystem that a volume may hold, on a loop device
// and not mounted.
func onLoop(t *testing.T, test func(t *testing.T, fstype, device, image string, dev uint64)) {
	onEach(t, func(t *testing.T, image, root string) {
		succeed(t, "umount", root)
		device := strings.TrimSpace(succeed(t, "losetup", "--find", "--show", image))
		t.Cleanup(func() { succeed(t, "losetup", "--detach", device) })
		var st unix.Stat_t
		if err := unix.Stat(device, &st); err != nil {
			t.Fatal(err)
		}
		fstype, _, _ := strings.Cut(probe(t, image), " ")
		test(t, fstype, device, image, st.Rdev)
	})
}

// sum returns a checksum of an image.
func sum(t *testing.T, image string) uint32 {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h.Sum32()
}

// mountsOf returns the mounts of a device that this machine knows.
func mountsOf(t *testing.T, device string) string {
	t.Helper()
	out, _ := exec.Command("findmnt", "--noheadings", "--source", device).Output() // it fails if there is none
	return string(out)
}

func TestALookChangesNothingAndMountsNowhere(t *testing.T) {
	onLoop(t, func(t *testing.T, fstype, device, image string, dev uint64) {
		root := t.TempDir()
		succeed(t, "mount", device, root)
		for _, name := range []string{"orders", lostAndFound + "/3"} {
			if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		succeed(t, "umount", root)
		before := sum(t, image)
		seen := ""
		err := hold(device, dev, fstype, true, func(root string) error {
			seen = mountsOf(t, device)
			return os.WriteFile(root+"/written", nil, 0o600)
		})
		if !errors.Is(err, unix.EROFS) || seen != "" {
			t.Errorf("to write gives %v; while it is held, others see %q", err, seen)
		}
		ledger, names, err := Look(device, dev, fstype)
		slices.Sort(names)
		if err != nil || ledger != nil || !slices.Equal(names, []string{lostAndFound, "orders"}) {
			t.Errorf("got %q, %q, %v", ledger, names, err)
		}
		if sum(t, image) != before {
			t.Error("a look has changed the disk")
		}
		disk, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0) // as mkfs does
		if err != nil {
			t.Fatal("after the look the disk is in use:", err)
		}
		disk.Close()
	})
}

func TestAFilesystemGetsItsFirstLedgerOnce(t *testing.T) {
	onLoop(t, func(t *testing.T, fstype, device, _ string, dev uint64) {
		for _, ledger := range []string{"first", "second"} {
			if err := Introduce(device, dev, fstype, []byte(ledger), true, ""); err != nil {
				t.Fatal(err)
			}
			if got, names, err := Look(device, dev, fstype); string(got) != "first" || names != nil || err != nil {
				t.Errorf("after the %s: got %q, %q, %v", ledger, got, names, err)
			}
		}
		if seen := mountsOf(t, device); seen != "" {
			t.Errorf("it is still mounted: %s", seen)
		}
	})
}

// labelOf is the SELinux label of the root directory of a filesystem.
func labelOf(t *testing.T, fstype, device string, dev uint64) (label string) {
	t.Helper()
	err := hold(device, dev, fstype, true, func(root string) error {
		value := make([]byte, 100)
		if n, err := unix.Getxattr(root, selinux.Attribute, value); err == nil {
			label = string(value[:n])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return label
}

// A label is given to what mkfs has just made, and never to what somebody has.
func TestOnlyAFilesystemThatWasJustMadeIsLabelled(t *testing.T) {
	const label = "system_u:object_r:var_t:s0"
	onLoop(t, func(t *testing.T, fstype, device, _ string, dev uint64) {
		if err := Introduce(device, dev, fstype, []byte("made"), true, label); err != nil {
			t.Fatal(err)
		}
		if got := labelOf(t, fstype, device, dev); got != label {
			t.Errorf("just made: it has the label %q", got)
		}
	})
	onLoop(t, func(t *testing.T, fstype, device, _ string, dev uint64) {
		if err := Introduce(device, dev, fstype, []byte("adopted"), false, label); err != nil {
			t.Fatal(err)
		}
		if got := labelOf(t, fstype, device, dev); got != "" {
			t.Errorf("adopted: it has the label %q", got)
		}
		if err := Introduce(device, dev, fstype, []byte("made"), true, label); err != nil {
			t.Fatal(err)
		}
		if got := labelOf(t, fstype, device, dev); got != "" {
			t.Errorf("with a ledger: it has the label %q", got)
		}
	})
	onLoop(t, func(t *testing.T, fstype, device, _ string, dev uint64) {
		root := t.TempDir()
		succeed(t, "mount", device, root)
		if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		succeed(t, "umount", root)
		if err := Introduce(device, dev, fstype, []byte("made"), true, label); err != nil {
			t.Fatal(err)
		}
		if got := labelOf(t, fstype, device, dev); got != "" {
			t.Errorf("with a file: it has the label %q", got)
		}
	})
}

// mkfs.ext4 makes the directory, and on XFS it was xfs_repair.
func TestAnEmptyDirectoryForWhatWasLostTellsOfARepairOnXFSOnly(t *testing.T) {
	onLoop(t, func(t *testing.T, fstype, device, _ string, dev uint64) {
		root := t.TempDir()
		succeed(t, "mount", device, root)
		if err := os.MkdirAll(filepath.Join(root, lostAndFound), 0o700); err != nil {
			t.Fatal(err)
		}
		succeed(t, "umount", root)
		_, names, err := Look(device, dev, fstype)
		if want := map[string][]string{"xfs": {lostAndFound}}[fstype]; !slices.Equal(names, want) || err != nil {
			t.Errorf("got %q, %v", names, err)
		}
	})
}

func TestWhatWasTakenForJustMadeAndHoldsAFileGetsNoLedger(t *testing.T) {
	onLoop(t, func(t *testing.T, fstype, device, _ string, dev uint64) {
		root := t.TempDir()
		succeed(t, "mount", device, root)
		if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		succeed(t, "umount", root)
		if err := Introduce(device, dev, fstype, []byte("made"), true, ""); err != nil {
			t.Fatal(err)
		}
		if got, names, err := Look(device, dev, fstype); got != nil || !slices.Equal(names, []string{"file"}) || err != nil {
			t.Errorf("got %q, %q, %v", got, names, err)
		}
		if err := Introduce(device, dev, fstype, []byte("adopted"), false, ""); err != nil {
			t.Fatal(err)
		}
		if got, _, err := Look(device, dev, fstype); string(got) != "adopted" || err != nil {
			t.Errorf("adopted: got %q, %v", got, err)
		}
	})
}

func TestWhatIsNotTheDiskOrCannotBeMountedIsRefused(t *testing.T) {
	onLoop(t, func(t *testing.T, fstype, device, image string, dev uint64) {
		if _, _, err := Look(device, dev+1, fstype); err == nil || !strings.Contains(err.Error(), "is not the one that was read") {
			t.Errorf("another device: got %v", err)
		}
		if err := Introduce(device, dev+1, fstype, []byte("ledger"), true, ""); err == nil || !strings.Contains(err.Error(), "is not the one that was read") {
			t.Errorf("another device: got %v", err)
		}
		if got, _, err := Look(device, dev, fstype); got != nil || err != nil {
			t.Errorf("after the refusal: got %q, %v", got, err)
		}
		if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Look(device, dev, fstype); !errors.Is(err, ErrUnmountable) || !strings.Contains(err.Error(), device) {
			t.Errorf("nothing on it: got %v", err)
		}
		if _, _, err := Look(device, dev, "vfat"); !errors.Is(err, ErrUnmountable) || !strings.Contains(err.Error(), `"vfat"`) {
			t.Errorf("another type: got %v", err)
		}
	})
}
