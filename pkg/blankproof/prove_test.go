package blankproof

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

func TestMain(m *testing.M) {
	// The PATH of a user may lack the directories of the tools that the tests run.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestZeroDisksOfAnySizeAreBlank(t *testing.T) {
	for _, size := range []block.Bytes{1, 511, 512, 1025, 4 * block.KiB, 4*block.KiB + 1, block.MiB - 512, block.MiB, block.MiB + 512, 5*block.MiB + 3, 64 * block.MiB} {
		r := prove(t, newImage(t, size))
		want := fmt.Sprintf("is blank: all %v of it read and zero", size)
		if !r.Blank || !r.Whole || r.Read != size || r.Size != size || r.String() != want {
			t.Errorf("%d bytes: it %v, of which %d were read", size, r, r.Read)
		}
	}
}

func TestADiskWithoutSizeIsNotBlank(t *testing.T) {
	r, err := Host().Prove(t.Context(), newImage(t, 0), Task{})
	if err == nil || r.Blank || !strings.Contains(err.Error(), "its size is 0 bytes") {
		t.Errorf("it %v, %v", r, err)
	}
}

func TestOneByteAnywhereIsSeen(t *testing.T) {
	for range 200 {
		size := 1 + rand.Int64N(int64(20*block.MiB))
		at := rand.Int64N(size)
		r := proveSparse(t, sparse{size, map[int64]string{at: string([]byte{byte(1 + rand.IntN(255))})}})
		if r.Blank || r.FirstData == nil || *r.FirstData != block.Offset(at) {
			t.Fatalf("with a byte at %v of %d it %v", block.Offset(at), size, r)
		}
	}
	disk := newImage(t, 20*block.MiB)
	put(t, disk, 0x1234567, "\x80")
	if r := prove(t, disk); r.Blank || r.String() != "holds data of no known format at 0x1234567" {
		t.Errorf("it %v", r)
	}
}

func TestALargeDiskIsSampledAtTheStatedStride(t *testing.T) {
	const size = 10*block.GiB + 512
	disk := newImage(t, size)
	r := prove(t, disk)
	if !r.Blank || r.Whole || r.Stride != 512*block.KiB || r.Read < 2*block.GiB || r.Read > block.Bytes(maxBytes) {
		t.Errorf("it %v: %+v", r, r)
	}
	if want := "is blank where it was read: "; !strings.HasPrefix(r.String(), want) || !strings.HasSuffix(r.String(), "of 10.0 GiB, samples 512.0 KiB apart") {
		t.Errorf("it %v", r)
	}

	what := plan(int64(size), "", false)
	grid := int64(1000 * r.Stride)
	for _, seen := range []int64{0, ends - 1, grid, grid + sampleSize - 1, int64(size) - ends, int64(size) - 1} {
		if !what.sees(seen, 1) {
			t.Errorf("a byte at %#x is not read", seen)
		}
	}
	// What the package comment says that the proof can't see.
	between := what.spans[len(what.spans)/2].to
	if what.sees(between, 1) {
		t.Error("a byte between the samples is seen: say so in the package comment")
	}
}

