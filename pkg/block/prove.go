package block

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Report is what a proof found on a disk. The zero Report proves nothing.
type Report struct {
	Path   string `json:"path"`
	Serial string `json:"serial,omitempty"` // as the disk says on the descriptor that was read; "" if it is no NVMe disk
	Major  uint32 `json:"major"`
	Minor  uint32 `json:"minor"`
	Size   Bytes  `json:"size"`

	Blank      bool        `json:"blank"`                // every part of the proof held
	Found      []Signature `json:"found,omitempty"`      // known formats, in the order in which they lie
	Ambiguous  bool        `json:"ambiguous,omitempty"`  // it could be one format or another
	FirstData  *Offset     `json:"first_data,omitempty"` // the first byte that was read and is not zero
	Filesystem *Filesystem `json:"filesystem,omitempty"` // the only thing on it
	Partitions []string    `json:"partitions,omitempty"` // that the kernel sees
	InUse      []string    `json:"in_use,omitempty"`     // by what: "mounted at /srv/data"

	Read   Bytes `json:"read"`             // how much of it was read and zero
	Whole  bool  `json:"whole,omitempty"`  // that is all of it
	Stride Bytes `json:"stride,omitempty"` // distance of the samples, if it is not
}

// A Signature is the mark of a format.
type Signature struct {
	Name   string `json:"name"`
	Offset Offset `json:"offset"`
}

// String gives a signature as a noun: "an LVM2 signature at 0x218".
func (s Signature) String() string {
	return fmt.Sprintf("%s %s signature at %v", article(s.Name), s.Name, s.Offset)
}

// A Filesystem is what blkid says of a disk that holds one and nothing else.
type Filesystem struct {
	Type string `json:"type"` // as mount(8) calls it
	UUID string `json:"uuid,omitempty"`
}

// String gives the report as what the disk does: "has an LVM2 signature at
// 0x218", "holds data at 0x5000: no known format", "is blank: all 1.0 GiB of
// it read and zero".
func (r Report) String() string {
	var words []string
	if len(r.InUse) > 0 {
		words = append(words, "is in use: "+strings.Join(r.InUse, ", "))
	}
	switch {
	case r.Ambiguous:
		words = append(words, "is ambiguous: it "+r.found())
	case r.Filesystem != nil && r.Filesystem.UUID != "":
		words = append(words, fmt.Sprintf("%s (%s, UUID %s)", r.found(), r.Filesystem.Type, r.Filesystem.UUID))
	case len(r.Found) > 0:
		words = append(words, r.found())
	case r.FirstData != nil:
		words = append(words, fmt.Sprintf("holds data at %v: no known format", *r.FirstData))
	}
	if len(r.Partitions) > 0 {
		words = append(words, "has partitions: "+strings.Join(r.Partitions, ", "))
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, "; ")
	case !r.Blank:
		return "is not proven blank"
	case r.Whole:
		return fmt.Sprintf("is blank: all %v of it read and zero", r.Size)
	}
	return fmt.Sprintf("is blank as far as was read: %v of %v, samples %v apart", r.Read, r.Size, r.Stride)
}

func (r Report) found() string {
	if len(r.Found) == 0 {
		return "has several signatures"
	}
	nouns := make([]string, len(r.Found))
	for i, s := range r.Found {
		nouns[i] = s.String()
	}
	return "has " + strings.Join(nouns, " and ")
}

// Check returns an error unless the report is about this very disk. A device
// node can stand for another disk by the time that the report is used.
func (r Report) Check(d Disk) error {
	switch {
	case r.Serial != d.Serial:
		return fmt.Errorf("%s was read as the disk with serial %q, not %s", r.Path, r.Serial, d.Serial)
	case r.Major != d.Major || r.Minor != d.Minor:
		return fmt.Errorf("%s was read as device %d:%d, not %d:%d", r.Path, r.Major, r.Minor, d.Major, d.Minor)
	case r.Size != d.Size:
		return fmt.Errorf("%s was read as %d bytes, not %d", r.Path, int64(r.Size), int64(d.Size))
	}
	return nil
}

