package sim

import (
	"cmp"

	"bootagent/pkg/host"
)

// withKeys puts a database of Redis on a volume that a former instance had. Redis
// has a ledger say that its directory had content.
func (w *World) withKeys(v *ebs, change func(*directory)) {
	w.withDatabase(v, "redis", `"ready":true,"filled":true`, change)
}

// loses has somebody remove all that is in the directory of the database, while
// the volume is not mounted.
func (w *World) loses(v *ebs) {
	d := v.log.dirs["mysql"]
	d.bare, d.lost, d.rows = true, true, 0
	v.log.dirs["mysql"] = d
	v.place = v.log.clone()
	w.acked[v.ID] = 0
}

// restores has somebody put it back, while the volume is mounted.
func (w *World) restores(v *ebs) {
	v.change(func(f *filesystem) {
		d := f.dirs["mysql"]
		d.bare, d.lost = false, false
		f.dirs["mysql"] = d
	})
	v.sync("mysql")
}

// takesEmpty tells whether an empty directory is a database to an engine.
func takesEmpty(engine string) bool { return engine == "redis" }

// created is a directory that has just been made for an engine.
func created(of host.Data) directory {
	if takesEmpty(of.Engine) {
		return directory{state: host.Ready, engine: of.Engine, owner: of.Owner, bare: true, label: labelLike(of.Bind)}
	}
	return directory{state: host.Foreign, engine: emptyOf(of.Engine), owner: of.Owner, label: labelLike(of.Bind)}
}

// labelLike is the type that the policy of the world gives to a path. Both paths at
// which MariaDB may look have one.
func labelLike(path string) string {
	return cmp.Or(map[string]string{
		volumeAt: "var_t", spoolAt: "var_lib_t", dataDir: "mysqld_db_t", otherDir: "mysqld_db_t",
	}[path], "unlabeled_t")
}
