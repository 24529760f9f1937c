package blankproof

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
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// A Report is what a proof found on a disk. The zero Report proves nothing.
type Report struct {
	Path   string      `json:"path"`
	Serial string      `json:"serial,omitempty"` // as the disk says on the descriptor that was read; "" if it is no NVMe disk
	Major  uint32      `json:"major"`
	Minor  uint32      `json:"minor"`
	Size   block.Bytes `json:"size"`

	Blank      bool          `json:"blank"`                // every part of the proof held
	Found      []Signature   `json:"found,omitempty"`      // known formats, in the order in which they lie
	Ambiguous  bool          `json:"ambiguous,omitempty"`  // it could be one format or another
	FirstData  *block.Offset `json:"first_data,omitempty"` // the first byte that was read and is not zero
	Filesystem *Filesystem   `json:"filesystem,omitempty"` // what mount(8) takes it for, if it takes it
	Stale      []Signature   `json:"stale,omitempty"`      // of Found, what is left beside that filesystem
	Marks      []Signature   `json:"marks,omitempty"`      // all that wipefs can take away, by its own names
	Partitions []string      `json:"partitions,omitempty"` // that the kernel sees
	InUse      []string      `json:"in_use,omitempty"`     // by what: "mounted at /srv/data"

	Read   block.Bytes `json:"read"`             // how much of it was read and zero
	Whole  bool        `json:"whole,omitempty"`  // that is all of it
	Stride block.Bytes `json:"stride,omitempty"` // distance of the samples, if it is not
}

// A Signature is the mark of a format.
type Signature struct {
	Name   string       `json:"name"`
	Offset block.Offset `json:"offset"`
}

// String gives a signature as a noun: "an LVM2 signature at 0x218".
func (s Signature) String() string {
	return fmt.Sprintf("%s %s signature at %v", signature.Article(s.Name), s.Name, s.Offset)
}

// A Filesystem is what blkid says of a disk that it takes for one, and for
// nothing else.
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
		words = append(words, fmt.Sprintf("has %s (%s, UUID %s)", nouns(r.own()), r.Filesystem.Type, r.Filesystem.UUID))
	case r.Filesystem != nil:
		words = append(words, "has "+nouns(r.own()))
	case len(r.Found) > 0:
		words = append(words, r.found())
	case r.FirstData != nil:
		words = append(words, fmt.Sprintf("holds data at %v: no known format", *r.FirstData))
	}
	if len(r.Stale) > 0 {
		words = append(words, "has beside that "+nouns(r.Stale))
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
	return "has " + nouns(r.Found)
}

// own is what of Found is the filesystem's.
func (r Report) own() []Signature {
	return slices.DeleteFunc(slices.Clone(r.Found), func(s Signature) bool { return slices.Contains(r.Stale, s) })
}

// Beside names what is left beside the filesystem: "a GPT signature at
// 0x257ffe00".
func (r Report) Beside() string { return nouns(r.Stale) }

func nouns(signatures []Signature) string {
	words := make([]string, len(signatures))
	for i, s := range signatures {
		words[i] = s.String()
	}
	return strings.Join(words, " and ")
}

// Mend gives the command that takes away what keeps mount(8) from taking the
// disk for a filesystem of a type that is on it, and keeps copies of that in
// root's home directory. It is "" where wipefs can't do that.
func (r Report) Mend(filesystem string) string {
	var command strings.Builder
	command.WriteString("wipefs --backup")
	there, others := 0, 0
	for _, m := range r.Marks {
		if m.Name == filesystem {
			there++
			continue
		}
		others++
		fmt.Fprintf(&command, " --offset %v", m.Offset)
	}
	if there == 0 || others == 0 {
		return ""
	}
	return command.String() + " " + r.Path
}

