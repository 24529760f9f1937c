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
	files   map[string]string   // unit → its file, in the directory that wins
	aliases map[string]string   // name → the unit that it is another name of
	dirs    map[string][]string // "<unit>.d" → the directories of that name
}

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

func (t *tree) add(dir string, entry fs.DirEntry) {
	name, file := entry.Name(), path.Join(dir, entry.Name())
	if strings.HasSuffix(name, ".d") {
		t.dirs[name] = append(t.dirs[name], file)
		return
	}
	if _, known := t.files[name]; known || !ValidName(name) {
		return
	}
	t.files[name] = file
	if entry.Type()&fs.ModeSymlink == 0 {
		return
	}
	real, err := t.root.resolve(file)
	if err != nil {
		return
	}
	unit := path.Base(real)
	if isTemplate(unit) && instance(name) != "" {
		unit = instantiate(unit, instance(name))
	}
	// A link that leads out of the search path is the unit's own file, kept
	// elsewhere (systemctl link).
	if slices.Contains(t.search, path.Dir(real)) && unit != name && path.Ext(unit) == path.Ext(name) {
		t.aliases[name] = unit
	}
}

// unit gives the unit's own name for any name that it goes by.
func (t *tree) unit(name string) string {
	if own, ok := t.aliases[name]; ok {
		return own
	}
	return name
}

// file gives the file of a unit, for an instance the template's if it has none
// of its own, or "".
func (t *tree) file(unit string) string {
	if file, ok := t.files[unit]; ok || instance(unit) == "" {
		return file
	}
	return t.files[template(unit)]
}

// masked tells whether a unit is masked, so that nothing can start it: by a
// link to /dev/null, which an image need not have, or by an empty file.
func (t *tree) masked(unit string) bool {
	file, err := t.root.resolve(t.file(unit))
	if err != nil || file == "/dev/null" {
		return err == nil
	}
	info, err := os.Lstat(t.root.path(file))
	return err == nil && info.Mode().IsRegular() && info.Size() == 0
}

// dropIns gives the drop-ins of a unit in the order in which systemd reads
// them: by file name, and of those of one name only the one that wins
// (unit_file_find_dropin_paths).
func (t *tree) dropIns(unit string) []string {
	names := []string{unit}
	for alias, of := range t.aliases {
		if of == unit {
			names = append(names, alias)
		}
	}
	slices.Sort(names[1:])

	winners := make(map[string]string)
	for _, name := range names {
		t.collect(family(name), winners)
	}
	t.collect([]string{strings.TrimPrefix(path.Ext(unit), ".")}, winners)

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
