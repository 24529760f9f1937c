package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An identity is what an opened disk reports about itself.
type identity struct {
	serial, model string
	major, minor  uint32
}

// adminCommand is struct nvme_admin_cmd of linux/nvme_ioctl.h.
type adminCommand struct {
	opcode      uint8
	flags       uint8
	_           uint16
	nsid        uint32
	cdw2, cdw3  uint32
	metadata    uint64
	addr        uint64
	metadataLen uint32
	dataLen     uint32
	cdw10       uint32
	_           [5]uint32
	timeout     uint32 // milliseconds, 0 for the kernel's
	result      uint32
}

const (
	nvmeIoctlAdminCommand = 0xC0484E41 // _IOWR('N', 0x41, struct nvme_admin_cmd)

	// NVM Express Base Specification, "Identify command"
	nvmeIdentify           = 0x06
	nvmeIdentifyController = 1 // CNS
	nvmeIdentifySize       = 4096
)

// identifyController asks the NVMe controller of an opened disk for its serial
// number and model. It fails with ENOTTY or the like if the disk is no NVMe disk,
// see notNVMe, and with EACCES before Linux 6.2 if the caller has no CAP_SYS_ADMIN.
func identifyController(f *os.File) (serial, model string, err error) {
	data := make([]byte, nvmeIdentifySize)
	var pin runtime.Pinner
	pin.Pin(&data[0])
	defer pin.Unpin()
	cmd := adminCommand{
		opcode:  nvmeIdentify,
		addr:    uint64(uintptr(unsafe.Pointer(&data[0]))),
		dataLen: nvmeIdentifySize,
		cdw10:   nvmeIdentifyController,
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return "", "", err
	}
	var status uintptr
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		status, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, nvmeIoctlAdminCommand, uintptr(unsafe.Pointer(&cmd)))
	})
	switch {
	case err != nil:
		return "", "", err
	case errno != 0:
		return "", "", os.NewSyscallError("identify", errno)
	case status != 0:
		return "", "", fmt.Errorf("identify: NVMe status %#x", status)
	}
	return strings.Trim(string(data[4:24]), " \x00"), strings.Trim(string(data[24:64]), " \x00"), nil
}

// identifyPath opens the node of a disk and asks the disk for its identity. If the
// controller does not answer, the caller waits only until the context ends.
func identifyPath(ctx context.Context, path string, ask func(string) (identity, error)) (identity, error) {
	type answer struct {
		id  identity
		err error
	}
	got := make(chan answer, 1)
	go func() {
		id, err := ask(path)
		got <- answer{id, err}
	}()
	select {
	case a := <-got:
		return a.id, a.err
	case <-ctx.Done():
		return identity{}, fmt.Errorf("%s does not answer: %w", path, context.Cause(ctx))
	}
}

func askDevice(path string) (identity, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return identity{}, err
	}
	defer f.Close()
	major, minor, err := deviceNumber(path, f)
	if err != nil {
		return identity{}, err
	}
	serial, model, err := identifyController(f)
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", path, err)
	}
	return identity{serial: serial, model: model, major: major, minor: minor}, nil
}

// ErrNotDevice says that a path leads to something other than a block device.
var ErrNotDevice = errors.New("not a block device")

// deviceNumber returns the number of an opened block device.
func deviceNumber(path string, f *os.File) (major, minor uint32, err error) {
	var st unix.Stat_t
	switch err := unix.Fstat(int(f.Fd()), &st); {
	case err != nil:
		return 0, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFBLK:
		return 0, 0, fmt.Errorf("%s: %w", path, ErrNotDevice)
	}
	return unix.Major(st.Rdev), unix.Minor(st.Rdev), nil
}

// Serial returns the serial number that the NVMe controller of an opened disk
// reports, and "" if the disk is no NVMe disk. Before Linux 6.2 it fails with
// EACCES if the caller has no CAP_SYS_ADMIN.
func Serial(f *os.File) (string, error) {
	serial, _, err := identifyController(f)
	if err != nil && !notNVMe(err) {
		return "", err
	}
	return serial, nil
}

// notNVMe tells whether an error of identifyController is what other drivers
// return for a command that they do not know.
func notNVMe(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

// DiskSequence returns the disk sequence number that the kernel gave an opened
// disk when it was plugged in, as in Disk.Seq (BLKGETDISKSEQ of linux/fs.h). It
// is 0 before Linux 5.15.
func DiskSequence(f *os.File) (uint64, error) {
	const getDiskSequence = 0x80081280 // _IOR(0x12, 128, __u64)
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var seq uint64
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, getDiskSequence, uintptr(unsafe.Pointer(&seq)))
	})
	switch {
	case err != nil:
		return 0, err
	case errno == unix.ENOTTY || errno == unix.EINVAL:
		return 0, nil
	case errno != 0:
		return 0, os.NewSyscallError("disk sequence number", errno)
	}
	return seq, nil
}

// SameDisk returns the device number of an opened disk, and refuses another disk
// than the one with a serial number and a disk sequence number, see Disk.
func SameDisk(f *os.File, serial string, seq uint64) (dev uint64, err error) {
	is, err := Serial(f)
	if err != nil {
		return 0, err
	}
	now, err := DiskSequence(f)
	if err != nil {
		return 0, err
	}
	if is != serial || now != seq {
		return 0, fmt.Errorf("it is disk %q with sequence number %d now, not %s with %d", is, now, serial, seq)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	return st.Rdev, nil
}

// DescriptorPath returns a path by which this process, or a program that it
// executes, can open the same open file again, see proc_pid_fd(5).
func DescriptorPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
