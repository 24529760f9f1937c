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
	"bootagent/pkg/filesystem/superblock"
)

// A Task says which disk to prove, and how. The zero Task accepts any disk, and
// reads as much of it as a gp3 volume gives in 20 s.
type Task struct {
	Whole    bool                       // read all of the disk
	Serial   string                     // that the disk must report, "" for any
	Sequence *uint64                    // disk sequence number that the disk must have, see block.Disk.Seq; nil for any
	Tell     func(read, of block.Bytes) // called about every 2 s while the disk is read, if not nil
}

// An OtherDiskError says that a path leads to a disk other than that of the Task.
type OtherDiskError struct{ What string }

func (e *OtherDiskError) Error() string { return "wrong disk: " + e.What }

// Prove reads a disk, or an image file, and reports what is on it. A disk that
// cannot be opened exclusively is not read: the Report says who uses it.
//
// The error is an *OtherDiskError if it is not the disk of the task, a *ReadError
// if a read failed, and another error if the disk could not be opened or if blkid
// or wipefs failed. The Report then has what was found before the error, and is
// never Blank.
//
// Prove looks the path up once, and reads only the disk that it led to. It takes
// up to half a minute on a large disk, see ReadWithin. If the disk hangs, Prove
// hangs, and the end of the context does not stop it: run it in a process of its
// own.
func (p Prover) Prove(ctx context.Context, path string, task Task) (Report, error) {
	r, err := p.prove(ctx, path, task)
	if err != nil {
		r.Blank = false
		return r, fmt.Errorf("cannot inspect %s: %w", path, err)
	}
	return r, nil
}

// ProveBlank returns nil only if an opened disk is the one with this serial number
// and disk sequence number, see block.Disk, and is blank. The result is about the
// open file, whatever disk its path leads to meanwhile. The error says what was
// found on a disk that is not blank.
func (p Prover) ProveBlank(ctx context.Context, disk *os.File, serial string, seq uint64) error {
	// The path of the descriptor leads to this very disk.
	report, err := p.Prove(ctx, block.DescriptorPath(disk), Task{Serial: serial, Sequence: &seq})
	switch other := (*OtherDiskError)(nil); {
	case errors.As(err, &other):
		return fmt.Errorf("%s: %w", disk.Name(), other)
	case err != nil:
		return fmt.Errorf("%s: %w", disk.Name(), err)
	case !report.Blank:
		return fmt.Errorf("%s is no longer blank: it %v", disk.Name(), report)
	}
	return nil
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
	// The spare marks lie all over the disk. They are read only if nothing else
	// names what is on it.
	named := slices.ContainsFunc(marks, func(m found) bool { return m.mark.Rank == signature.Sure })
	if !named && said.filesystem == nil {
		if marks, err = match(ctx, f, size, r.FirstData, signature.Spare, signature.Weak); err != nil {
			return r, err
		}
	}
	r.conclude(marks, said)
	if r.Filesystem != nil {
		size, err := superblock.Size(r.Filesystem.Type, f)
		if err != nil {
			return r, err
		}
		r.Filesystem.Size = block.Bytes(size)
	}
	return r, nil
}

// check returns an *OtherDiskError if an opened disk is not that of the task.
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

// lookUp looks a path up and does not open what is there: to open a FIFO would
// wait for its writer.
func lookUp(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// deviceOrFile returns the number of the block device that was looked up, or
// isDevice false if it is a regular file.
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

// openToProve opens what was looked up: a block device exclusively and past the
// page cache, an image file without such flags. The error is EBUSY if the device
// is in use.
func openToProve(path string, node *os.File, isDevice bool) (*os.File, error) {
	flags := os.O_RDONLY
	if isDevice {
		// For a block device, O_EXCL without O_CREAT claims the device as a
		// mount does, see open(2).
		flags |= os.O_EXCL | unix.O_DIRECT
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", node.Fd()), flags, 0)
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		pathErr.Path = path
	}
	if err == nil && !isDevice {
		// Else the kernel reads 128 KiB ahead at each sample of a file.
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)
	}
	return f, err
}
