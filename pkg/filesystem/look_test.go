package filesystem

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
		ledger, names, err := Look(device, dev, fstype, nil)
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
			if err := Introduce(device, dev, fstype, []byte(ledger), "", true, ""); err != nil {
				t.Fatal(err)
			}
			if got, names, err := Look(device, dev, fstype, nil); string(got) != "first" || len(names) != 0 || err != nil {
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
		if err := Introduce(device, dev, fstype, []byte("made"), "", true, label); err != nil {
			t.Fatal(err)
		}
		if got := labelOf(t, fstype, device, dev); got != label {
			t.Errorf("just made: it has the label %q", got)
		}
	})
	onLoop(t, func(t *testing.T, fstype, device, _ string, dev uint64) {
		if err := Introduce(device, dev, fstype, []byte("adopted"), "", false, label); err != nil {
			t.Fatal(err)
		}
		if got := labelOf(t, fstype, device, dev); got != "" {
			t.Errorf("adopted: it has the label %q", got)
		}
		if err := Introduce(device, dev, fstype, []byte("made"), "", true, label); err != nil {
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
		if err := Introduce(device, dev, fstype, []byte("made"), "", true, label); err != nil {
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
		_, names, err := Look(device, dev, fstype, nil)
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
		if err := Introduce(device, dev, fstype, []byte("made"), "", true, ""); err != nil {
			t.Fatal(err)
		}
		if got, names, err := Look(device, dev, fstype, nil); got != nil || !slices.Equal(names, []string{"file"}) || err != nil {
			t.Errorf("got %q, %q, %v", got, names, err)
		}
		if err := Introduce(device, dev, fstype, []byte("adopted"), "", false, ""); err != nil {
			t.Fatal(err)
		}
		if got, _, err := Look(device, dev, fstype, nil); string(got) != "adopted" || err != nil {
			t.Errorf("adopted: got %q, %v", got, err)
		}
	})
}

func TestWhatIsNotTheDiskOrCannotBeMountedIsRefused(t *testing.T) {
	onLoop(t, func(t *testing.T, fstype, device, image string, dev uint64) {
		if _, _, err := Look(device, dev+1, fstype, nil); err == nil || !strings.Contains(err.Error(), "is not the one that was read") {
			t.Errorf("another device: got %v", err)
		}
		if err := Introduce(device, dev+1, fstype, []byte("ledger"), "", true, ""); err == nil || !strings.Contains(err.Error(), "is not the one that was read") {
			t.Errorf("another device: got %v", err)
		}
		if got, _, err := Look(device, dev, fstype, nil); got != nil || err != nil {
			t.Errorf("after the refusal: got %q, %v", got, err)
		}
		if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Look(device, dev, fstype, nil); !errors.Is(err, ErrUnmountable) || !strings.Contains(err.Error(), device) {
			t.Errorf("nothing on it: got %v", err)
		}
		if _, _, err := Look(device, dev, "vfat", nil); !errors.Is(err, ErrUnmountable) || !strings.Contains(err.Error(), `"vfat"`) {
			t.Errorf("another type: got %v", err)
		}
	})
}

// databases are files as engines that were not stopped leave them, by their directory.
var databases = map[string]map[string]string{
	"mysql":    {"ibdata1": "pages", "ib_logfile0": "log", "mysql_upgrade_info": "10.11.6-MariaDB", "orders/rows.ibd": "rows"},
	"postgres": {"PG_VERSION": "15\n", "global/pg_control": "control", "base/5/1259": "rows", "pg_wal/000000010000000000000001": "log"},
	"redis":    {"dump.rdb": "REDIS0011", "appendonlydir/appendonly.aof.1.incr.aof": "*1"},
	"files":    {"index.html": "a page", "deep/er/file": "deep"},
}

// fill writes these databases, with links, empty directories, holes and attributes.
func fill(t *testing.T, root string) {
	t.Helper()
	for database, files := range databases {
		for name, text := range files {
			path := filepath.Join(root, database, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(strings.Repeat(text, 5000)), 0o640), os.Lchown(path, 105, 112)); err != nil {
				t.Fatal(err)
			}
		}
	}
	in := filepath.Join(root, "files")
	err := errors.Join(os.Symlink("/elsewhere", in+"/link"), os.Link(in+"/index.html", in+"/hard"), os.Mkdir(in+"/empty", 0o700),
		os.WriteFile(in+"/hole", nil, 0o600), os.Truncate(in+"/hole", 1<<30),
		unix.Setxattr(in+"/index.html", "user.note", []byte("of a person"), 0), unix.Setxattr(root, "user.note", []byte("of the root"), 0))
	if err != nil {
		t.Fatal(err)
	}
}

