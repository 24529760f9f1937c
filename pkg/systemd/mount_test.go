package systemd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// mountLines are mountinfo of a machine, without most of its lines.
const mountLines = `21 27 0:19 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw,discard,errors=remount-ro
31 27 0:26 / /srv rw,relatime - tmpfs tmpfs rw
40 27 259:3 / /srv/data rw,nosuid,nodev,relatime shared:40 - xfs /dev/nvme1n1 rw,attr2,inode64
41 27 259:3 /mysql /var/lib/mysql rw,nosuid,nodev,relatime shared:40 - xfs /dev/nvme1n1 rw,attr2,inode64
42 40 259:9 / /srv/data rw,nosuid,nodev,relatime shared:41 - xfs /dev/nvme9n1 rw,attr2,inode64
43 27 259:1048575 / /srv/a\040b\011c\012d\134e rw - xfs /dev/nvme2n1 rw
44 27 259:5 / /srv/\134040 rw - xfs /dev/nvme3n1 rw
45 27 4095:6 / /srv/data2 rw - xfs /dev/nvme4n1 rw
`

func TestWhatIsMountedIsReadFromMountinfo(t *testing.T) {
	for where, want := range map[string]uint64{
		"/":                 unix.Mkdev(259, 2),
		"/proc":             unix.Mkdev(0, 19),
		"/var/lib/mysql":    unix.Mkdev(259, 3), // a bind has the device that it is of
		"/srv/data":         unix.Mkdev(259, 9), // the last one is on top
		"/srv/data2":        unix.Mkdev(4095, 6),
		"/srv/a b\tc\nd\\e": unix.Mkdev(259, 1048575),
		`/srv/\040`:         unix.Mkdev(259, 5), // an escaped backslash begins no escape
	} {
		if dev, mounted, err := mountedAt(mountLines, where); dev != want || !mounted || err != nil {
			t.Errorf("%q: %#x, %t, %v; want %#x", where, dev, mounted, err, want)
		}
	}
	for _, where := range []string{"/srv/dat", "/srv/data/", "/mysql", "/srv/a b", `/srv/a\040b\011c\012d\134e`, ""} {
		if dev, mounted, err := mountedAt(mountLines, where); mounted || err != nil {
			t.Errorf("%q: %#x, %v", where, dev, err)
		}
	}
}

func TestALineOfMountinfoThatCanNotBeReadIsAnError(t *testing.T) {
	for name, line := range map[string]string{
		"no numbers":   "40 27 nvme / /srv/data rw - xfs /dev/nvme1n1 rw\n",
		"no minor":     "40 27 259 / /srv/data rw - xfs /dev/nvme1n1 rw\n",
		"large number": "40 27 259:4294967296 / /srv/data rw - xfs /dev/nvme1n1 rw\n",
	} {
		if dev, mounted, err := mountedAt(line, "/srv/data"); err == nil {
			t.Errorf("%s: %#x, %t", name, dev, mounted)
		}
	}
	if _, mounted, err := mountedAt("\n40 27\n40 27 nvme / /elsewhere rw\n", "/srv/data"); mounted || err != nil {
		t.Errorf("lines of others: %t, %v", mounted, err)
	}
}

func TestWhatIsMountedHere(t *testing.T) {
	var root unix.Stat_t
	ok(t, unix.Stat("/proc", &root))
	if dev, mounted, err := MountedAt("/proc"); dev != root.Dev || !mounted || err != nil {
		t.Errorf("/proc: %#x, %t, %v; want %#x", dev, mounted, err, root.Dev)
	}
	if _, mounted, err := MountedAt(t.TempDir()); mounted || err != nil {
		t.Errorf("a new directory: %t, %v", mounted, err)
	}
}

func TestThePermitOfAMountIsNamedAfterItsUnit(t *testing.T) {
	m := newManager(nil, "/run/bootagent", nil)
	if got, want := m.permit("/srv/my-data"), `/run/bootagent/permit/srv-my\x2ddata.mount`; got != want {
		t.Errorf("its permit is %s, want %s", got, want)
	}
}

func TestFilesOfMarks(t *testing.T) {
	dir := t.TempDir()
	mark := filepath.Join(dir, "started", "mariadb.service")
	is := func(path string, want bool) {
		t.Helper()
		if there, err := exists(path); there != want || err != nil {
			t.Errorf("%s: %t, %v", path, there, err)
		}
	}
	is(mark, false)
	ok(t, touch(mark))
	ok(t, touch(mark))
	is(mark, true)
	if info, err := os.Stat(mark); err != nil || info.Mode() != 0o600 || info.Size() != 0 {
		t.Errorf("got %v, %v", info, err)
	}
	dangling := filepath.Join(dir, "dangling")
	ok(t, os.Symlink("nowhere", dangling))
	is(dangling, true)
	if there, err := exists(filepath.Join(mark, "below")); there || !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("where it can't tell: %t, %v", there, err)
	}
}
