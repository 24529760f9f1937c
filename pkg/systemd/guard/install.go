package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/unitfile"
)

// A Change says what was done to one guard.
type Change struct {
	Done Done
	Path string // of the guard, below the root
}

func (c Change) String() string { return string(c.Done) + " " + c.Path }

// Done is what can be done to a guard.
type Done string

// The values of Done.
const (
	Added   Done = "added"
	Changed Done = "changed"
	Removed Done = "removed"
)

// Install installs the guards that the holds need below the root dir, and no
// others: it adds missing guards, changes those that differ, and then removes the
// guards of units that no hold names any more. It can be run again after a crash at
// any point. A guard that holds nothing, because its unit runs nothing, is an
// error, too.
//
// Install goes on after an error, because each guard holds its unit by itself. The
// error joins all of them, and the changes are those that were made. If another
// file is in the place of a guard, that is an error and the file stays. If the
// holds contradict each other, or if there are none, no guard is removed: deleting
// the role files must not let a unit start. Remove removes all guards.
func Install(dir string, holds []Hold) ([]Change, error) {
	r := newRoot(dir)
	if _, err := os.Stat(r.Join("/")); err != nil {
		return nil, fmt.Errorf("cannot install guards: %w", err)
	}
	wanted, err := Expand(dir, holds)
	problems := []error{err}
	var changes []Change
	keep := make(map[string]bool)
	for _, h := range wanted {
		keep[Path(h.Unit)] = true
		switch done, err := r.install(h); {
		case err != nil:
			problems = append(problems, err)
		case done != "":
			changes = append(changes, Change{done, Path(h.Unit)})
		}
	}
	if err != nil {
		return changes, errors.Join(problems...)
	}
	if len(wanted) == 0 {
		return nil, r.checkBare()
	}
	removed, err := r.removeBut(keep)
	problems = append(problems, err, cannotHold(dir, holds))
	return append(changes, removed...), errors.Join(problems...)
}

// cannotHold returns an error for the units whose guards hold nothing, because the
// unit runs nothing, or because its file is a link that systemd does not accept. A
// unit without any file may be installed later.
func cannotHold(dir string, holds []Hold) error {
	problems, err := CheckUnits(dir, holds)
	errs := []error{err}
	for _, p := range problems {
		if p.unholdable {
			errs = append(errs, errors.New(p.String()))
		}
	}
	return errors.Join(errs...)
}

// checkBare returns an error if there are installed guards although no role needs
// any.
func (r root) checkBare() error {
	t, err := readTree(r.Dir)
	if err != nil {
		return err
	}
	var units []string
	for _, g := range t.guards() {
		if g.Path == t.installed(g.Unit) {
			units = append(units, g.Unit)
		}
	}
	if len(units) == 0 {
		return nil
	}
	return fmt.Errorf("cannot install guards: no role names a unit, so the guards of %s stay; to remove them: bootagent guard remove%s",
		strings.Join(units, ", "), r.option())
}

// Remove removes all installed guards below the root dir. After that, the units
// start as their packages want. If another file is in the place of a guard, that is
// an error and the file stays.
func Remove(dir string) ([]Change, error) {
	return newRoot(dir).removeBut(nil)
}

// Installed returns the content of the installed guard of a unit below the root dir,
// or "" if it has none. Another file in its place is an error.
func Installed(dir, unit string) (string, error) {
	return newRoot(dir).guard(Path(unit))
}

// guard returns the content of the guard at a path, or "" if there is no file.
func (r root) guard(name string) (string, error) {
	dir, err := r.Resolve(path.Dir(name))
	if err != nil {
		return "", fmt.Errorf("cannot read guard: %w", err)
	}
	file := path.Join(dir, path.Base(name))
	// A link in the place of a guard is not followed: it is no guard.
	info, err := os.Lstat(r.Join(file))
	if gone(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read guard: %w", err)
	}
	if info.Mode().IsRegular() {
		text, err := r.Read(file)
		if err != nil {
			return "", fmt.Errorf("cannot read guard: %w", err)
		}
		if strings.HasPrefix(string(text), mark) {
			return string(text), nil
		}
	}
	return "", fmt.Errorf("%s is in the place of a guard, but bootagent did not make it; move it away: "+
		"mv %s %s && %s", r.Join(file), shell.Quote(r.Join(file)), shell.Quote(r.Join(file)+".old"), r.installCommand())
}

