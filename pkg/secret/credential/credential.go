// Package credential stages secrets as credentials of systemd: files on a ramfs, which
// LoadCredential= of the guards names. It knows of units a name, which is a
// directory there, and of secrets the plaintext and the version.
package credential

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bootagent/pkg/fault"
)

const (
	// Max is what systemd takes for all credentials of a unit together, names
	// included, in bytes: systemd.exec(5), "Credentials".
	Max = 1 << 20

	// NameMax is the longest name of a credential, in bytes: it is a file's name.
	NameMax = 255
)

// A Store is the directory that secrets are staged in, with one directory for each
// unit. systemd takes them from there as credentials.
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
	if dir := filepath.Clean(root.Name()); fs.Type != unix.RAMFS_MAGIC {
		return fault.WithHint(fmt.Errorf("%s is not on ramfs, so what is in it could be written to a disk", dir),
			"systemctl start run-bootagent-"+filepath.Base(dir)+".mount")
	}
	return nil
}

// Stage writes a secret to ROOT/UNIT/NAME, and its version to
// ROOT/.versions/UNIT/NAME. Each is written in one step: what is there is whole, or
// what was there before. Only the owner of this process, which is root, can read
// them, whatever the umask.
func (s Store) Stage(unit, name string, plaintext []byte, version string) error {
	if err := s.stage(unit, name, plaintext, version); err != nil {
		return fmt.Errorf("cannot stage %s for %s: %w", name, unit, err)
	}
	return nil
}

func (s Store) stage(unit, name string, plaintext []byte, version string) error {
	if err := errors.Join(CheckName(unit), CheckName(name)); err != nil {
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
	secrets, err := subdirectory(root, unit)
	if err != nil {
		return err
	}
	defer secrets.Close()
	versions, err := subdirectory(root, versionsDir, unit)
	if err != nil {
		return err
	}
	defer versions.Close()
	if err := checkRoom(secrets, name, len(plaintext)); err != nil {
		return err
	}
	// A crash may leave a secret without its version, and never one with the
	// version of another.
	if err := versions.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := write(secrets, name, plaintext); err != nil {
		return err
	}
	return write(versions, name, []byte(version))
}

// versionsDir holds the versions of the secrets, in the same order as the secrets
// themselves. No unit has a name that begins with a dot.
const versionsDir = ".versions"

// subdirectory opens a directory that only its owner can enter, and makes it where
// it is missing.
func subdirectory(root *os.Root, path ...string) (*os.Root, error) {
	dir, err := root.OpenRoot(".")
	for _, name := range path {
		if err != nil {
			break
		}
		var below *os.Root
		below, err = enter(dir, name)
		dir.Close()
		dir = below
	}
	return dir, err
}

func enter(root *os.Root, name string) (*os.Root, error) {
	if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if err := dir.Chmod(".", 0o700); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
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

// checkRoom refuses a secret that is too large for systemd beside what is staged
// for the unit already. systemd counts the names, too.
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
	if total > Max {
		return fault.WithHint(fmt.Errorf("the secrets of the unit would have %d bytes, and systemd accepts %d for all credentials of a unit", total, Max),
			"give the unit fewer or smaller secrets")
	}
	return nil
}

func write(dir *os.Root, name string, plaintext []byte) (err error) {
	temp := "." + name // no name of a secret begins with a dot
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

// UnknownVersion is the version of a secret that is staged without a version.
const UnknownVersion = "unknown"

// Nothing is the version of an empty line that is staged in place of a secret: systemd
// does not start a service one of whose credentials is missing.
const Nothing = "nothing"

// Staged returns the version of the secret that is staged, or "" where none is.
func (s Store) Staged(unit, name string) (version string, err error) {
	if err := errors.Join(CheckName(unit), CheckName(name)); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(s.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer root.Close()
	info, err := root.Lstat(unit + "/" + name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("cannot tell whether %s is staged for %s: %w", name, unit, err)
	case !info.Mode().IsRegular():
		return "", nil
	}
	text, err := root.ReadFile(versionsDir + "/" + unit + "/" + name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(text) == 0:
		return UnknownVersion, nil
	case err != nil:
		return "", fmt.Errorf("cannot tell which version of %s is staged for %s: %w", name, unit, err)
	}
	return string(text), nil
}

// Read returns the secret that is staged for a unit.
func (s Store) Read(unit, name string) (plaintext []byte, err error) {
	err = errors.Join(CheckName(unit), CheckName(name))
	if err == nil {
		plaintext, err = s.read(unit, name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s as it is staged for %s: %w", name, unit, err)
	}
	return plaintext, nil
}

func (s Store) read(unit, name string) ([]byte, error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFile(unit + "/" + name)
}

// CheckName refuses a name that is not one of a file, or is hidden.
func CheckName(name string) error {
	control := strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	if name == "" || len(name) > NameMax || name[0] == '.' || strings.Contains(name, "/") || control {
		return fmt.Errorf("%q can't be the name of a file here", name)
	}
	return nil
}
