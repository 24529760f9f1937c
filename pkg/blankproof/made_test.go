package blankproof

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// A making is a disk that the tool of a format makes.
type making struct {
	name   string
	tool   string      // must be installed
	deb    string      // the package of Debian 12 that has the tool
	size   block.Bytes //
	device bool        // the tool takes block devices only
	make   []string    // for sh, with $disk, and with files for it in the directory $files
	want   string      // what the report says, up to the parentheses
	fs     string      // the type of the filesystem, as blkid reports it
	wiped  string      // what the report says after the first MiB was zeroed
}

// The disk is blank after the first MiB was zeroed: the tool wrote nothing else.
const gone = "is blank"

// copied copies a file that a tool made to the disk.
const copied = "dd if=$disk.made of=$disk conv=notrunc status=none"

// zpool makes a disk of ZFS in a mount namespace of its own, since its daemon's
// socket has a fixed path.
const zpool = `unshare -m sh -ec '
			mkdir -p /run/zfs
			mount -t tmpfs none /run/zfs
			mount -t tmpfs none /var/lib/zfs
			zfs-fuse --no-daemon --no-kstat-mount & daemon=$!
			trap "kill $daemon" EXIT
			while ! test -S /run/zfs/zfs_socket; do sleep 0.05; done
			zpool create -m none bootagent-test $disk
			zpool export bootagent-test'`

