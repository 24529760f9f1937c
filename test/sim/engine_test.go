package sim

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/engine"
	"bootagent/pkg/host"
	declared "bootagent/pkg/role/directory"
	"bootagent/pkg/storage/ledger"
)

// dataDir is where the engine of the role looks for its data.
const dataDir = "/var/lib/mysql"

// spoolAt is where a role may have a part of its database, as data of its own.
const spoolAt = "/var/lib/spool"

// hasSpool tells whether the role has that part.
func (w *World) hasSpool() bool { return len(w.role.Data) > 1 }

// spool puts it on a volume that has a database already.
func (b *blocks) spool() {
	if b.place == nil || b.place.dirs["mysql"].state == "" {
		return
	}
	b.place.dirs["spool"] = directory{state: host.Ready, engine: "none", owner: "mysql", synced: true}
	b.log = b.place.clone()
}

// A model is what the simulated world knows of an engine: the files of its data
// directories, and what it answers.
type model struct {
	files, damaged []string // what is in a directory that is whole, and in a damaged one
	unfinished     []string // what is in one whose initialisation did not finish
	dirs           []string // those of them that are directories
	owner          string
	uid            uint32
	versionFile    string                      // the file that has the version of the engine that used it
	version, newer string                      // of the machines' engine, and of one that they cannot go back from
	older          string                      // one from which they cannot go on, or ""
	head           func(version string) string // of versionFile; nil is the version itself
	space          string                      // the file of which the first page is zero until the initialisation ends
	heads          map[string]string           // of other files
	torn           string                      // the beginning of versionFile in a damaged directory, or ""
	settings       host.EngineSettings
}

// models are the engines that the roles of the world name.
var models = map[string]model{
	"mariadb": {
		files:   []string{"aria_log_control", "ibdata1", "mysql", "mysql_upgrade_info"},
		damaged: []string{"aria_log_control", "mysql"}, unfinished: []string{"aria_log_control", "ibdata1", "mysql"},
		dirs:  []string{"mysql"},
		owner: "mysql", uid: 105, space: "ibdata1",
		versionFile: "mysql_upgrade_info", version: "10.11.14-MariaDB", newer: "11.8.9-MariaDB",
		settings: host.EngineSettings{DataDirectory: dataDir + "/", Version: "10.11.14-MariaDB"},
	},
	"mysql": {
		files:   []string{"#innodb_redo", "ibdata1", "mysql", "mysql.ibd", "sys"},
		damaged: []string{"#innodb_redo", "mysql", "mysql.ibd"}, unfinished: []string{"#innodb_redo", "ibdata1", "mysql", "mysql.ibd", "sys"},
		dirs:  []string{"#innodb_redo", "mysql", "sys"},
		owner: "mysql", uid: 105, space: "ibdata1",
		versionFile: "mysql.ibd", version: "9.7.4", newer: "9.8.0", older: "8.0.36",
		head:     mysqlHead,
		settings: host.EngineSettings{DataDirectory: dataDir + "/", Version: "9.7.4-2"},
	},
	"postgres": {
		files: []string{"PG_VERSION", "base", "base/1", "base/4", "base/5", "global", "global/pg_control", "pg_wal", "pg_xact"},
		// An initdb that was cut off: a server would start on it.
		damaged: []string{"PG_VERSION", "base", "base/1", "global", "global/pg_control", "pg_wal", "pg_xact", "postmaster.pid"},
		dirs:    []string{"base", "base/1", "base/4", "base/5", "global", "pg_wal", "pg_xact"},
		owner:   "mysql", uid: 105,
		versionFile: "PG_VERSION", version: "15\n", newer: "17\n", older: "13\n",
		heads:    map[string]string{"global/pg_control": "12345678\x14\x05\x00\x00catv\x06\x00\x00\x00", "postmaster.pid": "-4711\n"},
		settings: host.EngineSettings{DataDirectory: dataDir, Version: "15.18", Program: "/usr/lib/postgresql/15/bin/postgres"},
	},
	"none": {files: []string{"segment"}},
	"redis": {
		files: []string{"dump.rdb"}, damaged: []string{"dump.rdb"},
		owner: "mysql", uid: 105,
		versionFile: "dump.rdb", torn: "REDI", version: "7.0.15", newer: "8.0.6",
		head:     redisHead,
		settings: host.EngineSettings{DataDirectory: dataDir, Version: "Redis 7.0.15", Values: map[string]string{"appendonly": "no", "save": "yes"}},
	},
}

