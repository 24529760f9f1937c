package filesystem

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/filesystem/superblock"
	"bootagent/pkg/golden"
)

const uuid = "6d2f6f1c-6a55-4f8c-9d3e-0b7f3c1a2b4d"

// types are the filesystems that there are commands for.
var types = []string{"xfs", "ext4"}

func TestCommandsAreThoseThatWereReviewed(t *testing.T) {
	var b strings.Builder
	for _, fstype := range types {
		argv, err := MakeCommand(fstype, uuid, 1<<30, "/dev/nvme1n1")
		if err != nil {
			t.Fatal(err)
		}
		argv = slices.DeleteFunc(argv, func(arg string) bool { return slices.Contains(xfsFeatures(xfsConfigs), arg) }) // by this machine's xfsprogs
		fmt.Fprintf(&b, "make %s: %q\n", fstype, argv)
		argv, success := CheckCommand(fstype, "/dev/nvme1n1")
		fmt.Fprintf(&b, "check %s: %q, success beside 0: %v\n", fstype, argv, success)
	}
	const path = "testdata/commands.golden"
	golden.Check(t, path, b.String())
}

// Never lose data is the first promise, and outranks every feature: no command
// of the agent overrides what a tool refuses. In mkfs.xfs(8) and mkfs.ext4(8)
// that is -f and -F, in xfs_repair(8) -L, which throws the log away, and in
// e2fsck(8) -y, which answers yes to whatever it asks.
func TestNoCommandForces(t *testing.T) {
	forces := []string{"-f", "-F", "-ff", "-FF", "--force", "-L", "-y"}
	for _, fstype := range types {
		maker, err := MakeCommand(fstype, uuid, 1<<30, "/dev/nvme1n1")
		if err != nil {
			t.Fatal(err)
		}
		checker, _ := CheckCommand(fstype, "/dev/nvme1n1")
		for _, argv := range [][]string{maker, checker} {
			for _, arg := range argv {
				if slices.Contains(forces, arg) {
					t.Errorf("%q forces: %s", argv, arg)
				}
			}
		}
	}
}

// An image of the year before has to be able to mount and to check what this one makes.
func TestAFilesystemHasTheFeaturesThatOlderImagesKnow(t *testing.T) {
	onEach(t, func(t *testing.T, image, _ string) {
		if fstype, _, _ := strings.Cut(probe(t, image), " "); fstype == "ext4" {
			got := succeed(t, "sh", "-c", `dumpe2fs -h "$0" 2>/dev/null | sed -n 's/^Filesystem features: *//p'`, image)
			const want = "has_journal ext_attr resize_inode dir_index filetype needs_recovery extent 64bit flex_bg sparse_super large_file huge_file dir_nlink extra_isize metadata_csum"
			if got = strings.TrimSpace(got); got != want {
				t.Errorf("its features are %s, want %s", got, want)
			}
			return
		}
		got := succeed(t, "xfs_db", "-r", "-c", "sb 0", "-c", "p features_incompat", "-c", "p features_ro_compat", image)
		if want := "features_incompat = 0xb\nfeatures_ro_compat = 0xd"; strings.TrimSpace(got) != want { // ftype, spinodes, bigtime; finobt, reflink, inobtcount
			t.Errorf("its features are %s, want %s", got, want)
		}
	})
}

func TestMkfsOfANewXfsprogsIsToldWhatOlderKernelsMount(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		file string // that this xfsprogs has, and the one before has not
		want []string
	}{
		{"lts_5.15.conf", nil}, // xfsprogs 6.1
		{"lts_6.6.conf", []string{"-c", "options=" + filepath.Join(dir, "lts_5.15.conf")}},
	} {
		if err := os.WriteFile(filepath.Join(dir, c.file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := xfsFeatures(dir); !slices.Equal(got, c.want) {
			t.Errorf("with %s: got %q, want %q", c.file, got, c.want)
		}
	}
}

func TestThereIsNoCommandForAnotherType(t *testing.T) {
	for _, fstype := range []string{"", "btrfs", "XFS", "xfs -f"} {
		if argv, err := MakeCommand(fstype, uuid, 1<<30, "/dev/nvme1n1"); err == nil {
			t.Errorf("%q: %q", fstype, argv)
		}
	}
}

func TestMakeCommandMakesAFilesystemWithTheUUID(t *testing.T) {
	for _, fstype := range types {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			need(t, "mkfs."+fstype, "blkid")
			disk := newImage(t)
			succeed(t, makeCommand(t, fstype, uuid, disk)...)
			if got, want := probe(t, disk), fstype+" "+uuid; got != want {
				t.Errorf("the disk holds %s, want %s", got, want)
			}
		})
	}
}

// What EC2 has confirmed is the size, and not what the kernel sees a moment later: a
// modification that begins then can still fail.
func TestAFilesystemGetsTheSizeThatIsMeantOnADiskThatHasBecomeLarger(t *testing.T) {
	for _, fstype := range types {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			need(t, "mkfs."+fstype)
			disk := newImage(t)
			argv := makeCommand(t, fstype, uuid, disk)
			if err := os.Truncate(disk, 2*imageSize); err != nil {
				t.Fatal(err)
			}
			succeed(t, argv...)
			f, err := os.Open(disk)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if size, err := superblock.Size(fstype, f); err != nil || size > imageSize || size < imageSize-16<<20 {
				t.Errorf("it has %d bytes (%v), want %d", size, err, imageSize)
			}
		})
	}
}

