package sim

import (
	"fmt"
	"strings"
	"time"

	"bootagent/pkg/host"
	volume "bootagent/pkg/storage/ebs"
)

// A beginning is how the volume is before the first boot.
type beginning struct {
	name   string
	weight int
	set    func(w *World, v *ebs)
	never  string // what the agent says, as it can't ever come up; "" where it has to
}

var beginnings = []beginning{
	{name: "a new volume", weight: 14, set: func(*World, *ebs) {}},
	{name: "a volume with a database", weight: 10, set: func(w *World, v *ebs) { w.withRows(v) }},
	{name: "a volume that another instance holds", weight: 3, set: func(w *World, v *ebs) {
		w.withRows(v)
		w.cloud.hold(v)
	}},
	{name: "a volume that is being made", weight: 1, set: func(w *World, v *ebs) {
		v.State = volume.Creating
		w.in(w.between(5*time.Second, time.Minute), "EC2", fmt.Sprintf("%s is available", v.ID), func() {
			v.Volume.State = volume.Available
		})
	}},
	{name: "two volumes with the tags", weight: 1, set: func(w *World, v *ebs) {
		w.withRows(v)
		w.cloud.add()
	}},
	{name: "a volume without the tag that a file has", weight: 1, set: func(w *World, v *ebs) {
		delete(v.Tags, serverIDTag)
		w.in(w.between(time.Minute, 8*time.Minute), "a person", "gives the volume its tag", func() {
			if v.Tags[serverIDTag] == "" { // nobody else was quicker
				v.becomes(func(*volume.Volume) { w.giveID(v, "8") })
			}
		})
	}},
	{name: "a volume with a tag that does not fit into its file", weight: 1, never: "may have only letters", set: func(_ *World, v *ebs) {
		v.Tags[serverIDTag] = unfitID
	}},
	{name: "a volume with the remains of LVM", weight: 1, never: "LVM2", set: func(_ *World, v *ebs) {
		v.lvm = true
	}},
	{name: "a filesystem of somebody's", weight: 1, never: "without a ledger", set: func(_ *World, v *ebs) {
		v.format("xfs", "11111111-1111-4111-8111-111111111111", 8<<30)
		v.place.made, v.log.made = false, false
	}},
	{name: "a filesystem of ours that was repaired", weight: 1, never: "which bootagent made, and its ledger, bootagent's record on it, is gone", set: func(w *World, v *ebs) {
		const uuid = "22222222-2222-4222-8222-222222222222"
		w.withRows(v)
		v.place.ledger = ""
		v.place.dirs["lost+found"] = v.place.dirs["mysql"]
		delete(v.place.dirs, "mysql")
		v.log = v.place.clone()
		v.Tags[volume.TagFilesystem] = "made " + uuid
		w.acked[v.ID] = 0
	}},
	{name: "a filesystem of somebody's that a tag calls ours", weight: 1, never: "which mkfs does not leave", set: func(_ *World, v *ebs) {
		const uuid = "11111111-1111-4111-8111-111111111111"
		v.format("xfs", uuid, 8<<30)
		v.place.made = false
		v.place.dirs["home"] = directory{state: host.Damaged, engine: "mariadb", owner: "somebody", synced: true}
		v.log = v.place.clone()
		v.Tags[volume.TagFilesystem] = "making " + uuid
	}},
	{name: "a database under another name", weight: 1, never: "which the role does not name", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.place.ledger = strings.Replace(v.place.ledger, `"data":{"mysql":`, `"made":"2026-01-01T00:00:00Z","closed":true,"data":{"orders":`, 1)
		v.place.dirs["orders"] = v.place.dirs["mysql"]
		delete(v.place.dirs, "mysql")
		v.log = v.place.clone()
		w.acked[v.ID] = 0
	}},
	{name: "a blank volume made from a snapshot", weight: 1, never: "was made from snapshot", set: func(_ *World, v *ebs) {
		v.Snapshot = "snap-1"
	}},
	{name: "a copy of a volume", weight: 1, never: "is a copy of volume", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.Tags[volume.TagSelf] = "vol-0000000000000beef"
	}},
	{name: "a copy of a volume without its tags", weight: 1, never: ", as its ledger says", set: func(_ *World, v *ebs) {
		v.ours("vol-0000000000000beef", "22222222-2222-4222-8222-222222222222", 9)
	}},
	{name: "a volume of another role", weight: 1, never: "is a volume of role", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.place.ledger = strings.Replace(v.place.ledger, `"role":"mysql-ec2"`, `"role":"queue"`, 1)
		v.log = v.place.clone()
	}},
	{name: "a volume that is smaller than its filesystem", weight: 1, never: "is smaller than its xfs filesystem: it has 8589934592 bytes, and the filesystem 10737418240", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.place.size, v.shrunk = 10<<30, true
		v.log = v.place.clone()
	}},
	{name: "a volume with multi-attach", weight: 1, never: "multi-attach enabled", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.MultiAttach = true
		w.cloud.hold(v)
	}},
	{name: "a volume in another zone", weight: 1, never: "is in zone", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.Zone = "eu-central-1b"
	}},
	{name: "a database whose directory is gone", weight: 1, never: "is absent, but the volume's ledger says that it was there", set: func(w *World, v *ebs) {
		w.withRows(v)
		delete(v.place.dirs, "mysql")
		v.log = v.place.clone()
		w.acked[v.ID] = 0
	}},
	{name: "a database of which a part is empty", weight: 1, never: "spool is empty, but the volume's ledger says that it was not", set: func(w *World, v *ebs) {
		w.withRows(v)
		if !w.hasSpool() {
			w.role = withSpool(w.role)
		}
		v.spool()
		v.place.dirs["spool"] = directory{state: host.Foreign, engine: "none", owner: "mysql", synced: true}
		v.place.ledger = strings.Replace(v.place.ledger, `"data":{`, `"data":{"spool":{"engine":"none","ready":true,"filled":true},`, 1)
		v.log = v.place.clone()
	}},
	{name: "a database that is damaged", weight: 1, never: "is not a data directory that mariadb can start on", set: func(w *World, v *ebs) {
		w.withRows(v)
		d := v.place.dirs["mysql"]
		d.state = host.Damaged
		v.place.dirs["mysql"] = d
		v.log = v.place.clone()
	}},
	{name: "a database whose initialisation did not finish", weight: 1, never: "its initialisation did not finish", set: func(w *World, v *ebs) {
		w.withRows(v)
		d := v.place.dirs["mysql"]
		d.state, d.begun = host.Damaged, true
		v.place.dirs["mysql"] = d
		v.log = v.place.clone()
	}},
	{name: "a database of another user's", weight: 1, never: "it belongs to user number 1000", set: func(w *World, v *ebs) {
		w.withRows(v)
		d := v.place.dirs["mysql"]
		d.owner = "somebody"
		v.place.dirs["mysql"] = d
		v.log = v.place.clone()
	}},
	{name: "a database that a newer engine used", weight: 1, never: "MariaDB " + models["mariadb"].newer + " used it", set: func(w *World, v *ebs) {
		w.withRows(v)
		d := v.place.dirs["mysql"]
		d.newer = true
		v.place.dirs["mysql"] = d
		v.log = v.place.clone()
	}},
	{name: "a new volume, for PostgreSQL", weight: 3, set: func(w *World, _ *ebs) { w.role = ofEngine(w.role, "postgres") }},
	{name: "a volume with a database of PostgreSQL", weight: 2, set: func(w *World, v *ebs) { w.withCluster(v, func(*directory) {}) }},
	{name: "a database of a newer PostgreSQL", weight: 1, never: "it is of PostgreSQL 17, and the version installed here is older: 15.18", set: func(w *World, v *ebs) {
		w.withCluster(v, func(d *directory) { d.newer = true })
	}},
	{name: "a database of an older PostgreSQL", weight: 1, never: "it is of PostgreSQL 13, and the version installed here is newer: 15.18", set: func(w *World, v *ebs) {
		w.withCluster(v, func(d *directory) { d.older = true })
	}},
	{name: "a database of PostgreSQL that initdb did not finish", weight: 1, never: "initdb did not finish: of the 3 databases that it makes (template1, template0, postgres), it has 1", set: func(w *World, v *ebs) {
		w.withCluster(v, func(d *directory) { d.state = host.Damaged })
	}},
	{name: "a new volume, for MySQL", weight: 2, set: func(w *World, _ *ebs) { w.role = ofEngine(w.role, "mysql") }},
	{name: "a volume with a database of MySQL", weight: 1, set: func(w *World, v *ebs) { w.withMySQL(v, func(*directory) {}) }},
	{name: "a database of a newer MySQL", weight: 1, never: "MySQL 9.8.0 used it, and the version installed here, 9.7.4, cannot open it", set: func(w *World, v *ebs) {
		w.withMySQL(v, func(d *directory) { d.newer = true })
	}},
	{name: "a database of a MySQL that is too old", weight: 1, never: "MySQL 8.0.36 used it, and the version installed here, 9.7.4, cannot open it", set: func(w *World, v *ebs) {
		w.withMySQL(v, func(d *directory) { d.older = true })
	}},
	{name: "a database of MySQL whose initialisation did not finish", weight: 1, never: "its initialisation did not finish", set: func(w *World, v *ebs) {
		w.withMySQL(v, func(d *directory) { d.state, d.begun = host.Damaged, true })
	}},
	{name: "a database of MySQL that is damaged", weight: 1, never: "is not a data directory that mysql can start on", set: func(w *World, v *ebs) {
		w.withMySQL(v, func(d *directory) { d.state = host.Damaged })
	}},
	{name: "a database of MySQL for MariaDB", weight: 1, never: "is not a data directory that mariadb can start on", set: func(w *World, v *ebs) {
		w.withRows(v)
		d := v.place.dirs["mysql"]
		d.engine = "mysql"
		v.place.dirs["mysql"] = d
		v.log = v.place.clone()
	}},
	{name: "a database of MariaDB for MySQL", weight: 1, never: "it has data of MariaDB, which MySQL cannot read", set: func(w *World, v *ebs) {
		w.withMySQL(v, func(d *directory) { d.engine = "mariadb" })
	}},
	{name: "a new volume, for Redis", weight: 3, set: func(w *World, _ *ebs) { w.role = ofEngine(w.role, "redis") }},
	{name: "a volume with a database of Redis", weight: 2, set: func(w *World, v *ebs) { w.withKeys(v, func(*directory) {}) }},
	{name: "a database of Redis that a newer one used", weight: 1, never: "dump.rdb has format 12, of Redis 8.0.6, and Redis 7.0.15 reads up to 10", set: func(w *World, v *ebs) {
		w.withKeys(v, func(d *directory) { d.newer = true })
	}},
	{name: "a database of Redis that is damaged", weight: 1, never: "dump.rdb does not begin as a dump", set: func(w *World, v *ebs) {
		w.withKeys(v, func(d *directory) { d.state = host.Damaged })
	}},
	{name: "a database of Redis whose files are gone", weight: 1, never: "is empty, but the volume's ledger says that it was not", set: func(w *World, v *ebs) {
		w.withKeys(v, func(d *directory) { d.bare, d.lost, d.rows = true, true, 0 })
		w.acked[v.ID] = 0
	}},
	{name: "a volume of a snapshot, which a person adopts", weight: 1, set: adoptable((*World).restored)},
	{name: "a volume of a role that was renamed, which a person adopts", weight: 1, set: adoptable((*World).renamed)},
	{name: "a volume that lost its ledger, which a person adopts", weight: 1, set: adoptable((*World).lost)},
	{name: "a volume that says it was formatted, and is blank", weight: 1, never: "was made on it before", set: func(_ *World, v *ebs) {
		v.Tags[volume.TagFilesystem] = "made 33333333-3333-4333-8333-333333333333"
	}},
}

