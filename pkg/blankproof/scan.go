package blankproof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"bootagent/pkg/block"
)

// A ReadError says where a disk could not be read. Such a disk is never blank.
type ReadError struct {
	Offset block.Offset // where the read began
	Length block.Bytes
	Err    error // mostly a syscall.Errno
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("cannot read %v at %v: %v", e.Length, e.Offset, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// atOnce is how many reads are under way: a network disk answers them together
// nearly as soon as one.
const atOnce = 16

// tellEvery is how often a task is told how far the reading has come.
const tellEvery = 2 * time.Second

// scan reads what there is to read until it meets a byte that is not zero.
func (r *Report) scan(ctx context.Context, disk io.ReaderAt, size int64, task Task) error {
	r.Size = block.Bytes(size)
	if size <= 0 {
		return errors.New("it has no size")
	}
	what := plan(size, r.Serial, task.Whole)
	spans, all := what.spans, block.Bytes(what.bytes())
	r.Stride = block.Bytes(what.stride)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	parts := make(chan span)
	go func() {
		defer close(parts)
		for _, s := range spans {
			for at := s.from; at < s.to; at += chunk {
				select {
				case parts <- span{at, min(at+chunk, s.to)}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	looks := make(chan look)
	var readers sync.WaitGroup
	for range atOnce {
		readers.Go(func() {
			buf := alignedBuffer(chunk)
			for p := range parts {
				looks <- lookAt(disk, p, buf)
			}
		})
	}
	go func() { readers.Wait(); close(looks) }()

	// Parts are handed out in order, so that of the first ones that are not
	// zero the lowest is among those under way.
	var odd *look
	told := time.Now()
	for l := range looks {
		r.Read += block.Bytes(l.zeros)
		if task.Tell != nil && time.Since(told) >= tellEvery {
			told = time.Now()
			task.Tell(r.Read, all)
		}
		if (l.first >= 0 || l.err != nil) && (odd == nil || l.from < odd.from) {
			odd = &l
			stop()
		}
	}
	switch {
	case odd == nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case odd == nil:
		r.Whole = what.stride == 0
	case odd.err != nil:
		return odd.err
	default:
		first := block.Offset(odd.from + odd.first)
		r.FirstData = &first
	}
	return nil
}

// A look is what was seen in a part of a disk.
type look struct {
	span
	zeros int64 // bytes at its start
	first int64 // the first byte that is not zero, -1 for none
	err   error
}

func lookAt(disk io.ReaderAt, p span, buf []byte) look {
	buf = buf[:p.to-p.from]
	if err := readFull(disk, buf, p.from); err != nil {
		return look{span: p, first: -1, err: err}
	}
	first := int64(firstNonzero(buf))
	if first >= 0 {
		return look{span: p, first: first, zeros: first}
	}
	return look{span: p, first: -1, zeros: p.to - p.from}
}

// readFull fills buf or fails.
func readFull(disk io.ReaderAt, buf []byte, at int64) error {
	n, err := disk.ReadAt(buf, at)
	if n == len(buf) {
		return nil // io.ReaderAt may add io.EOF to the last bytes
	}
	var pathErr *os.PathError
	switch {
	case errors.As(err, &pathErr):
		err = pathErr.Err
	case err == nil || errors.Is(err, io.EOF):
		err = fmt.Errorf("it ends after %v: %w", block.Bytes(n), io.ErrUnexpectedEOF)
	}
	return &ReadError{Offset: block.Offset(at), Length: block.Bytes(len(buf)), Err: err}
}

var zeros [page]byte

// firstNonzero returns where the first byte is that is not zero, -1 for none.
func firstNonzero(b []byte) int {
	for at := 0; at < len(b); at += len(zeros) {
		part := b[at:min(at+len(zeros), len(b))]
		if !bytes.Equal(part, zeros[:len(part)]) {
			return at + slices.IndexFunc(part, func(c byte) bool { return c != 0 })
		}
	}
	return -1
}

// alignedBuffer returns a buffer that O_DIRECT can read into.
func alignedBuffer(size int64) []byte {
	buf := make([]byte, size+page)
	skip := -int64(uintptr(unsafe.Pointer(&buf[0]))) & (page - 1)
	return buf[skip : skip+size]
}

// What the slowest volumes that EC2 has give when they have used up their
// credits (sc1), less what is theirs alone for a while; and how long one read
// may take, and each of blkid and wipefs.
const (
	slowReads = 10                   // in a second
	slowBytes = 8 * int64(block.MiB) // in a second

	// StallsAfter is how long a disk may take for the next bytes: a read that
	// the kernel sends to a disk again and again takes this long.
	StallsAfter = 5 * time.Minute
)

// ReadWithin is how long a disk of a size may take to be proven, on the slowest
// of volumes. A gp3 volume takes up to 20 s, up to 35 s where all of 4 GiB are
// read, and a second for each 125 MiB of a whole one.
func ReadWithin(size block.Bytes, whole bool) time.Duration {
	seconds := int64(size) / slowBytes
	if !whole && int64(size) > wholeUpTo {
		seconds = max(maxReads/slowReads, maxBytes/slowBytes)
	}
	return (time.Duration(seconds)*time.Second + 2*toolWithin).Round(time.Minute)
}
