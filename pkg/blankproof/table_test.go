package blankproof

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/block"
)

// With this flag (make proof-table) the test writes the table of docs/proof.md.
// Without it, the test compares the part of the table that is cheap to compute.
var writeTable = flag.Bool("write-proof-table", false, "measure the table of docs/proof.md and write it")

const (
	proofPage  = "../../docs/proof.md"
	tableBegin = "<!-- make proof-table writes what follows -->\n"
	tableEnd   = "<!-- make proof-table wrote what stands above -->\n"
)

var (
	tableSizes = []block.Bytes{6 * block.GiB, 100 * block.GiB, block.TiB}
	tableRuns  = []block.Bytes{block.MiB, 16 * block.MiB, 64 * block.MiB, 200 * block.MiB}
)

const (
	serials     = 20 // disks that are read in 20 different ways
	runsEach    = 500
	layoutTries = 100
)

// A left is a row of the table: a filesystem, where it was, and which part of the
// disk was zeroed.
type left struct {
	filesystem string
	mkfs       string // for sh, with $disk, of length bytes
	grown      bool   // made when the disk had three quarters of the GiB
	where      string
	start      func(chance *rand.Rand, size block.Bytes) block.Bytes
	length     func(size block.Bytes) block.Bytes
}

func all(size block.Bytes) block.Bytes            { return size }
func half(size block.Bytes) block.Bytes           { return size / 2 &^ (block.MiB - 1) }
func atStart(*rand.Rand, block.Bytes) block.Bytes { return 0 }
func first(*rand.Rand, block.Bytes) block.Bytes   { return block.MiB }
func afterGiB(chance *rand.Rand, s block.Bytes) block.Bytes {
	return block.MiB + block.GiB*(1+block.Bytes(chance.Int64N(int64(s/block.GiB/2-1))))
}

func anywhere(chance *rand.Rand, s block.Bytes) block.Bytes {
	return block.MiB * (1 + block.Bytes(chance.Int64N(int64(s/block.MiB/2-2))))
}
func butTwoMiB(size block.Bytes) block.Bytes      { return size - 2*block.MiB }
func halfLessTwoGiB(size block.Bytes) block.Bytes { return half(size) - 2*block.GiB }

var lefts = []left{
	{"XFS", "mkfs.xfs -q $disk", false, "the whole disk", atStart, all},
	{"XFS, grown by a third", "mkfs.xfs -q $disk", true, "the whole disk", atStart, all},
	{"XFS of 15 groups", "mkfs.xfs -q -d agcount=15 $disk", false, "the whole disk", atStart, all},
	{"XFS", "mkfs.xfs -q $disk", false, "the first partition", first, butTwoMiB},
	{"XFS, grown by a third", "mkfs.xfs -q $disk", true, "the first partition", first, butTwoMiB},
	{"XFS", "mkfs.xfs -q $disk", false, "half the disk, after whole GiB", afterGiB, halfLessTwoGiB},
	{"XFS", "mkfs.xfs -q $disk", false, "half the disk, at any MiB", anywhere, half},
	{"ext4", "mkfs.ext4 -q $disk", false, "the whole disk", atStart, all},
	{"ext4", "mkfs.ext4 -q $disk", false, "the first partition", first, butTwoMiB},
	{"ext4", "mkfs.ext4 -q $disk", false, "half the disk, at any MiB", anywhere, half},
}

// Which part is zeroed: the partition table only if the disk has one.
var tableZeroed = []block.Bytes{block.MiB, 16 * block.MiB}

