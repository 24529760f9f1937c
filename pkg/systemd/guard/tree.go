package guard

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"bootagent/pkg/unit"
)

// maxFile bounds what is read of a unit file, in bytes. systemd's own are a
// few KiB; whatever is larger than this is none.
const maxFile = 1 << 20

// searchPath is where systemd looks for units and drop-ins, the directory that
// wins first (man systemd.unit, "Unit File Load Path").
func searchPath() []string {
	return []string{
		"/etc/systemd/system.control",
		"/run/systemd/system.control",
		"/run/systemd/transient",
		"/run/systemd/generator.early",
		installDir,
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

// A root is the directory that a machine, or an image of one, calls "/". The
// paths that its methods take and give are below it.
type root struct {
	dir   string
	links map[string]string // directories and what each links to, "" for one that is no link
}

func newRoot(dir string) root { return root{dir, make(map[string]string)} }

func (r root) path(name string) string { return filepath.Join(r.dir, name) }

// resolve follows the links of name as a process of the image would: an
// absolute link leads into the image and not to the machine that bakes it.
// What does not exist resolves to itself.
func (r root) resolve(name string) (string, error) {
	const maxLinks = 40 // the kernel's MAXSYMLINKS
	done, todo := "/", strings.Split(path.Clean("/"+name), "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		target := r.link(next, len(todo) > 0)
		if target == "" {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: r.path(name), Err: syscall.ELOOP}
		}
		if path.IsAbs(target) {
			done = "/"
		}
		todo = slices.Concat(strings.Split(target, "/"), todo)
	}
	return done, nil
}

// link gives what name links to, or "" if it is no link. It remembers
// directories, as all units are in a dozen of them.
func (r root) link(name string, isDir bool) string {
	target, known := r.links[name]
	if known {
		return target
	}
	target, err := os.Readlink(r.path(name))
	if err != nil {
		target = ""
	}
	if isDir {
		r.links[name] = target
	}
	return target
}

// read gives the text of a regular file. It opens nothing else: a pipe in the
// place of a unit file must not hang a boot.
func (r root) read(name string) ([]byte, error) {
	real, err := r.resolve(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(r.path(real), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	switch info, err := file.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("cannot read %s: not a regular file", r.path(real))
	case info.Size() > maxFile:
		return nil, fmt.Errorf("cannot read %s: larger than %d bytes", r.path(real), maxFile)
	}
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// A tree is what systemd would find below a root: the names of its units,
// where their files are, and the directories of their drop-ins.
type tree struct {
	root    root
	search  []string            // the search path without links, what wins first
	files   map[string]string   // name → its file, in the directory that wins
	aliases map[string]string   // name → the name that its file links to
	refused map[string]refusal  // name → a link of this name that systemd takes for no alias
	dirs    map[string][]string // "<unit>.d" → the directories of that name
}

// A refusal is a link that systemd passes over, as if it were not there.
type refusal struct{ file, target, why string }

// readTree reads the directories of the search path, and no file in them. A
// directory of systemd's that is missing holds no units; a root that is
// missing, or a directory that can't be read, is an error.
func readTree(r root) (*tree, error) {
	if _, err := os.Stat(r.path("/")); err != nil {
		return nil, fmt.Errorf("cannot read units: %w", err)
	}
	t := &tree{
		root:    r,
		files:   make(map[string]string),
		aliases: make(map[string]string),
		refused: make(map[string]refusal),
		dirs:    make(map[string][]string),
	}
	for _, dir := range searchPath() {
		real, err := r.resolve(dir)
		if err != nil {
			return nil, fmt.Errorf("cannot read units: %w", err)
		}
		if !slices.Contains(t.search, real) {
			t.search = append(t.search, real)
		}
	}
	for _, dir := range t.search {
		entries, err := os.ReadDir(r.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read units: %w", err)
		}
		for _, entry := range entries {
			t.add(dir, entry)
		}
	}
	return t, nil
}

// add takes in an entry of a directory of units, as systemd does when it maps
// names to files (unit_file_build_name_map).
func (t *tree) add(dir string, entry fs.DirEntry) {
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
			if t.refused[name].file == "" {
				t.refused[name] = refusal{file, target, why}
			}
			return
		}
		if isAlias && target == name {
			return // what it links to counts, in its own directory
		}
		if isAlias {
			t.aliases[name] = target
		}
	}
	t.files[name] = file
}

// aliasOf gives the name that a link leads to, if that is in the search path.
// A link that leads out of it is the unit's own file, kept elsewhere (systemctl
// link), or masks it. Only the last part of what it says is not followed: that
// may be an alias in turn (unit_file_resolve_symlink).
func (t *tree) aliasOf(file string) (name string, is bool) {
	target, err := os.Readlink(t.root.path(file))
	if err != nil {
		return "", false
	}
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(file), target)
	}
	dir, err := t.root.resolve(path.Dir(target))
	if err != nil {
		return "", false
	}
	in := slices.ContainsFunc(t.search, func(s string) bool { return dir == s || strings.HasPrefix(dir, s+"/") })
	return path.Base(target), in
}