var makings = []making{
	{
		name: "ext2", tool: "mkfs.ext2", deb: "e2fsprogs", size: 600 * block.MiB,
		make: []string{"mkfs.ext2 -q -b 4096 $disk"},
		want: "has an ext2/3/4 signature at 0x438", fs: "ext2", wiped: "has an ext2/3/4 signature at 0x8000038",
	},
	{
		name: "ext3", tool: "mkfs.ext3", deb: "e2fsprogs", size: 100 * block.MiB,
		make: []string{"mkfs.ext3 -q -b 2048 $disk"},
		want: "has an ext2/3/4 signature at 0x438", fs: "ext3", wiped: "has an ext2/3/4 signature at 0x2000038",
	},
	{
		name: "ext4", tool: "mkfs.ext4", deb: "e2fsprogs", size: 100 * block.MiB,
		make: []string{"mkfs.ext4 -q -b 1024 $disk"},
		want: "has an ext2/3/4 signature at 0x438", fs: "ext4", wiped: "has an ext2/3/4 signature at 0x800438",
	},
	{
		name: "ext4 journal", tool: "mkfs.ext4", deb: "e2fsprogs", size: 100 * block.MiB,
		make: []string{"mkfs.ext4 -q -O journal_dev $disk"},
		want: "has an ext2/3/4 signature at 0x438", wiped: gone,
	},
	{
		name: "xfs", tool: "mkfs.xfs", deb: "xfsprogs", size: 512 * block.MiB,
		make: []string{"mkfs.xfs -q $disk"},
		want: "has an XFS signature at 0x0", fs: "xfs", wiped: "has an XFS signature at 0x8000000",
	},
	{
		name: "xfs on a large disk", tool: "mkfs.xfs", deb: "xfsprogs", size: 40*block.GiB + 12*block.KiB,
		make: []string{"mkfs.xfs -q $disk"},
		want: "has an XFS signature at 0x0", fs: "xfs", wiped: "has an XFS signature at 0x280001000",
	},
	{
		name: "xfs log", tool: "mkfs.xfs", deb: "xfsprogs", size: 64 * block.MiB,
		make: []string{"truncate -s 512M $disk.data; mkfs.xfs -q -l logdev=$disk $disk.data"},
		want: "has an XFS log signature at 0x0", wiped: gone,
	},
	{
		name: "btrfs", tool: "mkfs.btrfs", deb: "btrfs-progs", size: 256 * block.MiB,
		make: []string{"mkfs.btrfs -q $disk"},
		want: "has a btrfs signature at 0x10040", fs: "btrfs", wiped: "has a btrfs signature at 0x4000040",
	},
	{
		name: "fat12", tool: "mkfs.vfat", deb: "dosfstools", size: 2 * block.MiB,
		make: []string{"mkfs.vfat -F 12 $disk"},
		want: "has a FAT signature at 0x36", fs: "vfat", wiped: gone,
	},
	{
		name: "fat16", tool: "mkfs.vfat", deb: "dosfstools", size: 32 * block.MiB,
		make: []string{"mkfs.vfat -F 16 $disk"},
		want: "has a FAT signature at 0x36", fs: "vfat", wiped: gone,
	},
	{
		name: "fat32", tool: "mkfs.vfat", deb: "dosfstools", size: 64 * block.MiB,
		make: []string{"mkfs.vfat -F 32 $disk"},
		want: "has a FAT signature at 0x52", fs: "vfat", wiped: gone,
	},
	{
		name: "exfat", tool: "mkfs.exfat", deb: "exfatprogs", size: 64 * block.MiB,
		make: []string{"mkfs.exfat $disk"},
		want: "has an exFAT signature at 0x3", fs: "exfat", wiped: "holds data of no known format at 0x100000",
	},
	{
		name: "ntfs", tool: "mkfs.ntfs", deb: "ntfs-3g", size: 64 * block.MiB,
		make: []string{"mkfs.ntfs -q -F -f -s 512 -p 0 -H 255 -S 63 $disk"},
		want: "has an NTFS signature at 0x3", fs: "ntfs", wiped: "has an NTFS signature at 0x3fffe03",
	},
	{
		name: "f2fs", tool: "mkfs.f2fs", deb: "f2fs-tools", size: 128 * block.MiB,
		make: []string{"mkfs.f2fs -q $disk"},
		want: "has an F2FS signature at 0x400", fs: "f2fs", wiped: "holds data of no known format at 0x200000",
	},
	{
		name: "jfs", tool: "mkfs.jfs", deb: "jfsutils", size: 32 * block.MiB,
		make: []string{"mkfs.jfs -q $disk"},
		want: "has a JFS signature at 0x8000", fs: "jfs", wiped: "holds data of no known format at 0x",
	},
	{
		name: "reiserfs", tool: "mkfs.reiserfs", deb: "reiserfsprogs", size: 64 * block.MiB,
		make: []string{"mkfs.reiserfs -q -ff $disk"},
		want: "has a ReiserFS signature at 0x10034", fs: "reiserfs", wiped: "holds data of no known format at 0x",
	},
	{
		name: "reiser4", tool: "mkfs.reiser4", deb: "reiser4progs", size: 64 * block.MiB,
		make: []string{"mkfs.reiser4 -f -y $disk"},
		want: "has a Reiser4 signature at 0x10000", fs: "reiser4", wiped: gone,
	},
	{
		name: "nilfs2", tool: "mkfs.nilfs2", deb: "nilfs-tools", size: 160 * block.MiB,
		make: []string{"mkfs.nilfs2 -q $disk"},
		want: "has a NILFS2 signature at 0x406", fs: "nilfs2", wiped: "has a NILFS2 signature at 0x9fff006",
	},
	{
		name: "ocfs2", tool: "mkfs.ocfs2", deb: "ocfs2-tools", size: 256 * block.MiB,
		make: []string{"mkfs.ocfs2 -q -x -b 4096 -M local --fs-features=local $disk"},
		want: "has an OCFS2 signature at 0x2000", fs: "ocfs2", wiped: "holds data of no known format at 0x",
	},
	{
		name: "gfs2", tool: "mkfs.gfs2", deb: "gfs2-utils", size: 128 * block.MiB,
		make: []string{"mkfs.gfs2 -q -O -p lock_nolock -J 8 $disk"},
		want: "has a GFS2 signature at 0x10000", fs: "gfs2", wiped: "holds data of no known format at 0x100000",
	},
	{
		name: "udf", tool: "mkfs.udf", deb: "udftools", size: 64 * block.MiB,
		make: []string{"mkfs.udf $disk"},
		want: "has a UDF signature at 0x8001", fs: "udf", wiped: "holds data of no known format at 0x3fdfe00",
	},
	{
		name: "squashfs", tool: "mksquashfs", deb: "squashfs-tools", size: 2 * block.MiB,
		make: []string{"mksquashfs $files $disk.made -quiet -no-progress", copied},
		want: "has a squashfs signature at 0x0", fs: "squashfs", wiped: gone,
	},
	{
		name: "erofs", tool: "mkfs.erofs", deb: "erofs-utils", size: 2 * block.MiB,
		make: []string{"mkfs.erofs $disk.made $files", copied},
		want: "has an erofs signature at 0x400", fs: "erofs", wiped: gone,
	},
	{
		name: "iso9660", tool: "genisoimage", deb: "genisoimage", size: 2 * block.MiB,
		make: []string{"genisoimage -quiet -o $disk.made $files", copied},
		want: "has an ISO 9660 signature at 0x8001", fs: "iso9660", wiped: gone,
	},
	{
		name: "romfs", tool: "genromfs", deb: "genromfs", size: 2 * block.MiB,
		make: []string{"genromfs -d $files -f $disk.made", copied},
		want: "has a romfs signature at 0x0", fs: "romfs", wiped: gone,
	},
	{
		name: "cramfs", tool: "mkfs.cramfs", deb: "util-linux", size: 2 * block.MiB,
		make: []string{"mkfs.cramfs $files $disk.made", copied},
		want: "has a cramfs signature at 0x0", fs: "cramfs", wiped: gone,
	},
	{
		name: "minix", tool: "mkfs.minix", deb: "util-linux", size: 16 * block.MiB,
		make: []string{"mkfs.minix $disk"},
		want: "has a minix signature at 0x410", fs: "minix", wiped: gone,
	},
	{
		name: "bfs", tool: "mkfs.bfs", deb: "util-linux", size: 2 * block.MiB, device: true,
		make: []string{"mkfs.bfs $disk"},
		want: "has an SCO BFS signature at 0x0", fs: "bfs", wiped: gone,
	},
	{
		name: "hfs", tool: "hformat", deb: "hfsutils", size: 16 * block.MiB,
		make: []string{"HOME=$files hformat $disk"},
		want: "has an HFS signature at 0x400", fs: "hfs", wiped: "has an HFS signature at 0xfffc00",
	},
	{
		name: "apfs", tool: "mkapfs", deb: "apfsprogs", size: 600 * block.MiB,
		make: []string{"mkapfs $disk"},
		want: "has an APFS signature at 0x20", fs: "apfs", wiped: "holds data of no known format at 0x",
	},
	{
		name: "ubi", tool: "ubinize", deb: "mtd-utils", size: 2 * block.MiB,
		make: []string{
			`printf '[a]\nmode=ubi\nvol_id=0\nvol_type=dynamic\nvol_name=a\nvol_size=1MiB\n' >$disk.ini`,
			"ubinize -o $disk.made -p 128KiB -m 2048 $disk.ini", copied,
		},
		want: "has a UBI signature at 0x0", wiped: gone,
	},
	{
		name: "ubifs", tool: "mkfs.ubifs", deb: "mtd-utils", size: 16 * block.MiB,
		make: []string{"mkfs.ubifs -r $files -m 2048 -e 126976 -c 100 -o $disk.made", copied},
		want: "has a UBIFS signature at 0x0", fs: "ubifs", wiped: "holds data of no known format at 0x",
	},
	{
		name: "jffs2", tool: "mkfs.jffs2", deb: "mtd-utils", size: 2 * block.MiB,
		make: []string{"mkfs.jffs2 -r $files -o $disk.made", copied},
		want: "has a JFFS2 signature at 0x0", wiped: gone,
	},
	{
		name: "zfs", tool: "zfs-fuse", deb: "zfs-fuse", size: 128 * block.MiB,
		make: []string{zpool},
		want: "has a ZFS signature at 0x4018", wiped: "has a ZFS signature at 0x7f84018",
	},
	{
		name: "lvm2", tool: "lvm", deb: "lvm2", size: 32 * block.MiB, device: true,
		make: []string{`lvm pvcreate --driverloaded n -y --config '
			devices { use_devicesfile=0 obtain_device_list_from_udev=0 }
			activation { udev_sync=0 udev_rules=0 }' $disk`},
		want: "has an LVM2 signature at 0x218", wiped: gone,
	},
	{
		name: "drbd", tool: "drbdmeta", deb: "drbd-utils", size: 32 * block.MiB, device: true,
		make: []string{"drbdmeta --force 0 v08 $disk internal create-md"},
		want: "has a DRBD signature at 0x1fff03c", wiped: "has a DRBD signature at 0x1fff03c",
	},
	{
		name: "bcache", tool: "make-bcache", deb: "bcache-tools", size: 64 * block.MiB,
		make: []string{"make-bcache -C $disk"},
		want: "has a bcache signature at 0x1018", wiped: gone,
	},
	{
		name: "bcache backing", tool: "make-bcache", deb: "bcache-tools", size: 64 * block.MiB,
		make: []string{"make-bcache -B $disk"},
		want: "has a bcache signature at 0x1018", wiped: gone,
	},
	{
		name: "luks1", tool: "cryptsetup", deb: "cryptsetup-bin", size: 32 * block.MiB,
		make: []string{"printf secret | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 $disk -"},
		want: "has a LUKS1 signature at 0x0", wiped: "holds data of no known format at 0x100000",
	},
	{
		name: "luks2", tool: "cryptsetup", deb: "cryptsetup-bin", size: 32 * block.MiB,
		make: []string{"printf secret | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $disk -"},
		want: "has a LUKS2 signature at 0x0", wiped: "holds data of no known format at 0x100000",
	},
	{
		name: "luks2 with a large header", tool: "cryptsetup", deb: "cryptsetup-bin", size: 64 * block.MiB,
		make: []string{"printf secret | cryptsetup luksFormat -q --type luks2 --luks2-metadata-size 4m --luks2-keyslots-size 16m --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $disk -"},
		want: "has a LUKS2 signature at 0x0", wiped: "has a LUKS2 signature at 0x400000",
	},
	{
		name: "dm-verity", tool: "veritysetup", deb: "cryptsetup-bin", size: 4 * block.MiB,
		make: []string{"truncate -s 1M $disk.data; veritysetup format $disk.data $disk"},
		want: "has a dm-verity signature at 0x0", wiped: gone,
	},
	{
		name: "swap", tool: "mkswap", deb: "util-linux", size: 16 * block.MiB,
		make: []string{"mkswap $disk"},
		want: "has a swap signature at 0xff6", wiped: gone,
	},
	{
		name: "swap of 8k pages", tool: "mkswap", deb: "util-linux", size: 16 * block.MiB,
		make: []string{"mkswap -p 8192 $disk"},
		want: "has a swap signature at 0x1ff6", wiped: gone,
	},
	{
		name: "swap of 64k pages", tool: "mkswap", deb: "util-linux", size: 16 * block.MiB,
		make: []string{"mkswap -p 65536 $disk"},
		want: "has a swap signature at 0xfff6", wiped: gone,
	},
	{
		name: "gpt", tool: "sfdisk", deb: "fdisk", size: 16 * block.MiB,
		make: []string{`printf 'label: gpt\n,,L\n' | sfdisk -q $disk`},
		want: "has a GPT signature at 0x200", wiped: "has a GPT signature at 0xfffe00",
	},
	{
		name: "gpt without a partition", tool: "sgdisk", deb: "gdisk", size: 16 * block.MiB,
		make: []string{"sgdisk -o $disk"},
		want: "has a GPT signature at 0x200", wiped: "has a GPT signature at 0xfffe00",
	},
	{
		name: "mbr", tool: "sfdisk", deb: "fdisk", size: 16 * block.MiB,
		make: []string{"echo ,,L | sfdisk -q $disk"},
		want: "has an MBR signature at 0x1fe", wiped: gone,
	},
	{
		name: "mbr without a partition", tool: "sfdisk", deb: "fdisk", size: 16 * block.MiB,
		make: []string{`printf 'label: dos\n' | sfdisk -q $disk`},
		want: "has an MBR signature at 0x1fe", wiped: gone,
	},
	{
		name: "sun", tool: "sfdisk", deb: "fdisk", size: 16 * block.MiB,
		make: []string{`printf 'label: sun\n' | sfdisk -q $disk`},
		want: "has a Sun disklabel signature at 0x1fc", wiped: gone,
	},
	{
		name: "sgi", tool: "sfdisk", deb: "fdisk", size: 16 * block.MiB,
		make: []string{`printf 'label: sgi\n' | sfdisk -q $disk`},
		want: "has an SGI disklabel signature at 0x0", wiped: gone,
	},
	{
		name: "apple", tool: "parted", deb: "parted", size: 16 * block.MiB,
		make: []string{"parted -s $disk mklabel mac"},
		want: "has an Apple partition map signature at 0x200", wiped: gone,
	},
	{
		name: "amiga", tool: "parted", deb: "parted", size: 16 * block.MiB,
		make: []string{"parted -s $disk mklabel amiga"},
		want: "has an Amiga RDB signature at 0x", wiped: gone,
	},
	{
		name: "bsd", tool: "parted", deb: "parted", size: 16 * block.MiB,
		make: []string{"parted -s $disk mklabel bsd"},
		want: "has a BSD disklabel signature at 0x40", wiped: gone,
	},
	{
		name: "tar", tool: "tar", deb: "tar", size: 2 * block.MiB,
		make: []string{"tar -C $files -cf $disk.made .", copied},
		want: "has a tar archive signature at 0x101", wiped: gone,
	},
	{
		name: "gzip", tool: "gzip", deb: "gzip", size: 2 * block.MiB,
		make: []string{"gzip -c $files/a >$disk.made", copied},
		want: "has a gzip signature at 0x0", wiped: gone,
	},
}

