package role

import (
	"slices"

	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
)

// Data is one data directory: a directory of a volume, bound onto the path
// where its engine looks for it.
type Data struct {
	Name     string   `json:"name"`
	Volume   string   `json:"volume"` // name of the volume
	Dir      string   `json:"dir"`    // directory below the volume's root, one path element
	Bind     string   `json:"bind"`   // absolute, clean path where the engine expects it
	Engine   Engine   `json:"engine"`
	Owner    string   `json:"owner"` // user name
	IfAbsent IfAbsent `json:"if-absent"`
	Beside   []string `json:"beside,omitempty"` // former data of the volume, beside which it may be initialised
}

// Engine is the name of a database engine, one of those of the Grammar.
type Engine string

// IfAbsent says what to do where a volume has no such data directory yet.
type IfAbsent string

// Initialize has the engine make a new, empty database, on a filesystem that
// never held one; Fail, the default, makes its absence an error.
const (
	Initialize IfAbsent = "initialize"
	Fail       IfAbsent = "fail"
)

var dataSection = section{
	Key: key.Key{
		Name: "data", Says: "The data directories of the role, by name. Each is a directory of a volume that is bound onto the path where its engine looks for it.", Unset: "none",
		Kind: mapOf(dataKeys.Keys(), "data: {mysql: {volume: data, dir: mysql, bind: /var/lib/mysql, engine: mariadb, owner: mysql}}"),
	},
	read: readData,
	plan: func(p *planning) { p.plan.Data = slices.Clone(p.role.Data) },
}

var dataKeys = key.Table[*reading, Data]{
	{
		key.Key{Name: "volume", Says: "The volume that it is on.", Kind: key.Kind{Type: key.Text, Doc: "the name of a volume", Pattern: namePattern}},
		func(d *reading, r key.Reader, data *Data) {
			volumes := d.known["volumes"]
			switch {
			case d.lost("volumes"):
				data.Volume, _ = r.Name()
			case len(volumes) == 0:
				r.Failf("%s: the role has no volumes; declare it below volumes", r.What)
			default:
				data.Volume, _ = r.OneOf(volumes...)
			}
		},
	},
	{
		key.Key{Name: "dir", Says: "The directory of the volume.", Kind: key.Kind{Type: key.Text, Doc: "the name of one directory", Pattern: `^[a-zA-Z0-9_][a-zA-Z0-9_.+@:-]{0,127}$`}},
		readDir,
	},
	{
		key.Key{Name: "bind", Says: "Where the engine looks for its data.", Kind: pathKind},
		func(d *reading, r key.Reader, data *Data) {
			if path, ok := r.TextOf("an absolute path"); ok {
				what := r.What + ": bind " + strictyaml.Quote(path)
				d.binds = append(d.binds, d.occupy(r.Value, what, path, "the bind of "+r.What, slices.Concat(d.mounts, d.binds))...)
				data.Bind = path
			}
		},
	},
	{
		key.Key{Name: "engine", Says: "The database engine that keeps its data there.", Kind: key.Kind{Type: key.Text, Filled: engines}},
		func(d *reading, r key.Reader, data *Data) {
			r.Key.Kind.Words = d.grammar.Engines
			word, _ := r.Word()
			data.Engine = Engine(word)
		},
	},
	{
		key.Key{Name: "owner", Says: "The user that the directory belongs to.", Kind: key.Kind{Type: key.Text, Doc: "the name of a user", Pattern: `^[a-zA-Z_][a-zA-Z0-9_-]{0,30}$`}},
		func(d *reading, r key.Reader, data *Data) {
			owner, ok := r.TextOf("the name of a user, such as mysql")
			if ok {
				if err := syntax.CheckUser(owner); err != nil {
					r.Failf("%s: owner: %v", r.What, err)
				}
			}
			data.Owner = owner
		},
	},
	{
		key.Key{Name: "if-absent", Says: "What happens where the directory is not there: `initialize` makes a new, empty database, on a filesystem that never held this data.", Unset: "`fail`", Kind: key.OneOf(Fail, Initialize)},
		key.Word[*reading](func(data *Data) *IfAbsent { return &data.IfAbsent }),
	},
	{
		key.Key{
			Name: "beside", Says: "Data that the volume holds and the role no longer names. A new database may be initialised beside them.", Unset: "none", With: "if-absent",
			Kind: key.Kind{Type: key.List, Doc: "a list of names", Entry: &nameKind, Example: "beside: [old]"},
		},
		readBeside,
	},
}

func readData(d *reading, value strictyaml.Value) {
	for _, e := range value.Map("data").Entries() {
		data := Data{IfAbsent: Fail}
		data.Name, _ = e.Key.Name()
		dataKeys.Decode(d, e.Value, "data "+strictyaml.Quote(e.Key.String()), &data)
		d.role.Data = append(d.role.Data, data)
	}
	byName(d.role.Data, func(data Data) string { return data.Name })
}

// readBeside reads the names of data that the role had before.
func readBeside(_ *reading, r key.Reader, data *Data) {
	list, ok := r.List()
	if ok && data.IfAbsent != Initialize {
		r.Failf("%s: beside applies to if-absent: %s only; write that, or leave beside out", r.What, Initialize)
	}
	for _, entry := range list {
		name, ok := entry.Name()
		switch {
		case !ok:
		case name == data.Name:
			entry.Failf("%s can't be beside itself; name data that the role no longer has", r.What)
		case slices.Contains(data.Beside, name):
			entry.Failf("%s: %q stands twice in beside", r.What, name)
		default:
			data.Beside = append(data.Beside, name)
		}
	}
	slices.Sort(data.Beside)
}

func readDir(d *reading, r key.Reader, data *Data) {
	dir, ok := r.Text()
	if !ok {
		return
	}
	data.Dir = dir
	if err := syntax.CheckDir(dir); err != nil {
		r.Failf("%s: dir: %v", r.What, err)
		return
	}
	place := data.Volume + "/" + dir
	if other := d.dirs[place]; other != "" {
		r.Failf("%s has the same directory as %s", r.What, other)
	}
	d.dirs[place] = r.What
}
