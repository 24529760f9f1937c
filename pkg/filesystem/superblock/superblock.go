// Package superblock reads in the superblock of a filesystem how large the
// filesystem is. It opens nothing.
package superblock

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// Where the fields of struct ext4_super_block are, from the start of the disk, in
// bytes: https://docs.kernel.org/filesystems/ext4/super.html
const (
	extStart    = 1024
	extBlocksLo = extStart + 0x4
	extLogBlock = extStart + 0x18 // log2 of the block size, less 10
	extMagic    = extStart + 0x38
	extIncompat = extStart + 0x60
	extBlocksHi = extStart + 0x150

	extIncompat64Bit = 0x80
	extLogBlockMax   = 6 // 64 KiB, EXT4_MAX_BLOCK_LOG_SIZE of fs/ext4/ext4.h
)

// Where the fields of struct xfs_dsb are, in bytes: fs/xfs/libxfs/xfs_format.h.
const (
	xfsMagic     = 0
	xfsBlockSize = 4
	xfsBlocks    = 8
)

// length is how much of a disk has all of these, in bytes.
const length = 4096

// Size returns how many bytes of its disk the filesystem of a type takes, as its
// superblock says. It is 0 for a type that bootagent does not make. It is an error
// if the superblock can't be read or is none of that type.
//
// The superblock of XFS is written some time after the filesystem has grown, so
// Size may be too small for one that is mounted, or was not unmounted. It is never
// too large.
func Size(fstype string, disk io.ReaderAt) (int64, error) {
	if fstype != "ext4" && fstype != "xfs" {
		return 0, nil
	}
	block := make([]byte, length)
	if _, err := disk.ReadAt(block, 0); err != nil {
		return 0, fmt.Errorf("cannot read the superblock: %w", err)
	}
	var blocks, blockSize uint64
	if fstype == "xfs" {
		if string(block[xfsMagic:xfsBlockSize]) != "XFSB" {
			return 0, fmt.Errorf("there is no superblock of xfs")
		}
		blocks, blockSize = binary.BigEndian.Uint64(block[xfsBlocks:]), uint64(binary.BigEndian.Uint32(block[xfsBlockSize:]))
	} else {
		little := binary.LittleEndian
		log := little.Uint32(block[extLogBlock:])
		if little.Uint16(block[extMagic:]) != 0xef53 || log > extLogBlockMax {
			return 0, fmt.Errorf("there is no superblock of ext4")
		}
		blocks, blockSize = uint64(little.Uint32(block[extBlocksLo:])), 1<<(10+log)
		if little.Uint32(block[extIncompat:])&extIncompat64Bit != 0 {
			blocks |= uint64(little.Uint32(block[extBlocksHi:])) << 32
		}
	}
	over, size := bits.Mul64(blocks, blockSize)
	if over != 0 || size > math.MaxInt64 {
		return 0, fmt.Errorf("the superblock of %s says %d blocks of %d bytes, which no disk has", fstype, blocks, blockSize)
	}
	return int64(size), nil
}
