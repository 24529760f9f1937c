package growfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/command"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/host"
)

const (
	mib = 1 << 20

	// No other test has a filesystem with this UUID: XFS mounts only one of those
	// that have the same, and tests of packages run at the same time.
	uuid = "b1f0a7d4-52c3-4e0b-8a6f-9c2d7e4f1a35"
)

// A volume is a loop device with a filesystem that is mounted, and smaller than its
// device.
type volume struct {
	t      *testing.T
	image  string
	root   string
	device *os.File
	growth host.Growth
}

// onEach runs a test on each filesystem, on a real device.
func onEach(t *testing.T, test func(t *testing.T, v *volume)) {
	for fstype, mkfs := range map[string][]string{
		"xfs":  {"mkfs.xfs", "-q", "-m", "uuid=" + uuid},
		"ext4": {"mkfs.ext4", "-q", "-U", uuid},
	} {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			for _, tool := range []string{mkfs[0], "losetup", "mount"} {
				if _, err := exec.LookPath(tool); err != nil {
					lack(t, err.Error())
				}
			}
			if _, err := os.Stat("/dev/loop-control"); err != nil || os.Getuid() != 0 {
				lack(t, "loop devices need root, and /dev/loop-control")
			}
			test(t, newVolume(t, fstype, mkfs))
		})
	}
}

func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func newVolume(t *testing.T, fstype string, mkfs []string) *volume {
	t.Helper()
	dir := t.TempDir()
	v := &volume{t: t, image: filepath.Join(dir, "disk"), root: filepath.Join(dir, "root")}
	ok(t, errors.Join(os.WriteFile(v.image, nil, 0o600), os.Truncate(v.image, 600*mib), os.Mkdir(v.root, 0o755)))
	v.run(append(slices.Clone(mkfs), v.image)...)
	device := v.run("losetup", "--find", "--show", v.image)
	t.Cleanup(func() { v.run("losetup", "--detach", device) })
	v.growth = host.Growth{
		Disk: host.Disk{Path: device}, Filesystem: fstype, Where: v.root, Volume: "vol-1", Role: "mysql", UUID: uuid,
	}
	v.mount("rw")
	t.Cleanup(func() {
		if exec.Command("mountpoint", "-q", v.root).Run() == nil {
			v.run("umount", v.root)
		}
	})
	ok(t, filesystem.WriteLedger(v.root, []byte(`{"version":1,"volume":"vol-1","role":"mysql","uuid":"`+uuid+`"}`)))
	var err error
	v.device, err = os.Open(device)
	ok(t, err)
	t.Cleanup(func() { v.device.Close() })
	var st unix.Stat_t
	ok(t, unix.Fstat(int(v.device.Fd()), &st))
	v.growth.Disk.Dev = st.Rdev
	v.resize(600 * mib)
	return v
}

func (v *volume) mount(options string) { v.run("mount", "-o", options, v.growth.Disk.Path, v.root) }

// resize gives the device another size, as EC2 does.
func (v *volume) resize(size int64) {
	v.t.Helper()
	ok(v.t, os.Truncate(v.image, size))
	v.run("losetup", "--set-capacity", v.growth.Disk.Path)
	v.growth.Disk.Size = size
}

func (v *volume) grow() error { return grow(v.device, v.growth) }

func (v *volume) size() int64 {
	v.t.Helper()
	size, err := Size(v.root, v.growth.Disk.Dev, v.growth.Filesystem, v.growth.Disk.Path)
	ok(v.t, err)
	return size
}

// stays fails the test unless a growth is refused with words, and changes nothing.
func (v *volume) stays(what, words string, err error) {
	v.t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		v.t.Errorf("%s: got %v, want %q", what, err, words)
	}
	if v.size() != 600*mib {
		v.t.Errorf("%s: the filesystem has %d bytes now", what, v.size())
	}
}

// start is how the disk begins, where the superblock and the tables of the first
// group are.
func (v *volume) start() string {
	v.t.Helper()
	head := make([]byte, 4*mib)
	_, err := v.device.ReadAt(head, 0)
	ok(v.t, err)
	return string(head)
}

// sum is a sum of all files.
func (v *volume) sum() string {
	v.t.Helper()
	all := sha256.New()
	ok(v.t, filepath.WalkDir(v.root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		fmt.Fprintln(all, path)
		_, err = io.Copy(all, file)
		return err
	}))
	return fmt.Sprintf("%x", all.Sum(nil))
}

