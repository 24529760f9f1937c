// Package ramfile writes small files to a directory on ramfs, for services to read:
// each in one step, with an owner and a mode. It knows nothing of what is in them.
package ramfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"bootagent/pkg/account"
)

// A Dir is a directory that everybody may enter and only root may write to.
type Dir struct {
	Root string

	// Check refuses a directory that may get onto a disk.
	Check func(root *os.File) error
}

// A File is what is to be known of a file beside its content.
type File struct {
	Name  string
	Owner string // user name
	Group string // name, or "" for the group of the owner
	Mode  fs.FileMode
}

// Write makes a file so, unless it is so already: changed says which. Whoever reads
// it finds all of the content, or all of what was there before. It follows no
// symbolic link: a link that has the name is replaced.
func (d Dir) Write(f File, content []byte) (changed bool, err error) {
	if err := d.write(f, content, &changed); err != nil {
		return false, fmt.Errorf("cannot write %s/%s: %w", d.Root, f.Name, err)
	}
	return changed, nil
}

func (d Dir) write(f File, content []byte, changed *bool) error {
	uid, gid, err := ids(f.Owner, f.Group)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	here, err := root.Open(".")
	if err != nil {
		return err
	}
	defer here.Close()
	if err := d.Check(here); err != nil {
		return err
	}
	if isSo(root, f, uid, gid, content) {
		return nil
	}
	*changed = true
	return Replace(root, f.Name, "."+f.Name+".new", content, func(file *os.File) error {
		if err := file.Chown(uid, gid); err != nil {
			return err
		}
		return file.Chmod(f.Mode)
	})
}

// isSo reports whether a file is as it is to be.
func isSo(root *os.Root, f File, uid, gid int, content []byte) bool {
	info, err := root.Lstat(f.Name)
	if err != nil || info.Mode() != f.Mode || info.Size() != int64(len(content)) {
		return false
	}
	if isUID, isGID := ownerOf(info); int(isUID) != uid || int(isGID) != gid {
		return false
	}
	file, err := root.Open(f.Name)
	if err != nil {
		return false
	}
	defer file.Close()
	there, err := io.ReadAll(io.LimitReader(file, int64(len(content))+1))
	defer clear(there)
	return err == nil && bytes.Equal(there, content)
}

func ownerOf(info fs.FileInfo) (uid, gid uint32) {
	is := info.Sys().(*syscall.Stat_t)
	return is.Uid, is.Gid
}

// Replace writes a file under the name temp, and gives it its name when it is whole
// and set has given it its owner and mode. Before that only the owner of this
// process, which is root, can read it. After an error, nothing of it is left.
func Replace(root *os.Root, name, temp string, content []byte, set func(*os.File) error) (err error) {
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Truncate(0), root.Remove(temp))
		}
		file.Close()
	}()
	if _, err := file.Write(content); err != nil {
		return err
	}
	if err := set(file); err != nil {
		return err
	}
	return root.Rename(temp, name)
}

// Has reports whether there is a regular file of that name.
func (d Dir) Has(name string) (bool, error) {
	root, err := os.OpenRoot(d.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer root.Close()
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode().IsRegular(), err
}

// ids returns the numbers of a user and a group. Without a name, the group is the
// user's.
func ids(owner, group string) (uid, gid int, err error) {
	u, err := account.ByName(owner)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot find its owner: %w", err)
	}
	if group == "" {
		return int(u.UID), int(u.GID), nil
	}
	g, err := account.Group(group)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot find its group: %w", err)
	}
	return int(u.UID), int(g), nil
}
