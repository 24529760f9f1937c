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

// A ReadError says where a disk could not be read. The disk is then never Blank.
type ReadError struct {
	Offset block.Offset // where the read started
	Length block.Bytes
	Err    error // mostly a syscall.Errno
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("cannot read %v at %v: %v", e.Length, e.Offset, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// parallel is how many reads run at the same time: a network disk answers all of
// them nearly as fast as one.
const parallel = 16

// tellEvery is the interval of Task.Tell.
const tellEvery = 2 * time.Second

// scan reads the disk as the plan says, up to the first byte that is not zero.
func (r *Report) scan(ctx context.Context, disk io.ReaderAt, size int64, task Task) error {
	r.Size = block.Bytes(size)
	if size <= 0 {
		return errors.New("its size is 0 bytes")
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
	results := make(chan result)
	var readers sync.WaitGroup
	for range parallel {
		readers.Go(func() {
			buf := alignedBuffer(chunk)
			for p := range parts {
				results <- readPart(disk, p, buf)
			}
		})
	}
	go func() { readers.Wait(); close(results) }()

	// The parts are read in order. So when the first result comes that is not all
	// zero, the lowest such part is among those that are being read.
	var odd *result
	told := time.Now()
	for l := range results {
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

// A result says what was read of a part of a disk.
type result struct {
	span
	zeros int64 // bytes at its start
	first int64 // the first byte that is not zero, -1 for none
	err   error
}

func readPart(disk io.ReaderAt, p span, buf []byte) result {
	buf = buf[:p.to-p.from]
	if err := readFull(disk, buf, p.from); err != nil {
		return result{span: p, first: -1, err: err}
	}
	first := int64(firstNonzero(buf))
	if first >= 0 {
		return result{span: p, first: first, zeros: first}
	}
	return result{span: p, first: -1, zeros: p.to - p.from}
}

// readFull fills buf from an offset of the disk, or returns a *ReadError.
func readFull(disk io.ReaderAt, buf []byte, at int64) error {
	n, err := disk.ReadAt(buf, at)
	if n == len(buf) {
		return nil // io.ReaderAt may return io.EOF with the last bytes
	}
	var pathErr *os.PathError
	switch {
	case errors.As(err, &pathErr):
		err = pathErr.Err
	case err == nil || errors.Is(err, io.EOF):
		err = fmt.Errorf("got only %v: %w", block.Bytes(n), io.ErrUnexpectedEOF)
	}
	return &ReadError{Offset: block.Offset(at), Length: block.Bytes(len(buf)), Err: err}
}

var zeros [page]byte

// firstNonzero returns the index of the first byte that is not zero, -1 for none.
func firstNonzero(b []byte) int {
	for at := 0; at < len(b); at += len(zeros) {
		part := b[at:min(at+len(zeros), len(b))]
		if !bytes.Equal(part, zeros[:len(part)]) {
			return at + slices.IndexFunc(part, func(c byte) bool { return c != 0 })
		}
	}
	return -1
}

// alignedBuffer returns a buffer that starts at a page, as O_DIRECT needs it.
func alignedBuffer(size int64) []byte {
	buf := make([]byte, size+page)
	skip := -int64(uintptr(unsafe.Pointer(&buf[0]))) & (page - 1)
	return buf[skip : skip+size]
}

// How fast and how steadily a disk must give its bytes. The rates are below those
// of the slowest EC2 volumes, sc1, without burst credits: a volume may be slower
// for a while.
const (
	slowReads = 10                   // in a second
	slowBytes = 8 * int64(block.MiB) // in a second

	// StallsAfter is how long a disk may take to give the next bytes. A read
	// that the kernel retries takes this long.
	StallsAfter = 5 * time.Minute
)

// ReadWithin returns how long the proof of a disk of a size may take on the
// slowest EC2 volume. On a gp3 volume it takes up to 20 s, up to 35 s if all of
// 4 GiB is read, and a second for each 125 MiB of a larger disk that is read whole.
func ReadWithin(size block.Bytes, whole bool) time.Duration {
	seconds := int64(size) / slowBytes
	if !whole && int64(size) > wholeUpTo {
		seconds = max(maxReads/slowReads, maxBytes/slowBytes)
	}
	return (time.Duration(seconds)*time.Second + 2*toolWithin).Round(time.Minute)
}
