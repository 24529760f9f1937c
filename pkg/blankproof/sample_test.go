package blankproof

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// sees tells whether any byte of a part of the disk is read.
func (r reading) sees(from, length int64) bool {
	i, _ := slices.BinarySearchFunc(r.spans, from, func(s span, at int64) int {
		if s.to <= at {
			return -1
		}
		return 1
	})
	return i < len(r.spans) && r.spans[i].from < from+length
}

func TestAReadingIsInOrderWithoutOverlapsAndWithinTheDisk(t *testing.T) {
	for _, size := range []int64{1, 4096, wholeUpTo, wholeUpTo + 512, 8 * int64(block.GiB), 100*int64(block.GiB) + 512, 64 * int64(block.TiB)} {
		r := plan(size, "vol1", false)
		end := int64(0)
		for i, s := range r.spans {
			if s.from%page != 0 || s.from < end || s.to <= s.from || i > 0 && s.from == end {
				t.Fatalf("on %v, %v follows %v", block.Bytes(size), s, block.Offset(end))
			}
			end = s.to
		}
		if r.spans[0].from != 0 || end != size {
			t.Errorf("on %v, it reads from %v to %v", block.Bytes(size), r.spans[0].from, end)
		}
		if whole := size <= wholeUpTo; whole != (r.stride == 0) || whole != (r.bytes() == size) {
			t.Errorf("on %v, it reads %v, samples %v apart", block.Bytes(size), block.Bytes(r.bytes()), block.Bytes(r.stride))
		}
	}
}

// A gp3 volume gives 3,000 reads and 125 MiB in a second, whatever its size.
func TestSamplingTakesTwentySecondsOfAnyVolumesBaseline(t *testing.T) {
	for gib := int64(5); gib <= 64*1024; gib += 1 + gib/7 {
		r := plan(gib*int64(block.GiB), fmt.Sprint(gib), false)
		if r.reads() > 60_000 || r.bytes() > 20*125*int64(block.MiB) {
			t.Errorf("%d GiB: %d reads, %v", gib, r.reads(), block.Bytes(r.bytes()))
		}
		if r.reads() < 40_000 && r.bytes() < 20*100*int64(block.MiB) {
			t.Errorf("%d GiB: no more than %d reads and %v are made of what there is", gib, r.reads(), block.Bytes(r.bytes()))
		}
		if r.stride&(r.stride-1) != 0 || r.stride == 0 {
			t.Errorf("%d GiB: samples are %v apart, which is no power of two", gib, block.Bytes(r.stride))
		}
		if worst := max(r.reads()/slowReads, r.bytes()/slowBytes); ReadWithin(block.Bytes(gib)*block.GiB, false) < time.Duration(worst)*time.Second {
			t.Errorf("%d GiB: the time runs out before a slow volume is read", gib)
		}
	}
	if within := ReadWithin(block.TiB, true); within < 36*time.Hour || within > 72*time.Hour {
		t.Errorf("a whole TiB may take %v", within)
	}
}

func TestTheSerialDecidesWhereTheUnforeseenSamplesLie(t *testing.T) {
	const size = 100 * int64(block.GiB)
	one, again, other := plan(size, "vol1", false), plan(size, "vol1", false), plan(size, "vol2", false)
	if !slices.Equal(one.spans, again.spans) {
		t.Error("the same disk is read in another way")
	}
	also := make(map[span]bool)
	for _, s := range other.spans {
		also[s] = true
	}
	alike := 0
	for _, s := range one.spans {
		if also[s] {
			alike++
		}
	}
	if alike > len(one.spans)*3/4 {
		t.Errorf("%d of %d samples are the same on another disk", alike, len(one.spans))
	}
}

// xfsGroups returns where the allocation groups of an XFS begin that was made with n
// groups in length bytes from start on, and has grown to end.
func xfsGroups(start, length, n, blockSize, end int64) []int64 {
	var groups []int64
	size := (length/blockSize + n - 1) / n * blockSize
	for at := start; at+64*blockSize <= end; at += size {
		groups = append(groups, at)
	}
	return groups
}

// seesBeyond tells whether the first page of a group that was not zeroed is read.
func (r reading) seesBeyond(zeroed int64, groups []int64) bool {
	return slices.ContainsFunc(groups, func(at int64) bool { return at >= zeroed && r.sees(at, 4096) })
}

// For every pair of sizes: at mkfs, and now. Only the first allocation group, or a
// part of it, is zeroed.
func TestAGrownXFSIsSeenWhateverSizeItHadAtMkfs(t *testing.T) {
	pairs, missed := 0, 0
	for _, now := range []int64{5, 6, 7, 10, 25, 50, 100, 130, 256, 500, 600, 1000, 1024, 1500, 2048, 3000, 4097, 8192, 10000, 16384, 65536} {
		r := plan(now*int64(block.GiB), "vol1", false)
		for was := int64(1); was < now; was += 1 + was/40 {
			pairs++
			// Not by XFSGroup, which the plan uses. From 4 TiB on, a group has 1 TiB.
			size := was * int64(block.GiB) / 4
			if was >= 4096 {
				size = int64(block.TiB)
			}
			var groups []int64
			for at := size; at < now*int64(block.GiB); at += size {
				groups = append(groups, at)
			}
			if !r.seesBeyond(16*int64(block.MiB), groups) {
				missed++
				t.Errorf("made on %d GiB, grown to %d: no allocation group is read", was, now)
			}
		}
	}
	t.Logf("%d pairs of sizes, %d of them not seen", pairs, missed)
}

