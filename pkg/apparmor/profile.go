package apparmor

import (
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/systemd/unitfile"
)

const (
	// dir is where AppArmor's profiles are (apparmor.d(5)).
	dir = "/etc/apparmor.d"

	// localDir has a file for each profile of a package, to which people and programs
	// add rules.
	localDir = dir + "/local"
)

// A profile is what is known of one profile of AppArmor.
type profile struct {
	file               string   // below the root
	name               string   // as the kernel shows it
	head               string   // the line that opens it, to its brace
	attach             []string // patterns of the programs that it confines
	unconfined         bool     // it confines nothing
	flagged            bool     // it has flags=
	attachDisconnected bool     // a path that is outside of the namespace counts as one below /
	includes           []include
	rules              []rule // of the profile itself, without those of files that it includes
}

// An include is a file of localDir that a profile includes.
type include struct {
	name     string // of the file
	optional bool   // the file may be absent
}

// A rule lets a program use files (apparmor.d(5), "File Rules").
type rule struct {
	path  string // a pattern
	perms string // letters: "r", "rwk"
}

func (r rule) String() string {
	if strings.ContainsAny(r.path, " \t") {
		return `"` + r.path + `" ` + r.perms
	}
	return r.path + " " + r.perms
}

// variables are the values of variables such as @{PROC}, by name.
type variables map[string][]string

func (v variables) add(name string, values []string) { v[name] = append(v[name], values...) }

// A set is all profiles below a root, with the variables that they use.
type set struct {
	unitfile.Root
	profiles []profile
	vars     variables
}

// load reads the profiles below a root. What can't be read or understood is left
// out: AppArmor's own parser tells what is wrong with it.
func load(root unitfile.Root) set {
	s := set{Root: root, vars: make(variables)}
	top, err := root.Resolve(dir + "/tunables")
	if err == nil {
		_ = filepath.WalkDir(root.Join(top), func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return nil // ignore what can't be read
			}
			if name, err := filepath.Rel(root.Join(top), file); err == nil {
				if text, err := root.Read(path.Join(top, name)); err == nil {
					parse(string(text), s.vars)
				}
			}
			return nil
		})
	}
	for _, name := range root.List(dir) {
		if skipped(name) || slices.Contains(root.List(dir+"/disable"), name) {
			continue
		}
		text, err := root.Read(path.Join(dir, name))
		if err != nil {
			continue // a directory, for example
		}
		for _, p := range parse(string(text), s.vars) {
			p.file = path.Join(dir, name)
			s.profiles = append(s.profiles, p)
		}
	}
	return s
}

// skipped reports whether apparmor_parser ignores files of that name
// (isSkippableFile in its sources).
func skipped(name string) bool {
	return strings.HasPrefix(name, ".") || name == "README" || strings.HasSuffix(name, "~") ||
		slices.Contains([]string{
			".dpkg-new", ".dpkg-old", ".dpkg-dist", ".dpkg-bak", ".dpkg-remove",
			".pacsave", ".pacnew", ".rpmnew", ".rpmsave", ".orig", ".rej",
		}, path.Ext(name))
}

// confining returns the profiles that confine a program, which is a path without
// links. If there are profiles for exactly this path, then others, for patterns that
// match it, do not count.
func (s set) confining(program string) (all []profile) {
	exactly := func(p profile) bool { return slices.Contains(p.attach, program) }
	for _, p := range s.profiles {
		if !p.unconfined && (exactly(p) || s.matches(p.attach, program)) {
			all = append(all, p)
		}
	}
	if slices.ContainsFunc(all, exactly) {
		all = slices.DeleteFunc(all, func(p profile) bool { return !exactly(p) })
	}
	return all
}

func (s set) matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		re := s.vars.compile(pattern)
		return re != nil && re.MatchString(name)
	})
}

// allowed reports whether a rule of a list lets a program do all that another rule
// does.
func (s set) allowed(rules []rule, wanted rule) bool {
	return slices.ContainsFunc(rules, func(r rule) bool {
		for _, perm := range wanted.perms {
			if !strings.ContainsRune(r.perms, perm) {
				return false
			}
		}
		if r.path == wanted.path {
			return true
		}
		re := s.vars.compile(r.path)
		if re == nil {
			return false
		}
		for _, name := range samples(wanted.path) {
			if !re.MatchString(name) {
				return false
			}
		}
		return true
	})
}

// named returns the profiles of a name, which AppArmorProfile= of a unit may have.
func (s set) named(name string) (all []profile) {
	for _, p := range s.profiles {
		if p.name == name && !p.unconfined {
			all = append(all, p)
		}
	}
	return all
}
