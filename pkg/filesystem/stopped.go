package filesystem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bootagent/pkg/mountinfo"
)

// Stopped says why nothing can be written any more to the filesystem that is mounted
// at root. It is "" if it can be written, and if nothing is mounted there. It asks the kernel, and reads and writes nothing on the disk.
//
//   - The list of mounts has a filesystem that a person has made read-only, and ext4
//     after an error, up to Linux 6.5 and again from 6.15 on.
//   - ext4 counts its errors in /sys/fs/ext4; e2fsck ends the count. It is mounted so
//     that the first one ends all writing.
//   - XFS that has shut itself down refuses to tell of its root directory: stat(2) gives EIO.
func Stopped(root string) (why string, err error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	var at mountinfo.Mount
	for m, err := range mountinfo.Parse(string(text)) {
		if m.Point == root {
			if err != nil {
				return "", err
			}
			at = m // the last mount at a path is the visible one
		}
	}
	switch {
	case at.Point == "":
		return "", nil
	case at.ReadOnly:
		return "it is read-only", nil
	}
	if found, err := errorsOf(at); found > 0 || err != nil {
		return fmt.Sprintf("the kernel has found errors in it: %d", found), err
	}
	if err := unix.Stat(root, &unix.Stat_t{}); errors.Is(err, unix.EIO) {
		return "it has shut itself down after an error", nil
	}
	return "", nil
}

// errorsOf returns how many errors the kernel has found in an ext4 filesystem. It is 0
// for all others.
func errorsOf(at mountinfo.Mount) (int, error) {
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", at.Major, at.Minor))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // the disk is gone
	} else if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join("/sys/fs/ext4", filepath.Base(device), "errors_count"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
