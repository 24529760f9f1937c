package sim

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/block"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/diskinfo"
)

const (
	volumeAt = "/srv/data"
	asideAt  = "/run/bootagent/inspect/data"
	database = "mariadb.service"
	probe    = "mysql-ready.service"
)

// A machine is an instance as it is from within: what is on its own disk
// outlives a reboot, what is in /run and in memory does not.
type machine struct {
	world    *World
	id       string
	userData string
	gone     bool // the instance was ended
	up       bool
	booted   int
	agent    *agent
	agents   int

	// On its own disk, where a power cut takes what was written last.
	records file[map[string]name.VolumeID]
	facts   file[*host.Identity]
	kept    file[bool] // the sealed secret

	plugged          map[string]*disk
	seq              uint64
	mounts           map[string]*mount
	grants           map[string]*grant
	services         map[string]*service
	commands         map[string]*command
	started          map[string]bool
	byHand           map[string]bool
	staged, versions map[string]string // secrets, and their versions
	stopping         bool
	pins             bool   // a process is in the volume, and stays when its disk goes
	after            func() // the shutdown

	down  time.Time // since when the service does not run
	early time.Time // since when the role is told to be ready
}

// A file is written to the disk some seconds after the program that wrote it
// went on.
type file[T any] struct {
	now, before T
	at          time.Time
}

func (f *file[T]) write(v T) { f.before, f.now, f.at = f.now, v, time.Now() }

func (f *file[T]) cut(w *World) {
	if time.Since(f.at) < 5*time.Second && w.oneIn(2) {
		f.now = f.before
	}
	f.at = time.Time{}
}

// A disk is one that is plugged in.
type disk struct {
	vol   *ebs
	minor uint32
	seq   uint64
	read  bool // by the agent, since it was last mounted
}

// block is the disk as the kernel shows it.
func (d *disk) block() block.Disk {
	serial, name := d.vol.ID.Serial(), fmt.Sprintf("nvme%dn1", d.seq)
	return block.Disk{
		Path: "/dev/" + name, Link: "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + serial, Name: name, Serial: serial,
		Size: block.Bytes(d.vol.Size), Major: 259, Minor: d.minor, Seq: d.seq,
	}
}

func (d *disk) dev() uint64 { return d.block().Dev() }

func newMachine(w *World, id, userData string) *machine {
	m := &machine{world: w, id: id, userData: userData}
	m.records.now = map[string]name.VolumeID{}
	m.clear()
	return m
}

// clear forgets what is in memory.
func (m *machine) clear() {
	m.plugged, m.mounts, m.grants = map[string]*disk{}, map[string]*mount{}, map[string]*grant{}
	m.commands, m.started, m.byHand, m.staged, m.versions = map[string]*command{}, map[string]bool{}, map[string]bool{}, map[string]string{}, map[string]string{}
	m.services = map[string]*service{database: {unit: database, active: "inactive", result: "success"}}
	m.stopping, m.after = false, nil
}

// boot boots the machine, in its time.
func (m *machine) boot() {
	w := m.world
	w.in(w.between(5*time.Second, 15*time.Second), m.id, "boots", func() {
		if m.up || m.gone {
			return
		}
		m.up, m.booted = true, m.booted+1
		for _, v := range w.cloud.volumes {
			if a := v.holder(); a != nil && a.Instance == m.id && a.State == "attached" {
				m.plug(v)
			}
		}
		m.startService(database) // its package has enabled it
		m.startAgent()
	})
}

// off takes the power away.
func (m *machine) off() {
	if !m.up {
		return
	}
	if m.agent != nil {
		m.agent.kill()
	}
	for _, name := range sortedKeys(m.commands) {
		if m.commands[name].running {
			m.cutCommand(name)
		}
	}
	for _, where := range sortedKeys(m.mounts) {
		if mt := m.mounts[where]; !mt.dead && mt.aside == nil && mt.dir == "" {
			mt.vol.cut(m.world)
		}
	}
	m.records.cut(m.world)
	m.facts.cut(m.world)
	m.kept.cut(m.world)
	m.up, m.agent = false, nil
	m.clear()
}

func (m *machine) powerCut() {
	m.world.tell(m.id, "the power is cut")
	m.off()
	m.boot()
}

