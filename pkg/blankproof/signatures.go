package blankproof

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"sync"

	"bootagent/pkg/block"
)

// A format is something that leaves marks on a disk.
type format struct {
	name  string
	types []string // what libblkid calls it, and parts of it, where it knows it
	marks []mark
}

// A mark is bytes that a format keeps at certain places.
type mark struct {
	rank   rank
	bytes  string
	places []place
}

// A rank says what a mark is worth for telling which format is on a disk. For
// telling that a disk is not blank, each is worth the same.
type rank int

const (
	// sure marks are found by chance or in the data of another format so
	// rarely that two of different formats make a disk ambiguous.
	sure rank = iota

	// spare marks are copies that formats made later leave alone. They name a
	// disk on which there is nothing sure.
	spare

	// weak marks are two or three bytes long. They count where libblkid, which
	// looks at the rest of the superblock too, agrees, or where nothing else
	// gives a name.
	weak
)

// A place is an offset from a disk's start, or from its end rounded down to a
// multiple of align, or from the k-th quarter of it, or from the sector of its
// first data, which is known only when it was read.
type place struct {
	align   int64 // 0 for the start
	offset  int64 // negative from the end
	quarter int64 // 1 to 3
	first   bool
	after   string // what stands right before, where the mark alone could be another format's
}

// on returns where a place is on a disk of this size; it is not ok if length
// bytes have no room there.
func (p place) on(size int64, length int) (at int64, ok bool) {
	at = p.offset
	switch {
	case p.first:
		return 0, false
	case p.align > 0:
		at += size / p.align * p.align
	case p.quarter > 0:
		// mkfs.xfs makes four allocation groups of a disk from 64 MiB to
		// 4 TiB, of as many blocks of 4 KiB each, rounded up.
		at += p.quarter * group(size, 4, xfsBlock)
	}
	return at, at >= 0 && at+int64(length) <= size
}

func at(offsets ...int64) []place {
	places := make([]place, len(offsets))
	for i, offset := range offsets {
		places[i] = place{offset: offset}
	}
	return places
}

// end gives places before the disk's end rounded down to a multiple of align.
func end(align int64, before ...int64) []place {
	places := make([]place, len(before))
	for i, b := range before {
		places[i] = place{align: align, offset: -b}
	}
	return places
}

// slots gives n places, each step after the one before.
func slots(first place, step, n int64) []place {
	places := make([]place, n)
	for i := range places {
		places[i] = first
		places[i].offset += int64(i) * step
	}
	return places
}

// sectors gives places that many sectors of 512 bytes before the end.
func sectors(before ...int64) []place {
	for i := range before {
		before[i] *= 512
	}
	return end(512, before...)
}

func quarters() []place { return []place{{quarter: 1}, {quarter: 2}, {quarter: 3}} }

// inPartitions gives places in a filesystem that has the whole disk, or a
// partition that begins where the first one does.
func inPartitions(offsets ...int64) []place {
	return slices.Concat(at(offsets...), shifted(partitionAt, offsets), shifted(oldPartition, offsets))
}

func shifted(by int64, offsets []int64) []place {
	places := at(offsets...)
	for i := range places {
		places[i].offset += by
	}
	return places
}

// extBackups gives where ext2 and its heirs keep copies of their superblock, for
// blocks of 1, 2 and 4 KiB: in the groups 1 and the powers of 3, 5 and 7
// (sparse_super), each of as many blocks as the bits of one, up to 64 TiB.
func extBackups(offset int64) []place {
	const most = 64 * int64(block.TiB) / (128 * int64(block.MiB))
	groups := []int64{1}
	for _, base := range []int64{3, 5, 7} {
		for g := base; g <= most; g *= base {
			groups = append(groups, g)
		}
	}
	var offsets []int64
	for _, g := range groups {
		offsets = append(offsets, g*8*int64(block.MiB)+int64(block.KiB)+offset, g*32*int64(block.MiB)+offset, g*128*int64(block.MiB)+offset)
	}
	return inPartitions(offsets...)
}

