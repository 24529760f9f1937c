package signature

import (
	"slices"

	"bootagent/pkg/block"
)

// Where the first partition of a disk begins.
const (
	FirstPartition    = int64(block.MiB) // since 2010; the first extent of LVM too
	OldFirstPartition = 63 * int64(512)  // before 2010
)

// XFSBlock is the block size of XFS if mkfs.xfs gets no other, in bytes.
const XFSBlock = 4 * int64(block.KiB)

// XFSGroup returns the size of each of the n allocation groups that mkfs.xfs
// makes of length bytes, which is a whole number of blocks.
func XFSGroup(length, n, blockSize int64) int64 {
	return (length/blockSize + n - 1) / n * blockSize
}

// at returns places at offsets from the start.
func at(offsets ...int64) []Place {
	places := make([]Place, len(offsets))
	for i, offset := range offsets {
		places[i] = Place{offset: offset}
	}
	return places
}

// end returns places that many bytes before the end of the disk, which is rounded
// down to a multiple of align.
func end(align int64, before ...int64) []Place {
	places := make([]Place, len(before))
	for i, b := range before {
		places[i] = Place{align: align, offset: -b}
	}
	return places
}

// slots returns n places, step bytes apart.
func slots(first Place, step, n int64) []Place {
	places := make([]Place, n)
	for i := range places {
		places[i] = first
		places[i].offset += int64(i) * step
	}
	return places
}

// sectors returns places that many sectors of 512 bytes before the end.
func sectors(before ...int64) []Place {
	for i := range before {
		before[i] *= 512
	}
	return end(512, before...)
}

// quarters returns the starts of the second to the fourth quarter.
func quarters() []Place { return []Place{{quarter: 1}, {quarter: 2}, {quarter: 3}} }

// inPartitions returns places in a filesystem on the whole disk, or in the first
// partition.
func inPartitions(offsets ...int64) []Place {
	return slices.Concat(at(offsets...), shifted(FirstPartition, offsets), shifted(OldFirstPartition, offsets))
}

// shifted returns places at offsets from a place near the start.
func shifted(by int64, offsets []int64) []Place {
	places := at(offsets...)
	for i := range places {
		places[i].offset += by
	}
	return places
}

// extBackups returns where ext2, ext3 and ext4 keep copies of the superblock, for
// blocks of 1, 2 and 4 KiB and up to 64 TiB: in group 1 and in the groups that are
// powers of 3, 5 and 7 (sparse_super). A group has as many blocks as a block has
// bits.
func extBackups(offset int64) []Place {
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

// swapPages returns the last 10 bytes of the first page, for every page size of
// Linux.
func swapPages() []Place {
	return at(0x1000-10, 0x2000-10, 0x4000-10, 0x8000-10, 0x10000-10)
}

// zfsLabels returns an offset in each of the four labels of ZFS, of 256 KiB: two
// at the start of the disk and two at the end.
func zfsLabels(offset int64) []Place {
	return slices.Concat(at(offset, 0x40000+offset), end(0x40000, 0x80000-offset, 0x40000-offset))
}

// zfsUberblocks returns the 128 uberblocks of each label of ZFS.
func zfsUberblocks() []Place {
	var places []Place
	for _, ring := range zfsLabels(0x20000) {
		places = append(places, slots(ring, 1024, 128)...)
	}
	return places
}
