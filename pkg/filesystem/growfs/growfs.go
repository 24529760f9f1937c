// Package growfs makes the filesystem on a disk larger while it is mounted, and says
// how large it is. The command bootagent growfs does it in a unit of its own, because
// the agent may write to no disk.
//
// It asks the kernel by an ioctl on the root directory of the mounted filesystem, as
// xfs_growfs(8) does, and resize2fs(8) where it finds the filesystem mounted. So what
// grows is the filesystem whose device and ledger were compared on that very
// descriptor: resize2fs would look for the mount itself, and change an unmounted
// filesystem on the disk.
package growfs

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"bootagent/pkg/block"
	"bootagent/pkg/command"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/filesystem/superblock"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/diskinfo"
)

// Command returns the command, for the list of the program's commands.
func Command() command.Command {
	return command.Command{
		Name: "growfs", Raw: run, Summary: "make a mounted filesystem as large as its disk", RunBy: "bootagent-grow-SERIAL.service",
		Args: "--serial SERIAL --sequence N --size BYTES --at DIRECTORY ... DEVICE",
	}
}

// Argv returns the command line of a unit that grows a filesystem.
func Argv(g host.Growth) []string {
	return slices.Concat([]string{"/usr/bin/bootagent", "growfs"}, diskinfo.Named(g.Disk, g.Filesystem).Args(),
		[]string{"--volume", g.Volume, "--role", g.Role, "--uuid", g.UUID, "--at", g.Where, "--", g.Disk.Path})
}

// run grows the filesystem that is mounted from a disk, if both are those that are
// named.
func run(_ context.Context, args []string, _ io.Writer) error {
	var g host.Growth
	var of block.Named
	err := command.Parse("growfs", args, func(f *flag.FlagSet) func([]string) {
		of.Flags(f)
		f.StringVar(&g.Volume, "volume", "", "")
		f.StringVar(&g.Role, "role", "", "")
		f.StringVar(&g.UUID, "uuid", "", "")
		f.StringVar(&g.Where, "at", "", "")
		return func(args []string) { of.Path = args[0] }
	}, 1, 1)
	if err == nil && (!of.Whole() || g.Volume == "" || g.Role == "" || g.UUID == "" || g.Where == "") {
		err = command.Misuse(errors.New("growfs wants all of its flags: it grows no filesystem that is not named by all of them"))
	}
	if err != nil {
		return err
	}
	disk, err := os.Open(of.Path)
	if err != nil {
		return err
	}
	defer disk.Close()
	g.Filesystem, g.Disk = of.Filesystem, host.Disk{Serial: of.Serial, Size: of.Size}
	if g.Disk.Dev, err = of.Is(disk); err == nil {
		err = grow(disk, g)
	}
	if err != nil {
		return fmt.Errorf("the filesystem at %s is not grown: %w", g.Where, err)
	}
	return nil
}

// grow grows the filesystem that is mounted from an opened disk. All that it looks
// at and changes is by two descriptors.
func grow(disk *os.File, g host.Growth) error {
	if err := diskinfo.Named(g.Disk, g.Filesystem).HasSize(disk); err != nil {
		return err
	}
	end := g.Disk.Size
	root, err := open(g.Where, g.Disk.Dev, g.Filesystem)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.is(g); err != nil {
		return err
	}
	size, err := root.size(disk)
	switch {
	case err != nil:
		return err
	case size > end:
		return fmt.Errorf("it has %d bytes, and its disk %d: nothing is made smaller", size, end)
	case end-size < host.GrowsFrom:
		return nil
	}
	if err := root.growTo(end); err != nil {
		return err
	}
	// What was changed is in the log of the filesystem; now it is on the disk.
	return os.NewSyscallError("syncfs", unix.Syncfs(int(root.Fd())))
}

// Size returns how many bytes of its disk the filesystem takes that is mounted at a
// path from a disk with the device number dev.
func Size(where string, dev uint64, fstype, device string) (int64, error) {
	root, err := open(where, dev, fstype)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	if fstype == "xfs" {
		return root.size(nil)
	}
	disk, err := os.Open(device)
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(disk.Fd()), &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	if st.Rdev != dev {
		return 0, fmt.Errorf("%s is another disk now (%#x, not %#x)", device, st.Rdev, dev)
	}
	return root.size(disk)
}

// A mounted is the root directory of a mounted filesystem.
type mounted struct {
	*os.File
	fstype string
}