func TestTheSecondGroupOfAnXFSIsSeen(t *testing.T) {
	for _, gib := range []int64{5, 8, 20, 100, 333, 1024, 5000, 16384} {
		size := gib * int64(block.GiB)
		r := plan(size, "vol1", false)
		for _, place := range []struct {
			name       string
			start, end int64
		}{
			{"the whole disk", 0, size},
			{"a partition of MBR", signature.FirstPartition, size},
			{"a partition up to the backup GPT", signature.FirstPartition, size - 33*512},
			{"a partition that leaves a MiB", signature.FirstPartition, size - int64(block.MiB)},
			{"all of LVM's extents", signature.FirstPartition, size - 3*int64(block.MiB)},
			{"an old partition", signature.OldFirstPartition, size},
		} {
			for _, n := range []int64{2, 4, 7, 15, 16, 31, 32, 64, 96, 192} {
				for _, blockSize := range []int64{1024, 2048, 4096} {
					groups := xfsGroups(place.start, place.end-place.start, n, blockSize, place.end)
					if !r.seesBeyond(17*int64(block.MiB), groups) {
						t.Errorf("%d GiB, %s, %d groups, blocks of %d: no allocation group is read", gib, place.name, n, blockSize)
					}
				}
			}
		}
	}
}

// A filesystem grows by whole groups from its old end on.
func TestTheFirstGroupThatWasAddedIsSeen(t *testing.T) {
	for _, now := range []int64{9, 130, 1024, 4000} {
		r := plan(now*int64(block.GiB), "vol1", false)
		for was := int64(4); was < now; was += 1 + was/30 {
			for _, n := range []int64{5, 7, 8, 15, 16, 32} {
				for name, extent := range map[string][2]int64{
					"the whole disk": {0, 0},
					"a partition":    {signature.FirstPartition, 33 * 512},
				} {
					start, rest := extent[0], extent[1]
					groups := xfsGroups(start, was*int64(block.GiB)-start-rest, n, 4096, now*int64(block.GiB)-rest)
					if len(groups) <= int(n) {
						continue // it grew by less than the smallest group
					}
					if !r.sees(groups[n], 4096) {
						t.Errorf("%s, %d groups on %d GiB, grown to %d: the first one that was added, at %v, is not read", name, n, was, now, block.Offset(groups[n]))
					}
				}
			}
		}
	}
}

func TestTheBackupsOfExt4AreSeen(t *testing.T) {
	for _, gib := range []int64{5, 100, 1024, 16384} {
		r := plan(gib*int64(block.GiB), "vol1", false)
		for _, start := range []int64{0, signature.FirstPartition, signature.OldFirstPartition} {
			for _, g := range []int64{1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343} {
				at := start + g*128*int64(block.MiB)
				if at < gib*int64(block.GiB) && !r.sees(at, 1024) {
					t.Errorf("%d GiB: the backup in group %d of a filesystem at %v is not read", gib, g, block.Offset(start))
				}
			}
		}
	}
}

func TestASecondPartitionIsSeenWhereToolsPutIt(t *testing.T) {
	for _, gib := range []int64{20, 100, 1024} {
		size := gib * int64(block.GiB)
		r := plan(size, "vol1", false)
		starts := []int64{513 << 20, 1025 << 20, 2049 << 20, 100 << 20, 1074 << 20}
		for n := int64(1); n < gib; n += 1 + n/10 {
			starts = append(starts, n*int64(block.GiB)+signature.FirstPartition, n*1000*int64(block.MiB)+signature.FirstPartition) // sfdisk: ",20G", sgdisk: "+20000M" before it
			starts = append(starts, (n*1e9+int64(block.MiB)/2)&^(int64(block.MiB)-1))                                              // parted: "20GB"
		}
		for percent := int64(5); percent < 100; percent += 5 {
			starts = append(starts, (size/100*percent+int64(block.MiB)/2)&^(int64(block.MiB)-1)) // parted: "20%"
		}
		for _, at := range starts {
			if at < size && !r.sees(at, 4096) {
				t.Errorf("%d GiB: a partition that begins at %v is not read", gib, block.Offset(at))
			}
		}
	}
}

func TestWhatAnEarlierEndKeptIsSeen(t *testing.T) {
	for _, gib := range []int64{30, 500, 5000} {
		r := plan(gib*int64(block.GiB), "vol1", false)
		for was := int64(1); was < min(gib, 4096); was += 1 + was/20 {
			end := was * int64(block.GiB)
			for name, before := range map[string]int64{"backup GPT": 512, "md RAID 1.0": 8192, "md RAID 0.90": 65536, "firmware RAID": 1024} {
				if !r.sees(end-before, 64) {
					t.Errorf("%d GiB, once %d: the %s at its old end is not read", gib, was, name)
				}
			}
		}
	}
}

// The probability that a run of data is read depends on the distance of the samples.
func TestARunOfDataAsLongAsTheStrideIsAlwaysMet(t *testing.T) {
	for _, gib := range []int64{6, 100, 1024} {
		size := gib * int64(block.GiB)
		r := plan(size, "vol1", false)
		for range 2000 {
			at := rand.Int64N(size - r.stride)
			if !r.sees(at, r.stride) {
				t.Fatalf("%d GiB: a run of %v at %v is not met", gib, block.Bytes(r.stride), block.Offset(at))
			}
		}
	}
}