// mysqlHead is the beginning of MySQL's dictionary, which has the version as a
// number at byte 8.
func mysqlHead(version string) string {
	var a, b, c int
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &a, &b, &c)
	head := make([]byte, 64)
	binary.BigEndian.PutUint32(head[8:], uint32(a*10000+b*100+c))
	return string(head)
}

// redisHead is the beginning of a dump of Redis, which has the format's number and
// the version of the server that wrote it.
func redisHead(version string) string {
	format := map[string]string{"7.0.15": "0010", "8.0.6": "0012"}[version]
	return fmt.Sprintf("REDIS%s\xfa\x09redis-ver%c%s\xfa", format, len(version), version)
}

// A directory is a data directory, or what may become one.
type directory struct {
	state  host.DirectoryState // Foreign where it is empty
	engine string              // whose data it has, "" where it has none
	owner  string
	newer  bool // an engine used it that is newer than the machines have
	older  bool // an engine made it whose data the machines' does not open
	begun  bool // where it is damaged: its initialisation did not finish
	bare   bool // it is ready, and nothing is in it yet, or any more
	lost   bool // somebody removed what was in it
	rows   int
	synced bool   // what is in it is on the disk
	half   bool   // it is a copy, and not all of it is there, although it looks so
	label  string // the SELinux type that the agent gave to it, "" where it gave none
}

// names are what is in it.
func (d directory) names() []string {
	switch {
	case d.state == host.Foreign || d.bare:
		return nil
	case d.state == host.Damaged:
		if d.begun && models[d.engine].unfinished != nil {
			return models[d.engine].unfinished
		}
		return models[d.engine].damaged
	}
	return models[d.engine].files
}

// files are the files of a machine, as the world's goroutine sees them.
type files struct{ *machine }

// within finds the data directory that a path is in, or is, and what the path is
// below it: "" for the directory itself.
func (f files) within(p string) (dir directory, below string, there bool, err error) {
	if below, is := strings.CutPrefix(p, imageDir); is {
		return directory{state: host.Ready, engine: f.world.engine(), owner: "mysql"}, strings.TrimPrefix(below, "/"), true, nil
	}
	v, name, err := f.at(p)
	if err != nil || v == nil || name == "" {
		return dir, "", false, err
	}
	name, below, _ = strings.Cut(name, "/")
	dir, there = v.live.dirs[name]
	return dir, below, there, nil
}

func (f files) Lstat(p string) (mode fs.FileMode, uid uint32, err error) {
	dir, below, there, err := f.within(p)
	switch {
	case err != nil:
		return 0, 0, err
	case !there || below != "" && !slices.Contains(dir.names(), below):
		return 0, 0, fs.ErrNotExist
	case below == "" || slices.Contains(models[dir.engine].dirs, below):
		mode = fs.ModeDir | 0o700
	}
	uid, err = f.Owner(dir.owner)
	return mode, uid, err
}

func (f files) Names(p string) (names []string, err error) {
	v, name, err := f.at(p)
	switch {
	case err != nil:
		return nil, err
	case v == nil && !strings.HasPrefix(p, imageDir):
		return nil, fs.ErrNotExist
	case name == "":
		return sortedKeys(v.live.dirs), nil
	}
	dir, below, there, err := f.within(p)
	if err != nil || !there || below != "" && !slices.Contains(models[dir.engine].dirs, below) {
		return nil, errors.Join(err, fs.ErrNotExist)
	}
	for _, name := range dir.names() {
		if path.Dir(name) == cmp.Or(below, ".") {
			names = append(names, path.Base(name))
		}
	}
	return names, nil
}

