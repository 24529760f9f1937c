// Package datadir looks at data directories: which state one is in, what
// makes a new one, and how it gets its name. It reads and writes below the
// paths that it is given, follows no symbolic link out of them, and deletes
// nothing.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bootagent/pkg/shell"
)

// State is the state of a data directory.
type State string

// The states of a data directory.
const (
	Absent  State = "absent"  // there is none
	Ready   State = "ready"   // the engine can start on it
	Foreign State = "foreign" // holds something, but not this engine's
	Damaged State = "damaged" // this engine's, but not whole
	Unfit   State = "unfit"   // this engine's, and not to be started on as it is
)

// A Report is the state of a data directory and why it is in it.
type Report struct {
	State   State
	Version string // of the engine that wrote it, where it says so
	Words   string // what is wrong: "ibdata1 is missing"
	Hint    string // what a person can do
}

// hintForeign is for what an engine did not put there.
const hintForeign = "move it away, or say another dir: for the data in the role file, then: bootagent retry"

// Files are what Examine reads: those of the Host, or of a world in a test.
type Files interface {
	// Lstat says what is at a path, and the number of the user that it belongs
	// to. What is not there is fs.ErrNotExist.
	Lstat(path string) (mode fs.FileMode, uid uint32, err error)

	// Names lists what is in a directory. Of one that holds more than NamesMax
	// it lists as many, and the error is ErrMany.
	Names(path string) ([]string, error)

	// Head is the beginning of a regular file, or nil: 64 bytes at the most.
	Head(path string) []byte

	// Owner is the number of a user.
	Owner(name string) (uid uint32, err error)
}

// Examine says in which state the data directory of an engine is, for an engine
// that is set so. Owners are compared by number, because a disk carries numbers
// from image to image.
func Examine(files Files, path, engine, owner string, set Settings) (Report, error) {
	e, err := lookUp(engine)
	if err != nil {
		return Report{}, err
	}
	uid, err := files.Owner(owner)
	if err != nil {
		return Report{}, err
	}
	mode, belongs, err := files.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Report{State: Absent}, nil
	case err != nil:
		return Report{}, err
	case !mode.IsDir():
		return Report{State: Foreign, Words: "it is " + kind(mode) + ", not a directory", Hint: hintForeign}, nil
	}
	names, err := files.Names(path)
	if err != nil && !errors.Is(err, ErrMany) {
		return Report{}, err
	}
	report := e.examine(files, path, names, set)
	whose := "it"
	if report.State == Ready && belongs == uid {
		if whose, belongs, err = e.stranger(files, path, names, uid); err != nil {
			return Report{}, err
		}
	}
	if report.State == Ready && belongs != uid {
		report.State = Unfit
		report.Words = fmt.Sprintf("%s belongs to user number %d, and %s has number %d on this machine", whose, belongs, owner, uid)
		report.Hint = fmt.Sprintf("if the data is right, give it to its user: chown -R --no-dereference --from=%d %s: -- %s",
			belongs, owner, shell.Quote(path))
	}
	return report, nil
}

// strangersMax bounds how many files are looked at for their owner.
const strangersMax = 4000

// stranger finds what the engine needs in its directory and another user owns:
// its own files there, and those in its system's folder and in others that are
// not its user's. It looks no deeper. Where there is none, it returns uid.
func (e engine) stranger(files Files, path string, names []string, uid uint32) (whose string, belongs uint32, err error) {
	looked := 0
	look := func(name string) (fs.FileMode, uint32, error) {
		looked++
		mode, belongs, err := files.Lstat(filepath.Join(path, name))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, uid, nil // the engine runs, and took it away
		}
		return mode, belongs, err
	}
	inside := func(dir string) (string, uint32, error) {
		below, err := files.Names(filepath.Join(path, dir))
		if err != nil && !errors.Is(err, ErrMany) && !errors.Is(err, fs.ErrNotExist) {
			return "", uid, err
		}
		for _, name := range below {
			if !e.uses.MatchString(name) || looked >= strangersMax {
				continue
			}
			name = filepath.Join(dir, name)
			if mode, belongs, err := look(name); err != nil || belongs != uid && mode.IsRegular() {
				return name + " in it", belongs, err
			}
		}
		return "", uid, nil
	}
	for _, name := range slices.Concat([]string{e.system}, names) {
		if name == "lost+found" || looked >= strangersMax {
			continue
		}
		mode, belongs, err := look(name)
		switch {
		case err != nil:
			return "", uid, err
		case mode.IsDir() && (belongs != uid || name == e.system):
			whose, of, err := inside(name)
			if err != nil || of != uid {
				return whose, of, err
			}
			if belongs != uid && name == e.system {
				return name + " in it", belongs, nil
			}
		case belongs != uid && mode.IsRegular() && e.uses.MatchString(name):
			return name + " in it", belongs, nil
		}
	}
	return "", uid, nil
}

// Host has the files of this machine.
type Host struct{}

// Lstat says what is at a path, and whose it is.
func (Host) Lstat(path string) (fs.FileMode, uint32, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, 0, err
	}
	return info.Mode(), info.Sys().(*syscall.Stat_t).Uid, nil
}

// Names lists what is in a directory that is no link.
func (Host) Names(path string) ([]string, error) { return Names(path) }

// Head reads the beginning of a regular file. Who owns the directory can put
// there what it likes: a link to a secret, or a pipe in which nothing comes.
func (Host) Head(path string) []byte {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text := make([]byte, 64)
	n, _ := f.Read(text)
	return text[:n]
}

// Owner looks a user up in the machine's own accounts.
func (Host) Owner(name string) (uint32, error) {
	uid, _, err := ids(name)
	return uid, err
}

// kind names what is no directory.
func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a file"
	case fs.ModeSymlink:
		return "a symbolic link"
	}
	return "a pipe, socket or device"
}

// NamesMax bounds how many names of one directory are listed.
const NamesMax = 10000

// ErrMany is a directory that holds more than NamesMax.
var ErrMany = errors.New("it holds more than 10000 files, which is too many to look through")

// Names lists what is in a directory. Of one that holds more than NamesMax it
// lists as many, in no order, and returns ErrMany.
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

// Same tells whether two paths are one directory. One that does not exist is
// the same as none.
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

// Create makes an empty directory for a user alone, where there is nothing.
// It gets its name when it is the user's, so that one that is found after a
// crash can be used.
func Create(path, owner string) error {
	uid, gid, err := ids(owner)
	if err != nil {
		return err
	}
	fresh := path + ".new"
	if err := os.Mkdir(fresh, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.OpenFile(fresh, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Chown(int(uid), int(gid)); err != nil {
		return err
	}
	return rename(fresh, path)
}

// Publish renames a directory once all of its filesystem's data is on the
// disk. What has the name already stays, and is an error.
func Publish(staging, path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("cannot bring %s to its disk: %w", staging, err)
	}
	if err := rename(staging, path); err != nil {
		return err
	}
	return dir.Sync()
}

// rename replaces nothing: what has the name already is fs.ErrExist.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != nil {
		return fmt.Errorf("cannot rename %s to %s: %w", from, to, err)
	}
	return nil
}

// ids returns the numbers of a user and of its group.
func ids(name string) (uid, gid uint32, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot find the owner of a data directory: %w", err)
	}
	uid64, errU := strconv.ParseUint(u.Uid, 10, 32)
	gid64, errG := strconv.ParseUint(u.Gid, 10, 32)
	return uint32(uid64), uint32(gid64), errors.Join(errU, errG)
}
