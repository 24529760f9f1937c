// Package superblock reads in the superblock of a filesystem how large the
// filesystem is, and its UUID and label. It opens nothing.
package superblock

import (
	"bytes"
	"encoding/binary"
	"errors"
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
	extUUID     = extStart + 0x68
	extLabel    = extStart + 0x78
	extBlocksHi = extStart + 0x150

	extLabelMax      = 16
	extIncompat64Bit = 0x80
	extLogBlockMax   = 6 // 64 KiB, EXT4_MAX_BLOCK_LOG_SIZE of fs/ext4/ext4.h
)

// Where the fields of struct xfs_dsb are, in bytes: fs/xfs/libxfs/xfs_format.h.
const (
	xfsMagic     = 0
	xfsBlockSize = 4
	xfsBlocks    = 8
	xfsUUID      = 32
	xfsLabel     = 108

	xfsLabelMax = 12
)

// length is how much of a disk has all of these, in bytes.
const length = 4096

// ErrNone says that a disk has no superblock of the type that is asked for.
var ErrNone = errors.New("there is no superblock")

// Names returns the UUID and the label of the filesystem of a type. The error wraps
// ErrNone if the disk has no superblock of that type, or bootagent knows no such type.
func Names(fstype string, disk io.ReaderAt) (uuid, label string, err error) {
	block, err := read(fstype, disk)
	if err != nil {
		return "", "", err
	}
	id, name := block[extUUID:], block[extLabel:extLabel+extLabelMax]
	if fstype == "xfs" {
		id, name = block[xfsUUID:], block[xfsLabel:xfsLabel+xfsLabelMax]
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16]), string(name), nil
}

// read returns the start of a disk that has the superblock of a filesystem of a type.
func read(fstype string, disk io.ReaderAt) ([]byte, error) {
	block := make([]byte, length)
	n, err := disk.ReadAt(block, 0)
	switch {
	case n == len(block): // whatever comes after it
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w of %s: the disk has %d bytes", ErrNone, fstype, n)
	default:
		return nil, fmt.Errorf("cannot read the superblock: %w", err)
	}
	little := binary.LittleEndian
	is := map[string]bool{
		"xfs":  string(block[xfsMagic:xfsBlockSize]) == "XFSB",
		"ext4": little.Uint16(block[extMagic:]) == 0xef53 && little.Uint32(block[extLogBlock:]) <= extLogBlockMax,
	}
	if !is[fstype] {
		return nil, fmt.Errorf("%w of %s", ErrNone, fstype)
	}
	return block, nil
}

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
	block, err := read(fstype, disk)
	if err != nil {
		return 0, err
	}
	var blocks, blockSize uint64
	if fstype == "xfs" {
		blocks, blockSize = binary.BigEndian.Uint64(block[xfsBlocks:]), uint64(binary.BigEndian.Uint32(block[xfsBlockSize:]))
	} else {
		little := binary.LittleEndian
		log := little.Uint32(block[extLogBlock:])
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