// swapPages gives the ends of the first page, for every page size of Linux.
func swapPages() []place {
	return at(0x1000-10, 0x2000-10, 0x4000-10, 0x8000-10, 0x10000-10)
}

// zfsLabels gives places in ZFS's labels of 256 KiB, two in front and two at
// the end.
func zfsLabels(offset int64) []place {
	return slices.Concat(at(offset, 0x40000+offset), end(0x40000, 0x80000-offset, 0x40000-offset))
}

func zfsUberblocks() []place {
	var places []place
	for _, ring := range zfsLabels(0x20000) {
		places = append(places, slots(ring, 1024, 128)...)
	}
	return places
}

const bcacheMark = "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"

// bcacheMarks are bcache's own: before them stand the superblock's sector, which
// is 8, and its version (linux/drivers/md/bcache/bcache_ondisk.h).
func bcacheMarks() []mark {
	places := make([]place, 7)
	for version := range places {
		before := "\x08\x00\x00\x00\x00\x00\x00\x00" + string(rune(version)) + "\x00\x00\x00\x00\x00\x00\x00"
		places[version] = place{offset: 0x1018, after: before}
	}
	return []mark{{sure, bcacheMark, places}}
}

// bootSector is what libblkid may call a boot sector beside its filesystem: it
// ends as an MBR does.
const bootSector = "dos"

// ufsSuperblocks gives where each variant keeps its superblock's magic.
func ufsSuperblocks() []place { return at(0x55c, 0x255c, 0x1055c, 0x4055c) }