// The filesystem is one that mkfs would have made by itself.
func TestASizeThatIsSaidMakesTheSameFilesystem(t *testing.T) {
	for fstype, shows := range map[string][]string{"xfs": {"xfs_db", "-r", "-c", "sb 0", "-c", "print"}, "ext4": {"dumpe2fs", "-h"}} {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			need(t, "mkfs."+fstype, shows[0])
			var says []string
			for _, odd := range []int64{0, 0, 512} { // with the size, without it, and of a disk whose last block is not whole
				disk := newImage(t)
				if err := os.Truncate(disk, imageSize+odd); err != nil {
					t.Fatal(err)
				}
				argv, err := MakeCommand(fstype, uuid, imageSize+odd, disk)
				if err != nil {
					t.Fatal(err)
				}
				if len(says) == 1 {
					argv = slices.DeleteFunc(argv, func(arg string) bool { return said.MatchString(arg) })
				}
				succeed(t, argv...)
				says = append(says, varies.ReplaceAllString(succeed(t, append(slices.Clone(shows), disk)...), ""))
			}
			if says[0] != says[1] || says[0] != says[2] {
				t.Errorf("they differ: %q", says)
			}
		})
	}
}

// said are the arguments that say a size.
var said = regexp.MustCompile(`^(-d|size=\d+|\d+k)$`)

// varies is what no two filesystems have in common.
var varies = regexp.MustCompile(`(?m)^(Filesystem created|Last write time|Last checked|Directory Hash Seed|Lifetime writes|Checksum|crc).*$`)

// mkfs is given the descriptor on which the disk was proven, as a path.
func TestMkfsTakesADescriptor(t *testing.T) {
	for _, fstype := range types {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			need(t, "mkfs."+fstype, "blkid")
			path := newImage(t)
			disk, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer disk.Close()
			argv := makeCommand(t, fstype, uuid, "/proc/self/fd/3")
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.ExtraFiles = []*os.File{disk}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got, want := probe(t, path), fstype+" "+uuid; got != want {
				t.Errorf("the disk holds %s, want %s", got, want)
			}
		})
	}
}

// The proof that a disk is blank comes first. What the proof can't see, or
// what is written between it and mkfs, mkfs.xfs refuses by itself.
func TestMkfsXFSRefusesWhatHoldsAFilesystem(t *testing.T) {
	for _, fstype := range types {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			need(t, "mkfs.xfs", "mkfs."+fstype, "blkid")
			disk := newImage(t)
			succeed(t, makeCommand(t, fstype, uuid, disk)...)
			const other = "00000000-6a55-4f8c-9d3e-0b7f3c1a2b4d"
			if code, out := run(t, makeCommand(t, "xfs", other, disk)...); code == 0 || !strings.Contains(out, "appears to contain an existing filesystem") {
				t.Errorf("exit %d: %s", code, out)
			}
			if got, want := probe(t, disk), fstype+" "+uuid; got != want {
				t.Errorf("the disk holds %s, want %s", got, want)
			}
		})
	}
}

func TestCheckCommandMendsWhatNeedsNoQuestion(t *testing.T) {
	for name, c := range map[string]struct {
		damage []string // for debugfs; state 0 has e2fsck look closely
		exit   int
		good   bool
	}{
		"sound":             {nil, 0, true},
		"a wrong count":     {[]string{"ssv state 0", "ssv free_blocks_count 1"}, 1, true},
		"no root directory": {[]string{"ssv state 0", "clri <2>"}, 4, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			need(t, "mkfs.ext4", "e2fsck", "debugfs")
			disk := newImage(t)
			succeed(t, makeCommand(t, "ext4", uuid, disk)...)
			for _, request := range c.damage {
				succeed(t, "debugfs", "-w", "-R", request, disk)
			}
			argv, success := CheckCommand("ext4", disk)
			code, out := run(t, argv...)
			if code != c.exit || c.good != (code == 0 || slices.Contains(success, code)) {
				t.Errorf("exit %d, want %d: %s", code, c.exit, out)
			}
		})
	}
}

func TestXFSNeedsNoCheck(t *testing.T) {
	if argv, success := CheckCommand("xfs", "/dev/nvme1n1"); argv != nil || success != nil {
		t.Errorf("got %q, %v", argv, success)
	}
}

// need skips a test for which a tool is missing, or fails it where none may be.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			lack(t, tool+" is missing: apt-get install xfsprogs e2fsprogs util-linux")
		}
	}
}

func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

const imageSize = 600 << 20

// newImage makes a sparse disk. mkfs.xfs refuses those below 300 MB, and
// mkfs.ext4 makes small blocks on those below 512 MB, mke2fs.conf(5).
func newImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, imageSize); err != nil {
		t.Fatal(err)
	}
	return path
}

func makeCommand(t *testing.T, fstype, uuid, disk string) []string {
	t.Helper()
	argv, err := MakeCommand(fstype, uuid, imageSize, disk)
	if err != nil {
		t.Fatal(err)
	}
	return argv
}

// probe tells the type and UUID of the filesystem on a disk.
func probe(t *testing.T, disk string) string {
	t.Helper()
	var found []string
	for _, tag := range []string{"TYPE", "UUID"} {
		found = append(found, strings.TrimSpace(succeed(t, "blkid", "-p", "-o", "value", "-s", tag, disk)))
	}
	return strings.Join(found, " ")
}

// run runs a program without a terminal, as the agent's units do.
func run(t *testing.T, argv ...string) (code int, out string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func succeed(t *testing.T, argv ...string) string {
	t.Helper()
	code, out := run(t, argv...)
	if code != 0 {
		t.Fatalf("%q: exit %d\n%s", argv, code, out)
	}
	return out
}
