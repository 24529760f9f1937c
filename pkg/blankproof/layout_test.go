package blankproof

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"bootagent/pkg/block"
)

// A layout is a disk on which a filesystem was made, and of which the parts that
// name the filesystem were zeroed. For sh, the disk is $disk, and $dir a directory
// to mount it at.
type layout struct {
	name  string
	size  block.Bytes // when it is proven
	make  []string    // first on an empty file
	zero  [][2]block.Bytes
	mount bool // it needs root and a loop device
	want  string
}

// someFiles writes a file of 1 MiB into each of three directories.
const someFiles = `for i in 1 2 3; do mkdir $dir/d$i; head -c 1048576 /dev/urandom >$dir/d$i/f; done`

// within makes a filesystem in a part of the disk. It uses a loop device, so that
// mkfs cannot write outside of the part.
func within(from, length block.Bytes, mkfs string) string {
	return fmt.Sprintf("loop=$(losetup --find --show --offset %d --sizelimit %d $disk); %s $loop; losetup --detach $loop", int64(from), int64(length), mkfs)
}

func front(length block.Bytes) [][2]block.Bytes { return [][2]block.Bytes{{0, length}} }

var layouts = []layout{
	{
		name: "a grown XFS, its first MiB zeroed", size: 130 * block.GiB, zero: front(block.MiB), mount: true, want: "",
		make: []string{"truncate -s 100G $disk", "mkfs.xfs -q $disk", "mount -o loop $disk $dir", someFiles, "umount $dir", "truncate -s 130G $disk", "mount -o loop $disk $dir; xfs_growfs $dir >/dev/null; umount $dir"},
	},
	{
		name: "a grown XFS as it is laid out, its first 16 MiB zeroed", size: 130 * block.GiB, zero: front(16 * block.MiB),
		make: []string{"mkfs.xfs -q -d agsize=25g $disk"}, want: "has an XFS signature at 0x640000000",
	},
	{
		name: "an XFS with agcount=15", size: 100 * block.GiB, zero: front(16 * block.MiB),
		make: []string{"mkfs.xfs -q -d agcount=15 $disk"}, want: "has an XFS signature at 0x1aaaab000",
	},
	{
		name: "an XFS with agcount=15 that was grown", size: 130 * block.GiB, zero: front(16 * block.MiB),
		make: []string{"mkfs.xfs -q -d agsize=7158280192 $disk"}, want: "has an XFS signature at 0x",
	},
	{
		name: "an XFS of 1 KiB blocks and 7 groups", size: 5 * block.GiB, zero: front(16 * block.MiB),
		make: []string{"mkfs.xfs -q -b size=1k -d agcount=7 $disk"}, want: "has an XFS signature at 0x",
	},
	{
		name: "an XFS in a partition, with the table and 16 MiB zeroed", size: 100 * block.GiB, mount: true, zero: front(16 * block.MiB),
		make: []string{within(block.MiB, 100*block.GiB-2*block.MiB, "mkfs.xfs -q")}, want: "has an XFS signature at 0x640080000",
	},
	{
		name: "an ext4 in a partition, with the table and 16 MiB zeroed", size: 100 * block.GiB, mount: true, zero: front(16 * block.MiB),
		make: []string{within(block.MiB, 100*block.GiB-2*block.MiB, "mkfs.ext4 -q")}, want: "has an ext2/3/4 signature at 0x8100038",
	},
	{
		name: "the second partition's XFS, the table zapped", size: 100 * block.GiB, mount: true,
		make: []string{within(20*block.GiB+block.MiB, 80*block.GiB-2*block.MiB, "mkfs.xfs -q")}, want: "has an XFS signature at 0x500100000",
	},
	{
		name: "the second partition's ext4, the table zapped", size: 100 * block.GiB, mount: true,
		make: []string{within(513*block.MiB, 99*block.GiB, "mkfs.ext4 -q")}, want: "has an ext2/3/4 signature at 0x20100438",
	},
	{
		name: "an ext4 of 1 KiB blocks", size: 8 * block.GiB, zero: front(16 * block.MiB),
		make: []string{"mkfs.ext4 -q -b 1024 $disk"}, want: "has an ext2/3/4 signature at 0x1800438",
	},
	{
		name: "an ext4 on 5 TiB", size: 5 * block.TiB, zero: front(64 * block.MiB),
		make: []string{"mkfs.ext4 -q -N 65536 -E lazy_itable_init=1,lazy_journal_init=1 $disk"}, want: "has an ext2/3/4 signature at 0x8000038",
	},
	{
		name: "an XFS that was made on 3 TiB and is on 8", size: 8 * block.TiB, zero: front(16 * block.MiB),
		make: []string{"mkfs.xfs -q -d agsize=768g $disk"}, want: "has an XFS signature at 0xc000000000",
	},
}

// run makes the disk, or skips the test.
func (l layout) run(t *testing.T, disk string) {
	t.Helper()
	for _, lack := range l.lacks() {
		if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
			t.Fatal(lack)
		}
		t.Skip(lack)
	}
	dir := t.TempDir()
	for _, line := range l.make {
		cmd := exec.Command("sh", "-ec", line)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "disk="+disk, "dir="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			exec.Command("umount", dir).Run()
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	for _, z := range l.zero {
		punch(t, disk, z[0], z[1])
	}
}

func (l layout) lacks() (lacks []string) {
	for _, tool := range []string{"mkfs.xfs", "mkfs.ext4"} {
		if _, err := exec.LookPath(tool); err != nil {
			lacks = append(lacks, tool+" is missing")
		}
	}
	_, err := os.Stat("/dev/loop-control")
	if l.mount && (err != nil || os.Getuid() != 0) {
		lacks = append(lacks, "a mount needs root and loop devices")
	}
	return lacks
}

func TestWhatIsLeftOfAFilesystemIsNotBlank(t *testing.T) {
	skipped := 0
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			if len(l.lacks()) > 0 {
				skipped++
			}
			disk := newImage(t, l.size)
			l.run(t, disk)
			r, err := Host().Prove(t.Context(), disk, Task{})
			if err != nil || r.Blank || !strings.HasPrefix(r.String(), l.want) {
				t.Errorf("%v: it %v, want %s", err, r, l.want)
			}
		})
	}
	t.Logf("%d disks, %d skipped for lack of a tool or of root", len(layouts), skipped)
}
