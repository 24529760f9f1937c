package blankproof

import (
	"cmp"
	"context"
	"io"
	"slices"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// found is a mark that is there.
type found struct {
	format *signature.Format
	mark   *signature.Mark
	offset block.Offset
	after  string
}

// span is where it lies, with what stands before it.
func (f found) span() span {
	return span{int64(f.offset) - int64(len(f.after)), int64(f.offset) + int64(len(f.mark.Bytes))}
}

// match reads every place where a known format keeps a mark of certain ranks,
// and returns the marks that are there, in the order in which they lie. A disk
// on which no byte is set, first being nil, has none.
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
	held := span{} // what of the disk buf holds
	for i, f := range all {
		s := f.span()
		if s.to > held.to {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			held.from = s.from &^ (page - 1)
			for _, next := range all[i:] { // with all that one read brings
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

// nameOf returns the table's name for what libblkid found: that of a mark at
// the same place, or the first that libblkid's type stands for, or the type.
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