// shutDown stops everything in its order.
func (m *machine) shutDown(then func()) {
	if m.stopping || !m.up {
		return
	}
	m.stopping, m.after = true, then
	for _, unit := range sortedKeys(m.services) {
		m.stopService(m.services[unit], true)
	}
}

// shutDownFurther goes on with a shutdown: services, grants, the agent, mounts.
func (m *machine) shutDownFurther() {
	for _, s := range m.services {
		if s.hangs {
			continue // systemd kills what is left in the end
		}
		if s.runs() {
			return
		}
	}
	if a := m.agent; a != nil && !a.ended() {
		a.stop()
		return
	}
	for _, where := range sortedKeys(m.mounts) {
		m.mounts[where].stopping = true
	}
	if len(m.mounts) > 0 && !m.services[database].hangs {
		return
	}
	then := m.after
	m.world.tell(m.id, "is off")
	m.off()
	then()
}

// The interfaces of boot.Host.

func (a *agent) world() host.Host {
	return host.Host{
		Volumes: a.volumes, Records: records{a}, Disks: disks{a}, Filesystems: filesystems{a}, Ledgers: ledgers{a},
		Mounts: mounts{a}, Directories: directories{a}, Engines: engines{a}, Secrets: a.secrets(), Units: units{a}, Runs: units{a}, Grants: units{a}, Jobs: units{a}, Probes: units{a}, Stops: units{a}, Shutdown: units{a},
		Machine:      host.Machine{ID: a.machine.id, BootID: fmt.Sprintf("boot %d of %s", a.machine.booted, a.machine.id)},
		UnlockWithin: time.Hour,
		NewUUID: func() string {
			n := a.machine.world.drawFor("uuid " + a.name)
			return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(n), uint16(n>>32), n>>48&0xfff, n>>52&0xfff, n&0xffffffffffff)
		},
	}
}

type records struct{ *agent }

func (r records) Recorded(of string, _ host.Find) (id name.VolumeID, err error) {
	err = r.call(context.Background(), "asks", "which volume was "+of, effect{do: func() error {
		id = r.machine.records.now[of]
		return nil
	}})
	return id, err
}

func (r records) Record(of string, _ host.Find, id name.VolumeID) error {
	return r.call(context.Background(), "record", fmt.Sprintf("%s is %s", of, id), effect{do: func() error {
		r.machine.records.write(map[string]name.VolumeID{of: id})
		return nil
	}})
}

type disks struct{ *agent }

func (d disks) Find(ctx context.Context, serial string) (found host.Disk, there bool, err error) {
	err = d.call(ctx, "asks", "for disk "+serial, effect{do: func() error {
		if on := d.machine.plugged[serial]; on != nil {
			found, there = diskinfo.Of(on.block()), true
		}
		return nil
	}})
	return found, there && err == nil, err
}

func (d disks) Appear(ctx context.Context, serial string) (found host.Disk, err error) {
	err = d.call(ctx, "waits", "for disk "+serial, effect{
		do:     func() error { return nil },
		until:  func() bool { return d.machine.plugged[serial] != nil },
		result: func() error { found = diskinfo.Of(d.machine.plugged[serial].block()); return nil },
		bound:  time.Minute,
	})
	return found, err
}

// same finds a disk again.
func (a *agent) same(want host.Disk) (*disk, error) {
	d := a.machine.plugged[want.Serial]
	if d == nil {
		return nil, block.ErrAbsent
	}
	return d, diskinfo.Same(want, d.block())
}

func (d disks) Read(ctx context.Context, want host.Disk, as host.Reading) (content host.Content, err error) {
	err = d.call(ctx, "read", want.Serial, effect{bound: 10 * time.Minute, do: func() error {
		disk, err := d.same(want)
		if err != nil {
			return err
		}
		disk.read = true
		report := disk.vol.report(disk.block())
		for _, where := range sortedKeys(d.machine.mounts) {
			if mt := d.machine.mounts[where]; mt.vol == disk.vol {
				report.InUse = append(report.InUse, "mounted at "+where)
			}
		}
		content, err = diskinfo.Content(disk.block(), report, as.Filesystem)
		return err
	}})
	return content, err
}

type filesystems struct{ *agent }

func makeUnit(d host.Disk) string { return "bootagent-make-" + d.Serial }

