package role

import (
	"slices"

	"bootagent/pkg/role/directory"
	"bootagent/pkg/role/find"
	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
)

// Data is one data directory of a role.
type Data = directory.Data

var dataSection = section{
	Key: key.Key{
		Name: "data", Says: "The data directories of the role, by name. Each is a directory of a volume that is bound onto the path where its engine looks for it.", Unset: "none",
		Kind: directory.Kind(namePattern, "data: {mysql: {volume: data, dir: mysql, bind: /var/lib/mysql, engine: mariadb, owner: mysql}}"),
	},
	read: readData,
	plan: func(p *planning) { p.plan.Data = slices.Clone(p.role.Data) },
}

func readData(d *reading, value strictyaml.Value) {
	file := &directory.File{
		Engines: d.grammar.Engines, Plain: d.grammar.Plain, Taken: make(map[string]string),
		Volume: d.volumeOf,
		Bind: func(r key.Reader, path string) {
			what := r.What + ": bind " + strictyaml.Quote(path)
			d.binds = append(d.binds, d.occupy(r.Value, what, path, "the bind of "+r.What, slices.Concat(d.mounts, d.binds))...)
		},
	}
	for _, e := range value.Map("data").Entries() {
		data := directory.Read(file, e)
		for _, v := range d.role.Volumes {
			makes := data.IfAbsent == directory.Initialize || data.IfAbsent == directory.Copy
			if v.Name == data.Volume && v.Find.Pick == find.AnyFree && !v.Disposable && makes {
				e.Key.Failf("data %q: if-absent: %s on a volume with pick: %s needs disposable: true for the volume, since an empty volume may be taken in place of one with data",
					data.Name, data.IfAbsent, find.AnyFree)
			}
		}
		d.role.Data = append(d.role.Data, data)
	}
	byName(d.role.Data, func(data Data) string { return data.Name })
}

// volumeOf reads the name of the volume of a data directory.
func (d *reading) volumeOf(r key.Reader) (name string) {
	volumes := d.known["volumes"]
	switch {
	case d.lost("volumes"):
		name, _ = r.Name()
	case len(volumes) == 0:
		r.Failf("%s: the role has no volumes; declare it below volumes", r.What)
	default:
		name, _ = r.OneOf(volumes...)
	}
	return name
}
