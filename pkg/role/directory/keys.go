package directory

import (
	"maps"
	"slices"
	"strings"

	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
)

// A reading is a Data that is being read.
type reading struct {
	Data
	root   strictyaml.Value // dir, where that is Root
	bind   strictyaml.Value // where that is auto
	absent strictyaml.Value // if-absent
}

var nameKind = key.Kind{Type: key.Text, Doc: "a name", Pattern: `^[a-z][a-z0-9-]{0,62}$`}

// Engines is what fills in the words for engines.
const Engines = "engines"

var keys = key.Table[*File, reading]{
	{
		key.Key{Name: "volume", Says: "The volume that it is on.", Kind: key.Kind{Type: key.Text, Doc: "the name of a volume", Pattern: nameKind.Pattern}},
		func(f *File, r key.Reader, d *reading) { d.Volume = f.Volume(r) },
	},
	{
		key.Key{Name: "dir", Says: "The directory of the volume. `.` is all of the volume, for `engine: none`.", Kind: key.Kind{Type: key.Text, Doc: "the name of one directory, or `.`", Pattern: `^(\.|[a-zA-Z0-9_][a-zA-Z0-9_.+@:-]{0,127})$`}},
		readDir,
	},
	{
		key.Key{Name: "bind", Says: "Where the engine looks for its data. `auto` has bootagent ask the engine at boot, and binds it there.", Kind: key.Kind{Type: key.Text, Doc: "an absolute path, or `auto`", Pattern: `^(/.*|auto)$`}},
		func(f *File, r key.Reader, d *reading) {
			path, ok := r.TextOf("an absolute path, or auto")
			switch {
			case !ok:
			case path == auto:
				d.Auto, d.bind = true, r.Value
			default:
				f.Bind(r, path)
				d.Bind = path
			}
		},
	},
	{
		key.Key{Name: "engine", Says: "The database engine that keeps its data there. `none` is a service of any other kind.", Kind: key.Kind{Type: key.Text, Filled: Engines}},
		readEngine,
	},
	{
		key.Key{Name: "owner", Says: "The user that the directory belongs to.", Kind: key.Kind{Type: key.Text, Doc: "the name of a user", Pattern: userPattern}},
		func(_ *File, r key.Reader, d *reading) {
			owner, ok := r.TextOf("the name of a user, such as mysql")
			if ok {
				if err := syntax.CheckUser(owner); err != nil {
					r.Failf("%s: owner: %v", r.What, err)
				}
			}
			d.Owner = owner
		},
	},
	{
		key.Key{Name: "group", Says: "The group that the directory belongs to, for `engine: none`.", Unset: "the owner's own group; whichever it has, if it is there", Kind: key.Kind{Type: key.Text, Doc: "the name of a group", Pattern: userPattern}},
		func(_ *File, r key.Reader, d *reading) {
			group, ok := r.TextOf("the name of a group, such as mysql")
			if ok {
				if err := syntax.CheckGroup(group); err != nil {
					r.Failf("%s: group: %v", r.What, err)
				}
			}
			d.Group = group
			d.plainOnly(r)
		},
	},
	{
		key.Key{Name: "mode", Says: "Who may read and write the directory, for `engine: none`.", Unset: "`0700`; whichever it has, if it is there", Kind: key.Kind{Type: key.Text, Doc: "a mode in octal digits, in quotes: `\"0750\"`", Pattern: `^[0-3][0-7]{3}$`}},
		func(_ *File, r key.Reader, d *reading) {
			mode, ok := r.TextOf(`a mode in quotes, such as "0750"`)
			switch {
			case !ok:
			case len(mode) != 4 || strings.Trim(mode, "01234567") != "" || mode[0] > '3':
				r.Failf(`%s: mode: not a mode; write four octal digits in quotes, the first at most 3, such as "0750"`, r.What)
			case mode[1] != '7':
				r.Failf(`%s: mode: the owner could not use the directory; the second digit has to be 7, as in "0750"`, r.What)
			}
			d.Mode = mode
			d.plainOnly(r)
		},
	},
	{
		key.Key{Name: "if-absent", Says: "What happens where the directory is not there: `initialize` makes a new, empty database, `copy` copies a directory of the image, and `wait` waits until a person has copied it. All of them apply to a filesystem that never held this data.", Unset: "`fail`", Kind: key.OneOf(Fail, Initialize, Copy, Wait)},
		func(_ *File, r key.Reader, d *reading) {
			word, _ := r.Word()
			d.IfAbsent, d.absent = IfAbsent(word), r.Value
		},
	},
	{
		key.Key{Name: "copy-from", Says: "The directory of the image that `if-absent: copy` copies.", Unset: "none", With: "if-absent", Kind: key.Kind{Type: key.Text, Doc: "an absolute path", Pattern: `^/`, Example: "copy-from: /usr/share/site"}},
		func(_ *File, r key.Reader, d *reading) {
			path, ok := r.TextOf("an absolute path")
			if ok {
				if err := syntax.CheckPath(path); err != nil {
					r.Failf("%s: copy-from %s: %v", r.What, strictyaml.Quote(path), err)
				}
			}
			if ok && d.IfAbsent != Copy {
				r.Failf("%s: copy-from applies to if-absent: %s only; write that, or leave copy-from out", r.What, Copy)
			}
			d.CopyFrom = path
		},
	},
	{
		key.Key{
			Name: "beside", Says: "Data that the volume holds and the role no longer names. A new database may be initialised beside them.", Unset: "none", With: "if-absent",
			Kind: key.Kind{Type: key.List, Doc: "a list of names", Entry: &nameKind, Example: "beside: [old]"},
		},
		readBeside,
	},
}