func (f files) Head(p string, _ int) []byte {
	dir, below, there, err := f.within(p)
	if err != nil || !there {
		return nil
	}
	return dir.head(below)
}

// head is the beginning of a file in it, or nil.
func (d directory) head(file string) []byte {
	m := models[d.engine]
	switch {
	case !slices.Contains(d.names(), file):
		return nil
	case m.space != "" && file == m.space && d.begun:
		return make([]byte, 64)
	case m.space != "" && file == m.space:
		return []byte(strings.Repeat("x", 64))
	case file != m.versionFile:
		return []byte(m.heads[file])
	case d.state == host.Damaged && m.torn != "":
		return []byte(m.torn)
	}
	version := m.version
	switch {
	case d.newer:
		version = m.newer
	case d.older:
		version = m.older
	}
	if m.head == nil {
		return []byte(version)
	}
	return []byte(m.head(version))
}

// Modified says nothing: this world has no times of files.
func (files) Modified(string) time.Time { return time.Time{} }

// Link finds no links: this world has none in its data directories.
func (files) Link(string) string { return "" }

func (files) Owner(name string) (uint32, error) {
	for _, m := range models {
		if m.owner == name {
			return m.uid, nil
		}
	}
	return 1000, nil
}

// Group and GroupOf know one group: the role files of this world name none.
func (files) Group(string) (uint32, error)   { return 5, nil }
func (files) GroupOf(string) (uint32, error) { return 5, nil }

type directories struct{ *agent }

// at finds the volume and the directory that a path is in.
func (m *machine) at(p string) (v *ebs, dir string, err error) {
	for where := p; where != "/" && where != "."; where = path.Dir(where) {
		mt := m.mounts[where]
		if mt == nil {
			continue
		}
		if mt.dead || mt.vol.live == nil {
			return nil, "", errStorage
		}
		rest := strings.TrimPrefix(strings.TrimPrefix(p, where), "/")
		return mt.vol, path.Join(mt.dir, rest), nil
	}
	return nil, p, nil
}

func (d directories) Examine(ctx context.Context, of host.Data, set host.EngineSettings) (found host.DirectoryReport, err error) {
	err = d.call(ctx, "asks", "how "+of.Dir+" is", effect{do: func() error {
		found, err = engine.Examine(files{d.machine}, of, set)
		return err
	}})
	return found, err
}

func (d directories) Names(ctx context.Context, p string) (names []string, err error) {
	err = d.call(ctx, "asks", "what is in "+p, effect{do: func() error {
		names, err = files{d.machine}.Names(p)
		return err
	}})
	return names, err
}

func (d directories) SameDirectory(ctx context.Context, a, b string) (same bool, err error) {
	err = d.call(ctx, "asks", "whether "+a+" is "+b, effect{do: func() error {
		va, na, errA := d.machine.at(a)
		vb, nb, errB := d.machine.at(b)
		same = va == vb && na == nb
		return errors.Join(errA, errB)
	}})
	return same && err == nil, err
}

func (d directories) Give(ctx context.Context, of host.Data) error {
	return d.call(ctx, "give", of.Dir, effect{do: func() error {
		d.machine.world.breaks("%s is given to %s, and no role of this world has a whole volume", of.Dir, of.Owner)
		return errStorage
	}})
}

func (d directories) Create(ctx context.Context, of host.Data) error {
	p := of.Dir
	return d.call(ctx, "create", p, effect{do: func() error {
		v, name, err := d.machine.at(p)
		switch {
		case err != nil:
			return err
		case v == nil:
			d.machine.world.breaks("%s is created on the machine's own disk", p)
			return errStorage
		}
		if _, there := v.live.dirs[name]; there {
			return fmt.Errorf("cannot rename: %s is there", p)
		}
		v.change(func(f *filesystem) { f.dirs[name] = created(of) })
		return nil
	}})
}

