// Package datadir does what is the same for every data directory, whatever its
// engine is: it lists one, compares two, makes an empty one, and gives one its
// final name. It reads and writes below the paths that it is given, follows no
// symbolic link out of them, and deletes nothing.
package datadir

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/account"
	"bootagent/pkg/selinux"
)

// Files are the files that an examination of a data directory reads: those of
// the Host, or of a simulated machine.
type Files interface {
	// Lstat returns the mode of a file and the number of the user that owns it.
	// The error is fs.ErrNotExist where there is no file.
	Lstat(path string) (mode fs.FileMode, uid uint32, err error)

	// Names lists a directory. Of a directory with more than NamesMax entries it
	// lists NamesMax, and the error is ErrMany.
	Names(path string) ([]string, error)

	// Head returns the beginning of a regular file, at most so many bytes, or nil.
	Head(path string, most int) []byte

	// Modified returns when a regular file was last written, or the zero time.
	Modified(path string) time.Time

	// Link returns where a symbolic link points to, as it is written, or "".
	Link(path string) string

	// Owner returns the number of a user.
	Owner(name string) (uid uint32, err error)

	// Group returns the number of a group, and GroupOf that of the group that a
	// file belongs to.
	Group(name string) (gid uint32, err error)
	GroupOf(path string) (gid uint32, err error)
}

// Host is the files of this machine.
type Host struct{}

// Lstat returns the mode of a file and the number of its owner.
func (Host) Lstat(path string) (fs.FileMode, uint32, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, 0, err
	}
	return info.Mode(), info.Sys().(*syscall.Stat_t).Uid, nil
}

// Names lists a directory. A symbolic link is an error.
func (Host) Names(path string) ([]string, error) { return Names(path) }

// Head reads the beginning of a regular file, and of nothing else: the owner of
// the directory can put a link to a secret there, or a pipe that blocks.
func (Host) Head(path string, most int) []byte {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text := make([]byte, most)
	n, _ := io.ReadFull(f, text)
	return text[:n]
}

// Modified returns the time of a regular file.
func (Host) Modified(path string) time.Time {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return time.Time{}
	}
	return info.ModTime()
}

// Link reads a symbolic link.
func (Host) Link(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return target
}

// Owner looks up a user in the machine's own accounts.
func (Host) Owner(name string) (uint32, error) {
	u, err := owner(name)
	return u.UID, err
}

// Group looks up a group in the machine's own accounts.
func (Host) Group(name string) (uint32, error) {
	gid, err := account.Group(name)
	if err != nil {
		return 0, fmt.Errorf("cannot find the group of a data directory: %w", err)
	}
	return gid, nil
}

// GroupOf returns the number of a file's group.
func (Host) GroupOf(path string) (uint32, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Gid, nil
}

// NamesMax is how many entries of a directory are listed at most.
const NamesMax = 10000

// ErrMany is a directory that has more than NamesMax entries.
var ErrMany = errors.New("it holds more than 10000 files, which is too many to look through")

// Names lists a directory, in no order. Of a directory with more than NamesMax
// entries it lists NamesMax, and returns ErrMany.
func Names(path string) ([]string, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(NamesMax + 1)
	switch {
	case errors.Is(err, io.EOF): // it is empty
		return nil, nil
	case err != nil:
		return nil, err
	case len(names) > NamesMax:
		return names[:NamesMax], fmt.Errorf("cannot list %s: %w", path, ErrMany)
	}
	return names, nil
}

// Same tells whether two paths are one directory. A directory that does not
// exist is not the same as any other.
func Same(a, b string) (bool, error) {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	err := errors.Join(errA, errB)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(infoA, infoB), nil
}

// An Access is whom a directory belongs to, and who may use it.
type Access struct {
	Owner string // name of a user
	Group string // name of a group; "" is the owner's own
	Mode  string // octal digits; "" is 0700

	Label selinux.Label
}

// Create makes an empty directory. What has the name already is fs.ErrExist. The
// directory gets its name when it has its owner, group, mode and label, so that one that
// is found after a crash can be used.
func Create(path string, a Access) error {
	fresh := path + ".new"
	if err := os.Mkdir(fresh, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.OpenFile(fresh, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := a.give(dir); err != nil {
		return err
	}
	return rename(fresh, path)
}

// Give changes the owner, the group, the mode and the label of a directory, and of nothing
// that is in it.
func Give(path string, a Access) error {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := a.give(dir); err != nil {
		return err
	}
	return dir.Sync()
}

// give sets the mode last: a change of the owner takes bits of it away.
func (a Access) give(dir *os.File) error {
	u, err := owner(a.Owner)
	if err != nil {
		return err
	}
	gid := u.GID
	if a.Group != "" {
		if gid, err = (Host{}).Group(a.Group); err != nil {
			return err
		}
	}
	mode, err := strconv.ParseUint(cmp.Or(a.Mode, "0700"), 8, 12)
	if err != nil {
		return fmt.Errorf("cannot read the mode of a directory: %w", err)
	}
	if err := dir.Chown(int(u.UID), int(gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(int(dir.Fd()), uint32(mode)); err != nil {
		return err
	}
	return a.Label.Give(dir)
}

// Digits writes a mode as role files do: "0750".
func Digits(mode fs.FileMode) string {
	digits := uint32(mode.Perm())
	for bit, digit := range map[fs.FileMode]uint32{fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX} {
		if mode&bit != 0 {
			digits |= digit
		}
	}
	return fmt.Sprintf("%04o", digits)
}

// Publish writes all data of the filesystem to its disk, and then renames the
// directory. What has the name already stays, and is fs.ErrExist.
func Publish(staging, path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := syncFilesystem(dir); err != nil {
		return err
	}
	if err := rename(staging, path); err != nil {
		return err
	}
	return dir.Sync()
}

// Sync writes all data of the filesystem of a directory to its disk.
func Sync(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return syncFilesystem(dir)
}

func syncFilesystem(dir *os.File) error {
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("cannot write what is in %s to its disk: %w", dir.Name(), err)
	}
	return nil
}

// rename replaces nothing: the error is fs.ErrExist where the new name is taken.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != nil {
		return fmt.Errorf("cannot rename %s to %s: %w", from, to, err)
	}
	return nil
}

func owner(name string) (account.User, error) {
	u, err := account.ByName(name)
	if err != nil {
		return u, fmt.Errorf("cannot find the owner of a data directory: %w", err)
	}
	return u, nil
}