// keptDisks are disks in testdata that mdadm made, see testdata/README.
var keptDisks = []making{
	{name: "md-0.90", want: "has an md RAID 0.90 signature at 0x4ff0000", wiped: "has an md RAID 0.90 signature at 0x4ff0000"},
	{name: "md-1.0", want: "has an md RAID 1.0 signature at 0x4ffe000", wiped: "has an md RAID 1.0 signature at 0x4ffe000"},
	{name: "md-1.1", want: "has an md RAID 1.1 signature at 0x0", wiped: gone},
	{name: "md-1.2", want: "has an md RAID 1.2 signature at 0x1000", wiped: gone},
	{name: "md-ddf", want: "has a DDF RAID signature at 0x4fffe00", wiped: "has a DDF RAID signature at 0x4fffe00"},
	{name: "md-imsm", want: "has an Intel RAID signature at 0x4fffc00", wiped: "has an Intel RAID signature at 0x4fffc00"},
}

// unpack makes a disk of testdata.
func unpack(t *testing.T, name string) (disk string) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sectors, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	disk = newImage(t, 80*block.MiB)
	for {
		var sector struct {
			At   int64
			Data [512]byte
		}
		switch err := binary.Read(sectors, binary.BigEndian, &sector); err {
		case nil:
			put(t, disk, block.Offset(sector.At), string(sector.Data[:]))
		case io.EOF:
			return disk
		default:
			t.Fatal(err)
		}
	}
}