func (f filesystems) Format(ctx context.Context, d host.Disk, fstype, uuid string) error {
	m := f.machine
	w := m.world
	name := makeUnit(d)
	about := "mkfs of " + d.Serial + " as " + uuid
	return f.call(ctx, "make", "a filesystem on "+d.Serial+" as "+uuid, effect{
		bound: 10 * time.Minute,
		do: func() error {
			disk, err := f.same(d)
			if err != nil {
				return err
			}
			if c := m.commands[name]; c != nil && c.running && c.about == about {
				return nil
			}
			v := disk.vol
			if v.scribbled { // the unit proves the disk once more
				return fmt.Errorf("the start of %s ended as %q", name, "failed")
			}
			w.checkMake(v)
			v.half = true
			v.place, v.log = nil, nil
			c := &command{about: about, dev: disk.dev(), cut: func() {
				switch w.chance.IntN(3) {
				case 0:
					v.half = false
				case 1:
					v.format(fstype, uuid)
				}
			}}
			m.runCommand(name, c, w.between(time.Second, 4*time.Second), func() error {
				v.format(fstype, uuid)
				w.count(m.id, "make")
				return nil
			})
			return nil
		},
		until:  m.ended(name),
		result: m.outcome(name),
	})
}

func (f filesystems) Settle(ctx context.Context, d host.Disk) error {
	m := f.machine
	return f.call(ctx, "asks", "that no mkfs runs on "+d.Serial, effect{
		do:    func() error { return nil },
		until: m.ended(makeUnit(d)),
		result: func() error {
			delete(m.commands, makeUnit(d))
			return nil
		},
	})
}

func (f filesystems) Check(ctx context.Context, d host.Disk, _ string) error {
	return f.call(ctx, "asks", "whether the filesystem on "+d.Serial+" is whole", effect{do: func() error {
		// Who closes a disk that was open for writing makes an event of it.
		if disk, err := f.same(d); err == nil {
			f.machine.diskEvent(disk.event())
		}
		f.machine.world.count(f.machine.id, "check")
		if v := f.machine.world.ofSerial(d.Serial); v != nil && v.unsound {
			return errors.New("it has errors that are not mended without being asked")
		}
		return nil
	}})
}

type ledgers struct{ *agent }

func (l ledgers) ReadLedger(ctx context.Context, root string) (ledger []byte, err error) {
	err = l.call(ctx, "asks", "for the ledger at "+root, effect{do: func() error {
		mt := l.machine.mounts[root]
		switch {
		case mt == nil || mt.dead:
			return errStorage
		case mt.aside != nil:
			ledger = []byte(mt.aside.ledger)
		default:
			ledger = []byte(mt.vol.live.ledger)
		}
		return nil
	}})
	return ledger, err
}

func (l ledgers) WriteLedger(ctx context.Context, root string, ledger []byte) error {
	return l.call(ctx, "write", "the ledger at "+root, effect{do: func() error {
		mt := l.machine.mounts[root]
		switch {
		case mt == nil || mt.dead:
			return errStorage
		case mt.aside != nil:
			l.machine.world.breaks("a ledger is written to %s, which is mounted to be read only", root)
			return errStorage
		}
		mt.vol.change(func(f *filesystem) { f.ledger = string(ledger) })
		mt.vol.sync("-")
		l.machine.world.count(l.machine.id, "ledger")
		return nil
	}})
}

type mounts struct{ *agent }

func (ms mounts) At(where string) (dev uint64, mounted bool, err error) {
	err = ms.call(context.Background(), "asks", "what is mounted at "+where, effect{do: func() error {
		if mt := ms.machine.mounts[where]; mt != nil {
			dev, mounted = mt.dev, true
		}
		return nil
	}})
	return dev, mounted && err == nil, err
}

