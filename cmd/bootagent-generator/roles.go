package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"bootagent/pkg/role"
	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/unit"
)

const (
	maxFiles = 1000
	maxSize  = 1 << 20 // bytes of one role file
)

// Roles say what the role files of one directory hold.
type roles struct {
	told     []guard.Hold // by files that can be read
	guessed  []guard.Hold // by the other files, found by looking for names of units
	problems []string     // why the other files can't be read
}

// readRoles reads a directory of role files. A directory that does not exist
// has none.
func readRoles(root, dir string) roles {
	var rs roles
	file, err := os.Open(filepath.Join(root, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return rs
	}
	if err != nil {
		rs.problems = append(rs.problems, fmt.Sprintf("cannot read the role files: %v", err))
		return rs
	}
	defer file.Close()
	found, err := file.Readdirnames(maxFiles)
	if err != nil && !errors.Is(err, io.EOF) {
		rs.problems = append(rs.problems, fmt.Sprintf("cannot read the role files: %v", err))
	}
	if len(found) == maxFiles {
		rs.problems = append(rs.problems, fmt.Sprintf("%s has more than %d files; the units of the others are not held", dir, maxFiles-1))
	}
	slices.Sort(found)
	for _, name := range found {
		if ext := filepath.Ext(name); name[0] != '.' && (ext == ".yaml" || ext == ".yml") {
			rs.read(filepath.Join(root, dir, name))
		}
	}
	return rs
}

// read reads one role file. If it can't be decoded, read looks for names of units.
func (rs *roles) read(path string) {
	text, err := readFile(path)
	if err == nil && filepath.Ext(path) == ".yml" {
		err = fmt.Errorf("%s is not read: the name of a role file ends in .yaml; rename it", path)
	}
	if err == nil {
		err = protect(func() error {
			r, err := role.Grammar{}.Decode(path, text)
			if err != nil {
				return err
			}
			for _, u := range r.Units() {
				rs.told = append(rs.told, guard.Hold{Unit: u.Unit, Service: u.Service, IMDS: u.IMDS, Credentials: u.Credentials})
			}
			return nil
		})
	}
	if err == nil {
		return
	}
	rs.problems = append(rs.problems, err.Error())
	for _, name := range named(text) {
		rs.guessed = append(rs.guessed, guard.Hold{Unit: name, Service: grantedTo(name)})
	}
}

// grantedTo returns the service whose grant lets a unit start that a broken file
// names. A template has no grant of its own; its instances wait for the file to be
// mended.
func grantedTo(name string) string {
	service := unit.ServiceOf(name)
	if unit.IsTemplate(service) {
		return unit.Instantiate(service, "held")
	}
	return service
}

// readFile returns the content of a role file, as far as it can be read. It does not
// block: a pipe in the place of a role file must not make a boot hang.
func readFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read a role file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read a role file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read the role file %s: not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSize))
	if err != nil {
		return text, fmt.Errorf("cannot read a role file: %w", err)
	}
	if info.Size() > maxSize {
		return text, fmt.Errorf("cannot read the role file %s: larger than %d bytes", path, maxSize)
	}
	return text, nil
}
