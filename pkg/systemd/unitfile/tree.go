// Package unitfile reads the unit files of a machine, or of an image of one, as
// systemd would: its search path, aliases, drop-ins, masks and settings. It reads
// files below a root directory and writes only in CopyTo. The generator links it,
// so it imports only the standard library and pkg/unit.
package unitfile

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

// AdminDir is the directory of the units and drop-ins of the administrator.
const AdminDir = "/etc/systemd/system"

// searchPath returns the directories in which systemd looks for units and
// drop-ins, highest priority first (systemd.unit(5), "Unit File Load Path").
func searchPath() []string {
	return []string{
		"/etc/systemd/system.control",
		"/run/systemd/system.control",
		"/run/systemd/transient",
		"/run/systemd/generator.early",
		AdminDir,
		"/etc/systemd/system.attached",
		"/run/systemd/system",
		"/run/systemd/system.attached",
		"/run/systemd/generator",
		"/usr/local/lib/systemd/system",
		"/usr/lib/systemd/system",
		"/lib/systemd/system", // where /lib is not a link to /usr/lib
		"/run/systemd/generator.late",
	}
}

// A Tree is what systemd finds below a root: the names of the units, the paths of
// their files, and the directories of their drop-ins.
type Tree struct {
	Root
	search  []string            // the search path with links resolved, highest priority first
	files   map[string]string   // name → its file, in the directory with the highest priority
	aliases map[string]string   // name → the name that its file links to
	refused map[string]Refusal  // name → a link of this name that systemd does not accept as an alias
	dirs    map[string][]string // "<unit>.d" → the directories of that name
}

// A Refusal is a link that systemd ignores. Why continues the name Target.
type Refusal struct{ File, Target, Why string }

// Load reads the directories of the search path below a root, and no file in
// them. A directory of the search path may be missing. A missing root, or a
// directory that can't be read, is an error.
func Load(dir string) (*Tree, error) {
	r := NewRoot(dir)
	if _, err := os.Stat(r.Join("/")); err != nil {
		return nil, fmt.Errorf("cannot read units: %w", err)
	}
	t := &Tree{
		Root:    r,
		files:   make(map[string]string),
		aliases: make(map[string]string),
		refused: make(map[string]Refusal),
		dirs:    make(map[string][]string),
	}
	for _, dir := range searchPath() {
		real, err := r.Resolve(dir)
		if err != nil {
			return nil, fmt.Errorf("cannot read units: %w", err)
		}
		if !slices.Contains(t.search, real) {
			t.search = append(t.search, real)
		}
	}
	for _, dir := range t.search {
		entries, err := os.ReadDir(r.Join(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read units: %w", err)
		}
		for _, entry := range entries {
			t.add(dir, entry)
		}
	}
	return t, nil
}

// add adds an entry of a directory of units, as systemd does when it maps names
// to files (unit_file_build_name_map in src/shared/unit-file.c).
func (t *Tree) add(dir string, entry fs.DirEntry) {
	name, file := entry.Name(), path.Join(dir, entry.Name())
	if strings.HasSuffix(name, ".d") {
		t.dirs[name] = append(t.dirs[name], file)
		return
	}
	if _, known := t.files[name]; known || entry.IsDir() || !unit.Valid(name) {
		return
	}
	if entry.Type()&fs.ModeSymlink != 0 {
		target, isAlias := t.aliasOf(file)
		if why := refuseAlias(name, target); isAlias && why != "" {
			if t.refused[name].File == "" {
				t.refused[name] = Refusal{file, target, why}
			}
			return
		}
		if isAlias && target == name {
			return // systemd takes the unit that it links to, from its own directory
		}
		if isAlias {
			t.aliases[name] = target
		}
	}
	t.files[name] = file
}

// aliasOf returns the name that a link leads to, if that is in the search path. A
// link that leads elsewhere is the unit's own file (systemctl link), or masks the
// unit. The last part of the link's target is not followed, because it may be an
// alias, too (unit_file_resolve_symlink).
func (t *Tree) aliasOf(file string) (name string, is bool) {
	target, err := os.Readlink(t.Join(file))
	if err != nil {
		return "", false
	}
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(file), target)
	}
	dir, err := t.Resolve(path.Dir(target))
	if err != nil {
		return "", false
	}
	in := slices.ContainsFunc(t.search, func(s string) bool { return dir == s || strings.HasPrefix(dir, s+"/") })
	return path.Base(target), in
}

