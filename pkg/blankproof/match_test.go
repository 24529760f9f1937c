package blankproof

import (
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// A sparse disk is zero except for its data.
type sparse struct {
	size int64
	data map[int64]string
}

func (s sparse) ReadAt(p []byte, off int64) (n int, err error) {
	n = int(max(0, min(int64(len(p)), s.size-off)))
	clear(p[:n])
	for at, data := range s.data {
		if from := at - off; from < int64(n) && from+int64(len(data)) > 0 {
			copy(p[max(0, from):n], data[max(0, -from):])
		}
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// proveSparse proves a disk as if blkid and wipefs found nothing.
func proveSparse(t testing.TB, disk sparse) Report {
	t.Helper()
	var r Report
	if err := r.scan(t.Context(), disk, disk.size, Task{}); err != nil {
		t.Fatal(err)
	}
	marks, err := match(t.Context(), disk, disk.size, r.FirstData, signature.Sure, signature.Spare, signature.Weak)
	if err != nil {
		t.Fatal(err)
	}
	r.conclude(marks, opinion{nothing: true})
	return r
}

func TestEveryPlaceOfTheTableIsReadAndCompared(t *testing.T) {
	for _, size := range []int64{8 * int64(block.MiB), 600*int64(block.MiB) + 512*3, 9*int64(block.GiB) + 512*5, 3 * int64(block.TiB)} {
		spans := plan(size, "", false).spans
		places := 0
		for _, f := range signature.Table() {
			for _, m := range f.Marks {
				disk := sparse{size, map[int64]string{}}
				for _, p := range m.Places {
					at, ok := p.On(size, len(m.Bytes), -1)
					if !ok {
						continue
					}
					disk.data[at-int64(len(p.After))] = p.After
					disk.data[at] = m.Bytes
					if !slices.ContainsFunc(spans, func(s span) bool { return s.from <= at && at+int64(len(m.Bytes)) <= s.to }) {
						t.Errorf("on %v, %s at %v is not read", block.Bytes(size), f.Name, block.Offset(at))
					}
				}
				there, err := match(t.Context(), disk, size, new(block.Offset), signature.Sure, signature.Spare, signature.Weak)
				if err != nil {
					t.Fatal(err)
				}
				for at, bytes := range disk.data {
					if bytes != m.Bytes {
						continue
					}
					places++
					if !slices.ContainsFunc(there, func(x found) bool { return x.format.Name == f.Name && x.offset == block.Offset(at) }) {
						t.Errorf("on %v, %s at %v is not found", block.Bytes(size), f.Name, block.Offset(at))
					}
				}
			}
		}
		t.Logf("%v: %d places", block.Bytes(size), places)
	}
}

func TestTwoFormatsAreAmbiguous(t *testing.T) {
	r := proveSparse(t, sparse{int64(8 * block.MiB), map[int64]string{0: "XFSB", 0x218: "LVM2 001"}})
	want := "is ambiguous: it has an XFS signature at 0x0 and an LVM2 signature at 0x218"
	if !r.Ambiguous || r.Filesystem != nil || r.String() != want {
		t.Errorf("it %v, want %s", r, want)
	}
}

func TestSpareAndWeakMarksDoNotMakeADiskAmbiguous(t *testing.T) {
	for _, at := range []int64{0x438, 0x1fe, 0x800438, int64(9*block.MiB) - 4096 + 6} {
		for _, mark := range []string{"\x53\xef", "\x55\xaa", "\x34\x34"} {
			r := proveSparse(t, sparse{int64(9 * block.MiB), map[int64]string{0: "XFSB", at: mark}})
			if r.Ambiguous || r.String() != "has an XFS signature at 0x0" {
				t.Errorf("with %q at %#x it %v", mark, at, r)
			}
		}
	}
}

// FuzzMatch writes bytes somewhere on a disk. The disk is blank only if those that
// are on the disk are all zero.
func FuzzMatch(f *testing.F) {
	for i := range signature.Table() {
		m := signature.Table()[i].Marks[0]
		at, _ := m.Places[0].On(int64(2*block.MiB), len(m.Bytes), -1)
		f.Add(int64(2*block.MiB), at, m.Bytes)
	}
	f.Add(int64(1), int64(0), "x")
	f.Add(int64(513), int64(512), "xy")
	f.Fuzz(func(t *testing.T, size, at int64, data string) {
		if size <= 0 || size > int64(5*block.MiB) || at < 0 || at > size {
			t.Skip()
		}
		r := proveSparse(t, sparse{size, map[int64]string{at: data}})
		on := data[:min(int64(len(data)), size-at)]
		if zero := firstNonzero([]byte(on)) < 0; r.Blank != zero {
			t.Errorf("%q at %v of %v: %v", data, block.Offset(at), block.Bytes(size), r)
		}
		if i := firstNonzero([]byte(on)); i >= 0 && *r.FirstData != block.Offset(at+int64(i)) {
			t.Errorf("first data at %v, want %v", *r.FirstData, block.Offset(at+int64(i)))
		}
	})
}

func TestFirstNonzero(t *testing.T) {
	for range 2000 {
		b := make([]byte, 1+rand.IntN(3*int(page)))
		if got := firstNonzero(b); got != -1 {
			t.Fatalf("%d of %d zeros", got, len(b))
		}
		i := rand.IntN(len(b))
		b[i] = byte(1 + rand.IntN(255))
		if j := rand.IntN(len(b)); j > i {
			b[j] = 1
		}
		if got := firstNonzero(b); got != i {
			t.Fatalf("%d of %d, want %d", got, len(b), i)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	disk := sparse{size: int64(block.GiB)}
	b.SetBytes(disk.size)
	for b.Loop() {
		var r Report
		if err := r.scan(b.Context(), disk, disk.size, Task{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Early versions of bcachefs have the mark of bcache at the same place.
func TestOldBcachefsIsNotBcache(t *testing.T) {
	superblock := func(before string) sparse {
		return sparse{int64(8 * block.MiB), map[int64]string{0x1008: before, 0x1018: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"}}
	}
	for _, test := range []struct{ name, before, want string }{
		{"bcache, cache", "\x08\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00", "has a bcache signature at 0x1018"},
		{"bcache, backing", "\x08\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00", "has a bcache signature at 0x1018"},
		{"bcachefs of version 13, from 11 on", "\x9d\x51\xb2\x71\x00\xe3\x11\x04\x0d\x00\x0b\x00\x00\x00\x00\x00", "has a bcachefs signature at 0x1018"},
		{"bcachefs of version 1.2", "\x9d\x51\xb2\x71\x00\xe3\x11\x04\x02\x04\x02\x04\x00\x00\x00\x00", "has a bcachefs signature at 0x1018"},
	} {
		if r := proveSparse(t, superblock(test.before)); r.Blank || r.String() != test.want {
			t.Errorf("%s: it %v, want %s", test.name, r, test.want)
		}
		// blkid gives both the same name.
		disk := superblock(test.before)
		var r Report
		if err := r.scan(t.Context(), disk, disk.size, Task{}); err != nil {
			t.Fatal(err)
		}
		marks, err := match(t.Context(), disk, disk.size, r.FirstData, signature.Sure, signature.Spare, signature.Weak)
		if err != nil {
			t.Fatal(err)
		}
		r.conclude(marks, opinion{signatures: []Signature{{"bcache", 0x1018}}})
		if r.String() != test.want {
			t.Errorf("%s, as blkid calls it bcache: it %v, want %s", test.name, r, test.want)
		}
	}
}
