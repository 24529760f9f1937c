package mountinfo

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// lines are those of a machine, without most of them.
const lines = `21 27 0:19 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
40 27 259:3 / /srv/data rw,nosuid,nodev,relatime shared:40 master:1 - xfs /dev/nvme1n1 rw,attr2,inode64
43 27 4095:1048575 / /srv/a\040b\011c\012d\134e rw - xfs /dev/my\040disk rw
44 27 259:5 / /srv/\134040 rw - xfs /dev/nvme3n1 ro
45 27 0:44 / /srv/empty rw - tmpfs  rw
46 27 0:45 / /srv/no` + "\u00a0" + `break rw - tmpfs tmpfs rw
47 27 259:6 / /srv/ro ro,relatime - ext4 /dev/nvme4n1 rw
48 27 259:7 / /srv/error rw,relatime - ext4 /dev/nvme5n1 rw,errors=remount-ro,emergency_ro
`

func TestParseGivesDeviceMountPointAndSourceInTheOrderOfTheFile(t *testing.T) {
	want := []Mount{
		{0, 19, "/proc", "proc", false, false},
		{259, 3, "/srv/data", "/dev/nvme1n1", false, false},
		{4095, 1048575, "/srv/a b\tc\nd\\e", "/dev/my disk", false, true},
		{259, 5, `/srv/\040`, "/dev/nvme3n1", true, true}, // an escaped backslash does not start an escape
		{0, 44, "/srv/empty", "", false, true},
		{0, 45, "/srv/no\u00a0break", "tmpfs", false, true}, // the kernel escapes no other space
		{259, 6, "/srv/ro", "/dev/nvme4n1", true, true},
		{259, 7, "/srv/error", "/dev/nvme5n1", true, true},
	}
	var got []Mount
	for m, err := range Parse(lines) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestALineWithoutTheFormatIsAnErrorAndTheNextLineIsRead(t *testing.T) {
	for line, point := range map[string]string{
		"36 27 259:3 /":                            "",
		"40 27":                                    "",
		"36 27 259:3 / /srv rw":                    "/srv",
		"36 27 259:3 / /srv rw - xfs":              "/srv",
		"36 27 259:3 / - - -":                      "-",
		"36 27 nvme / /srv rw - xfs /dev/n rw":     "/srv",
		"36 27 259 / /srv rw - xfs /dev/n rw":      "/srv",
		"36 27 259:-1 / /srv rw - xfs /dev/n rw":   "/srv",
		"36 27 259:4294967296 / /srv rw - xfs n r": "/srv",
	} {
		var mounts []Mount
		var errs []error
		for m, err := range Parse("\n" + line + "\n" + lines) {
			mounts, errs = append(mounts, m), append(errs, err)
		}
		if len(mounts) != 9 || errs[0] == nil || !strings.Contains(errs[0].Error(), line) || mounts[0] != (Mount{Point: point}) {
			t.Errorf("%s: %d lines, first %+v, %v", line, len(mounts), mounts[0], errs[0])
		} else if mounts[2].Point != "/srv/data" || errs[2] != nil {
			t.Errorf("%s: later %+v, %v", line, mounts[2], errs[2])
		}
	}
}

func TestParseEndsWhereTheCallerStops(t *testing.T) {
	seen := 0
	for range Parse(lines) {
		seen++
		break
	}
	if seen != 1 {
		t.Errorf("%d lines", seen)
	}
}

func TestALineMayHaveAnyLength(t *testing.T) {
	overlay := "30 27 0:50 / /merged rw - overlay overlay rw,lowerdir=" + strings.Repeat("/var/lib/layers/0123456789abcdef:", 9000) + "\n"
	seen := 0
	for _, err := range Parse(overlay + lines) {
		if seen++; err != nil {
			t.Fatal(err)
		}
	}
	if seen != 9 {
		t.Errorf("%d lines beside one of %d bytes", seen, len(overlay))
	}
}

func TestTheKernelsOwnMountinfoHasTheFormat(t *testing.T) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	points := map[string]bool{}
	for m, err := range Parse(string(text)) {
		if err != nil {
			t.Error(err)
		}
		points[m.Point] = true
	}
	if !points["/proc"] {
		t.Errorf("no /proc among %d mount points", len(points))
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`/a\040b`: "/a b", `/a\134040b`: `/a\040b`, `/a\011\012`: "/a\t\n", "/a": "/a"} {
		if got := Unescape(in); got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("36 27 259:3 / /srv rw - xfs /dev/nvme1n1 rw\n")
	f.Add("36 27 259:3 / - - -\n")
	f.Add(lines)
	f.Fuzz(func(t *testing.T, text string) {
		for m, err := range Parse(text) {
			if err != nil && m != (Mount{Point: m.Point}) {
				t.Errorf("%+v with %v", m, err)
			}
		}
	})
}