// open opens the root directory of the filesystem that is mounted at a path, and
// refuses another filesystem or device than is meant.
func open(where string, dev uint64, fstype string) (mounted, error) {
	magic, known := map[string]int64{"xfs": unix.XFS_SUPER_MAGIC, "ext4": unix.EXT4_SUPER_MAGIC}[fstype]
	if !known {
		return mounted{}, fmt.Errorf("a filesystem of type %q is not one of bootagent", fstype)
	}
	dir, err := os.OpenFile(where, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return mounted{}, err
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(int(dir.Fd()), &st), unix.Fstatfs(int(dir.Fd()), &fs)); err != nil {
		dir.Close()
		return mounted{}, os.NewSyscallError("stat", err)
	}
	switch {
	case st.Dev != dev:
		err = fmt.Errorf("what is mounted there is of another device (%#x) than the disk (%#x)", st.Dev, dev)
	case int64(fs.Type) != magic:
		err = fmt.Errorf("what is mounted there is no %s filesystem", fstype)
	}
	if err != nil {
		dir.Close()
		return mounted{}, err
	}
	return mounted{dir, fstype}, nil
}

// is refuses a filesystem whose ledger is not the one that is meant, and one that is
// mounted read-only, as after errors.
func (m mounted) is(g host.Growth) error {
	src, err := filesystem.ReadLedger(fmt.Sprintf("/proc/self/fd/%d/.", m.Fd()))
	if err != nil {
		return err
	}
	var ledger struct{ Volume, Role, UUID string }
	if src == nil {
		return errors.New("it has no ledger")
	}
	if err := json.Unmarshal(src, &ledger); err != nil {
		return fmt.Errorf("cannot read its ledger: %w", err)
	}
	if ledger.Volume != g.Volume || ledger.Role != g.Role || ledger.UUID != g.UUID {
		return fmt.Errorf("its ledger names volume %s of role %s with filesystem %s, not %s of %s with %s",
			ledger.Volume, ledger.Role, ledger.UUID, g.Volume, g.Role, g.UUID)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(m.Fd()), &fs); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return errors.New("it is mounted read-only")
	}
	return nil
}

// size returns how many bytes of its disk the filesystem takes. XFS needs no disk.
func (m mounted) size(disk io.ReaderAt) (int64, error) {
	if m.fstype != "xfs" {
		return superblock.Size(m.fstype, disk) // which the kernel keeps up to date
	}
	g, err := m.geometry()
	return int64(g.datablocks) * int64(g.blocksize), err
}

// xfsGeometry is struct xfs_fsop_geom_v4 of fs/xfs/libxfs/xfs_fs.h.
type xfsGeometry struct {
	blocksize  uint32
	_          [6]uint32
	imaxpct    uint32
	datablocks uint64
	_          [9]uint64
}

// xfsGrowth is struct xfs_growfs_data of the same file.
type xfsGrowth struct {
	newblocks uint64
	imaxpct   uint32
	_         uint32
}

const (
	xfsFSGeometry = 0x8070587c // XFS_IOC_FSGEOMETRY_V4, _IOR('X', 124, struct xfs_fsop_geom_v4)
	xfsFSGrowData = 0x4010586e // XFS_IOC_FSGROWFSDATA, _IOW('X', 110, struct xfs_growfs_data)
	ext4ResizeFS  = 0x40086610 // EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64)
)

func (m mounted) geometry() (g xfsGeometry, err error) {
	return g, m.ioctl("XFS_IOC_FSGEOMETRY", xfsFSGeometry, unsafe.Pointer(&g))
}

// ext4Align is what a size of ext4 is rounded down to, in bytes. resize2fs(8) rounds
// to whole pages and clusters, which are at most as large.
const ext4Align = 1 << 20

// growTo makes the filesystem as large as size, which is more than it has. The kernel
// reads the last block of the disk first (XFS), or refuses what the disk does not have.
func (m mounted) growTo(size int64) error {
	if m.fstype == "xfs" {
		g, err := m.geometry()
		if err != nil {
			return err
		}
		growth := xfsGrowth{newblocks: uint64(size / int64(g.blocksize)), imaxpct: g.imaxpct}
		return m.ioctl("XFS_IOC_FSGROWFSDATA", xfsFSGrowData, unsafe.Pointer(&growth))
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(m.Fd()), &fs); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	blocks := uint64(size / ext4Align * ext4Align / fs.Bsize)
	return m.ioctl("EXT4_IOC_RESIZE_FS", ext4ResizeFS, unsafe.Pointer(&blocks))
}

func (m mounted) ioctl(name string, request uintptr, argument unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, m.Fd(), request, uintptr(argument))
	if errno != 0 {
		return os.NewSyscallError(name, errno)
	}
	return nil
}
