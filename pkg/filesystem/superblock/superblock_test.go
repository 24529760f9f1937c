package superblock

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// made makes a filesystem on an image.
func made(t *testing.T, size int64, argv ...string) *os.File {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(argv[0], append(argv[1:], path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

func TestTheNamesAreThoseOfBlkid(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		fstype string
		argv   []string
	}{
		"xfs":                     {"xfs", []string{"mkfs.xfs", "-q", "-L", "orders"}},
		"xfs with a long label":   {"xfs", []string{"mkfs.xfs", "-q", "-L", "orders-12345"}},
		"xfs without a label":     {"xfs", []string{"mkfs.xfs", "-q"}},
		"xfs with another format": {"xfs", []string{"mkfs.xfs", "-q", "-m", "crc=0", "-L", "orders"}},
		"ext4":                    {"ext4", []string{"mkfs.ext4", "-q", "-L", "orders"}},
		"ext4 with a long label":  {"ext4", []string{"mkfs.ext4", "-q", "-L", "orders-123456789"}},
		"ext4 without a label":    {"ext4", []string{"mkfs.ext4", "-q"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := made(t, 600*mib, c.argv...)
			var want []string
			for _, tag := range []string{"UUID", "LABEL"} {
				out, _ := exec.Command("blkid", "-p", "-o", "value", "-s", tag, file.Name()).Output() // 2 if there is no label
				want = append(want, strings.TrimSpace(string(out)))
			}
			uuid, label, err := Names(c.fstype, file)
			if err != nil || want[0] == "" || uuid != want[0] || label != want[1] {
				t.Errorf("got %q, %q, %v, want %q", uuid, label, err, want)
			}
			other := map[string]string{"xfs": "ext4", "ext4": "xfs"}[c.fstype]
			if _, _, err := Names(other, file); !errors.Is(err, ErrNone) {
				t.Errorf("as %s: got %v", other, err)
			}
		})
	}
	for _, none := range [][]byte{nil, make([]byte, 512), make([]byte, 8192)} {
		if _, _, err := Names("xfs", bytes.NewReader(none)); !errors.Is(err, ErrNone) {
			t.Errorf("%d bytes: got %v", len(none), err)
		}
	}
}

func TestTheSizeIsWhatMkfsMade(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		fstype string
		disk   int64
		argv   []string
		want   int64
	}{
		"xfs":                        {"xfs", 600 * mib, []string{"mkfs.xfs", "-q"}, 600 * mib},
		"xfs, smaller than its disk": {"xfs", 600 * mib, []string{"mkfs.xfs", "-q", "-d", "size=400m"}, 400 * mib},
		"xfs with small blocks":      {"xfs", 600 * mib, []string{"mkfs.xfs", "-q", "-b", "size=1024"}, 600 * mib},
		"ext4":                       {"ext4", 600 * mib, []string{"mkfs.ext4", "-q"}, 600 * mib},
		"ext4 with small blocks":     {"ext4", 64 * mib, []string{"mkfs.ext4", "-q", "-b", "1024"}, 64 * mib},
		"ext4 without 64bit":         {"ext4", 600 * mib, []string{"mkfs.ext4", "-q", "-O", "^64bit"}, 600 * mib},
		"one that is not of ours":    {"btrfs", 64 * mib, []string{"mkfs.ext4", "-q"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := Size(c.fstype, made(t, c.disk, c.argv...)); err != nil || got != c.want {
				t.Errorf("got %d, %v, want %d", got, err, c.want)
			}
		})
	}
}

// A disk of 16 TiB and more is larger than a file of most filesystems.
func TestTheSizeOfALargeFilesystemHasTwoParts(t *testing.T) {
	disk := made(t, 64<<20, "mkfs.ext4", "-q", "-b", "4096", "-O", "64bit")
	if _, err := disk.WriteAt([]byte{3}, extBlocksHi); err != nil {
		t.Fatal(err)
	}
	if got, err := Size("ext4", disk); err != nil || got != 3<<44+64<<20 {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestWhatIsNoSuperblockIsAnError(t *testing.T) {
	zeros := bytes.NewReader(make([]byte, length))
	absurd := make([]byte, length)
	copy(absurd, "XFSB\x00\x00\x10\x00\xff\xff\xff\xff\xff\xff\xff\xff")
	for name, c := range map[string]struct {
		fstype string
		disk   *bytes.Reader
		says   string
	}{
		"zeros, as xfs":  {"xfs", zeros, "there is no superblock of xfs"},
		"zeros, as ext4": {"ext4", zeros, "there is no superblock of ext4"},
		"a short disk":   {"xfs", bytes.NewReader([]byte("XFSB")), "there is no superblock of xfs: the disk has 4 bytes"},
		"an absurd size": {"xfs", bytes.NewReader(absurd), "which no disk has"},
	} {
		if size, err := Size(c.fstype, c.disk); err == nil || size != 0 || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %d, %v", name, size, err)
		}
	}
}
