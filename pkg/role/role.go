// Package role reads role files, which say what can be done to a machine, and
// makes of one of them and the user-data's selection the Plan of one instance.
//
// It reads the role files and touches nothing else. Reading is strict
// (strictyaml): what is accepted here needs no second look by those who act on
// a Plan.
package role

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"bootagent/pkg/strictyaml"
)

// A Role is a role file: what an instance with this role has to make true,
// once the user-data has set its parameters. Every list is sorted by name.
type Role struct {
	Name     string
	File     string // where it was read
	Params   []Param
	Volumes  []Volume // what finds them may still hold expansions
	Data     []Data
	Secrets  []Secret // the keys of their sources as well
	Services []Service

	namesake string // another file with a role of this name
}

// A Param is a parameter that the user-data sets, unless it has a default.
type Param struct {
	Name    string
	Pattern string  // regular expression for the whole value; "" for any
	Default *string // nil for none

	pattern *regexp.Regexp
}

// Load reads all role files of a directory: those named *.yaml, but for hidden
// ones. It gives every role that could be read, sorted by name, also where
// others could not: the error then joins what is wrong with those. A directory
// that does not exist is an error that is fs.ErrNotExist.
//
// Two files with a role of the same name are both given, since the units of
// both have to be held; but neither makes a Plan.
func Load(dir string) ([]*Role, error) {
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
			r, err := load(path)
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

func load(path string) (*Role, error) {
	src, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read a role file: %w", err)
	}
	return Decode(path, src)
}

// read reads a file, but no pipe or device, which would hold up the boot for
// ever, and no more than shows that it is too large.
func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, strictyaml.MaxSize+1))
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
	return fmt.Errorf("role %q stands in two files, %s and %s; remove one, or rename its role", r.Name, r.namesake, r.File)
}

// torn tells the units that one role holds with one service, and another role
// with another: a unit has one guard, and the guard names one grant.
func torn(roles []*Role) (errs []error) {
	type holder struct {
		service string
		role    *Role
	}
	holders := make(map[string]holder)
	for _, r := range roles {
		for _, u := range r.Units() {
			other, held := holders[u.Unit]
			switch {
			case !held:
				holders[u.Unit] = holder{u.Service, r}
			case other.service != u.Service:
				errs = append(errs, fmt.Errorf("%s is held with %s in %s and with %s in %s; it can be held with one service only",
					u.Unit, other.service, other.role.File, u.Service, r.File))
			}
		}
	}
	return errs
}

// A HeldUnit is a unit that does not start before its service is granted.
type HeldUnit struct {
	Unit    string
	Service string // the service whose grant lets it start; Unit itself for a service
	IMDS    bool   // may reach the metadata service

	// Credentials are the names of those that a service gets from secrets,
	// sorted; what is held with it gets none.
	Credentials []string
}

// Units gives all units that the role file names to be held: its services and,
// after each, what is guarded with it.
func (r *Role) Units() []HeldUnit {
	var held []HeldUnit
	for _, s := range r.Services {
		held = append(held, HeldUnit{Unit: s.Unit, Service: s.Unit, IMDS: s.IMDS, Credentials: r.credentials(s.Unit)})
		for _, also := range s.AlsoGuard {
			held = append(held, HeldUnit{Unit: also, Service: s.Unit, IMDS: s.IMDS})
		}
	}
	return held
}

// credentials are the names of those that the secrets are to a service.
func (r *Role) credentials(unit string) (names []string) {
	for _, s := range r.Secrets {
		if slices.Contains(s.Services, unit) {
			names = append(names, s.Credential)
		}
	}
	slices.Sort(names)
	return names
}

// ByName gives the role of a name from those that Load gave. The error for an
// unknown one names the near miss, or what there is.
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
		return nil, fmt.Errorf("unknown role %s: there is no role file that can be read", strictyaml.Quote(name))
	}
	return nil, fmt.Errorf("unknown role %s%s (roles of this machine: %s)",
		strictyaml.Quote(name), strictyaml.DidYouMean(name, names), strings.Join(slices.Compact(names), ", "))
}