func TestTheTableOfTheProofsPage(t *testing.T) {
	page, err := os.ReadFile(proofPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(page), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table, between %q and %q", proofPage, tableBegin, tableEnd)
	}
	runs := tableOfRuns()
	if *writeTable {
		table := tableOfLayouts(t) + "\n" + runs
		if err := os.WriteFile(proofPage, []byte(before+tableBegin+"\n"+table+"\n"+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !strings.Contains(old, runs) {
		t.Errorf("the page does not say how often a run of data is found; make proof-table writes:\n%s", runs)
	}
	for _, l := range lefts {
		for _, zeroed := range tableZeroed {
			for _, data := range []string{"nothing", "3 files"} {
				row := fmt.Sprintf("| %s | %s | first %v | %s |", l.filesystem, l.where, zeroed, data)
				i := strings.Index(old, row)
				if i < 0 {
					t.Errorf("the page has no row %q; make proof-table writes it", row)
					continue
				}
				line, _, _ := strings.Cut(old[i+len(row):], "\n")
				if strings.Count(line, fmt.Sprintf(" of %d |", layoutTries)) != len(tableSizes) {
					t.Errorf("the row %q ends in %q, which is no count for each size", row, line)
				}
			}
		}
	}
}

// tableOfRuns counts how often a run of data at a random place is found. The seed
// is always the same, so that the result can be compared with the page.
func tableOfRuns() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| a run of data, anywhere |%s\n|---|%s\n", columns(), strings.Repeat("---|", len(tableSizes)))
	cells := make(map[block.Bytes][]string)
	for _, size := range tableSizes {
		seen := make(map[block.Bytes]int)
		chance := rand.New(rand.NewPCG(1, uint64(size)))
		for serial := range serials {
			r := plan(int64(size), fmt.Sprintf("vol%017d", serial), false)
			for _, length := range tableRuns {
				for range runsEach {
					if r.sees(chance.Int64N(int64(size-length)), int64(length)) {
						seen[length]++
					}
				}
			}
		}
		for _, length := range tableRuns {
			cells[length] = append(cells[length], fmt.Sprintf(" %d of %d |", seen[length], serials*runsEach))
		}
	}
	for _, length := range tableRuns {
		fmt.Fprintf(&b, "| %v |%s\n", length, strings.Join(cells[length], ""))
	}
	return b.String()
}

func columns() string {
	var b strings.Builder
	for _, size := range tableSizes {
		fmt.Fprintf(&b, " %v |", size)
	}
	return b.String()
}

// tableOfLayouts makes each filesystem on an image, and counts how often a reading
// of the disk reads one of the pages of the filesystem that are not zero. It does
// not run blkid, which could only find more.
func tableOfLayouts(t *testing.T) string {
	if lacks := (layout{mount: true}).lacks(); len(lacks) > 0 {
		t.Fatal(strings.Join(lacks, "; "))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| filesystem | where it lay | zeroed | left of data |%s\n|---|---|---|---|%s\n", columns(), strings.Repeat("---|", len(tableSizes)))
	for _, l := range lefts {
		cells := make(map[string]string)
		var rows []string
		for _, size := range tableSizes {
			plans := make([]reading, layoutTries)
			for i := range plans {
				plans[i] = plan(int64(size), fmt.Sprintf("vol%017d", i), false)
			}
			for _, files := range []bool{false, true} {
				there := l.extents(t, size, files)
				for _, zeroed := range tableZeroed {
					data := map[bool]string{false: "nothing", true: "3 files"}[files]
					row := fmt.Sprintf("| %s | %s | first %v | %s |", l.filesystem, l.where, zeroed, data)
					if !slices.Contains(rows, row) {
						rows = append(rows, row)
					}
					found := 0
					chance := rand.New(rand.NewPCG(2, uint64(size)))
					for _, r := range plans {
						start := l.start(chance, size)
						if slices.ContainsFunc(there, func(s span) bool {
							from, to := s.from+int64(start), s.to+int64(start)
							from = max(from, int64(zeroed))
							return from < to && r.sees(from, to-from)
						}) {
							found++
						}
					}
					cells[row] += fmt.Sprintf(" %d of %d |", found, layoutTries)
				}
			}
			t.Logf("%s, %s, %v", l.filesystem, l.where, size)
		}
		for _, row := range rows {
			fmt.Fprintf(&b, "%s%s\n", row, cells[row])
		}
	}
	return b.String()
}

// extents returns the pages of the filesystem that are not zero.
func (l left) extents(t *testing.T, size block.Bytes, files bool) []span {
	t.Helper()
	length := l.length(size)
	disk := newImage(t, length)
	defer os.Remove(disk)
	dir := filepath.Join(filepath.Dir(disk), "dir")
	lines := []string{"mkdir $dir", l.mkfs}
	if l.grown {
		lines = []string{"mkdir $dir", fmt.Sprintf("truncate -s %d $disk", int64(l.length(size*3/4&^(block.GiB-1)))), l.mkfs}
	}
	if files {
		lines = append(lines, "mount -o loop $disk $dir", someFiles, "umount $dir")
	}
	if l.grown {
		lines = append(lines, fmt.Sprintf("truncate -s %d $disk", int64(length)), "mount -o loop $disk $dir", "xfs_growfs $dir >/dev/null", "umount $dir")
	}
	for _, line := range lines {
		cmd := exec.Command("sh", "-ec", line)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "disk="+disk, "dir="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			exec.Command("umount", dir).Run()
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	return nonzero(t, disk)
}

// nonzero returns the pages of an image that are not zero.
func nonzero(t *testing.T, path string) (all []span) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, page)
	for at := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return merged(all)
		}
		if err != nil {
			t.Fatal(err)
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			t.Fatal(err)
		}
		for at = from &^ (page - 1); at < to; at += page {
			n, err := f.ReadAt(buf, at)
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if firstNonzero(buf[:n]) >= 0 {
				all = append(all, span{at, at + page})
			}
		}
	}
}