func TestAWholeProofSeesEveryByteAndTellsHowFarItIs(t *testing.T) {
	const size = 5 * block.GiB
	sampled := plan(int64(size), "", false)
	between := sampled.spans[100].to
	disk := sparse{int64(size), map[int64]string{between: "\x01"}}
	if sampled.sees(between, 1) {
		t.Fatalf("the samples meet the byte at %#x", between)
	}
	var r Report
	if err := r.scan(t.Context(), disk, disk.size, Task{Whole: true}); err != nil || r.FirstData == nil || *r.FirstData != block.Offset(between) {
		t.Errorf("%v: with a byte at %#x it %v", err, between, r)
	}

	var told []block.Bytes
	r = Report{}
	slow := slowly{sparse{size: int64(64 * block.MiB)}, 10 * time.Millisecond}
	synctest.Test(t, func(t *testing.T) {
		err := r.scan(t.Context(), slow, slow.size, Task{Whole: true, Tell: func(read, of block.Bytes) {
			if of != 64*block.MiB {
				t.Errorf("it tells of %v", of)
			}
			told = append(told, read)
		}})
		if err != nil || !r.Whole || r.Read != 64*block.MiB {
			t.Errorf("%v: it %v", err, r)
		}
	})
	if len(told) != 0 {
		t.Errorf("what took less than %v was told: %v", tellEvery, told)
	}
	slow.rest = time.Second
	r = Report{}
	synctest.Test(t, func(t *testing.T) {
		if err := r.scan(t.Context(), slow, slow.size, Task{Whole: true, Tell: func(read, _ block.Bytes) { told = append(told, read) }}); err != nil {
			t.Error(err)
		}
	})
	if len(told) < 4 || !slices.IsSorted(told) || told[0] == 0 {
		t.Errorf("it told %v", told)
	}
}

// slowly is a disk that waits before each read.
type slowly struct {
	sparse
	rest time.Duration
}

func (s slowly) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(s.rest)
	return s.sparse.ReadAt(p, off)
}

// A broken disk fails each read at or after a place.
type broken struct {
	sparse
	at  int64
	err error
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= b.at {
		return b.sparse.ReadAt(p, off)
	}
	n, _ := b.sparse.ReadAt(p[:max(0, b.at-off)], off)
	return n, b.err
}

func TestADiskThatCanNotBeReadIsRefusedWithPlaceAndReason(t *testing.T) {
	const at = 0x523400
	for _, test := range []struct {
		err  error
		want string
	}{
		{&os.PathError{Op: "read", Path: "/dev/nvme1n1", Err: unix.EIO}, "cannot read 256.0 KiB at 0x500000: input/output error"},
		{io.EOF, "cannot read 256.0 KiB at 0x500000: got only 141.0 KiB: unexpected EOF"},
		{nil, "cannot read 256.0 KiB at 0x500000: got only 141.0 KiB: unexpected EOF"},
	} {
		var r Report
		err := r.scan(t.Context(), broken{sparse{size: int64(16 * block.MiB)}, at, test.err}, int64(16*block.MiB), Task{})
		var readErr *ReadError
		if !errors.As(err, &readErr) || readErr.Offset != 0x500000 || err.Error() != test.want {
			t.Errorf("%v: %v, want %s", test.err, err, test.want)
		}
		if _, err := match(t.Context(), broken{sparse{size: int64(16 * block.MiB)}, at, test.err}, int64(16*block.MiB), new(block.Offset), signature.Sure, signature.Spare, signature.Weak); !errors.As(err, &readErr) {
			t.Errorf("%v: %v when marks are compared", test.err, err)
		}
	}
}

func TestProvingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no time")
	cancel(why)
	if r, err := Host().Prove(ctx, newImage(t, block.MiB), Task{}); !errors.Is(err, why) || r.Blank {
		t.Errorf("%v: %v", err, r)
	}
}

func TestOnlyDisksAndImagesAreProven(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, t.TempDir(), "/dev/zero"} {
		if r, err := Host().Prove(t.Context(), path, Task{}); !errors.Is(err, block.ErrNotDevice) || r.Blank {
			t.Errorf("%s: %v, %v", path, r, err)
		}
	}
	if r, err := Host().Prove(t.Context(), fifo+"x", Task{}); !errors.Is(err, os.ErrNotExist) || r.Blank {
		t.Errorf("a missing path: %v, %v", r, err)
	}
}

