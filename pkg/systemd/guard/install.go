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
)

// A Change is what was done to one guard.
type Change struct {
	Done Done
	Path string // of the guard, below the root
}

func (c Change) String() string { return string(c.Done) + " " + c.Path }

// Done is a way to change a guard.
type Done string

// What can be done to a guard.
const (
	Added   Done = "added"
	Changed Done = "changed"
	Removed Done = "removed"
)

// Install makes the installed guards below the root dir those that the holds
// need, and no others: it adds what is missing, changes what differs, and only
// then removes the guards of units that nothing holds any more. It can be run
// again after a crash at any point. That a guard holds nothing, as its unit runs
// nothing, is an error as well.
//
// It goes on after an error, as each guard holds its unit by itself; the error
// then joins all of them, and the changes are those that were made. A file in
// the place of a guard that is not one is an error and stays as it is. Every
// guard stays if the holds contradict each other, or if there are none: that
// the role files are gone lets no unit loose, which is for Remove to do.
func Install(dir string, holds []Hold) ([]Change, error) {
	r := newRoot(dir)
	if _, err := os.Stat(r.path("/")); err != nil {
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

// cannotHold tells of the units whose guards hold nothing, since they run
// nothing, or since systemd has no such unit by what is there in its place. A
// unit that is not there at all may be installed later.
func cannotHold(dir string, holds []Hold) error {
	problems, err := CheckUnits(dir, holds)
	errs := []error{err}
	for _, p := range problems {
		if p.Kind == RunsNothing || p.Kind == BadLink {
			errs = append(errs, errors.New(p.String()))
		}
	}
	return errors.Join(errs...)
}

// checkBare tells of the guards that are installed where none are wanted.
func (r root) checkBare() error {
	t, err := readTree(r)
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
	return fmt.Errorf("cannot install guards: no role names a unit, so the guards of %s stay; to take them away: bootagent guard remove%s",
		strings.Join(units, ", "), r.option())
}

// Remove removes every installed guard below the root dir. From then on, the
// units start as their package wants it. A file in the place of a guard that is
// not one is an error and stays as it is.
func Remove(dir string) ([]Change, error) {
	return newRoot(dir).removeBut(nil)
}

// Installed gives the text of the installed guard of a unit below the root dir,
// and "" where it has none. A file in its place that is not a guard is an error.
func Installed(dir, unit string) (string, error) {
	return newRoot(dir).guard(Path(unit))
}

// guard gives the text of the guard at a path, or "" where there is no file.
func (r root) guard(name string) (string, error) {
	dir, err := r.resolve(path.Dir(name))
	if err != nil {
		return "", fmt.Errorf("cannot read guard: %w", err)
	}
	file := path.Join(dir, path.Base(name))
	// Not followed: a link in the place of a guard is none, whatever it leads to.
	info, err := os.Lstat(r.path(file))
	if gone(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read guard: %w", err)
	}
	if info.Mode().IsRegular() {
		text, err := r.read(file)
		if err != nil {
			return "", fmt.Errorf("cannot read guard: %w", err)
		}
		if strings.HasPrefix(string(text), mark) {
			return string(text), nil
		}
	}
	return "", fmt.Errorf("%s is in the place of a guard, but its first line does not say that bootagent made it; move it away: "+
		"mv %s %s && %s", r.path(file), shell.Quote(r.path(file)), shell.Quote(r.path(file)+".old"), r.installCommand())
}

// install brings the guard of one unit up to date and says what it did, "" if
// there was nothing to do.
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

// replace writes a file as a whole: after a crash it is the old one or the new
// one, and once replace returns it is the new one.
func (r root) replace(name, text string) error {
	dir, err := r.resolve(path.Dir(name))
	if err != nil {
		return err
	}
	if err := makeDir(r.path(dir)); err != nil {
		return err
	}
	temp := r.path(path.Join(dir, tempName))
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
	if err := os.Rename(temp, r.path(path.Join(dir, path.Base(name)))); err != nil {
		return err
	}
	return syncDir(r.path(dir))
}

// removeBut removes the guards below installDir whose path is not in keep, and
// what a crash left beside any.
func (r root) removeBut(keep map[string]bool) ([]Change, error) {
	installed, err := r.resolve(installDir)
	if err != nil {
		return nil, fmt.Errorf("cannot look for guards: %w", err)
	}
	entries, err := os.ReadDir(r.path(installed))
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
	dir, err := r.resolve(path.Dir(Path(unit)))
	if err != nil {
		return false, fmt.Errorf("cannot look for a guard of %s: %w", unit, err)
	}
	if err := os.Remove(r.path(path.Join(dir, tempName))); err != nil && !gone(err) {
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
	if err := os.Remove(r.path(path.Join(dir, fileName))); err != nil {
		return false, fmt.Errorf("cannot remove the guard of %s: %w", unit, err)
	}
	if err := syncDir(r.path(dir)); err != nil {
		return true, err
	}
	os.Remove(r.path(Path(unit)[:len(Path(unit))-len(fileName)])) // if it is empty now
	return true, nil
}

// gone tells whether err says that there is no such file. A file in the place
// of the directory is as good.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// makeDir makes a directory and its parents, to stay after a power cut.
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

// Write writes the guard of a hold below a directory of units, with no care
// for what is there: the generator's directories are empty when it starts.
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