func (ms mounts) Mount(ctx context.Context, mt host.Mount) error {
	m := ms.machine
	w := m.world
	about := fmt.Sprintf("%s at %s (%s)", mt.What, mt.Where, strings.Join(mt.Options, ","))
	failed := func(why string) error { return fmt.Errorf("the start of %s ended as %q", mountUnit(mt.Where), why) }
	ready := time.Time{}
	return ms.call(ctx, "mount", about, effect{
		bound: 2 * time.Minute,
		do: func() error {
			at := m.mounts[mt.Where]
			if at != nil && at.stopping || m.stopping {
				return failed("canceled")
			}
			ready = time.Now().Add(w.between(50*time.Millisecond, time.Second))
			w.in(time.Until(ready), m.id, "", func() {})
			if at != nil {
				return nil // it is active, and that is what was wanted
			}
			mounted := &mount{where: mt.Where, on: mt.On}
			if mt.Type == "" {
				on := m.mounts[mt.On]
				dir := path.Base(mt.What)
				if on == nil || on.dead || on.stopping || on.vol.live == nil {
					return failed("dependency")
				}
				if _, ok := on.vol.live.dirs[dir]; !ok {
					return failed("failed")
				}
				mounted.vol, mounted.dev, mounted.dir = on.vol, on.dev, dir
			} else {
				var d *disk
				for _, serial := range sortedKeys(m.plugged) {
					if m.plugged[serial].block().Link == mt.What {
						d = m.plugged[serial]
					}
				}
				if d == nil || d.vol.place == nil || d.vol.place.kind != mt.Type || d.vol.unmountable && !mt.Inspect {
					return failed("failed")
				}
				if !mt.Inspect && !d.read {
					w.breaks("%s is mounted at %s, and was not read before", d.vol.ID, mt.Where)
				}
				mounted.vol, mounted.dev = d.vol, d.dev()
				if slices.Contains(mt.Options, "ro") {
					mounted.aside = d.vol.place.clone()
				} else if d.vol.live == nil {
					d.vol.open()
				}
			}
			m.mounts[mt.Where] = mounted
			m.changed(mountUnit(mt.Where))
			if !mt.Inspect {
				w.count(m.id, "mount")
			}
			return nil
		},
		until: func() bool { return !time.Now().Before(ready) },
		result: func() error {
			if m.mounts[mt.Where] == nil {
				return failed("failed")
			}
			return nil
		},
	})
}

func (ms mounts) Stale(where string) (stale bool, err error) {
	err = ms.call(context.Background(), "asks", "whether the disk is gone at "+where, effect{do: func() error {
		mt := ms.machine.mounts[where]
		stale = mt != nil && mt.dead
		return nil
	}})
	return stale && err == nil, err
}

func (ms mounts) Unmount(ctx context.Context, where string) error {
	m := ms.machine
	return ms.call(ctx, "unmount", where, effect{
		bound: 2 * time.Minute,
		do: func() error {
			if mt := m.mounts[where]; mt != nil {
				mt.stopping, mt.pinned = true, mt.pinned && !mt.dead // what has no disk is detached
			}
			return nil
		},
		until: func() bool { return m.mounts[where] == nil },
	})
}

type units struct{ *agent }

func (u units) Grant(ctx context.Context, unit string, mounts []string) error {
	m := u.machine
	w := m.world
	return u.call(ctx, "grant", fmt.Sprint(unit, " ", mounts), effect{do: func() error {
		g := m.grants[unit]
		if g != nil && g.active && !g.stopping {
			return nil
		}
		if m.stopping || g != nil && g.stopping {
			return fmt.Errorf("cannot grant %s: a stop is queued", unit)
		}
		if g == nil {
			g = &grant{}
			m.grants[unit] = g
		}
		w.checkGrant(m, mounts)
		if g.starting {
			return nil
		}
		g.mounts, g.starting = slices.Clone(mounts), true
		delete(m.started, unit)
		w.count(m.id, "grant")
		w.in(w.between(10*time.Millisecond, 2*time.Second), m.id, "", func() {
			if m.grants[unit] != g || !g.starting {
				return
			}
			g.starting = false
			for _, where := range g.mounts {
				if mt := m.mounts[where]; mt == nil || mt.stopping {
					m.changed(grantUnit(unit))
					return
				}
			}
			g.active = true
			m.changed(grantUnit(unit))
		})
		return nil
	}})
}

func (u units) Granted(ctx context.Context, unit string) (granted bool, err error) {
	err = u.call(ctx, "asks", "whether "+unit+" is granted", effect{do: func() error {
		g := u.machine.grants[unit]
		granted = g != nil && g.active && !g.stopping
		return nil
	}})
	return granted && err == nil, err
}

// A grant of this world never loses its token.
func (u units) KeepGrant(context.Context, string) (lost bool, err error) { return false, nil }

