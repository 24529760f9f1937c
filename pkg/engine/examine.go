package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/datadir"
	"bootagent/pkg/host"
	"bootagent/pkg/shell"
)

// Hints that fit every engine.
const (
	hintForeign = "move it away, or set another dir: for the data in the role file; then: bootagent retry"
	hintRestore = "restore the directory from a backup, then: bootagent retry; bootagent changes nothing in it"
)

// A Dir is a data directory that exists, as its engine examines it.
type Dir struct {
	Mode  fs.FileMode
	Names []string // what is in it, at most datadir.NamesMax
	path  string
	files datadir.Files
}

// Has tells whether there is a file of a name or a path below the directory.
func (d Dir) Has(name string) bool {
	switch {
	case slices.Contains(d.Names, name):
		return true
	case len(d.Names) < datadir.NamesMax && !strings.Contains(name, "/"):
		return false // all names are listed
	}
	_, _, err := d.files.Lstat(filepath.Join(d.path, name))
	return err == nil
}

// Head returns the beginning of a regular file below the directory, at most 64
// bytes, or nil.
func (d Dir) Head(name string) []byte { return d.files.Head(filepath.Join(d.path, name), 64) }

// textMax bounds a file that is read as a whole, in bytes.
const textMax = 16 << 10

// Text returns a regular file below the directory. It is nil where there is none,
// or where it is too large.
func (d Dir) Text(name string) []byte {
	text := d.files.Head(filepath.Join(d.path, name), textMax+1)
	if len(text) > textMax {
		return nil
	}
	return text
}

// Modified returns when a regular file below the directory was last written, or
// the zero time.
func (d Dir) Modified(name string) time.Time { return d.files.Modified(filepath.Join(d.path, name)) }

// Link returns where a symbolic link below the directory points to, as it is
// written, or "" where there is none of that name.
func (d Dir) Link(name string) string { return d.files.Link(filepath.Join(d.path, name)) }

// List lists a directory below the directory: at most datadir.NamesMax names. It
// lists nothing of what is no directory, or cannot be read.
func (d Dir) List(name string) []string {
	names, _ := d.files.Names(filepath.Join(d.path, name))
	return names
}

// Misplaced says what is wrong with a file below the directory that has to be a
// regular file or a directory, or "".
func (d Dir) Misplaced(name string, directory bool) string {
	mode, _, err := d.files.Lstat(filepath.Join(d.path, name))
	switch {
	case err != nil:
		return "cannot be read: " + err.Error()
	case directory && !mode.IsDir():
		return "is " + kind(mode) + ", not a directory"
	case !directory && mode.IsDir():
		return "is a directory, not a file"
	case !directory && !mode.IsRegular():
		return "is " + kind(mode) + ", not a file"
	}
	return ""
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

// Examine returns the state of a data directory, for an engine that has these
// settings. It compares owners by number, because a disk carries numbers from
// image to image. It is an error if the machine does not have the engine or the
// owner, or if the directory cannot be read.
func Examine(files datadir.Files, d host.Data, set host.EngineSettings) (host.DirectoryReport, error) {
	e, err := Named(d.Engine)
	if err != nil {
		return host.DirectoryReport{}, err
	}
	uid, err := files.Owner(d.Owner)
	if err != nil {
		return host.DirectoryReport{}, err
	}
	mode, belongs, err := files.Lstat(d.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return host.DirectoryReport{State: host.Absent}, nil
	case err != nil:
		return host.DirectoryReport{}, err
	case !mode.IsDir():
		return host.DirectoryReport{State: host.Foreign, Reason: "it is " + kind(mode) + ", not a directory", Hint: hintForeign}, nil
	}
	names, err := files.Names(d.Dir)
	if err != nil && !errors.Is(err, datadir.ErrMany) {
		return host.DirectoryReport{}, err
	}
	dir := Dir{Mode: mode, Names: names, path: d.Dir, files: files}
	report := e.Examine(dir, set)
	which := "it"
	if report.State == host.Ready && belongs == uid {
		if which, belongs, err = dir.stranger(e.Owns(), uid); err != nil {
			return host.DirectoryReport{}, err
		}
	}
	if report.State == host.Ready && belongs != uid {
		report.State, report.Empty = host.Unfit, false
		report.Reason = fmt.Sprintf("%s belongs to user number %d, and %s has number %d on this machine", which, belongs, d.Owner, uid)
		report.Hint = fmt.Sprintf("if this is the right data, give it to %s: chown -R --no-dereference --from=%d %s: -- %s",
			d.Owner, belongs, d.Owner, shell.Quote(d.Dir))
	}
	return report, nil
}

// strangersMax is of how many files the owner is looked up at most.
const strangersMax = 4000

// stranger finds a file that the engine cannot do without and that another user
// owns: in the directory, in the engine's own directories in it, and in those
// that another user owns. It goes no deeper. If it finds none, it returns uid.
func (d Dir) stranger(owned Owned, uid uint32) (which string, belongs uint32, err error) {
	looked := 0
	look := func(name string) (fs.FileMode, uint32, error) {
		looked++
		mode, belongs, err := d.files.Lstat(filepath.Join(d.path, name))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, uid, nil // the engine runs, and has removed it
		}
		return mode, belongs, err
	}
	needs := func(name string) bool { return owned.Files != nil && owned.Files.MatchString(name) }
	inside := func(dir string) (string, uint32, error) {
		below, err := d.files.Names(filepath.Join(d.path, dir))
		if err != nil && !errors.Is(err, datadir.ErrMany) && !errors.Is(err, fs.ErrNotExist) {
			return "", uid, err
		}
		for _, name := range below {
			if !needs(name) || looked >= strangersMax {
				continue
			}
			name = filepath.Join(dir, name)
			if mode, belongs, err := look(name); err != nil || belongs != uid && mode.IsRegular() {
				return name + " in it", belongs, err
			}
		}
		return "", uid, nil
	}
	for _, name := range slices.Concat(owned.Dirs, d.Names) {
		if name == "lost+found" || looked >= strangersMax {
			continue
		}
		mode, belongs, err := look(name)
		own := slices.Contains(owned.Dirs, name)
		switch {
		case err != nil:
			return "", uid, err
		case mode.IsDir() && (belongs != uid || own):
			which, of, err := inside(name)
			if err != nil || of != uid {
				return which, of, err
			}
			if belongs != uid && own {
				return name + " in it", belongs, nil
			}
		case belongs != uid && mode.IsRegular() && needs(name):
			return name + " in it", belongs, nil
		}
	}
	return "", uid, nil
}
