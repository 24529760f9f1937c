// Package selinux gives new files the SELinux labels of others, as chcon
// --reference does. It reads and writes the extended attribute security.selinux,
// and needs no library of SELinux. Where the kernel has no SELinux, or SELinux is
// disabled, it does nothing.
package selinux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Label is a context such as "system_u:object_r:mysqld_db_t:s0", as the kernel
// returns it, with a zero byte at its end. "" is none.
type Label string

// An FS is the directory at which the kernel shows the state of SELinux.
type FS string

// Kernel is that of this machine.
const Kernel FS = "/sys/fs/selinux"

// Attribute is the extended attribute of a file that has its label.
const Attribute = "security.selinux"

// Module is the module of bootagent for a policy, which its package brings.
const Module = "/usr/share/selinux/packages/bootagent.cil"

const labelMax = 4096 // bytes: the kernel's own limit is a page, see selinuxfs.c

// Enforces tells whether SELinux denies what its policy does not allow.
func (f FS) Enforces() bool {
	text, err := os.ReadFile(filepath.Join(string(f), "enforce"))
	return err == nil && string(text) == "1"
}

// Of returns the label of a directory, or, while that does not exist, of the
// nearest one above it. It is "" without SELinux, and where the filesystem has no
// labels.
func (f FS) Of(dir string) (Label, error) {
	if _, err := os.Stat(filepath.Join(string(f), "enforce")); err != nil {
		return "", nil
	}
	for {
		label := make([]byte, labelMax)
		n, err := unix.Getxattr(dir, Attribute, label)
		switch {
		case err == nil:
			return Label(label[:n]), nil
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
			return "", nil
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir:
			return "", fmt.Errorf("cannot read the SELinux label of %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}

// Give gives the label to an open file or directory, and to nothing in it. "" gives
// none.
func (l Label) Give(to *os.File) error {
	if l == "" {
		return nil
	}
	if err := unix.Fsetxattr(int(to.Fd()), Attribute, []byte(l), 0); err != nil {
		return fmt.Errorf("cannot give %s the SELinux label %s: %w", to.Name(), l, err)
	}
	return nil
}

// String returns the label without its zero byte.
func (l Label) String() string {
	if n := len(l); n > 0 && l[n-1] == 0 {
		l = l[:n-1]
	}
	return string(l)
}