func (u units) StartOnce(ctx context.Context, unit string) error {
	m := u.machine
	start := func(mark bool) {
		if m.started[unit] {
			return
		}
		m.agentStarts(unit)
		if mark {
			m.started[unit] = true
		}
	}
	return u.call(ctx, "start", unit+", once", effect{
		do:   func() error { start(true); return nil },
		half: func() { start(false) },
	})
}

func (u units) Start(ctx context.Context, unit string) error {
	return u.call(ctx, "start", unit, effect{do: func() error { u.machine.agentStarts(unit); return nil }})
}

// agentStarts starts a service for the agent, which may not start what a person
// has stopped.
func (m *machine) agentStarts(unit string) {
	s := m.services[unit]
	if s.sure && !s.runs() {
		m.world.breaks("the agent of %s starts %s, which a person has stopped", m.id, unit)
	}
	if !s.runs() {
		m.world.count(m.id, "start")
	}
	m.startService(unit)
}

func (u units) Kill(ctx context.Context, unit string) error {
	return u.call(ctx, "kill", unit, effect{do: func() error {
		s := u.machine.services[unit]
		if !s.runs() {
			return nil
		}
		if mt := u.machine.mounts[dataDir]; mt != nil && !mt.dead {
			u.machine.world.breaks("%s is killed, and its disk is there", unit)
		}
		s.active, s.sub, s.job, s.result, s.hangs, s.turn = "failed", "", "", "signal", false, s.turn+1
		u.machine.changed(unit)
		return nil
	}})
}

func (u units) Probe(ctx context.Context, unit string) error {
	w, ready := u.machine.world, time.Time{}
	return u.call(ctx, "probe", unit, effect{
		bound: time.Minute,
		do: func() error {
			ready = time.Now().Add(w.between(50*time.Millisecond, 2*time.Second))
			w.in(time.Until(ready), u.machine.id, "", func() {})
			return nil
		},
		until: func() bool { return !time.Now().Before(ready) && !w.mute },
		result: func() error {
			if u.machine.services[database].active != "active" {
				return fmt.Errorf("the start of %s ended as %q", unit, "failed")
			}
			return nil
		},
	})
}

func (u units) State(ctx context.Context, unit string) (s host.UnitState, err error) {
	err = u.call(ctx, "asks", "how "+unit+" is", effect{do: func() error { s = u.machine.state(unit); return nil }})
	return s, err
}

func (u units) Restarts(ctx context.Context, unit string) (r host.Restarts, err error) {
	err = u.call(ctx, "asks", "how often "+unit+" was restarted", effect{do: func() error {
		s := u.machine.services[unit]
		r = host.Restarts{Count: s.restarts, Died: s.died}
		if s.active == "active" {
			r.Active = time.Since(s.since)
		}
		return nil
	}})
	return r, err
}

func (u units) Ended(ctx context.Context, unit string) (e host.Ended, err error) {
	err = u.call(ctx, "asks", "how "+unit+" ended", effect{do: func() error { e = u.machine.howEnded(unit); return nil }})
	return e, err
}

func (u units) Await(ctx context.Context, unit string, until func(host.UnitState) bool) (s host.UnitState, err error) {
	err = u.call(ctx, "waits", "for "+unit, effect{
		do:     func() error { return nil },
		until:  func() bool { return until(u.machine.state(unit)) },
		result: func() error { s = u.machine.state(unit); return nil },
		bound:  time.Minute,
	})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return s, err
}

func (u units) Stopping(ctx context.Context) (stopping bool, err error) {
	err = u.call(ctx, "asks", "whether the machine is shutting down", effect{do: func() error {
		stopping = u.machine.stopping
		return nil
	}})
	return stopping && err == nil, err
}

func (u units) StoppedByHand(unit string) (by bool, err error) {
	err = u.call(context.Background(), "asks", "whether a person stopped "+unit, effect{do: func() error {
		by = u.machine.byHand[unit]
		return nil
	}})
	return by && err == nil, err
}

func (u units) SetStoppedByHand(unit string, stopped bool) error {
	return u.call(context.Background(), "note", fmt.Sprintf("that a person stopped %s: %t", unit, stopped), effect{do: func() error {
		u.machine.byHand[unit] = stopped
		return nil
	}})
}