// TestFormats proves a disk with each format of the table: made by the tool of the
// format, or, if this machine has no such tool, with only the mark of the format.
// The last line of its log counts them.
func TestFormats(t *testing.T) {
	required := os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1"
	var mu sync.Mutex
	made, skipped := map[string]bool{}, []string{}
	t.Run("made", func(t *testing.T) {
		for _, m := range makings {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				if lack := m.lacks(); lack != "" {
					mu.Lock()
					skipped = append(skipped, m.name)
					mu.Unlock()
					if required {
						t.Fatal(lack)
					}
					t.Skip(lack)
				}
				disk := newImage(t, m.size)
				m.run(t, disk)
				for _, s := range m.prove(t, disk).Found {
					mu.Lock()
					made[s.Name] = true
					mu.Unlock()
				}
			})
		}
	})
	for _, m := range keptDisks {
		t.Run("kept/"+m.name, func(t *testing.T) {
			for _, s := range m.prove(t, unpack(t, m.name)).Found {
				made[s.Name] = true
			}
		})
	}
	marks := 0
	t.Run("mark", func(t *testing.T) {
		for _, f := range signature.Table() {
			if made[f.Name] {
				continue
			}
			marks++
			t.Run(f.Name, func(t *testing.T) {
				t.Parallel()
				proveMark(t, f)
			})
		}
	})
	t.Logf("%d disks made by formats' own tools, %d kept of those that mdadm made, %d formats from their marks alone, %d skipped for lack of a tool: %s",
		len(makings)-len(skipped), len(keptDisks), marks, len(skipped), strings.Join(skipped, ", "))
}