// emptyOf is whose data an empty directory has: nobody's, but for services that
// keep any files.
func emptyOf(e string) string {
	if e == "none" {
		return e
	}
	return ""
}

func (d directories) Compare(ctx context.Context, directory, replica string) (differs string, err error) {
	err = d.call(ctx, "asks", "whether "+replica+" is as "+directory, effect{do: func() error {
		v, name, err := d.machine.at(replica)
		if err == nil && v.live.dirs[name].half {
			differs = "2 files, and 1 in the copy"
		}
		return err
	}})
	return differs, err
}

func (d directories) Sync(ctx context.Context, p string) error {
	return d.call(ctx, "sync", p, effect{do: func() error {
		v, _, err := d.machine.at(p)
		if err == nil {
			v.sync("")
		}
		return err
	}})
}

func (d directories) Publish(ctx context.Context, staging, p string) error {
	do := func(rename bool) error {
		v, from, err := d.machine.at(staging)
		_, to, _ := d.machine.at(p)
		if err != nil {
			return err
		}
		if _, there := v.live.dirs[to]; there {
			return fmt.Errorf("cannot rename: %s is there", p)
		}
		if _, there := v.live.dirs[from]; !there {
			return fmt.Errorf("cannot rename: %s is not there", staging)
		}
		v.sync("")
		if rename {
			v.change(func(f *filesystem) {
				f.dirs[to] = f.dirs[from]
				delete(f.dirs, from)
			})
			v.sync("")
		}
		return nil
	}
	return d.call(ctx, "publish", staging+" as "+p, effect{
		do:   func() error { return do(true) },
		half: func() { _ = do(d.machine.world.oneIn(2)) },
	})
}

type engines struct{ *agent }

func (e engines) Settings(ctx context.Context, of host.Data, _ []string) (set host.EngineSettings, err error) {
	err = e.call(ctx, "asks", "the engine for its settings", effect{bound: time.Minute, do: func() error {
		if set = models[of.Engine].settings; set.DataDirectory != "" && e.machine.world.isAuto() {
			set.DataDirectory = e.machine.looks
		}
		if of.Engine != "none" && e.machine.world.hasSpool() {
			set.Elsewhere = []host.Place{{Setting: "innodb_undo_directory", Value: spoolAt + "/undo", Path: spoolAt + "/undo"}}
		}
		return nil
	}})
	return set, err
}

// spoolThere tells whether the part of the database is bound, if the role has one.
func (m *machine) spoolThere() bool {
	mt := m.mounts[spoolAt]
	return !m.world.hasSpool() || mt != nil && !mt.dead && mt.dir == "spool"
}

// imageDir is a directory of the image that a role may copy.
const imageDir = "/usr/share/database"

// absent has the role do another thing where its database is not there.
func (w *World) absent(what declared.IfAbsent) {
	with := *w.role
	with.Data = slices.Clone(with.Data)
	for i := range with.Data {
		if with.Data[i].Name == "mysql" {
			with.Data[i].IfAbsent = what
			if what == declared.Copy {
				with.Data[i].CopyFrom = imageDir
			}
		}
	}
	w.role = &with
}

// engine is the engine of the role's database.
func (w *World) engine() string { return string(w.role.Data[0].Engine) }

// hasDatabase tells whether the ledger says that the database was there.
func (f *filesystem) hasDatabase() bool {
	l, err := ledger.Decode([]byte(f.ledger))
	return err == nil && l != nil && l.Data["mysql"].Ready
}

