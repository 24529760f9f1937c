// Package filesystem knows how a filesystem is made and checked, and keeps
// the ledger on one. It names the programs and their arguments; who runs them
// is its caller's business. The ledger is read and written as an extended
// attribute of the filesystem's root directory.
package filesystem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MakeCommand is the command that makes a filesystem of a type, with a UUID, on a
// device. The filesystem gets the size, in bytes: what mkfs finds by itself may have
// changed since the device was proven blank. The command has no option that forces: mkfs.xfs(8) by itself refuses a
// device that holds something. mkfs.ext4 does not, when no terminal asks, so
// the proof that the device is blank has to come right before it.
//
// What is proven blank need not be discarded first. The filesystem has the features of
// those that Linux 5.15 makes, whatever the image has by default: an image of the year
// before has to be able to mount it, and to check it.
func MakeCommand(fstype, uuid string, size int64, device string) ([]string, error) {
	size -= size % blockSize
	switch fstype {
	case "xfs":
		argv := append([]string{"/sbin/mkfs.xfs", "-q", "-K"}, xfsFeatures(xfsConfigs)...)
		return append(argv, "-m", "uuid="+uuid, "-d", fmt.Sprintf("size=%d", size), device), nil
	case "ext4":
		return []string{"/sbin/mkfs.ext4", "-q", "-E", "nodiscard", "-O", ext4Features, "-U", uuid, device, fmt.Sprintf("%dk", size>>10)}, nil
	}
	return nil, fmt.Errorf("cannot make a filesystem of type %q", fstype)
}

// ext4Features are those of e2fsprogs 1.46, without any that a mke2fs.conf(5) adds: 1.47
// adds orphan_file, with which e2fsck 1.46 refuses a filesystem.
const ext4Features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// xfsConfigs is where xfsprogs has its configuration files, each for a kernel.
const xfsConfigs = "/usr/share/xfsprogs/mkfs"

// xfsFeatures are the options by which mkfs.xfs makes what Linux 5.15 mounts. xfsprogs
// 6.5 is the first that makes what it does not mount. The files of xfsprogs 6.1 are not
// read by its own mkfs.xfs; it needs none.
func xfsFeatures(configs string) []string {
	if _, err := os.Stat(filepath.Join(configs, "lts_6.6.conf")); err != nil {
		return nil
	}
	return []string{"-c", "options=" + filepath.Join(configs, "lts_5.15.conf")}
}

// blockSize is the size of a block of most filesystems, in bytes: of those that mkfs
// makes unless it is told otherwise, and a multiple of those on small disks.
const blockSize = 4 << 10

// CheckCommand is the command that mends what can be mended without asking
// before a filesystem is mounted, and the exit codes beside 0 that mean that
// it did. It is empty where mounting itself does that.
func CheckCommand(fstype, device string) (argv []string, success []int) {
	if fstype == "ext4" {
		return []string{"/sbin/e2fsck", "-p", device}, []int{1} // 1: errors corrected, e2fsck(8)
	}
	return nil, nil // XFS replays its log when it is mounted, xfs(5)
}

// attribute holds the ledger. Only root sees the trusted namespace, xattr(7).
const attribute = "trusted.bootagent"

// ledgerMax bounds a ledger, in bytes: what ext4 has room for in a block.
const ledgerMax = 3 << 10

// ReadLedger reads the ledger of the filesystem whose root directory is given.
// Where there is none, it returns nil.
func ReadLedger(root string) ([]byte, error) {
	buf := make([]byte, ledgerMax)
	n, err := unix.Lgetxattr(root, attribute, buf)
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger of the filesystem at %s: %w", root, err)
	}
	return buf[:n], nil
}

// WriteLedger writes the ledger in one step, and returns when it is on the disk.
func WriteLedger(root string, ledger []byte) error {
	if len(ledger) > ledgerMax {
		return fmt.Errorf("cannot write a ledger of %d bytes: it may have %d", len(ledger), ledgerMax)
	}
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open %s to write its ledger: %w", root, err)
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, attribute, ledger, 0); err != nil {
		return fmt.Errorf("cannot write the ledger of the filesystem at %s: %w", root, err)
	}
	if err := unix.Fsync(fd); err != nil {
		return fmt.Errorf("cannot bring the ledger of the filesystem at %s to its disk: %w", root, err)
	}
	return nil
}
