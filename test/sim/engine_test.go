package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/engine"
	"bootagent/pkg/host"
)

// dataDir is where the engine of the role looks for its data.
const dataDir = "/var/lib/mysql"

// A model is what the simulated world knows of an engine: the files of its data
// directories, and what it answers.
type model struct {
	files, damaged []string // what is in a directory that is whole, and in a damaged one
	dirs           []string // those of them that are directories
	owner          string
	uid            uint32
	versionFile    string // the file that has the version of the engine that used it
	version, newer string // of the machines' engine, and of one that they cannot go back from
	older          string // one whose data the machines' engine does not open, or ""
	heads          map[string]string
	settings       host.EngineSettings
}

// models are the engines that the roles of the world name.
var models = map[string]model{
	"mariadb": {
		files:   []string{"aria_log_control", "ibdata1", "mysql", "mysql_upgrade_info"},
		damaged: []string{"aria_log_control", "mysql"},
		dirs:    []string{"mysql"},
		owner:   "mysql", uid: 105,
		versionFile: "mysql_upgrade_info", version: "10.11.14-MariaDB", newer: "11.8.9-MariaDB",
		settings: host.EngineSettings{DataDirectory: dataDir + "/", Version: "10.11.14-MariaDB"},
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
}

// A directory is a data directory, or what may become one.
type directory struct {
	state  host.DirectoryState // Foreign where it is empty
	engine string              // whose data it has, "" where it has none
	owner  string
	newer  bool // an engine used it that is newer than the machines have
	older  bool // an engine made it whose data the machines' does not open
	rows   int
	synced bool // what is in it is on the disk
}

// names are what is in it.
func (d directory) names() []string {
	switch d.state {
	case host.Foreign:
		return nil
	case host.Damaged:
		return models[d.engine].damaged
	}
	return models[d.engine].files
}

// files are the files of a machine, as the world's goroutine sees them.
type files struct{ *machine }

// within finds the data directory that a path is in, or is, and what the path is
// below it: "" for the directory itself.
func (f files) within(p string) (dir directory, below string, there bool, err error) {
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
		mode = fs.ModeDir
	}
	uid, err = f.Owner(dir.owner)
	return mode, uid, err
}

func (f files) Names(p string) (names []string, err error) {
	v, name, err := f.at(p)
	switch {
	case err != nil:
		return nil, err
	case v == nil:
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
	if err != nil || !there || !slices.Contains(dir.names(), below) {
		return nil
	}
	switch m := models[dir.engine]; {
	case below != m.versionFile:
		return []byte(m.heads[below])
	case dir.newer:
		return []byte(m.newer)
	case dir.older:
		return []byte(m.older)
	default:
		return []byte(m.version)
	}
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

func (d directories) Create(ctx context.Context, p, owner string) error {
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
		v.change(func(f *filesystem) { f.dirs[name] = directory{state: host.Foreign, owner: owner} })
		return nil
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
		set = models[of.Engine].settings
		return nil
	}})
	return set, err
}

const initializeUnit = "bootagent-initialize-mysql"

func (e engines) Initialize(ctx context.Context, of host.Data, _ host.EngineSettings) error {
	m, dir := e.machine, of.Dir
	w := m.world
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
				v.change(func(f *filesystem) { f.dirs[name] = directory{state: state, engine: of.Engine, owner: of.Owner} })
			}
			set(host.Damaged)
			c := &command{about: dir, on: volumeAt}
			bad := w.oneIn(30) && w.faults.act()
			m.runCommand(initializeUnit, c, w.between(time.Second, 6*time.Second), func() error {
				if bad {
					return errors.New("it failed")
				}
				set(host.Ready)
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
	err = e.call(ctx, "asks", "whether "+dir+" is being initialised", effect{do: func() error {
		c := e.machine.commands[initializeUnit]
		going = c != nil && c.about == dir && !c.failed
		return nil
	}})
	return going && err == nil, err
}

func (e engines) Initialized(ctx context.Context, _ host.Data) error {
	return e.call(ctx, "asks", "to forget that it was initialised", effect{do: func() error {
		if c := e.machine.commands[initializeUnit]; c != nil && c.running {
			e.machine.cutCommand(initializeUnit)
		}
		delete(e.machine.commands, initializeUnit)
		return nil
	}})
}
