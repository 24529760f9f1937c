package unitfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxFile is the size of the largest file that is read, in bytes. systemd's own
// unit files have a few KiB.
const maxFile = 1 << 20

// A Root is the directory that is "/" for a machine or for an image of one. The
// methods take and return paths below it, such as /etc/fstab.
type Root struct {
	Dir   string
	links map[string]string // known directories and what they link to; "" for a directory that is no link
}

// NewRoot returns the root at a directory of this machine.
func NewRoot(dir string) Root { return Root{dir, make(map[string]string)} }

// Join returns the path on this machine of a path below the root. It follows no
// links.
func (r Root) Join(name string) string { return filepath.Join(r.Dir, name) }

// Path returns the path on this machine of a path below the root. It follows the
// links of all parts but the last, as Resolve does.
func (r Root) Path(name string) string {
	dir, err := r.Resolve(path.Dir(name))
	if err != nil {
		dir = path.Dir(name)
	}
	return r.Join(path.Join(dir, path.Base(name)))
}

// Resolve follows the links of a path as a process of the image would: an
// absolute link leads into the image, not to this machine. A path that does not
// exist resolves to itself. The error is ELOOP.
func (r Root) Resolve(name string) (string, error) {
	const maxLinks = 40 // the kernel's MAXSYMLINKS
	done, todo := "/", strings.Split(path.Clean("/"+name), "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		target := r.link(next, len(todo) > 0)
		if target == "" {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: r.Join(name), Err: syscall.ELOOP}
		}
		if path.IsAbs(target) {
			done = "/"
		}
		todo = slices.Concat(strings.Split(target, "/"), todo)
	}
	return done, nil
}

// link returns what a path links to, or "" if it is no link. It remembers
// directories, because all units are in a dozen directories.
func (r Root) link(name string, isDir bool) string {
	target, known := r.links[name]
	if known {
		return target
	}
	target, err := os.Readlink(r.Join(name))
	if err != nil {
		target = ""
	}
	if isDir {
		r.links[name] = target
	}
	return target
}

// Read returns the content of a regular file of up to 1 MiB. It follows links as
// Resolve does. Anything else is an error: a pipe in the place of a unit file must
// not make a boot hang.
func (r Root) Read(name string) ([]byte, error) {
	real, err := r.Resolve(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(r.Join(real), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	switch info, err := file.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("cannot read %s: not a regular file", r.Join(real))
	case info.Size() > maxFile:
		return nil, fmt.Errorf("cannot read %s: larger than %d bytes", r.Join(real), maxFile)
	}
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// List returns the names of the entries of a directory, sorted. A directory that
// can't be read has none.
func (r Root) List(dir string) (names []string) {
	entries, _ := r.ReadDir(dir)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// ReadDir returns the entries of a directory. It follows links as Resolve does.
func (r Root) ReadDir(name string) ([]fs.DirEntry, error) {
	real, err := r.Resolve(name)
	if err != nil {
		return nil, err
	}
	return os.ReadDir(r.Join(real))
}
