// Package signature is the table of the formats that a disk may hold, and of the
// marks by which each is known: filesystems, storage that other storage is built
// on, partition tables, and files that people copy to disks. It is data, and
// reads nothing.
package signature

import (
	"slices"
	"strings"
)

// A Format is something that leaves marks on a disk.
type Format struct {
	Name  string
	Types []string // what libblkid calls it and parts of it, if libblkid knows it
	Marks []Mark
}

// A Mark is bytes that a format keeps at certain places.
type Mark struct {
	Rank   Rank
	Bytes  string
	Places []Place
}

// A Rank says how much a mark proves about which format is on a disk. Every mark
// proves that a disk is not blank.
type Rank int

const (
	// Sure marks are so rare as random bytes, or in the data of another format,
	// that sure marks of two formats make a disk ambiguous.
	Sure Rank = iota

	// Spare marks are copies. A format that is made later leaves them on the
	// disk. They name a disk that has no sure mark.
	Spare

	// Weak marks are two or three bytes long. They count if libblkid, which
	// reads the rest of the superblock too, agrees, or if the disk has no other
	// mark.
	Weak
)

// A Place is an offset from one of these: the start of a disk; its end, rounded
// down to a multiple of align; one of its quarters; the sector of its first byte
// that is not zero, which is known only after the disk was read.
type Place struct {
	After string // the bytes right before it, if other formats have the same mark

	align   int64 // 0 for the start
	offset  int64 // negative from the end
	quarter int64 // 1 to 3
	first   bool
}

// On returns where a place is on a disk of a size, whose first byte that is not
// zero is at firstData, -1 if that is not known. It is not ok if the place is not
// known or has no room there for length bytes.
func (p Place) On(size int64, length int, firstData int64) (at int64, ok bool) {
	at = p.offset
	switch {
	case p.first && firstData < 0:
		return 0, false
	case p.first:
		at += firstData &^ 511
	case p.align > 0:
		at += size / p.align * p.align
	case p.quarter > 0:
		// mkfs.xfs makes four allocation groups of a disk from 64 MiB to
		// 4 TiB, of as many blocks of 4 KiB each, rounded up.
		at += p.quarter * XFSGroup(size, 4, XFSBlock)
	}
	return at, at >= 0 && at+int64(length) <= size
}

// Table returns what a disk may hold. The caller must not change it.
func Table() []Format { return table() }

// Named returns the format of the table with a name, nil if there is none.
func Named(name string) *Format {
	all := table()
	i := slices.IndexFunc(all, func(f Format) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// Article returns the article of a format's name as it is spoken: "an LVM2", "an
// md RAID", "a LUKS2".
func Article(name string) string {
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