// prove proves what the tool made, and again after the first MiB was zeroed.
func (m making) prove(t *testing.T, disk string) Report {
	t.Helper()
	r := prove(t, disk)
	if r.Blank {
		t.Fatal("it counts as blank")
	}
	if words, _, _ := strings.Cut(r.String(), " ("); !strings.HasPrefix(words, m.want) || strings.Contains(words, " and ") {
		t.Errorf("it %s, want %s", r, m.want)
	}
	if fs := r.Filesystem; fs == nil && m.fs != "" || fs != nil && fs.Type != m.fs {
		t.Errorf("its filesystem is %v, want %q", fs, m.fs)
	}
	zeroFront(t, disk)
	if rest := prove(t, disk); !strings.HasPrefix(rest.String(), m.wiped) || rest.Blank != (m.wiped == gone) {
		t.Errorf("with its first MiB zeroed it %s, want %s", rest, m.wiped)
	}
	return r
}

// proveMark proves a disk that has only the first mark of a format.
func proveMark(t *testing.T, f signature.Format) {
	t.Helper()
	disk := newImage(t, 8*block.MiB)
	mark := f.Marks[0]
	at, ok := mark.Places[0].On(int64(8*block.MiB), len(mark.Bytes), -1)
	if !ok {
		t.Fatal("the mark has no place on the disk")
	}
	put(t, disk, block.Offset(at), mark.Bytes)
	r := prove(t, disk)
	want := "has " + Signature{f.Name, block.Offset(at)}.String()
	if r.Blank || r.String() != want {
		t.Errorf("it %s, want %s", r, want)
	}
}