const userPattern = `^[a-zA-Z_][a-zA-Z0-9_-]{0,30}$`

// plainOnly refuses a key that an engine decides itself.
func (d *reading) plainOnly(r key.Reader) {
	if !d.Plain && d.Engine != "" {
		r.Failf("%s: %s decides the %s of its directory itself; leave %s out", r.What, d.Engine, r.Key.Name, r.Key.Name)
	}
}

func readDir(f *File, r key.Reader, d *reading) {
	dir, ok := r.Text()
	if !ok {
		return
	}
	d.Dir = dir
	if dir == Root {
		d.root = r.Value
	} else if err := syntax.CheckDir(dir); err != nil {
		r.Failf("%s: dir: %v", r.What, err)
		return
	}
	place := d.Volume + "/" + dir
	if other := f.Taken[place]; other != "" {
		r.Failf("%s has the same directory as %s", r.What, other)
	}
	if other := f.Taken[d.Volume+"/"+Root]; other != "" && dir != Root {
		r.Failf("%s is on volume %q, and %s has all of that; put them on two volumes, or give each a directory of its own", r.What, d.Volume, other)
	}
	f.Taken[place] = r.What
}

func readEngine(f *File, r key.Reader, d *reading) {
	r.Key.Kind.Words = f.Engines
	word, ok := r.Word()
	d.Engine, d.Plain = Engine(word), len(f.Engines) == 0 || slices.Contains(f.Plain, word)
	if d.Auto && slices.Contains(f.Plain, word) {
		d.bind.Failf("%s: bind: %s needs an engine that says where it keeps its data, and engine: %s says nothing; write the path where the service looks", r.What, auto, word)
	}
	switch {
	case !ok || !d.root.Given():
	case !d.Plain:
		d.root.Failf("%s: dir: %v", r.What, syntax.CheckDir(Root))
	default:
		for _, taken := range slices.Sorted(maps.Keys(f.Taken)) {
			if volume, dir, _ := strings.Cut(taken, "/"); volume == d.Volume && dir != Root {
				d.root.Failf("%s would have all of volume %q, and %s is on it, too; put them on two volumes, or give each a directory of its own", r.What, volume, f.Taken[taken])
				return
			}
		}
	}
}

// together refuses what does not go together.
func (d *reading) together(what string) {
	switch {
	case !d.absent.Given():
	case d.IfAbsent == Copy && d.CopyFrom == "":
		d.absent.Failf("%s: if-absent: %s needs the directory that is copied; write copy-from: /usr/share/site", what, Copy)
	case d.Dir == Root && (d.IfAbsent == Copy || d.IfAbsent == Wait):
		d.absent.Failf("%s: if-absent: %s needs a directory that gets its name when it is complete, and dir: %s has its name already; name a directory of the volume", what, d.IfAbsent, Root)
	}
}

// readBeside reads the names of data that the role had before.
func readBeside(_ *File, r key.Reader, d *reading) {
	list, ok := r.List()
	if ok && (d.IfAbsent == Fail || d.IfAbsent == "") {
		r.Failf("%s: beside applies to if-absent: %s, %s or %s; write one of them, or leave beside out", r.What, Initialize, Copy, Wait)
	}
	for _, entry := range list {
		name, ok := entry.Name()
		switch {
		case !ok:
		case name == d.Name:
			entry.Failf("%s can't be beside itself; name data that the role no longer has", r.What)
		case slices.Contains(d.Beside, name):
			entry.Failf("%s: %q stands twice in beside", r.What, name)
		default:
			d.Beside = append(d.Beside, name)
		}
	}
	slices.Sort(d.Beside)
}
