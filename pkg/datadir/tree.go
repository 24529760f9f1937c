package datadir

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A tree is what is counted of a directory and all that is below it.
type tree struct {
	directories, files, links, others int
	names                             int   // of files, each link to one counted
	bytes                             int64 // of the files, holes counted
}

// Compare says what is not the same in a directory and its copy, with all that is
// below them, or "": how many directories, files, symbolic links and other things
// there are, how large the files are together, and of each its kind, size, mode,
// owner and group, or where it points to.
func Compare(ctx context.Context, directory, replica string) (differs string, err error) {
	a, err := count(ctx, directory, nil)
	if err != nil {
		return "", err
	}
	b, err := count(ctx, replica, func(path string, info fs.FileInfo) error {
		if differs == "" {
			differs, err = unlike(filepath.Join(directory, path), filepath.Join(replica, path), path, info)
		}
		return err
	})
	switch {
	case err != nil:
		return "", err
	case a != b:
		return fmt.Sprintf("%s in %s, and %s in the copy", a, directory, b), nil
	}
	return differs, nil
}

func (t tree) String() string {
	return fmt.Sprintf("%d directories, %d files with %d names and %d bytes, %d symbolic links and %d other files",
		t.directories, t.files, t.names, t.bytes, t.links, t.others)
}

// count counts what is in a directory, and shows each with its path below it.
func count(ctx context.Context, dir string, show func(path string, info fs.FileInfo) error) (t tree, err error) {
	type inode struct{ dev, ino uint64 }
	seen := make(map[inode]bool) // of files with several names
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch info.Mode().Type() {
		case fs.ModeDir:
			t.directories++
		case fs.ModeSymlink:
			t.links++
		case 0:
			stat := info.Sys().(*syscall.Stat_t)
			t.names++
			if stat.Nlink > 1 {
				key := inode{stat.Dev, stat.Ino}
				if seen[key] {
					break
				}
				seen[key] = true
			}
			t.files++
			t.bytes += info.Size()
		default:
			t.others++
		}
		if show == nil {
			return nil
		}
		return show(strings.TrimPrefix(strings.TrimPrefix(path, dir), "/"), info)
	})
	return t, err
}

// unlike says what is not the same in a file and its copy.
func unlike(file, replica, name string, is fs.FileInfo) (string, error) {
	was, err := os.Lstat(file)
	if err != nil {
		return "", err
	}
	a, b := was.Sys().(*syscall.Stat_t), is.Sys().(*syscall.Stat_t)
	if name == "" {
		name = "the directory itself"
	}
	switch {
	case was.Mode() != is.Mode():
		return fmt.Sprintf("%s has mode %s, and %s in the copy", name, was.Mode(), is.Mode()), nil
	case a.Uid != b.Uid || a.Gid != b.Gid:
		return fmt.Sprintf("%s belongs to %d:%d, and to %d:%d in the copy", name, a.Uid, a.Gid, b.Uid, b.Gid), nil
	case was.Mode().IsRegular() && was.Size() != is.Size():
		return fmt.Sprintf("%s has %d bytes, and %d in the copy", name, was.Size(), is.Size()), nil
	case was.Mode().Type() == fs.ModeSymlink:
		from, errA := os.Readlink(file)
		to, errB := os.Readlink(replica)
		if errA != nil || errB != nil || from != to {
			return fmt.Sprintf("%s points to %q, and to %q in the copy", name, from, to), nil
		}
	}
	return attributes(file, replica, name)
}

// own are the extended attributes that the kernel gives to a file where it is, so
// that a copy has its own.
var own = []string{"security.selinux", "security.ima", "security.evm"}

// attributes says which extended attributes a file has and its copy has not; its
// access control lists are among them.
func attributes(file, replica, name string) (string, error) {
	a, err := xattrs(file)
	if err != nil {
		return "", err
	}
	b, err := xattrs(replica)
	if err != nil {
		return "", err
	}
	for attribute, value := range a {
		if other, there := b[attribute]; !slices.Contains(own, attribute) && (!there || other != value) {
			return fmt.Sprintf("%s has the extended attribute %s, and the copy has not, or another", name, attribute), nil
		}
	}
	return "", nil
}
