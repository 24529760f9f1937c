package blankproof

import (
	"cmp"
	"context"
	"io"
	"slices"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// found is a mark that is on the disk.
type found struct {
	format *signature.Format
	mark   *signature.Mark
	offset block.Offset
	after  string // the bytes right before it
}

// span returns where it is, with the bytes before it.
func (f found) span() span {
	return span{int64(f.offset) - int64(len(f.after)), int64(f.offset) + int64(len(f.mark.Bytes))}
}

// match reads every place where a known format keeps a mark of one of the ranks,
// and returns the marks that are there, in the order of their offsets. First is
// the first byte of the disk that is not zero; if it is nil, there is no mark.
func match(ctx context.Context, disk io.ReaderAt, size int64, first *block.Offset, ranks ...signature.Rank) ([]found, error) {
	if first == nil {
		return nil, nil
	}
	var all []found
	table := signature.Table()
	for i := range table {
		f := &table[i]
		for j := range f.Marks {
			m := &f.Marks[j]
			if !slices.Contains(ranks, m.Rank) {
				continue
			}
			for _, p := range m.Places {
				at, ok := p.On(size, len(m.Bytes), int64(*first))
				if ok && at+int64(len(m.Bytes)) > int64(*first) {
					all = append(all, found{f, m, block.Offset(at), p.After})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.span().from, b.span().from) })
	var there []found
	buf := alignedBuffer(chunk)
	held := span{} // the part of the disk that is in buf
	for i, f := range all {
		s := f.span()
		if s.to > held.to {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			held.from = s.from &^ (page - 1)
			for _, next := range all[i:] { // one read for all that fit
				if to := next.span().to; to <= held.from+chunk {
					held.to = max(held.to, to)
				}
			}
			held.to = min((held.to+page-1)&^(page-1), size)
			if err := readFull(disk, buf[:held.to-held.from], held.from); err != nil {
				return nil, err
			}
		}
		if string(buf[s.from-held.from:s.to-held.from]) == f.after+f.mark.Bytes {
			there = append(there, f)
		}
	}
	slices.SortStableFunc(there, func(a, b found) int { return cmp.Compare(a.offset, b.offset) })
	return there, nil
}

// nameOf returns the name of package signature for what libblkid found: that of a
// mark at the same offset, else that of the first format of which this is the main
// type, else the type.
func nameOf(libblkidType string, offset block.Offset, marks []found) string {
	for _, m := range marks {
		if m.offset == offset && slices.Contains(m.format.Types, libblkidType) {
			return m.format.Name
		}
	}
	for _, f := range signature.Table() {
		if len(f.Types) > 0 && f.Types[0] == libblkidType {
			return f.Name
		}
	}
	return libblkidType
}