// tree is all that a filesystem tells of its files: each inode as it is on the disk
// with its times, its attributes, and its bytes.
func tree(t *testing.T, device string) (all []string) {
	t.Helper()
	root := t.TempDir()
	succeed(t, "mount", "-o", "ro", device, root)
	defer succeed(t, "umount", root)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		line := fmt.Sprintf("%q inode %d mode %o of %d:%d links %d size %d blocks %d mtime %v", name, st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Blocks, st.Mtim)
		if name != "" {
			line += fmt.Sprintf(" ctime %v", st.Ctim) // the root's is that of its attributes
		}
		attributes := make([]byte, 4096)
		n, err := unix.Llistxattr(path, attributes)
		if err != nil {
			return err
		}
		for _, key := range strings.Split(string(attributes[:n]), "\x00") {
			value := make([]byte, 4096)
			if n, err := unix.Lgetxattr(path, key, value); err == nil && key != attribute {
				line += fmt.Sprintf(" %s=%q", key, value[:n])
			}
		}
		if d.Type().IsRegular() && st.Size < 1<<20 {
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(src))
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// frozen is what of a superblock no mount changes: its place in the image, and how long
// it is. XFS: from the magic number to the version, with the UUID, xfs_db(8) "sb". ext4:
// the UUID and the label.
var frozen = map[string][2]int64{"xfs": {0, 128}, "ext4": {1024 + 104, 32}}

func head(t *testing.T, image, fstype string) string {
	t.Helper()
	t.Helper()
	src := make([]byte, frozen[fstype][1])
	f, err := os.Open(image)
	if err == nil {
		defer f.Close()
		_, err = f.ReadAt(src, frozen[fstype][0])
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

// Whoever adopts a filesystem gets another ledger, and nothing else: not a byte, an
// owner, a time or a block of any file is another one, and neither is the UUID.
func TestAnotherLedgerChangesNothingElse(t *testing.T) {
	onLoop(t, func(t *testing.T, fstype, device, image string, dev uint64) {
		root := t.TempDir()
		succeed(t, "mount", device, root)
		fill(t, root)
		if err := WriteLedger(root, []byte("of the original")); err != nil {
			t.Fatal(err)
		}
		succeed(t, "umount", root)
		before, sb, clean := tree(t, device), head(t, image, fstype), sum(t, image)

		// Another ledger than the one that a person has seen stays.
		for _, instead := range []string{"", digest([]byte("another"))} {
			if err := Introduce(device, dev, fstype, []byte("adopted"), instead, false, ""); err != nil {
				t.Fatal(err)
			}
			if got, _, err := Look(device, dev, fstype, nil); string(got) != "of the original" || err != nil {
				t.Fatalf("instead of %q: got %q, %v", instead, got, err)
			}
		}
		if !slices.Equal(before, tree(t, device)) {
			t.Error("a refused adoption has changed a file")
		}

		if err := Introduce(device, dev, fstype, []byte("adopted"), digest([]byte("of the original")), false, "not to be given"); err != nil {
			t.Fatal(err)
		}
		if got, _, err := Look(device, dev, fstype, nil); string(got) != "adopted" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		after := tree(t, device)
		if len(before) < 20 || !slices.Equal(before, after) {
			t.Errorf("of\n%s\nit has become\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		if head(t, image, fstype) != sb {
			t.Error("the superblock is another one")
		}
		if sum(t, image) == clean {
			t.Error("the checksum can't tell: not even the ledger has changed it")
		}
	})
}

// A snapshot of a volume in use has a log that is not replayed yet. What the log has of
// the files is there afterwards, as after any mount.
func TestTheLogOfACopyIsReplayedAndNothingElseChanges(t *testing.T) {
	onLoop(t, func(t *testing.T, fstype, device, image string, dev uint64) {
		root := t.TempDir()
		succeed(t, "mount", device, root)
		if err := WriteLedger(root, []byte("of the original")); err != nil {
			t.Fatal(err)
		}
		fill(t, root)
		succeed(t, "sync", "-f", root)
		src, err := os.ReadFile(image) // as a snapshot is, while it is in use
		if err != nil {
			t.Fatal(err)
		}
		succeed(t, "umount", root)
		want := withoutBlocks(tree(t, device))
		if err := os.WriteFile(image, src, 0o600); err != nil {
			t.Fatal(err)
		}
		succeed(t, "blockdev", "--flushbufs", device)
		if err := Introduce(device, dev, fstype, []byte("adopted"), digest([]byte("of the original")), false, ""); err != nil {
			t.Fatal(err)
		}
		if got, _, err := Look(device, dev, fstype, nil); string(got) != "adopted" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if got := withoutBlocks(tree(t, device)); !slices.Equal(got, want) {
			t.Errorf("of\n%s\nit has become\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
		}
	})
}

// withoutBlocks takes out how many blocks a file has, which may still grow when it is
// written back.
func withoutBlocks(all []string) []string {
	blocks := regexp.MustCompile(` blocks \d+`)
	for i := range all {
		all[i] = blocks.ReplaceAllString(all[i], "")
	}
	return all
}