// formats is the table of what a disk may hold, from libblkid's superblocks and
// partitions folders (util-linux 2.38), from the formats' own headers where
// that is silent. Most programs that link it never look at it.
var formats = sync.OnceValue(func() []format {
	return []format{
		// Filesystems.
		{"ext2/3/4", []string{"ext2", "ext3", "ext4", "ext4dev", "jbd"}, []mark{
			{weak, "\x53\xef", at(0x438)},
			{spare, "\x53\xef", slices.Concat([]place{{first: true, offset: 0x38}}, shifted(partitionAt, []int64{0x438}), extBackups(0x38))},
		}},
		{"XFS", []string{"xfs"}, []mark{
			{sure, "XFSB", at(0)},
			// Each allocation group begins with a copy.
			{spare, "XFSB", slices.Concat([]place{{first: true}}, at(partitionAt), quarters())},
		}},
		{"XFS log", []string{"xfs_external_log"}, []mark{{spare, "\xfe\xed\xba\xbe", slots(place{}, 512, 512)}}},
		{"btrfs", []string{"btrfs"}, []mark{
			{sure, "_BHRfS_M", at(0x10040)},
			{spare, "_BHRfS_M", at(0x4000040, 0x4000000040)}, // at 64 MiB and 256 GiB
		}},
		{"F2FS", []string{"f2fs"}, []mark{
			{sure, "\x10\x20\xf5\xf2", at(0x400)},
			{spare, "\x10\x20\xf5\xf2", at(0x1400)},
		}},
		{"JFS", []string{"jfs"}, []mark{
			{sure, "JFS1", at(0x8000)},
			{spare, "JFS1", at(0xf000)},
		}},
		{"ReiserFS", []string{"reiserfs"}, []mark{
			{sure, "ReIsErFs", at(0x2034, 0x2014, 0x10034)},
			{sure, "ReIsEr2Fs", at(0x10034)},
			{sure, "ReIsEr3Fs", at(0x10034)},
		}},
		{"Reiser4", []string{"reiser4"}, []mark{{sure, "ReIsEr4", at(0x10000)}}},
		{"NILFS2", []string{"nilfs2"}, []mark{
			{weak, "\x34\x34", at(0x406)},
			{weak, "\x34\x34", slices.Concat(end(512, 0x1000-6), end(4096, 0x1000-6))},
		}},
		{"OCFS2", []string{"ocfs2"}, []mark{
			{sure, "OCFSV2", at(0x400, 0x800, 0x1000, 0x2000)},
			{spare, "OCFSV2", at(1<<30, 1<<32, 1<<34, 1<<36, 1<<38, 1<<40)},
		}},
		{"OCFS", []string{"ocfs"}, []mark{{sure, "OracleCFS", at(0x2000)}}},
		{"GFS2", []string{"gfs2", "gfs"}, []mark{{sure, "\x01\x16\x19\x70", at(0x10000)}}},
		{"UDF", []string{"udf"}, []mark{
			{sure, "NSR02", slots(place{offset: 0x8001}, 0x800, 32)},
			{sure, "NSR03", slots(place{offset: 0x8001}, 0x800, 32)},
			{sure, "BEA01", slots(place{offset: 0x8001}, 0x800, 32)},
		}},
		{"ISO 9660", []string{"iso9660"}, []mark{
			{sure, "CD001", at(0x8001)},
			{sure, "CDROM", at(0x8009)}, // High Sierra
		}},
		{"squashfs", []string{"squashfs", "squashfs3"}, []mark{
			{sure, "hsqs", at(0)},
			{sure, "sqsh", at(0)},
		}},
		{"erofs", []string{"erofs"}, []mark{{sure, "\xe2\xe1\xf5\xe0", at(0x400)}}},
		{"cramfs", []string{"cramfs"}, []mark{
			{sure, "\x45\x3d\xcd\x28", at(0, 0x200)},
			{sure, "\x28\xcd\x3d\x45", at(0, 0x200)},
		}},
		{"romfs", []string{"romfs"}, []mark{{sure, "-rom1fs-", at(0)}}},
		{"zonefs", []string{"zonefs"}, []mark{{sure, "SFOZ", at(0)}}},
		{"minix", []string{"minix"}, []mark{
			{weak, "\x7f\x13", at(0x410)},
			{weak, "\x8f\x13", at(0x410)},
			{weak, "\x13\x7f", at(0x410)},
			{weak, "\x13\x8f", at(0x410)},
			{weak, "\x68\x24", at(0x410)},
			{weak, "\x78\x24", at(0x410)},
			{weak, "\x24\x68", at(0x410)},
			{weak, "\x24\x78", at(0x410)},
			{weak, "\x5a\x4d", at(0x418)},
			{weak, "\x4d\x5a", at(0x418)},
		}},
		{"HFS", []string{"hfs"}, []mark{
			{weak, "BD", at(0x400)},
			{weak, "BD", end(512, 0x400)}, // the alternate one
		}},
		{"HFS+", []string{"hfsplus"}, []mark{
			{sure, "H+\x00\x04", at(0x400)},
			{sure, "HX\x00\x05", at(0x400)},
			{spare, "H+\x00\x04", end(512, 0x400)},
			{spare, "HX\x00\x05", end(512, 0x400)},
		}},
		{"APFS", []string{"apfs"}, []mark{{sure, "NXSB", at(0x20)}}},
		{"HPFS", []string{"hpfs"}, []mark{{sure, "\x49\xe8\x95\xf9", at(0x2000)}}},
		{"FAT", []string{"vfat", bootSector}, []mark{
			{sure, "FAT32   ", at(0x52)},
			{sure, "MSWIN", at(0x52)},
			{sure, "FAT16   ", at(0x36)},
			{sure, "FAT12   ", at(0x36)},
			{sure, "FAT     ", at(0x36)},
			{sure, "MSDOS", at(0x36)},
			{spare, "FAT32   ", at(0xc52)}, // the spare boot sector
		}},
		{"exFAT", []string{"exfat", bootSector}, []mark{
			{sure, "EXFAT   ", at(3)},
			{spare, "EXFAT   ", at(0x1803, 0xc003)}, // sector 12, of 512 or 4096 bytes
		}},
		{"NTFS", []string{"ntfs", bootSector}, []mark{
			{sure, "NTFS    ", at(3)},
			{spare, "NTFS    ", slices.Concat(end(512, 0x200-3), end(4096, 0x1000-3))},
		}},
		{"ReFS", []string{"ReFS"}, []mark{{sure, "\x00\x00\x00ReFS\x00", at(0)}}},
		{"UFS", []string{"ufs"}, []mark{
			{sure, "\x54\x19\x01\x00", ufsSuperblocks()},
			{sure, "\x00\x01\x19\x54", ufsSuperblocks()},
			{sure, "\x19\x01\x54\x19", ufsSuperblocks()}, // UFS2
			{sure, "\x19\x54\x01\x19", ufsSuperblocks()},
			{sure, "\x12\x56\x19\x00", ufsSuperblocks()}, // of HP-UX
			{sure, "\x00\x19\x56\x12", ufsSuperblocks()},
			{sure, "\x14\x50\x09\x00", ufsSuperblocks()},
			{sure, "\x00\x09\x50\x14", ufsSuperblocks()},
			{sure, "\x95\x21\x61\x00", ufsSuperblocks()},
			{sure, "\x00\x61\x21\x95", ufsSuperblocks()},
			{sure, "\x94\x19\x23\x05", ufsSuperblocks()},
			{sure, "\x05\x23\x19\x94", ufsSuperblocks()},
		}},
		{"VxFS", []string{"vxfs"}, []mark{
			{sure, "\xf5\xfc\x01\xa5", at(0x400)},
			{sure, "\xa5\x01\xfc\xf5", at(0x2000)},
		}},
		{"SCO BFS", []string{"bfs"}, []mark{{sure, "\xce\xfa\xad\x1b", at(0)}}},
		{"BeFS", []string{"befs"}, []mark{
			{sure, "BFS1", at(0x20, 0x220)},
			{sure, "1SFB", at(0x20, 0x220)},
		}},
		{"System V", []string{"sysv"}, []mark{
			{sure, "\x20\x7e\x18\xfd", at(0x3f8, 0x27f8, 0x3ff8, 0x4bf8)},
			{sure, "\xfd\x18\x7e\x20", at(0x3f8, 0x27f8, 0x3ff8, 0x4bf8)},
		}},
		{"Xenix", []string{"xenix"}, []mark{
			{weak, "\x2b\x55\x44", at(0x800)},
			{weak, "\x44\x55\x2b", at(0x800)},
		}},
		{"NetWare NSS", []string{"nss"}, []mark{{sure, "SPB5", at(0x1000)}}},
		{"EXFS", []string{"exfs"}, []mark{{sure, "EXFS", at(0)}}},
		{"VMFS", []string{"VMFS", "VMFS_volume_member"}, []mark{
			{sure, "\x0d\xd0\x01\xc0", at(0x100000)},
			{sure, "\x5e\xf1\xab\x2f", at(0x200000)},
		}},
		{"UBIFS", []string{"ubifs"}, []mark{{sure, "\x31\x18\x10\x06", at(0)}}},
		{"UBI", []string{"ubi"}, []mark{{sure, "UBI#", at(0)}}},
		{"JFFS2", []string{"jffs2"}, []mark{
			{sure, "\x85\x19\x03\x20", at(0)},
			{sure, "\x19\x85\x20\x03", at(0)},
		}},

		// Storage that other storage is made of.
		{"ZFS", []string{"zfs_member"}, []mark{
			{sure, "version\x00", zfsLabels(0x4018)}, // the first name of a label's list
			{spare, "\x0c\xb1\xba\x00\x00\x00\x00\x00", zfsUberblocks()},
			{spare, "\x00\x00\x00\x00\x00\xba\xb1\x0c", zfsUberblocks()},
		}},
		// The first ones had bcache's mark, but not what stands before that.
		{"bcachefs", []string{"bcachefs", "bcache"}, []mark{
			{sure, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", at(0x1018)},
			{spare, bcacheMark, at(0x1018)},
		}},
		{"bcache", []string{"bcache"}, bcacheMarks()},
		{"LVM2", []string{"LVM2_member"}, []mark{
			{sure, "LVM2 001", at(0x018, 0x218, 0x418, 0x618)},
			{spare, " LVM2 x[5A%r0N*>", at(0x1004)}, // metadata, which pvremove leaves
		}},
		{"LVM1", []string{"LVM1_member"}, []mark{{weak, "HM", at(0)}}},
		{"md RAID 0.90", []string{"linux_raid_member"}, []mark{
			{sure, "\xfc\x4e\x2b\xa9\x00\x00\x00\x00", end(0x10000, 0x10000)},
			{sure, "\xa9\x2b\x4e\xfc\x00\x00\x00\x00", end(0x10000, 0x10000)},
		}},
		{"md RAID 1.0", []string{"linux_raid_member"}, []mark{{sure, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", end(0x1000, 0x2000)}}},
		{"md RAID 1.1", []string{"linux_raid_member"}, []mark{{sure, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", at(0)}}},
		{"md RAID 1.2", []string{"linux_raid_member"}, []mark{{sure, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", at(0x1000)}}},
		{"LUKS1", []string{"crypto_LUKS"}, []mark{{sure, "LUKS\xba\xbe\x00\x01", at(0)}}},
		{"LUKS2", []string{"crypto_LUKS"}, []mark{
			{sure, "LUKS\xba\xbe\x00\x02", at(0)},
			{spare, "SKUL\xba\xbe\x00\x02", at(0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000)},
		}},
		{"BitLocker", []string{"BitLocker", bootSector}, []mark{{sure, "-FVE-FS-", at(3)}}},
		{"dm-verity", []string{"DM_verity_hash"}, []mark{{sure, "verity\x00\x00", at(0)}}},
		{"dm-integrity", []string{"DM_integrity"}, []mark{{sure, "integrt\x00", at(0)}}},
		{"dm-snapshot", []string{"DM_snapshot_cow"}, []mark{{sure, "SnAp", at(0)}}},
		{"Stratis", []string{"stratis"}, []mark{{sure, "!Stra0tis\x86\xff\x02^\x41rh", at(0x204, 0x1204)}}},
		{"VDO", []string{"vdo"}, []mark{{sure, "dmvdo001", at(0)}}},
		{"BlueStore", []string{"ceph_bluestore"}, []mark{{sure, "bluestore block device", at(0)}}},
		{"mpool", []string{"mpool"}, []mark{{sure, "mpoolDev", at(0)}}},
		{"Oracle ASM", []string{"oracleasm"}, []mark{{sure, "ORCLDISK", at(0x20)}}},
		{"DRBD", []string{"drbd"}, []mark{
			{sure, "\x83\x74\x02\x6b", end(512, 0x1000-0x3c)},
			{sure, "\x83\x74\x02\x6c", end(512, 0x1000-0x3c)},
			{sure, "\x83\x74\x02\x6d", end(512, 0x1000-0x3c)},
		}},
		{"DRBD manage", []string{"drbdmanage_control_volume"}, []mark{{sure, "$DRBDmgr=q", at(0)}}},
		{"DRBD proxy log", []string{"drbdproxy_datalog"}, []mark{{sure, "DRBDdlh*", at(0)}}},

		// Firmware RAIDs keep their marks at the end.
		{"DDF RAID", []string{"ddf_raid_member"}, []mark{
			{sure, "\xde\x11\xde\x11", sectors(1, 257)},
			{sure, "\x11\xde\x11\xde", sectors(1, 257)},
		}},
		{"Intel RAID", []string{"isw_raid_member"}, []mark{{sure, "Intel Raid ISM Cfg Sig. ", sectors(2)}}},
		{"LSI MegaRAID", []string{"lsi_mega_raid_member"}, []mark{{sure, "$XIDE$", sectors(1)}}},
		{"NVIDIA RAID", []string{"nvidia_raid_member"}, []mark{{sure, "NVIDIA", sectors(2)}}},
		{"Promise RAID", []string{"promise_fasttrack_raid_member"}, []mark{
			{sure, "Promise Technology, Inc.", sectors(16, 63, 255, 256, 399, 591, 675, 735, 911, 951, 974, 991, 3087)},
		}},
		{"HighPoint RAID", []string{"hpt37x_raid_member", "hpt45x_raid_member"}, []mark{
			{sure, "\xf0\x16\x78\x5a", at(0x1220)},
			{sure, "\xfd\x16\x78\x5a", at(0x1220)},
			{sure, "\xf3\x16\x78\x5a", sectors(11)},
			{sure, "\xfd\x16\x78\x5a", sectors(11)},
		}},
		{"Adaptec RAID", []string{"adaptec_raid_member"}, []mark{{sure, "\x37\xfc\x4d\x1e", sectors(1)}}},
		{"Silicon Image RAID", []string{"silicon_medley_raid_member"}, []mark{{weak, "\x00\x00\x00\x2f", end(512, 0x200-0x60)}}},
		{"VIA RAID", []string{"via_raid_member"}, []mark{{weak, "\x55\xaa", sectors(1)}}},
		{"JMicron RAID", []string{"jmicron_raid_member"}, []mark{{weak, "JM", sectors(1)}}},

		// Swap.
		{"swap", []string{"swap"}, []mark{
			{sure, "SWAPSPACE2", swapPages()},
			{sure, "SWAP-SPACE", swapPages()},
		}},
		{"hibernation", []string{"swsuspend"}, []mark{
			{sure, "S1SUSPEND", swapPages()},
			{sure, "S2SUSPEND", swapPages()},
			{sure, "ULSUSPEND", swapPages()},
			{sure, "LINHIB0001", swapPages()},
			{sure, "\xed\xc3\x02\xe9\x98\x56\xe5\x0c", at(0)}, // TuxOnIce
		}},

		// Partition tables. PMBR is the MBR that guards a GPT.
		{"GPT", []string{"gpt", "PMBR"}, []mark{
			{sure, "EFI PART", slices.Concat(at(0x200, 0x1000), end(512, 0x200), end(4096, 0x1000))},
		}},
		{"MBR", []string{"dos"}, []mark{{weak, "\x55\xaa", at(0x1fe)}}},
		{"LDM", nil, []mark{{sure, "PRIVHEAD", at(0xc00)}}}, // Windows' dynamic disks
		{"BSD disklabel", []string{"bsd"}, []mark{{sure, "\x57\x45\x56\x82", at(0x40, 0x80, 0x200)}}},
		{"Sun disklabel", []string{"sun"}, []mark{{weak, "\xda\xbe", at(0x1fc)}}},
		{"SGI disklabel", []string{"sgi"}, []mark{{sure, "\x0b\xe5\xa9\x41", at(0)}}},
		{"Apple partition map", []string{"mac"}, []mark{{sure, "PM\x00\x00", at(0x200)}}},
		{"Amiga RDB", nil, []mark{{sure, "RDSK", slots(place{}, 512, 16)}}},
		{"AIX", []string{"aix"}, []mark{{sure, "\xc9\xc2\xd4\xc1", at(0)}}},
		{"Ultrix disklabel", []string{"ultrix"}, []mark{{sure, "\x57\x29\x03\x00", at(0x3fb8)}}},

		// Files that people copy onto disks.
		{"qcow2 image", nil, []mark{{sure, "QFI\xfb", at(0)}}},
		{"VMDK image", nil, []mark{{sure, "KDMV", at(0)}}},
		{"VHD image", nil, []mark{{sure, "conectix", slices.Concat(at(0), sectors(1))}}},
		{"VHDX image", nil, []mark{{sure, "vhdxfile", at(0)}}},
		{"tar archive", nil, []mark{{sure, "ustar", at(0x101)}}},
		{"gzip", nil, []mark{{weak, "\x1f\x8b\x08", at(0)}}},
		{"xz", nil, []mark{{sure, "\xfd7zXZ\x00", at(0)}}},
		{"zstd", nil, []mark{{sure, "\x28\xb5\x2f\xfd", at(0)}}},
	}
})

func formatNamed(name string) *format {
	table := formats()
	i := slices.IndexFunc(table, func(f format) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// found is a mark that is there.
type found struct {
	format *format
	mark   *mark
	offset block.Offset
	after  string
}

// span is where it lies, with what stands before it.
func (f found) span() span {
	return span{int64(f.offset) - int64(len(f.after)), int64(f.offset) + int64(len(f.mark.bytes))}
}

// match reads every place where a known format keeps a mark of certain ranks,
// and returns the marks that are there, in the order in which they lie. A disk
// on which no byte is set, first being nil, has none.
func match(ctx context.Context, disk io.ReaderAt, size int64, first *block.Offset, ranks ...rank) ([]found, error) {
	if first == nil {
		return nil, nil
	}
	var all []found
	table := formats()
	for i := range table {
		f := &table[i]
		for j := range f.marks {
			m := &f.marks[j]
			if !slices.Contains(ranks, m.rank) {
				continue
			}
			for _, p := range m.places {
				at, ok := p.on(size, len(m.bytes))
				if p.first {
					at = int64(*first)&^511 + p.offset
					ok = at+int64(len(m.bytes)) <= size
				}
				if ok && at+int64(len(m.bytes)) > int64(*first) {
					all = append(all, found{f, m, block.Offset(at), p.after})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.span().from, b.span().from) })
	var there []found
	buf := alignedBuffer(chunk)
	held := span{} // what of the disk buf holds
	for i, f := range all {
		s := f.span()
		if s.to > held.to {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			held.from = s.from &^ (page - 1)
			for _, next := range all[i:] { // with all that one read brings
				if to := next.span().to; to <= held.from+chunk {
					held.to = max(held.to, to)
				}
			}
			held.to = min((held.to+page-1)&^(page-1), size)
			if err := readFull(disk, buf[:held.to-held.from], held.from); err != nil {
				return nil, err
			}
		}
		if string(buf[s.from-held.from:s.to-held.from]) == f.after+f.mark.bytes {
			there = append(there, f)
		}
	}
	slices.SortStableFunc(there, func(a, b found) int { return cmp.Compare(a.offset, b.offset) })
	return there, nil
}

// nameOf returns the table's name for what libblkid found: that of a mark at
// the same place, or the first that libblkid's type stands for, or the type.
func nameOf(libblkidType string, offset block.Offset, marks []found) string {
	for _, m := range marks {
		if m.offset == offset && slices.Contains(m.format.types, libblkidType) {
			return m.format.name
		}
	}
	for _, f := range formats() {
		if len(f.types) > 0 && f.types[0] == libblkidType {
			return f.name
		}
	}
	return libblkidType
}

// article returns "an" for a name that is spoken with a vowel in front: "an
// LVM2", "an md RAID", but "a LUKS2".
func article(name string) string {
	first, rest := name[0], name[1:]
	spelled := rest != "" && (rest[0] < 'a' || rest[0] > 'z')
	switch {
	case strings.HasPrefix(name, "LUKS") || strings.HasPrefix(name, "NILFS"):
		return "a"
	case strings.HasPrefix(name, "md ") || strings.HasPrefix(name, "Ultrix"):
		return "an"
	case strings.IndexByte("aeioAEIO", first) >= 0:
		return "an"
	case spelled && strings.IndexByte("FHLMNRSX", first) >= 0 && !strings.HasPrefix(name, "FAT"):
		return "an"
	}
	return "a"
}