// toolbox returns a Prover that runs these sh scripts as blkid and wipefs, and the
// real program if there is no script for it.
func toolbox(t *testing.T, scripts map[string]string) Prover {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"blkid", "wipefs"} {
		if script, ok := scripts[name]; !ok {
			if err := os.Symlink("/sbin/"+name, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		} else if script != "" {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := Host()
	p.tools = []string{dir, "/usr/bin", "/bin"}
	if slices.Contains(slices.Collect(maps.Values(scripts)), "") {
		p.tools = p.tools[:1] // the others have the missing program
	}
	return p
}

func TestBlkidAndWipefsHaveToSayThatThereIsNothing(t *testing.T) {
	for _, test := range []struct {
		name, blkid, wipefs string
		want                string
	}{
		{"blkid can't read", "echo 'blkid: error: input/output error' >&2; exit 2", "", "blkid failed with exit status 2: blkid: error: input/output error"},
		{"blkid is used wrongly", "exit 4", "", "blkid failed with exit status 4: it printed no error message"},
		{"blkid finds nothing but prints", "echo DEVNAME=x; exit 2", "", "blkid failed with exit status 2: it printed no error message"},
		{"blkid is killed", "kill -9 $$", "", "blkid: signal: killed"},
		{"blkid floods", "yes", "", "blkid printed more than 65536 bytes"},
		{"wipefs fails", "exit 2", "echo 'wipefs: error' >&2; exit 1", "wipefs failed with exit status 1: wipefs: error"},
		{"wipefs warns", "exit 2", "echo 'wipefs: strange' >&2", "wipefs failed with exit status 0: wipefs: strange"},
		{"wipefs says what is not understood", "exit 2", "echo hello", `cannot parse the output of wipefs: line "hello"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			wipefs := test.wipefs
			if wipefs == "" {
				wipefs = "exit 0"
			}
			s := toolbox(t, map[string]string{"blkid": test.blkid, "wipefs": wipefs})
			r, err := s.Prove(t.Context(), newImage(t, block.MiB), Task{})
			if err == nil || r.Blank || !strings.HasSuffix(err.Error(), ": "+test.want) {
				t.Errorf("%v: it %v, want %s", err, r, test.want)
			}
		})
	}
}

func TestAMissingProgramIsNotNothingFound(t *testing.T) {
	for _, missing := range []string{"blkid", "wipefs"} {
		s := toolbox(t, map[string]string{missing: ""})
		r, err := s.Prove(t.Context(), newImage(t, block.MiB), Task{})
		if !errors.Is(err, errNoTool) || r.Blank || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v, it %v", missing, err, r)
		}
	}
}

func TestAHangingProgramIsStopped(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	r, err := toolbox(t, map[string]string{"blkid": "exec sleep 60"}).Prove(ctx, newImage(t, block.MiB), Task{})
	if !errors.Is(err, context.DeadlineExceeded) || r.Blank || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v, it %v", time.Since(start), err, r)
	}
}

func TestWhatOnlyBlkidOrWipefsFindIsNotBlank(t *testing.T) {
	for _, test := range []struct {
		name, blkid, wipefs string
		want                string
		fs                  *Filesystem
	}{
		{"wipefs", "exit 2", "echo '# offset,uuid,label,type'; echo '0x3000,,a\\x2cb,frobfs'", "has a frobfs signature at 0x3000", nil},
		{"blkid", "echo TYPE=frobfs; echo USAGE=filesystem; echo UUID=1-2", "exit 0", "has a frobfs signature at 0x0 (frobfs, UUID 1-2)", &Filesystem{Type: "frobfs", UUID: "1-2"}},
		{"a partition table", "echo PTTYPE=frob", "exit 0", "has a frob signature at 0x0", nil},
		{"several", "exit 8", "exit 0", "is ambiguous: it has several signatures", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := toolbox(t, map[string]string{"blkid": test.blkid, "wipefs": test.wipefs}).Prove(t.Context(), newImage(t, block.MiB), Task{})
			if err != nil || r.Blank || r.String() != test.want || !reflect.DeepEqual(r.Filesystem, test.fs) {
				t.Errorf("%v, it %v: %+v", err, r, r)
			}
		})
	}
}

func TestTheRealToolsAgreeThatTwoFilesystemsAreAmbiguous(t *testing.T) {
	for _, tool := range []string{"/sbin/mkfs.ext4", "/sbin/mkfs.xfs"} {
		if _, err := os.Stat(tool); err != nil {
			t.Skip(err)
		}
	}
	disk, other := newImage(t, 320*block.MiB), newImage(t, 320*block.MiB)
	for tool, image := range map[string]string{"/sbin/mkfs.ext4": disk, "/sbin/mkfs.xfs": other} {
		if out, err := exec.Command(tool, "-q", image).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	xfs, err := os.Open(other)
	if err != nil {
		t.Fatal(err)
	}
	defer xfs.Close()
	superblock := make([]byte, 512)
	if _, err := xfs.ReadAt(superblock, 0); err != nil {
		t.Fatal(err)
	}
	put(t, disk, 0, string(superblock))
	r := prove(t, disk)
	want := "is ambiguous: it has an XFS signature at 0x0 and an ext2/3/4 signature at 0x438"
	if r.Blank || r.Filesystem != nil || r.String() != want {
		t.Errorf("it %v, want %s", r, want)
	}
}

// watchWrites returns whether something opened a file for writing, or wrote to
// it, since the call.
func watchWrites(t *testing.T, path string) func() bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_WRITE|unix.IN_MODIFY|unix.IN_ATTRIB); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		n, err := unix.Read(fd, make([]byte, 4096))
		if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		return n > 0
	}
}

func TestNothingOpensTheDiskForWriting(t *testing.T) {
	disk := newImage(t, 8*block.MiB)
	written := watchWrites(t, disk)
	prove(t, disk)
	put(t, disk, 0x218, "LVM2 001")
	if !written() {
		t.Fatal("the watch does not see a write")
	}
	prove(t, disk)
	if written() {
		t.Error("the proof, or a program that it ran, opened the disk for writing")
	}
}

func TestTheDescriptorThatProgramsGetIsReadOnly(t *testing.T) {
	record := filepath.Join(t.TempDir(), "flags")
	disk := newImage(t, block.MiB)
	s := toolbox(t, map[string]string{"blkid": "cat /proc/self/fdinfo/3 >" + record + "; exit 2"})
	if r, err := s.Prove(t.Context(), disk, Task{}); err != nil || !r.Blank {
		t.Fatalf("%v, it %v", err, r)
	}
	if flags := recordedFlags(t, record); flags&unix.O_ACCMODE != unix.O_RDONLY {
		t.Errorf("it has the flags %#o", flags)
	}
}

func recordedFlags(t *testing.T, record string) (flags int) {
	t.Helper()
	info, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if n, _ := fmt.Sscanf(line, "flags: %o", &flags); n == 1 {
			return flags
		}
	}
	t.Fatalf("no flags in %q", info)
	return 0
}

func TestReportsPassAsJSON(t *testing.T) {
	at := block.Offset(0x218)
	for _, r := range []Report{
		{},
		{Path: "/dev/nvme1n1", Serial: "vol1", Major: 259, Minor: 3, Size: block.GiB, Blank: true, Read: block.GiB, Whole: true},
		{Size: block.GiB, Found: []Signature{{"LVM2", at}, {"XFS", at}}, Ambiguous: true, FirstData: &at, Partitions: []string{"nvme1n1p1"}, InUse: []string{"held by dm-0"}},
		{Filesystem: &Filesystem{Type: "xfs", UUID: "1234"}, Stride: 2 * block.MiB},
		{Found: []Signature{{"XFS", 0}, {"GPT", at}}, Stale: []Signature{{"GPT", at}}, Marks: []Signature{{"xfs", 0}, {"gpt", at}}, Filesystem: &Filesystem{Type: "xfs", UUID: "1234"}},
	} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got Report
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, r) || got.String() != r.String() {
			t.Errorf("%s became %+v, %v", b, got, err)
		}
	}
	if (Report{}).Blank || (Report{}).String() != "is not proven blank" {
		t.Error("the zero report proves something")
	}
}

func TestAReportIsAboutOneDisk(t *testing.T) {
	d := block.Disk{Path: "/dev/nvme1n1", Serial: "vol1", Major: 259, Minor: 3, Size: block.GiB}
	r := Report{Path: "/dev/nvme1n1", Serial: "vol1", Major: 259, Minor: 3, Size: block.GiB}
	if err := r.Check(d); err != nil {
		t.Error(err)
	}
	for _, other := range []block.Disk{{Serial: "vol2"}, {Major: 8}, {Minor: 4}, {Size: block.GiB + 512}} {
		changed := d
		changed.Serial = cmp.Or(other.Serial, d.Serial)
		changed.Major = cmp.Or(other.Major, d.Major)
		changed.Minor = cmp.Or(other.Minor, d.Minor)
		changed.Size = cmp.Or(other.Size, d.Size)
		if r.Check(changed) == nil {
			t.Errorf("%+v is taken for %+v", r, changed)
		}
	}
	// A disk that is in use could not be asked for its serial number and size.
	used := Report{Path: "/dev/nvme1n1", Major: 259, Minor: 3, InUse: []string{"held by dm-0 (vg-data)"}}
	if err := used.Check(d); err == nil || err.Error() != "disk vol1 is in use: held by dm-0 (vg-data)" {
		t.Errorf("a disk in use: %v", err)
	}
}

// needLoop skips the test if there are no loop devices, or fails it if they are
// required.
func needLoop(t *testing.T) {
	t.Helper()
	_, err := os.Stat("/dev/loop-control")
	if err == nil && os.Getuid() == 0 {
		return
	}
	const lack = "proving a block device needs root and loop devices"
	if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
		t.Fatal(lack)
	}
	t.Skip(lack)
}

// loopDisk makes a block device that exists until the test ends.
func loopDisk(t *testing.T, image string, options ...string) string {
	t.Helper()
	device := attachLoop(t, image, options...)
	t.Cleanup(func() { detachLoop(t, device) })
	return device
}

func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func TestABlankBlockDevice(t *testing.T) {
	needLoop(t)
	image := newImage(t, 20*block.MiB+512)
	device := loopDisk(t, image)
	written := watchWrites(t, device)
	record := filepath.Join(t.TempDir(), "flags")
	s := toolbox(t, map[string]string{"blkid": "cat /proc/self/fdinfo/3 >" + record + `; exec /sbin/blkid "$@"`})
	before := fingerprint(t, image)

	r, err := s.Prove(t.Context(), device, Task{})
	if err != nil || !r.Blank || !r.Whole || r.Size != 20*block.MiB+512 || r.Serial != "" || r.Major != 7 {
		t.Fatalf("%v, it %v: %+v", err, r, r)
	}
	flags := recordedFlags(t, record)
	if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_DIRECT == 0 {
		t.Errorf("it was opened with the flags %#o", flags)
	}
	if written() || fingerprint(t, image) != before {
		t.Error("the proof wrote")
	}
}

func TestTheProofHoldsTheDiskExclusively(t *testing.T) {
	needLoop(t)
	device := loopDisk(t, newImage(t, 8*block.MiB))
	asked := filepath.Join(t.TempDir(), "asked")
	s := toolbox(t, map[string]string{"blkid": "touch " + asked + "; while test -e " + asked + "; do sleep 0.01; done; exit 2"})
	claim := make(chan error, 1)
	go func() {
		defer os.Remove(asked)
		for _, err := os.Stat(asked); err != nil && t.Context().Err() == nil; _, err = os.Stat(asked) {
			time.Sleep(time.Millisecond)
		}
		f, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0)
		f.Close()
		claim <- err
	}()
	r, err := s.Prove(t.Context(), device, Task{})
	if err != nil || !r.Blank {
		t.Errorf("%v, it %v", err, r)
	}
	if err := <-claim; !errors.Is(err, unix.EBUSY) {
		t.Errorf("while blkid ran, another could claim the disk: %v", err)
	}
}

func TestADiskInUseIsRefused(t *testing.T) {
	needLoop(t)
	t.Run("mounted", func(t *testing.T) {
		device := loopDisk(t, newImage(t, 32*block.MiB))
		mustRun(t, "mkfs.ext4", "-q", device)
		where := filepath.Join(t.TempDir(), "a b")
		if err := os.Mkdir(where, 0o700); err != nil {
			t.Fatal(err)
		}
		mustRun(t, "mount", "-o", "ro", device, where)
		defer mustRun(t, "umount", where)
		r := proveDevice(t, device)
		if want := "is in use: mounted at " + where; r.Blank || r.String() != want {
			t.Errorf("it %v, want %s", r, want)
		}
	})
	t.Run("swap", func(t *testing.T) {
		image := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(image, make([]byte, 16*block.MiB), 0o600); err != nil {
			t.Fatal(err)
		}
		device := loopDisk(t, image)
		mustRun(t, "mkswap", device)
		if out, err := exec.Command("swapon", device).CombinedOutput(); err != nil {
			t.Skipf("swapon: %s", out)
		}
		defer mustRun(t, "swapoff", device)
		r := proveDevice(t, device)
		if want := "is in use: swap is on " + filepath.Base(device); r.Blank || r.String() != want {
			t.Errorf("it %v, want %s", r, want)
		}
	})
	t.Run("by another program", func(t *testing.T) {
		device := loopDisk(t, newImage(t, 8*block.MiB))
		f, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := proveDevice(t, device)
		if want := "is in use: opened exclusively by another program or by the kernel"; r.Blank || r.String() != want {
			t.Errorf("it %v, want %s", r, want)
		}
	})
	t.Run("by a child of an agent that has gone", func(t *testing.T) {
		device := loopDisk(t, newImage(t, 8*block.MiB))
		f, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0)
		if err != nil {
			t.Fatal(err)
		}
		child := exec.Command("sleep", "60")
		child.ExtraFiles = []*os.File{f}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		f.Close()
		defer func() { child.Process.Kill(); child.Wait() }()
		r := proveDevice(t, device)
		if want := fmt.Sprintf("is in use: opened by sleep (process %d)", child.Process.Pid); r.Blank || r.String() != want {
			t.Errorf("it %v, want %s", r, want)
		}
	})
	t.Run("by another loop device", func(t *testing.T) {
		device := loopDisk(t, newImage(t, 8*block.MiB))
		over := loopDisk(t, device)
		r := proveDevice(t, device)
		if want := "is in use: held by " + filepath.Base(over); r.Blank || r.String() != want {
			t.Errorf("it %v, want %s", r, want)
		}
		if r := proveDevice(t, over); !r.Blank {
			t.Errorf("the device over it %v", r)
		}
	})
	t.Run("partitioned", func(t *testing.T) {
		device := loopDisk(t, newImage(t, 16*block.MiB), "--partscan")
		mustRun(t, "sh", "-c", "echo ,,L | sfdisk -q --no-tell-kernel --no-reread "+device)
		mustRun(t, "partx", "--update", device)
		defer exec.Command("partx", "--delete", device).Run()
		r := proveDevice(t, device)
		if want := "has an MBR signature at 0x1fe; has partitions: " + filepath.Base(device) + "p1"; r.Blank || r.String() != want {
			t.Errorf("it %v, want %s", r, want)
		}
	})
	t.Run("partitioned in the kernel's mind only", func(t *testing.T) {
		device := loopDisk(t, newImage(t, 16*block.MiB), "--partscan")
		mustRun(t, "addpart", device, "1", "2048", "2048")
		defer exec.Command("delpart", device, "1").Run()
		r := proveDevice(t, device)
		if want := "has partitions: " + filepath.Base(device) + "p1"; r.Blank || r.String() != want {
			t.Errorf("it %v, want %s", r, want)
		}
	})
}

func TestAnotherDiskThanThatOfTheTaskIsRefused(t *testing.T) {
	needLoop(t)
	device := loopDisk(t, newImage(t, 8*block.MiB))
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seq, err := block.DiskSequence(f)
	if err != nil || seq == 0 {
		t.Fatalf("%d, %v", seq, err)
	}
	other := seq + 1
	for _, test := range []struct {
		task Task
		want string // "" if it is the disk of the task
	}{
		{Task{Sequence: &seq}, ""},
		{Task{Sequence: &other}, fmt.Sprintf("wrong disk: its disk sequence number is %d, not %d", seq, other)},
		{Task{Serial: "vol1", Sequence: &seq}, `wrong disk: its serial number is "", not vol1`},
	} {
		r, err := Host().Prove(t.Context(), device, test.task)
		var another *OtherDiskError
		switch {
		case test.want == "" && (err != nil || !r.Blank):
			t.Errorf("%+v: %v, it %v", test.task, err, r)
		case test.want != "" && (r.Blank || !errors.As(err, &another) || another.Error() != test.want):
			t.Errorf("%+v: %v, want %s", test.task, err, test.want)
		}
	}
	if r, err := Host().Prove(t.Context(), newImage(t, block.MiB), Task{Sequence: new(uint64)}); err != nil || !r.Blank {
		t.Errorf("a file, which has no sequence number: %v, it %v", err, r)
	}
}

// The path of a device node may lead to another disk in the middle of a proof.
func TestThePathIsLookedUpOnce(t *testing.T) {
	blank, marked := newImage(t, 8*block.MiB), newImage(t, 8*block.MiB)
	put(t, marked, 0x218, "LVM2 001")
	path := filepath.Join(t.TempDir(), "nvme1n1")
	if err := os.Symlink(marked, path); err != nil {
		t.Fatal(err)
	}
	node, err := lookUp(path)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(blank, path); err != nil {
		t.Fatal(err)
	}
	f, err := openToProve(path, node, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mark := make([]byte, 8)
	if _, err := f.ReadAt(mark, 0x218); err != nil || string(mark) != "LVM2 001" {
		t.Errorf("%q, %v: what was opened is not what was looked up", mark, err)
	}
}

func proveDevice(t *testing.T, device string) Report {
	t.Helper()
	r, err := Host().Prove(t.Context(), device, Task{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARealReadErrorIsRefused(t *testing.T) {
	needLoop(t)
	image := newImage(t, 16*block.MiB)
	device := loopDisk(t, image)
	if err := os.Truncate(image, int64(10*block.MiB)); err != nil { // a read after the end gives EIO
		t.Fatal(err)
	}
	r, err := Host().Prove(t.Context(), device, Task{})
	var readErr *ReadError
	if r.Blank || !errors.As(err, &readErr) || readErr.Offset != block.Offset(10*block.MiB) || !errors.Is(err, unix.EIO) {
		t.Errorf("%v: it %v", err, r)
	}
	want := "cannot inspect " + device + ": cannot read 256.0 KiB at 0xa00000: input/output error"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if r.Read != 10*block.MiB {
		t.Errorf("%v were read", r.Read)
	}
}

func TestTheProofReadsPastThePageCache(t *testing.T) {
	needLoop(t)
	image := newImage(t, 8*block.MiB)
	device := loopDisk(t, image, "--direct-io=on")
	f, err := os.Open(device) // keeps the device's page cache alive
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(make([]byte, 8*block.MiB), 0); err != nil {
		t.Fatal(err)
	}
	put(t, image, 0x300000, "behind its back")
	mustRun(t, "sync", image)
	stale := make([]byte, 15)
	if _, err := f.ReadAt(stale, 0x300000); err != nil || !bytes.Equal(stale, make([]byte, 15)) {
		t.Skipf("the page cache is not stale here: %q, %v", stale, err)
	}
	if r := proveDevice(t, device); r.Blank || r.FirstData == nil || *r.FirstData != 0x300000 {
		t.Errorf("it %v", r)
	}
}