// lacks says what this machine lacks to make the disk, "" for nothing.
func (m making) lacks() string {
	if _, err := exec.LookPath(m.tool); err != nil {
		return m.tool + " is missing: apt-get install " + m.deb
	}
	if (m.device || m.tool == "zfs-fuse") && os.Getuid() != 0 {
		return m.tool + " needs root"
	}
	if _, err := os.Stat("/dev/loop-control"); m.device && err != nil {
		return m.tool + " needs a loop device: " + err.Error()
	}
	return ""
}

func (m making) run(t *testing.T, disk string) {
	t.Helper()
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "a"), bytes.Repeat([]byte("not compressible? "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	on := disk
	if m.device {
		on = attachLoop(t, disk)
		defer detachLoop(t, on)
	}
	for _, line := range m.make {
		cmd := exec.Command("sh", "-ec", line)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "disk="+on, "files="+files)
		if on != disk && strings.Contains(line, "$disk.") {
			t.Fatal("$disk. is no path beside the image here")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

// attachLoop makes a block device of an image.
func attachLoop(t testing.TB, image string, options ...string) string {
	t.Helper()
	args := slices.Concat([]string{"--find", "--show"}, options, []string{image})
	out, err := exec.Command("losetup", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func detachLoop(t testing.TB, device string) {
	t.Helper()
	if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
		t.Errorf("losetup: %v\n%s", err, out)
	}
}

func zeroFront(t *testing.T, disk string) {
	t.Helper()
	punch(t, disk, 0, block.MiB)
}

// punch zeroes a part of an image.
func punch(t testing.TB, disk string, from, length block.Bytes) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err := unix.Fallocate(int(f.Fd()), mode, int64(from), int64(length)); err != nil {
		t.Fatal(err)
	}
}
