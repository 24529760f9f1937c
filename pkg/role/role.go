// Package role reads role files, which say what a machine has to make true, and
// makes of one of them and the user-data's selection the Plan of one instance.
//
// It reads the role files and touches nothing else. Reading is strict
// (strictyaml): a Plan needs no second check by those who act on it. The keys
// of a role file are listed in keys.go; each has its type, its decoding, its
// checks, its plan and its permissions in a file of its own.
package role

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/regular"
	"bootagent/pkg/role/file"
	"bootagent/pkg/role/param"
	"bootagent/pkg/strictyaml"
)

// A Role is a role file: what an instance with this role has to make true,
// once the user-data has set its parameters. Every list is sorted by name.
type Role struct {
	Name     string
	File     string // where it was read
	Params   []param.Param
	Volumes  []Volume // what finds them may have expansions
	Data     []Data
	Secrets  []Secret    // their sources may have expansions
	Files    []file.File // their texts may have expansions
	Services []Service
	Extra    Extra

	grammar  Grammar
	namesake string // another file with a role of this name
}

// Load reads all role files of a directory: those named *.yaml, but for hidden
// ones. It returns every role that could be read, sorted by name, also where
// others could not: the error then joins the mistakes of those. A directory
// that does not exist is an error that is fs.ErrNotExist.
//
// Two files with a role of the same name are both returned, since the units of
// both have to be held; but neither makes a Plan.
func (g Grammar) Load(dir string) ([]*Role, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the role files: %w", err)
	}
	var roles []*Role
	var errs []error
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		switch filepath.Ext(path) {
		case ".yaml":
			r, err := g.load(path)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			roles = append(roles, r)
		case ".yml":
			errs = append(errs, fmt.Errorf("%s is not read: the name of a role file ends in .yaml; rename it", path))
		}
	}
	slices.SortStableFunc(roles, func(a, b *Role) int { return strings.Compare(a.Name, b.Name) })
	errs = append(errs, namesakes(roles)...)
	errs = append(errs, torn(roles)...)
	return roles, errors.Join(errs...)
}

func (g Grammar) load(path string) (*Role, error) {
	src, _, err := regular.Read(path, strictyaml.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("cannot read the role file %s: %w", path, err)
	}
	return g.Decode(path, src)
}

// namesakes marks the roles whose name stands in two files.
func namesakes(roles []*Role) (errs []error) {
	for i, r := range roles {
		if i == 0 || roles[i-1].Name != r.Name {
			continue
		}
		first := roles[i-1]
		first.namesake, r.namesake = r.File, first.File
		errs = append(errs, r.checkNamesake())
	}
	return errs
}

func (r *Role) checkNamesake() error {
	if r.namesake == "" {
		return nil
	}
	return fmt.Errorf("two files have the role %q: %s and %s; remove one, or rename its role", r.Name, r.namesake, r.File)
}

// ByName returns the role of a name from those that Load returned. The error
// for an unknown one names the near miss, or what there is.
func ByName(roles []*Role, name string) (*Role, error) {
	var names []string
	for _, r := range roles {
		if r.Name == name {
			if err := r.checkNamesake(); err != nil {
				return nil, err
			}
			return r, nil
		}
		names = append(names, r.Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("unknown role %s: no role file could be read", strictyaml.Quote(name))
	}
	return nil, fmt.Errorf("unknown role %s%s (roles of this machine: %s)",
		strictyaml.Quote(name), strictyaml.DidYouMean(name, names), strings.Join(slices.Compact(names), ", "))
}
