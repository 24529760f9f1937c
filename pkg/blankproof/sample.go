package blankproof

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// How much is read of a disk that is not read whole: what a gp3 volume gives at
// its baseline in sampleFor (EBS User Guide, "General Purpose SSD volumes").
const (
	baselineReads = 3000                   // in a second
	baselineBytes = 125 * int64(block.MiB) // in a second
	sampleFor     = 20                     // seconds

	maxReads = baselineReads * sampleFor
	maxBytes = baselineBytes * sampleFor
)

const (
	// wholeUpTo is the size up to which a disk is read whole.
	wholeUpTo = 4 * int64(block.GiB)

	// ends is how much is read at the start, and at the end, of a larger disk.
	ends = 16 * int64(block.MiB)

	// sampleSize is the smallest size of a sample at a place that no known
	// format uses.
	sampleSize = 32 * int64(block.KiB)

	// chunk is the largest size of a read: what EBS counts as one read of an
	// SSD volume. Every read starts at a multiple of page, as O_DIRECT needs it.
	chunk = 256 * int64(block.KiB)
	page  = 4 * int64(block.KiB)

	// The distance of the samples at equal distances is the smallest power of
	// two that makes fewer than maxGrid of them: formats lay data out in powers
	// of two. At least minScattered samples are left for other places.
	maxGrid      = 32768
	minScattered = 6144
)

// A span is a part of a disk, from its first byte to before its last.
type span struct{ from, to int64 }

// reads returns how many reads it takes.
func (s span) reads() int64 { return (s.to - s.from + chunk - 1) / chunk }

// A reading says what to read of a disk: in order, and without overlaps.
type reading struct {
	spans  []span
	stride int64 // distance of the samples at equal distances, 0 if all is read
}

// bytes returns how many bytes a reading reads.
func (r reading) bytes() (n int64) {
	for _, s := range r.spans {
		n += s.to - s.from
	}
	return n
}

// reads returns how many reads it takes.
func (r reading) reads() (n int64) {
	for _, s := range r.spans {
		n += s.reads()
	}
	return n
}

// plan returns what to read of a disk of this size. The seed, which is the serial
// number of the disk, decides where the scattered samples are.
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
		if spare = min(spare, bytes/sampleSize); spare >= minScattered {
			length := min(bytes/spare, chunk) &^ (page - 1)
			r.spans = merged(slices.Concat(r.spans, scattered(size, seed, spare, length)))
			return r
		}
		stride *= 2
	}
}

// grid returns samples at equal distances.
func grid(size, stride int64) []span {
	spans := make([]span, 0, size/stride)
	for at := stride; at < size; at += stride {
		spans = append(spans, span{at, min(at+sampleSize, size)})
	}
	return spans
}

// scattered returns n samples of a length at places that depend on the seed: one
// in each n-th part of the disk. Every second one is at a multiple of a MiB, where
// partitions, logical volumes and most allocation groups begin.
func scattered(size int64, seed string, n, length int64) []span {
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

// merged returns the spans in order, and joins those that touch or overlap.
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

// A gatherer collects the places of a disk to read.
type gatherer struct {
	size  int64
	spans []span
}

// add adds the pages that have the length bytes from at on.
func (g *gatherer) add(at, length int64) {
	from, to := max(at, 0)&^(page-1), min((at+length+page-1)&^(page-1), g.size)
	if from < to {
		g.spans = append(g.spans, span{from, to})
	}
}

// places returns the parts of a disk where a known format keeps a mark, or where
// a partition, a filesystem or one of its groups may begin.
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

// Where a partition, and the filesystem in it, may begin if the partition table
// was erased: at every MiB at the start of the disk; then at every GiB and every
// 1000 MiB from the start of the first partition on ("+20G", "+20000M"), at every
// GB ("20GB"), and at every hundredth of the disk ("20%").
const (
	everyMiB = 4 * int64(block.GiB)
	maxGiB   = 4096 // largest size in GiB that a disk may have had when it was formatted
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

// mib adds the multiples of a MiB before and after a place.
func (g *gatherer) mib(at int64) {
	at &^= int64(block.MiB) - 1
	g.add(at, page)
	g.add(at+int64(block.MiB), page)
}

// earlierEnds adds where the disk ended before it grew, which is at a multiple of
// a GiB, as the sizes of volumes are. There are the backup GPT and the marks of
// RAIDs. There is also the first allocation group that was added, since a
// filesystem grows by whole groups from its old end on: it begins a few blocks
// later for each earlier group, as the size of a group is rounded up to a block.
// In a partition all this is a MiB earlier if the tool leaves the last MiB free.
func (g *gatherer) earlierEnds() {
	const before, after = 64 * int64(block.KiB), 128 * int64(block.KiB)
	for n := int64(1); n <= maxGiB && n*int64(block.GiB) < g.size; n++ {
		g.add(n*int64(block.GiB)-before, before+after)
		g.add(n*int64(block.GiB)-int64(block.MiB), after/2)
	}
}

// allocationGroups adds where the allocation groups of XFS begin. Each begins with
// 24 KiB that are not zero; its inodes and files follow. mkfs.xfs makes four groups
// on a disk of up to 4 TiB, and groups of 1 TiB on a larger one. It makes another
// number on stripes, for many processors, or if it is told to. A filesystem that
// grows gets more groups of the same size.
func (g *gatherer) allocationGroups() {
	// The disk had n GiB when the filesystem was made, on the whole disk or in a
	// partition.
	for n := int64(1); n <= maxGiB && n*int64(block.GiB) <= g.size; n++ {
		length := n * int64(block.GiB)
		for k := int64(1); k <= 3; k++ {
			g.add(k*signature.XFSGroup(length, 4, signature.XFSBlock), page)
		}
		for _, rest := range partitionTails() {
			g.add(signature.FirstPartition+signature.XFSGroup(length-signature.FirstPartition-rest, 4, signature.XFSBlock), page)
		}
	}
	// The disk had the size that it has now, and the filesystem has any number
	// of groups: the second group, and the middle one, which has the log.
	lengths := map[int64][]int64{0: {g.size}, signature.OldFirstPartition: {g.size - signature.OldFirstPartition}}
	for _, rest := range append(partitionTails(), 3*int64(block.MiB)) { // extents of LVM are 4 MiB
		lengths[signature.FirstPartition] = append(lengths[signature.FirstPartition], g.size-signature.FirstPartition-rest)
	}
	for start, those := range lengths {
		for _, length := range those {
			for n := int64(2); n <= 256; n++ {
				g.add(start+signature.XFSGroup(length, n, signature.XFSBlock/4), 2*page) // for blocks of 1 KiB too
				g.add(start+n/2*signature.XFSGroup(length, n, signature.XFSBlock), page)
			}
		}
	}
}

// partitionTails returns how much a partition that takes the whole disk may leave
// free at the end: nothing, a backup GPT, or the MiB in which that is.
func partitionTails() []int64 { return []int64{0, 33 * 512, int64(block.MiB)} }
