package signature

import (
	"slices"
	"sync"
)

const bcacheMark = "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"

// bcacheMarks are those of bcache only. Before the mark are the sector of the
// superblock, which is 8, and the version (linux/drivers/md/bcache/bcache_ondisk.h).
func bcacheMarks() []Mark {
	places := make([]Place, 7)
	for version := range places {
		before := "\x08\x00\x00\x00\x00\x00\x00\x00" + string(rune(version)) + "\x00\x00\x00\x00\x00\x00\x00"
		places[version] = Place{offset: 0x1018, After: before}
	}
	return []Mark{{Sure, bcacheMark, places}}
}

// bootSector is a type that libblkid may give to a boot sector of a filesystem,
// because the sector ends as an MBR does.
const bootSector = "dos"

// ufsSuperblocks returns where the variants of UFS keep the mark of the superblock.
func ufsSuperblocks() []Place { return at(0x55c, 0x255c, 0x1055c, 0x4055c) }

// table is what a disk may hold. Its sources are the directories superblocks and
// partitions of libblkid (util-linux 2.38), and the headers of the formats that
// libblkid does not know. It is built when it is first used: most programs that
// link it do not use it.
var table = sync.OnceValue(func() []Format {
	return []Format{
		// Filesystems.
		{"ext2/3/4", []string{"ext2", "ext3", "ext4", "ext4dev", "jbd"}, []Mark{
			{Weak, "\x53\xef", at(0x438)},
			{Spare, "\x53\xef", slices.Concat([]Place{{first: true, offset: 0x38}}, shifted(FirstPartition, []int64{0x438}), extBackups(0x38))},
		}},
		{"XFS", []string{"xfs"}, []Mark{
			{Sure, "XFSB", at(0)},
			// Each allocation group begins with a copy.
			{Spare, "XFSB", slices.Concat([]Place{{first: true}}, at(FirstPartition), quarters())},
		}},
		{"XFS log", []string{"xfs_external_log"}, []Mark{{Spare, "\xfe\xed\xba\xbe", slots(Place{}, 512, 512)}}},
		{"btrfs", []string{"btrfs"}, []Mark{
			{Sure, "_BHRfS_M", at(0x10040)},
			{Spare, "_BHRfS_M", at(0x4000040, 0x4000000040)}, // at 64 MiB and 256 GiB
		}},
		{"F2FS", []string{"f2fs"}, []Mark{
			{Sure, "\x10\x20\xf5\xf2", at(0x400)},
			{Spare, "\x10\x20\xf5\xf2", at(0x1400)},
		}},
		{"JFS", []string{"jfs"}, []Mark{
			{Sure, "JFS1", at(0x8000)},
			{Spare, "JFS1", at(0xf000)},
		}},
		{"ReiserFS", []string{"reiserfs"}, []Mark{
			{Sure, "ReIsErFs", at(0x2034, 0x2014, 0x10034)},
			{Sure, "ReIsEr2Fs", at(0x10034)},
			{Sure, "ReIsEr3Fs", at(0x10034)},
		}},
		{"Reiser4", []string{"reiser4"}, []Mark{{Sure, "ReIsEr4", at(0x10000)}}},
		{"NILFS2", []string{"nilfs2"}, []Mark{
			{Weak, "\x34\x34", at(0x406)},
			{Weak, "\x34\x34", slices.Concat(end(512, 0x1000-6), end(4096, 0x1000-6))},
		}},
		{"OCFS2", []string{"ocfs2"}, []Mark{
			{Sure, "OCFSV2", at(0x400, 0x800, 0x1000, 0x2000)},
			{Spare, "OCFSV2", at(1<<30, 1<<32, 1<<34, 1<<36, 1<<38, 1<<40)},
		}},
		{"OCFS", []string{"ocfs"}, []Mark{{Sure, "OracleCFS", at(0x2000)}}},
		{"GFS2", []string{"gfs2", "gfs"}, []Mark{{Sure, "\x01\x16\x19\x70", at(0x10000)}}},
		{"UDF", []string{"udf"}, []Mark{
			{Sure, "NSR02", slots(Place{offset: 0x8001}, 0x800, 32)},
			{Sure, "NSR03", slots(Place{offset: 0x8001}, 0x800, 32)},
			{Sure, "BEA01", slots(Place{offset: 0x8001}, 0x800, 32)},
		}},
		{"ISO 9660", []string{"iso9660"}, []Mark{
			{Sure, "CD001", at(0x8001)},
			{Sure, "CDROM", at(0x8009)}, // High Sierra
		}},
		{"squashfs", []string{"squashfs", "squashfs3"}, []Mark{
			{Sure, "hsqs", at(0)},
			{Sure, "sqsh", at(0)},
		}},
		{"erofs", []string{"erofs"}, []Mark{{Sure, "\xe2\xe1\xf5\xe0", at(0x400)}}},
		{"cramfs", []string{"cramfs"}, []Mark{
			{Sure, "\x45\x3d\xcd\x28", at(0, 0x200)},
			{Sure, "\x28\xcd\x3d\x45", at(0, 0x200)},
		}},
		{"romfs", []string{"romfs"}, []Mark{{Sure, "-rom1fs-", at(0)}}},
		{"zonefs", []string{"zonefs"}, []Mark{{Sure, "SFOZ", at(0)}}},
		{"minix", []string{"minix"}, []Mark{
			{Weak, "\x7f\x13", at(0x410)},
			{Weak, "\x8f\x13", at(0x410)},
			{Weak, "\x13\x7f", at(0x410)},
			{Weak, "\x13\x8f", at(0x410)},
			{Weak, "\x68\x24", at(0x410)},
			{Weak, "\x78\x24", at(0x410)},
			{Weak, "\x24\x68", at(0x410)},
			{Weak, "\x24\x78", at(0x410)},
			{Weak, "\x5a\x4d", at(0x418)},
			{Weak, "\x4d\x5a", at(0x418)},
		}},
		{"HFS", []string{"hfs"}, []Mark{
			{Weak, "BD", at(0x400)},
			{Weak, "BD", end(512, 0x400)}, // the alternate one
		}},
		{"HFS+", []string{"hfsplus"}, []Mark{
			{Sure, "H+\x00\x04", at(0x400)},
			{Sure, "HX\x00\x05", at(0x400)},
			{Spare, "H+\x00\x04", end(512, 0x400)},
			{Spare, "HX\x00\x05", end(512, 0x400)},
		}},
		{"APFS", []string{"apfs"}, []Mark{{Sure, "NXSB", at(0x20)}}},
		{"HPFS", []string{"hpfs"}, []Mark{{Sure, "\x49\xe8\x95\xf9", at(0x2000)}}},
		{"FAT", []string{"vfat", bootSector}, []Mark{
			{Sure, "FAT32   ", at(0x52)},
			{Sure, "MSWIN", at(0x52)},
			{Sure, "FAT16   ", at(0x36)},
			{Sure, "FAT12   ", at(0x36)},
			{Sure, "FAT     ", at(0x36)},
			{Sure, "MSDOS", at(0x36)},
			{Spare, "FAT32   ", at(0xc52)}, // the spare boot sector
		}},
		{"exFAT", []string{"exfat", bootSector}, []Mark{
			{Sure, "EXFAT   ", at(3)},
			{Spare, "EXFAT   ", at(0x1803, 0xc003)}, // sector 12, of 512 or 4096 bytes
		}},
		{"NTFS", []string{"ntfs", bootSector}, []Mark{
			{Sure, "NTFS    ", at(3)},
			{Spare, "NTFS    ", slices.Concat(end(512, 0x200-3), end(4096, 0x1000-3))},
		}},
		{"ReFS", []string{"ReFS"}, []Mark{{Sure, "\x00\x00\x00ReFS\x00", at(0)}}},
		{"UFS", []string{"ufs"}, []Mark{
			{Sure, "\x54\x19\x01\x00", ufsSuperblocks()},
			{Sure, "\x00\x01\x19\x54", ufsSuperblocks()},
			{Sure, "\x19\x01\x54\x19", ufsSuperblocks()}, // UFS2
			{Sure, "\x19\x54\x01\x19", ufsSuperblocks()},
			{Sure, "\x12\x56\x19\x00", ufsSuperblocks()}, // of HP-UX
			{Sure, "\x00\x19\x56\x12", ufsSuperblocks()},
			{Sure, "\x14\x50\x09\x00", ufsSuperblocks()},
			{Sure, "\x00\x09\x50\x14", ufsSuperblocks()},
			{Sure, "\x95\x21\x61\x00", ufsSuperblocks()},
			{Sure, "\x00\x61\x21\x95", ufsSuperblocks()},
			{Sure, "\x94\x19\x23\x05", ufsSuperblocks()},
			{Sure, "\x05\x23\x19\x94", ufsSuperblocks()},
		}},
		{"VxFS", []string{"vxfs"}, []Mark{
			{Sure, "\xf5\xfc\x01\xa5", at(0x400)},
			{Sure, "\xa5\x01\xfc\xf5", at(0x2000)},
		}},
		{"SCO BFS", []string{"bfs"}, []Mark{{Sure, "\xce\xfa\xad\x1b", at(0)}}},
		{"BeFS", []string{"befs"}, []Mark{
			{Sure, "BFS1", at(0x20, 0x220)},
			{Sure, "1SFB", at(0x20, 0x220)},
		}},
		{"System V", []string{"sysv"}, []Mark{
			{Sure, "\x20\x7e\x18\xfd", at(0x3f8, 0x27f8, 0x3ff8, 0x4bf8)},
			{Sure, "\xfd\x18\x7e\x20", at(0x3f8, 0x27f8, 0x3ff8, 0x4bf8)},
		}},
		{"Xenix", []string{"xenix"}, []Mark{
			{Weak, "\x2b\x55\x44", at(0x800)},
			{Weak, "\x44\x55\x2b", at(0x800)},
		}},
		{"NetWare NSS", []string{"nss"}, []Mark{{Sure, "SPB5", at(0x1000)}}},
		{"EXFS", []string{"exfs"}, []Mark{{Sure, "EXFS", at(0)}}},
		{"VMFS", []string{"VMFS", "VMFS_volume_member"}, []Mark{
			{Sure, "\x0d\xd0\x01\xc0", at(0x100000)},
			{Sure, "\x5e\xf1\xab\x2f", at(0x200000)},
		}},
		{"UBIFS", []string{"ubifs"}, []Mark{{Sure, "\x31\x18\x10\x06", at(0)}}},
		{"UBI", []string{"ubi"}, []Mark{{Sure, "UBI#", at(0)}}},
		{"JFFS2", []string{"jffs2"}, []Mark{
			{Sure, "\x85\x19\x03\x20", at(0)},
			{Sure, "\x19\x85\x20\x03", at(0)},
		}},

		// Storage that other storage is built on.
		{"ZFS", []string{"zfs_member"}, []Mark{
			{Sure, "version\x00", zfsLabels(0x4018)}, // the first name of a label's list
			{Spare, "\x0c\xb1\xba\x00\x00\x00\x00\x00", zfsUberblocks()},
			{Spare, "\x00\x00\x00\x00\x00\xba\xb1\x0c", zfsUberblocks()},
		}},
		// Early versions have the mark of bcache, with other bytes before it.
		{"bcachefs", []string{"bcachefs", "bcache"}, []Mark{
			{Sure, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", at(0x1018)},
			{Spare, bcacheMark, at(0x1018)},
		}},
		{"bcache", []string{"bcache"}, bcacheMarks()},
		{"LVM2", []string{"LVM2_member"}, []Mark{
			{Sure, "LVM2 001", at(0x018, 0x218, 0x418, 0x618)},
			{Spare, " LVM2 x[5A%r0N*>", at(0x1004)}, // metadata, which pvremove leaves
		}},
		{"LVM1", []string{"LVM1_member"}, []Mark{{Weak, "HM", at(0)}}},
		{"md RAID 0.90", []string{"linux_raid_member"}, []Mark{
			{Sure, "\xfc\x4e\x2b\xa9\x00\x00\x00\x00", end(0x10000, 0x10000)},
			{Sure, "\xa9\x2b\x4e\xfc\x00\x00\x00\x00", end(0x10000, 0x10000)},
		}},
		{"md RAID 1.0", []string{"linux_raid_member"}, []Mark{{Sure, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", end(0x1000, 0x2000)}}},
		{"md RAID 1.1", []string{"linux_raid_member"}, []Mark{{Sure, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", at(0)}}},
		{"md RAID 1.2", []string{"linux_raid_member"}, []Mark{{Sure, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", at(0x1000)}}},
		{"LUKS1", []string{"crypto_LUKS"}, []Mark{{Sure, "LUKS\xba\xbe\x00\x01", at(0)}}},
		{"LUKS2", []string{"crypto_LUKS"}, []Mark{
			{Sure, "LUKS\xba\xbe\x00\x02", at(0)},
			{Spare, "SKUL\xba\xbe\x00\x02", at(0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000)},
		}},
		{"BitLocker", []string{"BitLocker", bootSector}, []Mark{{Sure, "-FVE-FS-", at(3)}}},
		{"dm-verity", []string{"DM_verity_hash"}, []Mark{{Sure, "verity\x00\x00", at(0)}}},
		{"dm-integrity", []string{"DM_integrity"}, []Mark{{Sure, "integrt\x00", at(0)}}},
		{"dm-snapshot", []string{"DM_snapshot_cow"}, []Mark{{Sure, "SnAp", at(0)}}},
		{"Stratis", []string{"stratis"}, []Mark{{Sure, "!Stra0tis\x86\xff\x02^\x41rh", at(0x204, 0x1204)}}},
		{"VDO", []string{"vdo"}, []Mark{{Sure, "dmvdo001", at(0)}}},
		{"BlueStore", []string{"ceph_bluestore"}, []Mark{{Sure, "bluestore block device", at(0)}}},
		{"mpool", []string{"mpool"}, []Mark{{Sure, "mpoolDev", at(0)}}},
		{"Oracle ASM", []string{"oracleasm"}, []Mark{{Sure, "ORCLDISK", at(0x20)}}},
		{"DRBD", []string{"drbd"}, []Mark{
			{Sure, "\x83\x74\x02\x6b", end(512, 0x1000-0x3c)},
			{Sure, "\x83\x74\x02\x6c", end(512, 0x1000-0x3c)},
			{Sure, "\x83\x74\x02\x6d", end(512, 0x1000-0x3c)},
		}},
		{"DRBD manage", []string{"drbdmanage_control_volume"}, []Mark{{Sure, "$DRBDmgr=q", at(0)}}},
		{"DRBD proxy log", []string{"drbdproxy_datalog"}, []Mark{{Sure, "DRBDdlh*", at(0)}}},

		// RAIDs of firmware keep their marks at the end.
		{"DDF RAID", []string{"ddf_raid_member"}, []Mark{
			{Sure, "\xde\x11\xde\x11", sectors(1, 257)},
			{Sure, "\x11\xde\x11\xde", sectors(1, 257)},
		}},
		{"Intel RAID", []string{"isw_raid_member"}, []Mark{{Sure, "Intel Raid ISM Cfg Sig. ", sectors(2)}}},
		{"LSI MegaRAID", []string{"lsi_mega_raid_member"}, []Mark{{Sure, "$XIDE$", sectors(1)}}},
		{"NVIDIA RAID", []string{"nvidia_raid_member"}, []Mark{{Sure, "NVIDIA", sectors(2)}}},
		{"Promise RAID", []string{"promise_fasttrack_raid_member"}, []Mark{
			{Sure, "Promise Technology, Inc.", sectors(16, 63, 255, 256, 399, 591, 675, 735, 911, 951, 974, 991, 3087)},
		}},
		{"HighPoint RAID", []string{"hpt37x_raid_member", "hpt45x_raid_member"}, []Mark{
			{Sure, "\xf0\x16\x78\x5a", at(0x1220)},
			{Sure, "\xfd\x16\x78\x5a", at(0x1220)},
			{Sure, "\xf3\x16\x78\x5a", sectors(11)},
			{Sure, "\xfd\x16\x78\x5a", sectors(11)},
		}},
		{"Adaptec RAID", []string{"adaptec_raid_member"}, []Mark{{Sure, "\x37\xfc\x4d\x1e", sectors(1)}}},
		{"Silicon Image RAID", []string{"silicon_medley_raid_member"}, []Mark{{Weak, "\x00\x00\x00\x2f", end(512, 0x200-0x60)}}},
		{"VIA RAID", []string{"via_raid_member"}, []Mark{{Weak, "\x55\xaa", sectors(1)}}},
		{"JMicron RAID", []string{"jmicron_raid_member"}, []Mark{{Weak, "JM", sectors(1)}}},

		// Swap.
		{"swap", []string{"swap"}, []Mark{
			{Sure, "SWAPSPACE2", swapPages()},
			{Sure, "SWAP-SPACE", swapPages()},
		}},
		{"hibernation", []string{"swsuspend"}, []Mark{
			{Sure, "S1SUSPEND", swapPages()},
			{Sure, "S2SUSPEND", swapPages()},
			{Sure, "ULSUSPEND", swapPages()},
			{Sure, "LINHIB0001", swapPages()},
			{Sure, "\xed\xc3\x02\xe9\x98\x56\xe5\x0c", at(0)}, // TuxOnIce
		}},

		// Partition tables. PMBR is the MBR that protects a GPT.
		{"GPT", []string{"gpt", "PMBR"}, []Mark{
			{Sure, "EFI PART", slices.Concat(at(0x200, 0x1000), end(512, 0x200), end(4096, 0x1000))},
		}},
		{"MBR", []string{"dos"}, []Mark{{Weak, "\x55\xaa", at(0x1fe)}}},
		{"LDM", nil, []Mark{{Sure, "PRIVHEAD", at(0xc00)}}}, // dynamic disks of Windows
		{"BSD disklabel", []string{"bsd"}, []Mark{{Sure, "\x57\x45\x56\x82", at(0x40, 0x80, 0x200)}}},
		{"Sun disklabel", []string{"sun"}, []Mark{{Weak, "\xda\xbe", at(0x1fc)}}},
		{"SGI disklabel", []string{"sgi"}, []Mark{{Sure, "\x0b\xe5\xa9\x41", at(0)}}},
		{"Apple partition map", []string{"mac"}, []Mark{{Sure, "PM\x00\x00", at(0x200)}}},
		{"Amiga RDB", nil, []Mark{{Sure, "RDSK", slots(Place{}, 512, 16)}}},
		{"AIX", []string{"aix"}, []Mark{{Sure, "\xc9\xc2\xd4\xc1", at(0)}}},
		{"Ultrix disklabel", []string{"ultrix"}, []Mark{{Sure, "\x57\x29\x03\x00", at(0x3fb8)}}},

		// Files that people copy to disks.
		{"qcow2 image", nil, []Mark{{Sure, "QFI\xfb", at(0)}}},
		{"VMDK image", nil, []Mark{{Sure, "KDMV", at(0)}}},
		{"VHD image", nil, []Mark{{Sure, "conectix", slices.Concat(at(0), sectors(1))}}},
		{"VHDX image", nil, []Mark{{Sure, "vhdxfile", at(0)}}},
		{"tar archive", nil, []Mark{{Sure, "ustar", at(0x101)}}},
		{"gzip", nil, []Mark{{Weak, "\x1f\x8b\x08", at(0)}}},
		{"xz", nil, []Mark{{Sure, "\xfd7zXZ\x00", at(0)}}},
		{"zstd", nil, []Mark{{Sure, "\x28\xb5\x2f\xfd", at(0)}}},
	}
})