// refuseAlias returns why systemd does not accept a link from one name to another
// as an alias, or "" (unit_validate_alias_symlink_or_warn). The text continues the
// name target.
func refuseAlias(name, target string) string {
	instance := unit.Instance(name)
	switch {
	case !unit.Valid(target):
		return "which is not a valid unit name"
	case path.Ext(name) != path.Ext(target):
		return "which is a unit of another type"
	case unit.IsTemplate(target) && instance == "" && !unit.IsTemplate(name):
		return "which is a template, and " + name + " is not an instance of it"
	case unit.IsTemplate(target):
		return ""
	case unit.IsTemplate(name):
		return "which is not a template, and " + name + " is"
	case unit.Instance(target) != instance && instance == "":
		return "which is an instance of a template, and " + name + " is not"
	case unit.Instance(target) == "" && instance != "":
		return "which is not an instance of a template, and " + name + " is"
	case unit.Instance(target) != instance:
		return "which is another instance"
	}
	return ""
}

// Find returns a unit's own name for any of its names, and its file. An instance
// without a file of its own has the file of its template. A name of no unit is its
// own name, and its file is "" (unit_file_find_fragment).
func (t *Tree) Find(name string) (own, file string) {
	const maxAliases = 8 // FOLLOW_MAX
	own = name
	for range maxAliases {
		file, known := t.files[own]
		target, isAlias := t.aliases[own]
		if instance := unit.Instance(own); !known && instance != "" {
			template := unit.Template(own)
			file, known = t.files[template]
			target, isAlias = t.aliases[template]
		}
		switch {
		case !known:
			return name, ""
		case !isAlias:
			return own, file
		}
		if instance := unit.Instance(own); unit.IsTemplate(target) && instance != "" {
			target = unit.Instantiate(target, instance)
		}
		own = target
	}
	return name, ""
}

// Own returns a unit's own name for any of its names.
func (t *Tree) Own(name string) string {
	own, _ := t.Find(name)
	return own
}

// File returns the file of a unit, or "".
func (t *Tree) File(name string) string {
	_, file := t.Find(name)
	return file
}

// names returns all names of a unit, its own first.
func (t *Tree) names(own string) []string {
	names := []string{own}
	for alias := range t.aliases {
		if instance := unit.Instance(own); unit.IsTemplate(alias) && instance != "" {
			alias = unit.Instantiate(alias, instance)
		}
		if alias != own && t.Own(alias) == own && !slices.Contains(names, alias) {
			names = append(names, alias)
		}
	}
	slices.Sort(names[1:])
	return names
}

// Masked reports whether a unit is masked, so that nothing can start it: by a link
// to /dev/null, which need not exist in an image, or by an empty file.
func (t *Tree) Masked(name string) bool {
	file, err := t.Resolve(t.File(name))
	if err != nil || file == "/dev/null" {
		return err == nil
	}
	info, err := os.Lstat(t.Join(file))
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}

// DropIns returns the drop-ins of a unit in the order in which systemd reads them:
// by file name, and of several with one name only the one with the highest
// priority (unit_file_find_dropin_paths).
func (t *Tree) DropIns(own string) []string {
	winners := make(map[string]string)
	for _, name := range t.names(own) {
		t.collect(family(name), winners)
	}
	t.collect([]string{strings.TrimPrefix(path.Ext(own), ".")}, winners)

	files := slices.Collect(maps.Values(winners))
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return files
}

// collect adds the drop-ins for the names to winners, by file name. A directory
// of the search path has priority over the next one, for all names; in one
// directory, an earlier name has priority over a later one.
func (t *Tree) collect(names []string, winners map[string]string) {
	var dirs []string
	for _, name := range names {
		dirs = append(dirs, t.dirs[name+".d"]...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int {
		return slices.Index(t.search, path.Dir(a)) - slices.Index(t.search, path.Dir(b))
	})
	for _, dir := range dirs {
		real, err := t.Resolve(dir)
		if err != nil {
			continue
		}
		entries, err := os.ReadDir(t.Join(real))
		if err != nil {
			continue
		}
		for _, entry := range entries {
			name := entry.Name()
			if _, known := winners[name]; !known && strings.HasSuffix(name, ".conf") && name[0] != '.' {
				winners[name] = path.Join(dir, name)
			}
		}
	}
}

// Entry returns the file of this name in the search path, with the highest
// priority, and the name that it is an alias of. Both may be "". Unlike Find, it
// follows no alias, and an instance is not looked for under its template.
func (t *Tree) Entry(name string) (file, alias string) { return t.files[name], t.aliases[name] }

// Refused returns the link of this name that systemd ignores, and whether there is
// one.
func (t *Tree) Refused(name string) (Refusal, bool) {
	r, is := t.refused[name]
	return r, is
}

// Names returns the names of all units that have a file, aliases included, sorted.
func (t *Tree) Names() []string { return slices.Sorted(maps.Keys(t.files)) }

// Beside returns the files of one name in the drop-in directories of all units,
// which may not exist, by unit.
func (t *Tree) Beside(name string) map[string][]string {
	files := make(map[string][]string)
	for unit, dirs := range t.dirs {
		for _, dir := range dirs {
			unit := strings.TrimSuffix(unit, ".d")
			files[unit] = append(files[unit], path.Join(dir, name))
		}
	}
	return files
}