// Check returns an error unless the report is about this very disk, which
// nobody uses. A device node can stand for another disk by the time that the
// report is used. A disk that is in use was not asked for its serial number.
func (r Report) Check(d block.Disk) error {
	switch {
	case r.Major != d.Major || r.Minor != d.Minor:
		return fmt.Errorf("%s was read as device %d:%d, not %d:%d", r.Path, r.Major, r.Minor, d.Major, d.Minor)
	case len(r.InUse) > 0:
		return fmt.Errorf("disk %s %v", d.Serial, r)
	case r.Serial != d.Serial:
		return fmt.Errorf("%s was read as the disk with serial %q, not %s", r.Path, r.Serial, d.Serial)
	case r.Size != d.Size:
		return fmt.Errorf("%s was read as %d bytes, not %d", r.Path, int64(r.Size), int64(d.Size))
	}
	return nil
}

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

// A Task says how a disk is proven. The zero Task reads as much as a gp3 volume
// gives in 20 s, of whatever disk there is.
type Task struct {
	Whole    bool                       // all of it is read
	Serial   string                     // that the disk has to report, "" for any
	Sequence *uint64                    // that the kernel has to know it by, Disk.Seq
	Tell     func(read, of block.Bytes) // called now and then while it is read
}

// An OtherDiskError says that a path leads to another disk than the one that
// was to be proven.
type OtherDiskError struct{ What string }

func (e *OtherDiskError) Error() string { return "it is another disk: " + e.What }

// Prove reads a disk, or an image file, and says what is on it. An error means
// that it could not be told: an *OtherDiskError where it is not the disk of the
// task, a *ReadError where the disk could not be read, others where it could not
// be opened, or where blkid or wipefs did not answer well. The report is then
// what was found out until there, and never Blank.
//
// The path is looked up once: all is found out on what it led to then. It takes
// up to half a minute on a large disk (see ReadWithin) and hangs where the disk
// does: it is meant to run in a process of its own.
func (p Prover) Prove(ctx context.Context, path string, task Task) (Report, error) {
	r, err := p.prove(ctx, path, task)
	if err != nil {
		r.Blank = false
		return r, fmt.Errorf("cannot tell what is on %s: %w", path, err)
	}
	return r, nil
}

func (p Prover) prove(ctx context.Context, path string, task Task) (Report, error) {
	r := Report{Path: path}
	node, err := lookUp(path)
	if err != nil {
		return r, err
	}
	defer node.Close()
	var isDevice bool
	if r.Major, r.Minor, isDevice, err = deviceOrFile(path, node); err != nil {
		return r, err
	}
	f, err := openToProve(path, node, isDevice)
	busy := errors.Is(err, unix.EBUSY)
	if err != nil && !busy {
		return r, err
	}
	if !busy {
		defer f.Close()
	}
	if isDevice {
		if r.InUse, r.Partitions, err = p.system.Usage(r.Major, r.Minor); err != nil {
			return r, err
		}
	}
	if busy {
		if len(r.InUse) == 0 {
			r.InUse = p.system.Openers(r.Major, r.Minor)
		}
		return r, nil
	}
	if isDevice {
		if r.Serial, err = block.Serial(f); err != nil {
			return r, err
		}
	}
	if err := task.check(f, r.Serial); err != nil {
		return r, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return r, err
	}
	if err := r.scan(ctx, f, size, task); err != nil {
		return r, err
	}
	marks, err := match(ctx, f, size, r.FirstData, signature.Sure, signature.Weak)
	if err != nil {
		return r, err
	}
	said, err := p.consult(ctx, f)
	if err != nil {
		return r, err
	}
	// The copies lie all over the disk. They only name one on which nothing else does.
	named := slices.ContainsFunc(marks, func(m found) bool { return m.mark.Rank == signature.Sure })
	if !named && said.filesystem == nil {
		if marks, err = match(ctx, f, size, r.FirstData, signature.Spare, signature.Weak); err != nil {
			return r, err
		}
	}
	r.conclude(marks, said)
	return r, nil
}

