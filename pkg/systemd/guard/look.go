package guard

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"bootagent/pkg/unit"
)

// Units are those that systemd would find below a root. What else of an image
// has to be read as the image itself would read it, is read by this as well.
type Units struct{ t *tree }

// Read reads which units there are below the root dir. The error is one of
// reading directories.
func Read(dir string) (*Units, error) {
	t, err := readTree(newRoot(dir))
	if err != nil {
		return nil, err
	}
	return &Units{t}, nil
}

// Troubles tells why a unit can't be started by its name: there is none, or it
// is masked.
func (u *Units) Troubles(name string) []Problem {
	problems := u.t.checkFile(name)
	if own := u.t.unit(name); u.t.masked(own) {
		problems = append(problems, Problem{name, Masked, "is masked: " + u.t.unmask(own)})
	}
	return problems
}

// File gives the file of a unit, or "".
func (u *Units) File(name string) string { return u.t.file(name) }

// Resolve follows the links of a path as a process of the image would. What
// does not exist resolves to itself.
func (u *Units) Resolve(name string) (string, error) { return u.t.root.resolve(name) }

// Path is where a path of the image is for this process. The last part is not
// followed.
func (u *Units) Path(name string) string {
	dir, err := u.t.root.resolve(path.Dir(name))
	if err != nil {
		dir = path.Dir(name)
	}
	return u.t.root.path(path.Join(dir, path.Base(name)))
}

// ReadFile gives the text of a regular file of up to a MiB, following links as
// the image would.
func (u *Units) ReadFile(name string) ([]byte, error) { return u.t.root.read(name) }

// ReadDir gives the entries of a directory, following links as the image would.
func (u *Units) ReadDir(name string) ([]fs.DirEntry, error) {
	real, err := u.t.root.resolve(name)
	if err != nil {
		return nil, err
	}
	return os.ReadDir(u.t.root.path(real))
}

// CopyTo writes all units below an empty root dir, as systemd would read them:
// the same names, texts, drop-ins and wants. There it can be asked about them,
// and more can be added, with the units themselves as they were. What can't be
// read is left out, as systemd would.
func (u *Units) CopyTo(dir string) error {
	to := filepath.Join(dir, installDir)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	t := u.t
	for name, file := range t.files {
		target, isAlias := t.aliases[name]
		err := error(nil)
		switch {
		case isAlias:
			err = os.Symlink(target, filepath.Join(to, name))
		case t.masked(name) || isMask(t, file):
			err = os.Symlink(os.DevNull, filepath.Join(to, name))
		default:
			err = t.copyFile(file, filepath.Join(to, name))
		}
		if err != nil {
			return err
		}
	}
	for name, dirs := range t.dirs {
		for _, from := range dirs {
			if err := t.copyDropIns(from, filepath.Join(dir, besideGenerators(path.Dir(from)), name)); err != nil {
				return err
			}
		}
	}
	return t.copyWants(to)
}

func isMask(t *tree, file string) bool {
	real, err := t.root.resolve(file)
	return err == nil && real == os.DevNull
}

// besideGenerators is another directory of the same rank for one that systemd
// empties before its generators run, or that is of the running system.
func besideGenerators(dir string) string {
	switch dir {
	case "/run/systemd/transient", "/run/systemd/generator.early":
		return "/run/systemd/system.control"
	case "/run/systemd/generator":
		return "/run/systemd/system.attached"
	case "/run/systemd/generator.late":
		return "/usr/lib/systemd/system"
	}
	return dir
}

// copyFile copies a file that can be read, unless there is one.
func (t *tree) copyFile(from, to string) error {
	text, err := t.root.read(from)
	if err != nil {
		return nil // systemd passes it over, too
	}
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	return os.WriteFile(to, text, 0o644)
}

func (t *tree) copyDropIns(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, name := range t.list(from) {
		if !strings.HasSuffix(name, ".conf") || name[0] == '.' {
			continue
		}
		if err := t.copyFile(path.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// copyWants copies what units want and require by links in directories. The
// first link of a name counts, and one to /dev/null takes it away.
func (t *tree) copyWants(to string) error {
	seen := make(map[string]bool)
	for _, dir := range t.search {
		for _, name := range t.list(dir) {
			if ext := path.Ext(name); ext != ".wants" && ext != ".requires" || !unit.Valid(strings.TrimSuffix(name, path.Ext(name))) {
				continue
			}
			if err := os.MkdirAll(filepath.Join(to, name), 0o755); err != nil {
				return err
			}
			for _, wanted := range t.list(path.Join(dir, name)) {
				link := path.Join(name, wanted)
				if seen[link] || !unit.Valid(wanted) {
					continue
				}
				seen[link] = true
				if isMask(t, path.Join(dir, link)) {
					continue
				}
				err := os.Symlink("../"+wanted, filepath.Join(to, link))
				if err != nil && !errors.Is(err, fs.ErrExist) {
					return err
				}
			}
		}
	}
	return nil
}
