package block

import (
	"context"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ProveBlank proves that an opened disk is the one that is meant, and blank. As
// long as the descriptor is open, what is proven of it holds of no other disk,
// whatever becomes of its name. Serial and seq are those of Disk. The error of
// a disk that is not blank says what was found on it.
func (s System) ProveBlank(ctx context.Context, disk *os.File, serial string, seq uint64) error {
	now, err := sequence(disk)
	if err != nil {
		return err
	}
	if now != seq {
		return fmt.Errorf("%s is another disk by now: it has the sequence number %d, not %d", disk.Name(), now, seq)
	}
	// By the descriptor, and not by the name, the very same disk is opened.
	report, err := s.Prove(ctx, DescriptorPath(disk))
	switch {
	case err != nil:
		return err
	case report.Serial != serial && len(report.InUse) == 0:
		return fmt.Errorf("%s has the serial number %q, not %q", disk.Name(), report.Serial, serial)
	case !report.Blank:
		return fmt.Errorf("%s is not blank any more: it %v", disk.Name(), report)
	}
	return nil
}

// DescriptorPath is a path by which this process, or one that it becomes, opens
// again what it has open, proc_pid_fd(5).
func DescriptorPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// blkGetDiskSeq is BLKGETDISKSEQ of linux/fs.h, since Linux 5.15.
const blkGetDiskSeq = 0x80081280 // _IOR(0x12, 128, __u64)

// sequence is the sequence number of an opened disk, as in Disk.Seq: another
// one each time that a disk is plugged in.
func sequence(disk *os.File) (seq uint64, err error) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), blkGetDiskSeq, uintptr(unsafe.Pointer(&seq)))
	if errno != 0 {
		return 0, &os.PathError{Op: "BLKGETDISKSEQ", Path: disk.Name(), Err: errno}
	}
	return seq, nil
}
