package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Store is the folder that opened secrets are staged in, one folder for each
// unit, for systemd to take them from as credentials.
type Store struct {
	Root string

	// Check refuses a root that is not fit for plaintext; nil is OnRamfs.
	Check func(root *os.File) error
}

// OnRamfs refuses what is not on ramfs. Pages of a tmpfs are swapped, those of
// ramfs never: see "ramfs, rootfs and initramfs" in the kernel's documentation.
func OnRamfs(root *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &fs); err != nil {
		return fmt.Errorf("cannot tell what %s is on: %w", root.Name(), err)
	}
	if fs.Type != unix.RAMFS_MAGIC {
		return &problem{
			text: fmt.Sprintf("%s is not on ramfs, so what is in it could be written to a disk", filepath.Clean(root.Name())),
			hint: "systemctl start run-bootagent-secrets.mount",
		}
	}
	return nil
}

// Stage writes a secret to ROOT/UNIT/NAME in one step: what is there is whole,
// or what was there before. Nobody but the owner of this process, which is
// root, reads it, whatever the umask.
func (s Store) Stage(unit, name string, p *Plaintext) error {
	if err := s.stage(unit, name, p.Bytes()); err != nil {
		return &staging{unit, name, err}
	}
	return nil
}

func (s Store) stage(unit, name string, plaintext []byte) error {
	if err := errors.Join(checkName(unit), checkName(name)); err != nil {
		return err
	}
	if len(plaintext) == 0 {
		return errors.New("it is empty")
	}
	root, err := s.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Mkdir(unit, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := root.OpenRoot(unit)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Chmod(".", 0o700); err != nil {
		return err
	}
	if err := checkRoom(dir, name, len(plaintext)); err != nil {
		return err
	}
	return write(dir, name, plaintext)
}

// open opens the root, if it is fit for plaintext.
func (s Store) open() (*os.Root, error) {
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return nil, err
	}
	here, err := root.Open(".")
	if err == nil {
		defer here.Close()
		check := s.Check
		if check == nil {
			check = OnRamfs
		}
		err = check(here)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// checkRoom tells whether systemd takes a secret beside what is there already.
// It counts names, too.
func checkRoom(dir *os.Root, name string, size int) error {
	here, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer here.Close()
	entries, err := here.ReadDir(-1)
	if err != nil {
		return err
	}
	total := len(name) + size
	for _, e := range entries {
		if e.Name() == name || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		total += len(e.Name()) + int(info.Size())
	}
	if total > CredentialsMax {
		return &problem{
			text: fmt.Sprintf("with it the secrets of the unit would have %d bytes, and systemd takes %d for all credentials of a unit", total, CredentialsMax),
			hint: "give the unit fewer or smaller secrets",
		}
	}
	return nil
}

func write(dir *os.Root, name string, plaintext []byte) (err error) {
	temp := "." + name // a name of a secret begins with no dot
	if err := dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Truncate(0), dir.Remove(temp))
		}
		f.Close()
	}()
	if err := f.Chmod(0o400); err != nil {
		return err
	}
	if _, err := f.Write(plaintext); err != nil {
		return err
	}
	return dir.Rename(temp, name)
}

// Staged tells whether a secret is staged.
func (s Store) Staged(unit, name string) (bool, error) {
	if err := errors.Join(checkName(unit), checkName(name)); err != nil {
		return false, err
	}
	root, err := os.OpenRoot(s.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer root.Close()
	info, err := root.Lstat(unit + "/" + name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot tell whether %s of %s is staged: %w", name, unit, err)
	}
	return info.Mode().IsRegular(), nil
}

// staging is an error of Stage; the hint is that of its cause.
type staging struct {
	unit, name string
	cause      error
}

func (e *staging) Error() string {
	return fmt.Sprintf("cannot stage %s for %s: %v", e.name, e.unit, e.cause)
}

func (e *staging) Unwrap() error { return e.cause }

// checkName refuses a name that is not one of a file, or is hidden.
func checkName(name string) error {
	control := strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	if name == "" || len(name) > nameMax || name[0] == '.' || strings.Contains(name, "/") || control {
		return fmt.Errorf("%q can't be the name of a file here", name)
	}
	return nil
}
