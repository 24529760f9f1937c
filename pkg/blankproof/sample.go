package blankproof

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// What may be read of a disk that is not read as a whole: what a gp3 volume
// gives at its baseline in sampleFor (EBS User Guide, "General Purpose SSD
// volumes"). It happens once in a volume's life.
const (
	baselineReads = 3000                   // in a second
	baselineBytes = 125 * int64(block.MiB) // in a second
	sampleFor     = 20                     // seconds

	maxReads = baselineReads * sampleFor
	maxBytes = baselineBytes * sampleFor
)

const (
	// wholeUpTo is the size up to which a disk is read from end to end.
	wholeUpTo = 4 * int64(block.GiB)

	// ends is how much is read of a larger disk's head and tail.
	ends = 16 * int64(block.MiB)

	// sampleSize is the least that is read where no known format has anything
	// to begin.
	sampleSize = 32 * int64(block.KiB)

	// chunk is the most that is read at once, which is what EBS counts as one
	// read of an SSD. Every read begins at a multiple of page, as O_DIRECT
	// wants it.
	chunk = 256 * int64(block.KiB)
	page  = 4 * int64(block.KiB)

	// Samples at equal distances: the distance is the smallest power of two
	// that makes at most maxGrid of them, so that they meet what is laid out in
	// powers of two. At least minAstray samples are left to lie elsewhere.
	maxGrid   = 32768
	minAstray = 6144
)

// A span is a part of a disk, from its first byte to before its last.
type span struct{ from, to int64 }

// reads is how many reads it takes.
func (s span) reads() int64 { return (s.to - s.from + chunk - 1) / chunk }

// A reading is what to read of a disk, in order and without overlaps.
type reading struct {
	spans  []span
	stride int64 // distance of the samples that are at equal ones, 0 if all is read
}

// bytes and reads are what a reading costs.
func (r reading) bytes() (n int64) {
	for _, s := range r.spans {
		n += s.to - s.from
	}
	return n
}

func (r reading) reads() (n int64) {
	for _, s := range r.spans {
		n += s.reads()
	}
	return n
}

// plan returns what to read of a disk of this size. The seed, its serial
// number, decides where the samples lie that no layout foretells.
func plan(size int64, seed string, whole bool) reading {
	if whole || size <= wholeUpTo {
		return reading{spans: []span{{0, size}}}
	}
	known := places(size)
	stride := int64(64 * block.KiB)
	for size/stride >= maxGrid {
		stride *= 2
	}
	for {
		r := reading{merged(slices.Concat(known, grid(size, stride))), stride}
		spare, bytes := maxReads-r.reads(), maxBytes-r.bytes()
		if spare = min(spare, bytes/sampleSize); spare >= minAstray {
			length := min(bytes/spare, chunk) &^ (page - 1)
			r.spans = merged(slices.Concat(r.spans, astray(size, seed, spare, length)))
			return r
		}
		stride *= 2
	}
}

// grid gives samples at equal distances.
func grid(size, stride int64) []span {
	spans := make([]span, 0, size/stride)
	for at := stride; at < size; at += stride {
		spans = append(spans, span{at, min(at+sampleSize, size)})
	}
	return spans
}

// astray gives n samples of a length at places that nobody can foretell without
// the seed: one in each n-th part of the disk, every other at a whole MiB, since
// partitions, logical volumes and most allocation groups begin at one.
func astray(size int64, seed string, n, length int64) []span {
	hash := fnv.New64a()
	hash.Write([]byte(seed))
	chance := rand.NewPCG(hash.Sum64(), uint64(size))
	spans := make([]span, 0, n)
	part := size / n
	for i := range n {
		unit := page
		if i%2 == 0 && part >= 2*int64(block.MiB) {
			unit = int64(block.MiB)
		}
		first := (i*part + unit - 1) / unit
		last := ((i+1)*part - 1) / unit
		at := (first + int64(chance.Uint64()%uint64(last-first+1))) * unit
		spans = append(spans, span{at, min(at+length, size)})
	}
	return spans
}

// merged sorts spans and joins those that touch.
func merged(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	all := spans[:1]
	for _, s := range spans[1:] {
		if last := &all[len(all)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
		} else {
			all = append(all, s)
		}
	}
	return all
}

// A gatherer gathers the places of a disk that are to be read.
type gatherer struct {
	size  int64
	spans []span
}

// add adds the pages that hold length bytes from a place on.
func (g *gatherer) add(at, length int64) {
	from, to := max(at, 0)&^(page-1), min((at+length+page-1)&^(page-1), g.size)
	if from < to {
		g.spans = append(g.spans, span{from, to})
	}
}

