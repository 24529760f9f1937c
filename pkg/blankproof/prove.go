package blankproof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

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