// copyByHand has a person copy the database to where the agent waits for it, step
// by step: most do as they were told, and some copy to the final name at once.
func (w *World) copyByHand() {
	w.in(w.between(5*time.Second, 40*time.Second), "", "", func() {
		w.copyByHand()
		v := w.theVolume()
		if v == nil || v.live == nil || v.live.hasDatabase() {
			return
		}
		const asked, final = "mysql.copying", "mysql"
		copied, waiting := v.live.dirs[asked]
		d, there := v.live.dirs[final]
		tell := func(what string) { w.tell("a person", "%s", what) }
		half := directory{state: host.Ready, engine: w.engine(), owner: "mysql", half: true}
		v.change(func(f *filesystem) {
			switch {
			case there && d.half, there && d.state != host.Ready:
				tell("goes on with the copy at " + final)
				d.half, d.state = false, host.Ready
				f.dirs[final] = d
			case there && waiting:
				tell("removes " + asked)
				delete(f.dirs, asked)
			case there || !waiting:
			case copied.half:
				copied.half = false
				f.dirs[asked] = copied
			case copied.state == host.Ready:
				tell("renames " + asked)
				f.dirs[final] = copied
				delete(f.dirs, asked)
			case w.oneIn(3):
				tell("copies half of the database to " + final)
				f.dirs[final] = half
			default:
				tell("copies half of the database to " + asked)
				f.dirs[asked] = half
			}
		})
	})
}

const initializeUnit = "bootagent-initialize-mysql"

func (e engines) Initialize(ctx context.Context, of host.Data, _ host.EngineSettings) error {
	m, dir := e.machine, of.Dir
	w := m.world
	if of.Engine == "none" || takesEmpty(of.Engine) {
		return nil
	}
	return e.call(ctx, "initialize", dir, effect{
		bound: 15 * time.Minute,
		do: func() error {
			if c := m.commands[initializeUnit]; c != nil && c.about == dir && !c.failed {
				return nil
			}
			v, name, err := m.at(dir)
			if err != nil {
				return err
			}
			if v.live.dirs[name].state != host.Foreign {
				return fmt.Errorf("the start of %s ended as %q", initializeUnit, "failed")
			}
			if w.acked[v.ID] > 0 {
				w.breaks("a new database is made on %s, which holds acknowledged rows", v.ID)
			}
			set := func(state host.DirectoryState) {
				v.change(func(f *filesystem) {
					f.dirs[name] = directory{state: state, engine: of.Engine, owner: of.Owner, begun: state == host.Damaged, label: f.dirs[name].label}
				})
			}
			if !m.spoolThere() {
				w.breaks("a new database is made on %s, and its part is not at %s", v.ID, spoolAt)
			}
			set(host.Damaged)
			c := &command{about: dir, on: volumeAt}
			bad := w.oneIn(30) && w.faults.act()
			half := of.From != "" && w.oneIn(8) && w.faults.act() // somebody writes to the directory of the image
			m.runCommand(initializeUnit, c, w.between(time.Second, 6*time.Second), func() error {
				if bad {
					return errors.New("it failed")
				}
				set(host.Ready)
				if half {
					v.change(func(f *filesystem) {
						d := f.dirs[name]
						d.half = true
						f.dirs[name] = d
					})
				}
				if w.hasSpool() {
					v.change(func(f *filesystem) {
						f.dirs["spool"] = directory{state: host.Ready, engine: "none", owner: of.Owner}
					})
				}
				w.count(m.id, "initialize")
				return nil
			})
			return nil
		},
		until:  m.ended(initializeUnit),
		result: m.outcome(initializeUnit),
	})
}

func (e engines) Initializing(ctx context.Context, of host.Data, _ host.EngineSettings) (going bool, err error) {
	dir := of.Dir
	if of.Engine == "none" || takesEmpty(of.Engine) {
		return false, nil
	}
	err = e.call(ctx, "asks", "whether "+dir+" is being initialised", effect{do: func() error {
		c := e.machine.commands[initializeUnit]
		going = c != nil && c.about == dir && !c.failed
		return nil
	}})
	return going && err == nil, err
}

func (e engines) Initialized(ctx context.Context, of host.Data) error {
	if of.Engine == "none" || takesEmpty(of.Engine) {
		return nil
	}
	return e.call(ctx, "asks", "to forget that it was initialised", effect{do: func() error {
		if c := e.machine.commands[initializeUnit]; c != nil && c.running {
			e.machine.cutCommand(initializeUnit)
		}
		delete(e.machine.commands, initializeUnit)
		return nil
	}})
}