// places gives what is read of a disk because something may begin there.
func places(size int64) []span {
	g := &gatherer{size: size}
	g.add(0, ends)
	g.add(size-ends, ends)
	for _, f := range signature.Table() {
		for _, m := range f.Marks {
			for _, p := range m.Places {
				if at, ok := p.On(size, len(m.Bytes), -1); ok {
					g.add(at, int64(len(m.Bytes)))
				}
			}
		}
	}
	g.partitions()
	g.earlierEnds()
	g.allocationGroups()
	return g.spans
}

// Where partitions, and the filesystems in them, begin whose table is gone: in
// front every MiB, further on every GiB and every 1000 MiB from the first
// partition's start on ("+20G", "+20000M"), every GB ("20GB"), and every
// hundredth of the disk ("20%").
const (
	everyMiB = 4 * int64(block.GiB)
	maxGiB   = 4096 // of the sizes in GiB at which a disk may have been formatted
	maxGB    = 1024
)

func (g *gatherer) partitions() {
	for at := ends; at < everyMiB; at += int64(block.MiB) {
		g.add(at, page)
	}
	for n := int64(1); n <= maxGiB && n*int64(block.GiB) < g.size; n++ {
		g.add(n*int64(block.GiB)+signature.FirstPartition, page)
	}
	for n := int64(1); n <= maxGB; n++ {
		g.add(n*1000*int64(block.MiB)+signature.FirstPartition, page)
		g.mib(n * 1e9)
	}
	for percent := int64(1); percent < 100; percent++ {
		g.mib(g.size / 100 * percent)
	}
}

// mib adds the MiB before a place and the one after it.
func (g *gatherer) mib(at int64) {
	at &^= int64(block.MiB) - 1
	g.add(at, page)
	g.add(at+int64(block.MiB), page)
}

// earlierEnds adds where the disk ended before it was made larger: volumes have
// whole GiB, so it was at one of them. There lie the backup GPT, the marks of
// RAIDs, and, since a filesystem grows by whole groups from its old end on, the
// first allocation group that was added: a few blocks further for each group
// that there was before, as the size of a group is rounded up to a block. In a
// partition that is a MiB earlier where its tool leaves the last one free.
func (g *gatherer) earlierEnds() {
	const before, after = 64 * int64(block.KiB), 128 * int64(block.KiB)
	for n := int64(1); n <= maxGiB && n*int64(block.GiB) < g.size; n++ {
		g.add(n*int64(block.GiB)-before, before+after)
		g.add(n*int64(block.GiB)-int64(block.MiB), after/2)
	}
}

// allocationGroups adds where XFS's allocation groups begin. Each begins with
// 24 KiB that are not zero, and its inodes and files follow. mkfs.xfs makes four
// of a disk up to 4 TiB; of another number where there are stripes or many
// processors or a person wants it; beyond 4 TiB of 1 TiB each. Growing the
// filesystem adds groups of the same size.
func (g *gatherer) allocationGroups() {
	// The disk had a size of n GiB then, all of it or a partition of it.
	for n := int64(1); n <= maxGiB && n*int64(block.GiB) <= g.size; n++ {
		length := n * int64(block.GiB)
		for k := int64(1); k <= 3; k++ {
			g.add(k*signature.XFSGroup(length, 4, signature.XFSBlock), page)
		}
		for _, rest := range partitionTails() {
			g.add(signature.FirstPartition+signature.XFSGroup(length-signature.FirstPartition-rest, 4, signature.XFSBlock), page)
		}
	}
	// It had the size that it has now, and any number of groups: the second
	// one, and the one in the middle, in which the log is.
	lengths := map[int64][]int64{0: {g.size}, signature.OldFirstPartition: {g.size - signature.OldFirstPartition}}
	for _, rest := range append(partitionTails(), 3*int64(block.MiB)) { // LVM's extents have 4 MiB
		lengths[signature.FirstPartition] = append(lengths[signature.FirstPartition], g.size-signature.FirstPartition-rest)
	}
	for start, those := range lengths {
		for _, length := range those {
			for n := int64(2); n <= 256; n++ {
				g.add(start+signature.XFSGroup(length, n, signature.XFSBlock/4), 2*page) // of blocks of 1 KiB, too
				g.add(start+n/2*signature.XFSGroup(length, n, signature.XFSBlock), page)
			}
		}
	}
}

// partitionTails is how much a partition leaves free at the end of a disk that
// it has for itself: nothing, a backup GPT, or the MiB in which that is.
func partitionTails() []int64 { return []int64{0, 33 * 512, int64(block.MiB)} }