// install updates the guard of one unit and returns what it did, or "" if there was
// nothing to do.
func (r root) install(h Hold) (Done, error) {
	old, err := r.guard(Path(h.Unit))
	if err != nil {
		return "", fmt.Errorf("cannot hold %s: %w", h.Unit, err)
	}
	if old == h.Text() {
		return "", nil
	}
	if err := r.replace(Path(h.Unit), h.Text()); err != nil {
		return "", fmt.Errorf("cannot hold %s: %w", h.Unit, err)
	}
	if old == "" {
		return Added, nil
	}
	return Changed, nil
}

// replace replaces a file atomically: after a crash, there is the old or the new
// one. When replace has returned, there is the new one, even after a power cut.
func (r root) replace(name, text string) error {
	dir, err := r.Resolve(path.Dir(name))
	if err != nil {
		return err
	}
	if err := makeDir(r.Join(dir)); err != nil {
		return err
	}
	temp := r.Join(path.Join(dir, tempName))
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	// The umask of a build script must not hide the guard from systemctl cat.
	if err := errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		os.Remove(temp)
		return err
	}
	if err := os.Rename(temp, r.Join(path.Join(dir, path.Base(name)))); err != nil {
		return err
	}
	return syncDir(r.Join(dir))
}

// removeBut removes the installed guards whose path is not in keep, and the files
// that a crash left beside any guard.
func (r root) removeBut(keep map[string]bool) ([]Change, error) {
	installed, err := r.Resolve(unitfile.AdminDir)
	if err != nil {
		return nil, fmt.Errorf("cannot look for guards: %w", err)
	}
	entries, err := os.ReadDir(r.Join(installed))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot look for guards: %w", err)
	}
	var changes []Change
	var problems []error
	for _, entry := range entries {
		unit, ok := strings.CutSuffix(entry.Name(), ".d")
		if !ok {
			continue
		}
		switch removed, err := r.remove(unit, keep[Path(unit)]); {
		case err != nil:
			problems = append(problems, err)
		case removed:
			changes = append(changes, Change{Removed, Path(unit)})
		}
	}
	return changes, errors.Join(problems...)
}

func (r root) remove(unit string, keep bool) (removed bool, err error) {
	dir, err := r.Resolve(path.Dir(Path(unit)))
	if err != nil {
		return false, fmt.Errorf("cannot look for a guard of %s: %w", unit, err)
	}
	if err := os.Remove(r.Join(path.Join(dir, tempName))); err != nil && !gone(err) {
		return false, fmt.Errorf("cannot remove what a crash left: %w", err)
	}
	if keep {
		return false, nil
	}
	switch text, err := r.guard(Path(unit)); {
	case err != nil:
		return false, fmt.Errorf("cannot remove the guard of %s: %w", unit, err)
	case text == "":
		return false, nil
	}
	if err := os.Remove(r.Join(path.Join(dir, fileName))); err != nil {
		return false, fmt.Errorf("cannot remove the guard of %s: %w", unit, err)
	}
	if err := syncDir(r.Join(dir)); err != nil {
		return true, err
	}
	os.Remove(r.Join(Path(unit)[:len(Path(unit))-len(fileName)])) // if it is empty now
	return true, nil
}

// gone reports whether err says that there is no such file, or that a parent is a
// file.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// makeDir makes a directory and its parents, which stay after a power cut.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(os.Chmod(dir, 0o755), syncDir(filepath.Dir(dir)))
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Write writes the guard of a hold below a directory of units, and replaces what is
// there. It is for the generator, whose directories are empty when it starts.
func Write(dir string, h Hold) error {
	if err := h.check(); err != nil {
		return err
	}
	file := filepath.Join(dir, h.Unit+".d", fileName)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(h.Text()), 0o644)
}