func (v *volume) run(argv ...string) string {
	v.t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		v.t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAMountedFilesystemIsGrownAndItsFilesStay(t *testing.T) {
	onEach(t, func(t *testing.T, v *volume) {
		if may, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0); v.growth.Filesystem == "ext4" && (err != nil || may != 1) {
			t.Skip("ext4 grows only for who has CAP_SYS_RESOURCE, and this machine has it not to give; resize2fs fails, too")
		}
		for i := range 40 {
			ok(t, os.WriteFile(filepath.Join(v.root, fmt.Sprint("rows", i)), []byte(strings.Repeat(fmt.Sprint(i, " row\n"), 50_000)), 0o600))
		}
		held, err := os.OpenFile(filepath.Join(v.root, "rows7"), os.O_RDWR, 0) // as a database does
		ok(t, err)
		defer held.Close()
		before := v.sum()
		for _, size := range []int64{900 * mib, 900*mib + 5*mib + 4096, 1500*mib + 512, 3000 * mib} {
			v.resize(size)
			ok(t, v.grow())
			if left := size - v.size(); left < 0 || left >= host.GrowsFrom {
				t.Errorf("on a disk of %d bytes it has %d", size, v.size())
			}
			if v.sum() != before {
				t.Errorf("on a disk of %d bytes its files are others", size)
			}
			ok(t, v.grow()) // again: a crash may have come before its end was noted
		}
		ledger, err := filesystem.ReadLedger(v.root)
		ok(t, err)
		if !strings.Contains(string(ledger), uuid) {
			t.Errorf("its ledger is %q", ledger)
		}
		ok(t, held.Close())
		v.run("umount", v.root)
		if v.growth.Filesystem == "xfs" {
			v.run("xfs_repair", "-n", v.growth.Disk.Path)
		} else {
			v.run("e2fsck", "-fn", v.growth.Disk.Path)
		}
	})
}

func TestNothingIsGrownThatIsNotTheFilesystemThatIsMeant(t *testing.T) {
	onEach(t, func(t *testing.T, v *volume) {
		v.resize(900 * mib)
		right := v.growth
		for what, c := range map[string]struct {
			change func(*host.Growth)
			words  string
		}{
			"another volume":                  {func(g *host.Growth) { g.Volume = "vol-2" }, "its ledger names volume vol-1"},
			"another role":                    {func(g *host.Growth) { g.Role = "queue" }, "its ledger names volume vol-1 of role mysql"},
			"another UUID":                    {func(g *host.Growth) { g.UUID = "other" }, "its ledger names"},
			"another device":                  {func(g *host.Growth) { g.Disk.Dev++ }, "of another device"},
			"another type":                    {func(g *host.Growth) { g.Filesystem = map[string]string{"xfs": "ext4", "ext4": "xfs"}[g.Filesystem] }, "what is mounted there is no"},
			"an unknown type":                 {func(g *host.Growth) { g.Filesystem = "btrfs" }, "is not one of bootagent"},
			"a directory of it":               {func(g *host.Growth) { g.Where = filepath.Join(v.root, "sub") }, "no ledger"},
			"another directory":               {func(g *host.Growth) { g.Where = t.TempDir() }, "of another device"},
			"a size that is no more, larger":  {func(g *host.Growth) { g.Disk.Size += 4096 }, "bytes now, not"},
			"a size that is no more, smaller": {func(g *host.Growth) { g.Disk.Size = 700 * mib }, "bytes now, not"},
		} {
			_ = os.Mkdir(filepath.Join(v.root, "sub"), 0o755)
			v.growth = right
			c.change(&v.growth)
			err := v.grow()
			v.growth = right
			v.stays(what, c.words, err)
		}
	})
}

func TestAnUnmountedOrReadOnlyFilesystemIsNotGrown(t *testing.T) {
	onEach(t, func(t *testing.T, v *volume) {
		v.resize(900 * mib)
		v.run("mount", "-o", "remount,ro", v.root)
		v.stays("read-only", "mounted read-only", v.grow())
		v.run("umount", v.root)
		before := v.start()
		if err := v.grow(); err == nil || !strings.Contains(err.Error(), "of another device") {
			t.Errorf("unmounted: got %v", err)
		}
		if v.start() != before {
			t.Error("an unmounted filesystem was changed")
		}
		v.mount("rw")
		v.stays("mounted again", "", errors.New(""))
	})
}

func TestAFilesystemWithoutALedgerIsNotGrown(t *testing.T) {
	onEach(t, func(t *testing.T, v *volume) {
		v.resize(900 * mib)
		ok(t, unix.Lremovexattr(v.root, "trusted.bootagent"))
		v.stays("without a ledger", "no ledger", v.grow())
		ok(t, filesystem.WriteLedger(v.root, []byte("{")))
		v.stays("a broken ledger", "cannot read its ledger", v.grow())
	})
}

// XFS could be made smaller by the same ioctl.
func TestNothingIsMadeSmaller(t *testing.T) {
	onEach(t, func(t *testing.T, v *volume) {
		v.resize(500 * mib)
		v.stays("a shrunk disk", "nothing is made smaller", v.grow())
	})
}

func TestAGrowthIsNamedByAll(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	ok(t, os.WriteFile(file, []byte("data"), 0o600))
	whole := Argv(host.Growth{
		Disk: host.Disk{Serial: "vol1", Seq: 7, Size: 8, Path: file}, Filesystem: "xfs", Where: "/srv/data", Volume: "vol-1", Role: "mysql", UUID: uuid,
	})[2:]
	for flag := 0; flag < 16; flag += 2 {
		args := slices.Delete(slices.Clone(whole), flag, flag+2)
		if err := run(t.Context(), args, io.Discard); !errors.As(err, new(*command.UsageError)) {
			t.Errorf("%q: %v", args, err)
		}
	}
	err := run(t.Context(), whole, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `the filesystem at /srv/data is not grown: it is disk "" with sequence number 0 now, not vol1 with 7`) {
		t.Errorf("got %v", err)
	}
}
