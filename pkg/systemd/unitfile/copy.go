package unitfile

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"bootagent/pkg/unit"
)

// CopyTo writes all units below an empty root, as systemd would read them: the
// same names, contents, drop-ins and wants. There, a caller can add units and ask
// systemd's tools. A file that can't be read is left out, because systemd ignores
// it, too.
func (t *Tree) CopyTo(dir string) error {
	to := filepath.Join(dir, AdminDir)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for name, file := range t.files {
		target, isAlias := t.aliases[name]
		err := error(nil)
		switch {
		case isAlias:
			err = os.Symlink(target, filepath.Join(to, name))
		case t.Masked(name) || isMask(t, file):
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

func isMask(t *Tree, file string) bool {
	real, err := t.Resolve(file)
	return err == nil && real == os.DevNull
}

// besideGenerators returns another directory of the same priority for a directory
// that systemd empties before its generators run, or that belongs to the running
// system.
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

// copyFile copies a file, unless it can't be read or the copy exists.
func (t *Tree) copyFile(from, to string) error {
	text, err := t.Read(from)
	if err != nil {
		return nil // systemd ignores it, too
	}
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	return os.WriteFile(to, text, 0o644)
}

func (t *Tree) copyDropIns(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, name := range t.List(from) {
		if !strings.HasSuffix(name, ".conf") || name[0] == '.' {
			continue
		}
		if err := t.copyFile(path.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// copyWants copies the links in the .wants and .requires directories of units.
// systemd takes the first link of a name, and none if that leads to /dev/null.
func (t *Tree) copyWants(to string) error {
	seen := make(map[string]bool)
	for _, dir := range t.search {
		for _, name := range t.List(dir) {
			if ext := path.Ext(name); ext != ".wants" && ext != ".requires" || !unit.Valid(strings.TrimSuffix(name, path.Ext(name))) {
				continue
			}
			if err := os.MkdirAll(filepath.Join(to, name), 0o755); err != nil {
				return err
			}
			for _, wanted := range t.List(path.Join(dir, name)) {
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