// check refuses another disk than that of the task.
func (t Task) check(f *os.File, serial string) error {
	if t.Serial != "" && serial != t.Serial {
		return &OtherDiskError{fmt.Sprintf("its serial number is %q, not %s", serial, t.Serial)}
	}
	if t.Sequence == nil {
		return nil
	}
	seq, err := block.DiskSequence(f)
	if err != nil {
		return err
	}
	if seq != *t.Sequence {
		return &OtherDiskError{fmt.Sprintf("its disk sequence number is %d, not %d", seq, *t.Sequence)}
	}
	return nil
}

// lookUp looks a path up without opening what is there: opening a FIFO waits for
// its writer.
func lookUp(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// deviceOrFile tells which block device was looked up, or that it is a file.
func deviceOrFile(path string, node *os.File) (major, minor uint32, isDevice bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(node.Fd()), &st); err != nil {
		return 0, 0, false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0, 0, false, nil
	case unix.S_IFBLK:
		return unix.Major(st.Rdev), unix.Minor(st.Rdev), true, nil
	}
	return 0, 0, false, &os.PathError{Op: "open", Path: path, Err: block.ErrNotDevice}
}

// openToProve opens a block device that was looked up exclusively and past the
// page cache, and an image file plainly. EBUSY means that the device is in use.
func openToProve(path string, node *os.File, isDevice bool) (*os.File, error) {
	flags := os.O_RDONLY
	if isDevice {
		// Without O_CREAT, O_EXCL is open(2)'s way to claim a block device as
		// a mount does.
		flags |= os.O_EXCL | unix.O_DIRECT
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", node.Fd()), flags, 0)
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		pathErr.Path = path
	}
	if err == nil && !isDevice {
		// Of a file, each sample would bring 128 KiB more into the page cache.
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)
	}
	return f, err
}

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

// conclude puts together what the own table, blkid and wipefs found.
func (r *Report) conclude(marks []found, said opinion) {
	add := func(name string, at block.Offset) {
		if !slices.ContainsFunc(r.Found, func(s Signature) bool { return s.Name == name }) {
			r.Found = append(r.Found, Signature{name, at})
		}
	}
	known := func(libblkidType string) bool {
		return slices.ContainsFunc(r.Found, func(s Signature) bool { return s.is(libblkidType) })
	}
	for _, m := range marks {
		if m.mark.Rank == signature.Sure {
			add(m.format.Name, m.offset)
		}
	}
	for _, s := range said.signatures {
		if !known(s.Name) {
			add(nameOf(s.Name, s.Offset, marks), s.Offset)
		}
	}
	// Weak marks name only what has no better name.
	for _, worth := range []signature.Rank{signature.Spare, signature.Weak} {
		for _, m := range marks {
			if len(r.Found) == 0 && m.mark.Rank == worth {
				add(m.format.Name, m.offset)
			}
		}
	}
	slices.SortStableFunc(r.Found, func(a, b Signature) int { return cmp.Compare(a.Offset, b.Offset) })
	// What mount(8) takes a disk for is blkid's one answer, and what else is on
	// the disk does not change it: the backup GPT of a smaller partition table,
	// say, that nobody reads.
	r.Filesystem = said.filesystem
	if r.Filesystem != nil {
		for _, s := range r.Found {
			if !s.is(r.Filesystem.Type) {
				r.Stale = append(r.Stale, s)
			}
		}
	}
	r.Ambiguous = said.ambiguous || len(r.Found) > 1 && r.Filesystem == nil
	if len(r.Found) > 1 || said.ambiguous {
		r.Marks = said.signatures
	}
	r.Blank = r.FirstData == nil && len(r.Found) == 0 && said.nothing &&
		len(r.InUse) == 0 && len(r.Partitions) == 0 && r.Read > 0
}

// is tells whether a signature is of what libblkid gives a type.
func (s Signature) is(libblkidType string) bool {
	f := signature.Named(s.Name)
	return s.Name == libblkidType || f != nil && slices.Contains(f.Types, libblkidType)
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