// refuseAlias tells why systemd takes a link of one name to another for no
// alias, or "" (unit_validate_alias_symlink_or_warn). It goes on from the name
// of what is linked to.
func refuseAlias(name, target string) string {
	instance := unit.Instance(name)
	switch {
	case !unit.Valid(target):
		return "which is no name of a unit"
	case path.Ext(name) != path.Ext(target):
		return "a unit of another type"
	case unit.IsTemplate(target) && instance == "" && !unit.IsTemplate(name):
		return "a template, of which it would be no instance"
	case unit.IsTemplate(target):
		return ""
	case unit.IsTemplate(name):
		return "no template as " + name + " is"
	case unit.Instance(target) != instance && instance == "":
		return "an instance of a template, as it is none itself"
	case unit.Instance(target) == "" && instance != "":
		return "no instance of a template as it is one itself"
	case unit.Instance(target) != instance:
		return "an instance of another name"
	}
	return ""
}

// find gives the unit's own name for any name that it goes by, and its file;
// for an instance the template's if it has none of its own. A name that leads
// nowhere is its own, with no file (unit_file_find_fragment).
func (t *tree) find(name string) (own, file string) {
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

// unit gives the unit's own name for any name that it goes by.
func (t *tree) unit(name string) string {
	own, _ := t.find(name)
	return own
}

// file gives the file of a unit, or "".
func (t *tree) file(name string) string {
	_, file := t.find(name)
	return file
}

// names gives all names that a unit goes by, its own first.
func (t *tree) names(own string) []string {
	names := []string{own}
	for alias := range t.aliases {
		if instance := unit.Instance(own); unit.IsTemplate(alias) && instance != "" {
			alias = unit.Instantiate(alias, instance)
		}
		if alias != own && t.unit(alias) == own && !slices.Contains(names, alias) {
			names = append(names, alias)
		}
	}
	slices.Sort(names[1:])
	return names
}

// masked tells whether a unit is masked, so that nothing can start it: by a
// link to /dev/null, which an image need not have, or by an empty file.
func (t *tree) masked(name string) bool {
	file, err := t.root.resolve(t.file(name))
	if err != nil || file == "/dev/null" {
		return err == nil
	}
	info, err := os.Lstat(t.root.path(file))
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}

// dropIns gives the drop-ins of a unit in the order in which systemd reads
// them: by file name, and of those of one name only the one that wins
// (unit_file_find_dropin_paths).
func (t *tree) dropIns(own string) []string {
	winners := make(map[string]string)
	for _, name := range t.names(own) {
		t.collect(family(name), winners)
	}
	t.collect([]string{strings.TrimPrefix(path.Ext(own), ".")}, winners)

	files := slices.Collect(maps.Values(winners))
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return files
}

// collect adds to winners, by file name, the drop-ins for the names. A
// directory of the search path wins for all of them over the next one; in one,
// the names win in their order.
func (t *tree) collect(names []string, winners map[string]string) {
	var dirs []string
	for _, name := range names {
		dirs = append(dirs, t.dirs[name+".d"]...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int {
		return slices.Index(t.search, path.Dir(a)) - slices.Index(t.search, path.Dir(b))
	})
	for _, dir := range dirs {
		real, err := t.root.resolve(dir)
		if err != nil {
			continue
		}
		entries, err := os.ReadDir(t.root.path(real))
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