// A ReadError says where a disk could not be read. Such a disk is never blank.
type ReadError struct {
	Offset Offset // where the read began
	Length Bytes
	Err    error // mostly a syscall.Errno
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("cannot read %v at %v: %v", e.Length, e.Offset, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// Prove reads a disk, or an image file, and says what is on it. An error means
// that it could not be told: a *ReadError where the disk could not be read,
// others where it could not be opened, or where blkid or wipefs did not answer
// well. The report is then what was found out until there, and never Blank.
//
// It takes seconds on a large disk and hangs where the disk does: it is meant
// to run in a process of its own.
func (s System) Prove(ctx context.Context, path string) (Report, error) {
	r, err := s.prove(ctx, path)
	if err != nil {
		r.Blank = false
		return r, fmt.Errorf("cannot tell what is on %s: %w", path, err)
	}
	return r, nil
}

func (s System) prove(ctx context.Context, path string) (Report, error) {
	r := Report{Path: path}
	f, isDevice, err := openToProve(path)
	busy := errors.Is(err, unix.EBUSY)
	if err != nil && !busy {
		return r, err
	}
	if !busy {
		defer f.Close()
	}
	if isDevice {
		if r.Major, r.Minor, err = deviceNumber(path, f); err != nil {
			return r, err
		}
		if r.InUse, r.Partitions, err = s.usage(r.Major, r.Minor); err != nil {
			return r, err
		}
	}
	if busy {
		if len(r.InUse) == 0 {
			r.InUse = []string{"opened exclusively by another program or by the kernel"}
		}
		return r, nil
	}
	if isDevice {
		if r.Serial, _, err = identifyController(f); err != nil && !notNVMe(err) {
			return r, err
		}
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return r, err
	}
	if err := r.scan(ctx, f, size); err != nil {
		return r, err
	}
	marks, err := match(ctx, f, size, r.FirstData)
	if err != nil {
		return r, err
	}
	said, err := s.consult(ctx, f)
	if err != nil {
		return r, err
	}
	r.conclude(marks, said)
	return r, nil
}

// openToProve opens a block device exclusively and past the page cache, and an
// image file plainly. EBUSY means that the device is in use.
func openToProve(path string) (f *os.File, isDevice bool, err error) {
	// Not before this is known: opening a FIFO waits for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	switch info.Mode().Type() {
	case 0:
		f, err = os.OpenFile(path, os.O_RDONLY, 0)
		return f, false, err
	case os.ModeDevice:
		// Without O_CREAT, O_EXCL is open(2)'s way to claim a block device as
		// a mount does.
		f, err = os.OpenFile(path, os.O_RDONLY|os.O_EXCL|unix.O_DIRECT, 0)
		return f, true, err
	}
	return nil, false, &os.PathError{Op: "open", Path: path, Err: errNotDevice}
}

// notNVMe tells whether an error of identifyController is what other drivers
// answer to a command that they don't know.
func notNVMe(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

const (
	// wholeUpTo is the size up to which a disk is read from end to end.
	wholeUpTo = 4 * int64(GiB)

	// ends is how much is read of a larger disk's head and tail.
	ends = 16 * int64(MiB)

	// At most maxSamples of sampleSize, at distances that are a multiple of
	// strideUnit: 256 MiB, 2 s at the 125 MiB/s of a small EBS volume.
	maxSamples = 4096
	sampleSize = 64 * int64(KiB)
	strideUnit = int64(MiB)

	// chunk is what is read at once. Every read begins at a multiple of page,
	// as O_DIRECT wants it.
	chunk = int64(MiB)
	page  = 4 * int64(KiB)

	// atOnce is how many reads are under way: a network disk answers them
	// together nearly as soon as one.
	atOnce = 4
)

// A span is a part of a disk, from its first byte to before its last.
type span struct{ from, to int64 }

// plan returns what to read of a disk of this size, in order and without
// overlaps.
func plan(size int64) (spans []span, stride int64) {
	if size <= wholeUpTo {
		return []span{{0, size}}, 0
	}
	stride = (size/maxSamples + strideUnit - 1) / strideUnit * strideUnit
	spans = []span{{0, ends}, {(size - ends) &^ (page - 1), size}}
	for at := stride; at < size; at += stride {
		spans = append(spans, span{at, min(at+sampleSize, size)})
	}
	for _, f := range formats() {
		for _, m := range f.marks {
			for _, p := range m.places {
				if at, ok := p.on(size, len(m.bytes)); ok {
					spans = append(spans, span{at &^ (page - 1), min((at+int64(len(m.bytes))+page-1)&^(page-1), size)})
				}
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	merged := spans[:1]
	for _, s := range spans[1:] {
		if last := &merged[len(merged)-1]; s.from <= last.to {
			last.to = max(last.to, s.to)
		} else {
			merged = append(merged, s)
		}
	}
	return merged, stride
}

// scan reads what there is to read until it meets a byte that is not zero.
func (r *Report) scan(ctx context.Context, disk io.ReaderAt, size int64) error {
	r.Size = Bytes(size)
	if size <= 0 {
		return errors.New("it has no size")
	}
	spans, stride := plan(size)
	r.Stride = Bytes(stride)

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
	for l := range looks {
		r.Read += Bytes(l.zeros)
		if (l.first >= 0 || l.err != nil) && (odd == nil || l.from < odd.from) {
			odd = &l
			stop()
		}
	}
	switch {
	case odd == nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case odd == nil:
		r.Whole = stride == 0
	case odd.err != nil:
		return odd.err
	default:
		first := Offset(odd.from + odd.first)
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
		err = fmt.Errorf("it ends after %v: %w", Bytes(n), io.ErrUnexpectedEOF)
	}
	return &ReadError{Offset: Offset(at), Length: Bytes(len(buf)), Err: err}
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

// conclude puts together what the own table, blkid and wipefs found.
func (r *Report) conclude(marks []found, said opinion) {
	add := func(name string, at Offset) {
		if !slices.ContainsFunc(r.Found, func(s Signature) bool { return s.Name == name }) {
			r.Found = append(r.Found, Signature{name, at})
		}
	}
	known := func(libblkidType string) bool {
		return slices.ContainsFunc(r.Found, func(s Signature) bool {
			f := formatNamed(s.Name)
			return s.Name == libblkidType || f != nil && slices.Contains(f.types, libblkidType)
		})
	}
	for _, m := range marks {
		if m.mark.rank == sure {
			add(m.format.name, m.offset)
		}
	}
	for _, s := range said.signatures {
		if !known(s.Name) {
			add(nameOf(s.Name, s.Offset, marks), s.Offset)
		}
	}
	// Weak marks name only what has no better name.
	for _, worth := range []rank{spare, weak} {
		for _, m := range marks {
			if len(r.Found) == 0 && m.mark.rank == worth {
				add(m.format.name, m.offset)
			}
		}
	}
	slices.SortStableFunc(r.Found, func(a, b Signature) int { return cmp.Compare(a.Offset, b.Offset) })
	r.Ambiguous = said.ambiguous || len(r.Found) > 1
	if !r.Ambiguous && len(r.Found) == 1 {
		r.Filesystem = said.filesystem
	}
	r.Blank = r.FirstData == nil && len(r.Found) == 0 && said.nothing &&
		len(r.InUse) == 0 && len(r.Partitions) == 0 && r.Read > 0
}