// unfitID is the value of a tag that would be more than a number in a file.
const unfitID = "7 skip-grant-tables"

// withRows puts a database on a volume that a former instance had.
func (w *World) withRows(v *ebs) {
	rows := 1 + w.chance.IntN(50)
	v.ours(v.ID, "22222222-2222-4222-8222-222222222222", rows)
	v.Tags[volume.TagSelf] = string(v.ID)
	w.acked[v.ID] = rows
}

// withDatabase puts a database of another engine than MariaDB on a volume that a
// former instance had, and what the ledger says of it.
func (w *World) withDatabase(v *ebs, engine, ledger string, change func(*directory)) {
	w.role = ofEngine(w.role, engine)
	w.withRows(v)
	v.place.ledger = strings.Replace(v.place.ledger, `"engine":"mariadb","version":"10.11","ready":true`, fmt.Sprintf(`"engine":%q,%s`, engine, ledger), 1)
	d := v.place.dirs["mysql"]
	d.engine = engine
	change(&d)
	v.place.dirs["mysql"] = d
	v.log = v.place.clone()
}

// withCluster puts a database of PostgreSQL on a volume that a former instance had.
func (w *World) withCluster(v *ebs, change func(*directory)) {
	w.withDatabase(v, "postgres", `"version":"15","ready":true`, change)
}

// withMySQL puts a database of MySQL on a volume that a former instance had.
func (w *World) withMySQL(v *ebs, change func(*directory)) {
	w.withDatabase(v, "mysql", `"version":"9.7.4","ready":true`, change)
}

// hold has an instance hold a volume that is no machine of the world.
func (c *cloud) hold(v *ebs) {
	const id = "i-0000000000000beef"
	c.instances[id] = &instance{id: id, state: "running", devices: devices{"/dev/sdf": v.ID}}
	v.State = volume.InUse
	v.Attachments = []volume.Attachment{{Instance: id, Device: "/dev/sdf", State: volume.Attached, Since: time.Now()}}
}
