package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/unit"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// mountUnit and grantUnit name units as systemd and the guards do.
func mountUnit(where string) string   { return unit.MountAt(where) }
func grantUnit(service string) string { return unit.GrantOf(service) }

// A mount is a mount unit that is active.
type mount struct {
	where    string
	vol      *ebs
	dev      uint64
	dir      string      // of the volume, for one that is bound
	on       string      // mount point that it goes with
	aside    *filesystem // what is seen of one that was mounted without its log
	byPerson bool        // who is free to mount what he likes
	dead     bool        // its disk is gone
	pinned   bool        // a process holds it, so that it can only be detached
	stopping bool
}

// A grant is the unit that a service is bound to.
type grant struct {
	mounts   []string
	active   bool
	starting bool
	stopping bool
}

// A service is a database.
type service struct {
	unit     string
	active   string
	result   string
	job      string // "start", "stop", or ""
	ran      bool
	hangs    bool // it does not stop, as its disk is gone
	clings   bool // it will, when its disk goes
	turn     int  // of starts and stops
	vol      *ebs // that it keeps its rows on
	dir      string
	sub      string // "auto-restart" between two lives
	restarts int    // of itself, since it was last started otherwise
	since    time.Time
	died     string // of what, until it lives again
	byItself bool   // its last end
	crashes  int    // how often it is still to die by itself

	stopped bool // by a person, for good
	sure    bool // and the agent has had the time to see it
}

// A command is a program that runs to its end, whether the agent lives or not.
type command struct {
	about   string
	running bool
	failed  bool
	on      string // mount point that it stands on
	dev     uint64 // device that it writes
	cut     func() // what is left when it is cut off
}

// changed tells the agent of a unit.
func (m *machine) changed(unit string) {
	if a := m.agent; a != nil && unit != mountUnit(asideAt) && !slices.Contains(a.changes, unit) && !m.world.mutant.deaf(a, unit) {
		a.changes = append(a.changes, unit)
	}
}

// progress has the units do what follows from how the others are, as systemd's
// dependencies have it.
func (m *machine) progress() {
	for again := true; again && m.up; {
		again = false
		for _, where := range sortedKeys(m.mounts) {
			mt := m.mounts[where]
			if on := m.mounts[mt.on]; mt.on != "" && (on == nil || on.stopping) && !mt.stopping {
				mt.stopping, again = true, true
			}
			switch {
			case !mt.stopping || m.used(where):
			case mt.pinned:
				mt.stopping = false // systemd tries it once
				m.world.tell(m.id, "%s can't be unmounted, as a process holds it", where)
				again = true
			default:
				m.unmounted(mt)
				again = true
			}
		}
		for _, unit := range sortedKeys(m.grants) {
			again = m.progressGrant(unit) || again
		}
		for _, unit := range sortedKeys(m.services) {
			again = m.progressService(m.services[unit]) || again
		}
		for _, name := range sortedKeys(m.commands) {
			c := m.commands[name]
			if c.on == "" || m.mounts[c.on] != nil && !m.mounts[c.on].stopping {
				continue
			}
			if c.running {
				m.cutCommand(name)
			}
			delete(m.commands, name) // it is bound to the mount, and collected
			again = true
		}
	}
	if m.stopping {
		m.shutDownFurther()
	}
	m.agentEnded()
}

func (m *machine) progressGrant(unit string) bool {
	g, s := m.grants[unit], m.services[unit]
	standing := true
	for _, where := range g.mounts {
		mt := m.mounts[where]
		standing = standing && mt != nil && !mt.stopping
	}
	switch {
	case g.active && !g.stopping && (!standing || m.stopping):
		g.stopping = true
		return true
	case g.active && g.stopping && !s.runs():
		g.active, g.stopping = false, false
		delete(m.started, unit)
		m.changed(grantUnit(unit))
		return true
	}
	return false
}

func (s *service) runs() bool {
	return s.active == "active" || s.active == "activating" || s.active == "deactivating"
}

func (m *machine) progressService(s *service) bool {
	g := m.grants[s.unit]
	held := g == nil || !g.active || g.stopping
	switch {
	case (s.active == "active" || s.active == "activating") && held:
		m.stopService(s, true)
		return true
	case s.job == "start" && !s.runs() && (g == nil || !g.starting):
		if held {
			s.job = "" // its assertion does not hold
			m.changed(s.unit)
			return true
		}
		m.comesUp(s)
		return true
	}
	return false
}

// used tells whether something stands on a mount that has to end before it.
func (m *machine) used(where string) bool {
	for _, g := range m.grants {
		if g.active && slices.Contains(g.mounts, where) {
			return true
		}
	}
	for _, other := range m.mounts {
		if other.on == where {
			return true
		}
	}
	return false
}

func (m *machine) unmounted(mt *mount) {
	delete(m.mounts, mt.where)
	if d := m.plugged[mt.vol.ID.Serial()]; d != nil && mt.aside == nil && mt.where == volumeAt {
		d.read = false // whoever mounts it next has to read it first
	}
	if mt.dir == "" && !mt.dead && mt.aside == nil {
		mt.vol.close()
	}
	m.changed(mountUnit(mt.where))
}

// startService queues a start.
func (m *machine) startService(unit string) {
	if s := m.services[unit]; s.job == "" && (s.active == "inactive" || s.active == "failed") {
		s.job, s.restarts, s.died = "start", 0, ""
	}
}

// comesUp starts the database on whatever is where it looks for its data.
func (m *machine) comesUp(s *service) {
	s.active, s.sub, s.died, s.turn = "activating", "", "", s.turn+1
	s.vol, s.dir = nil, ""
	if mt := m.mounts[dataDir]; mt != nil {
		s.vol, s.dir = mt.vol, mt.dir
	}
	m.changed(s.unit)
	turn, w := s.turn, m.world
	bad := w.oneIn(40) && w.faults.act()
	w.in(w.between(500*time.Millisecond, 6*time.Second), m.id, "", func() {
		if s.turn != turn {
			return
		}
		s.job = ""
		if bad {
			s.active, s.result = "failed", "exit-code"
			w.tell(m.id, "%s fails as it starts", s.unit)
			m.changed(s.unit)
			return
		}
		s.active, s.result, s.ran, s.since = "active", "success", true, time.Now()
		w.boots++
		w.tell(m.id, "%s is active", s.unit)
		m.changed(s.unit)
		m.write(s, turn)
		if s.crashes == 0 && w.oneIn(60) && w.faults.act() {
			s.crashes = 1 + w.chance.IntN(4)
		}
		if s.crashes > 0 {
			w.in(w.between(time.Second, 20*time.Second), m.id, "", func() {
				if s.turn == turn && s.crashes > 0 {
					s.crashes--
					m.dies(s)
				}
			})
		}
	})
}

// restartRest is RestartSec= of the service's unit.
const restartRest = 5 * time.Second

// dies has a service be killed, after which systemd starts it again by itself.
func (m *machine) dies(s *service) {
	s.active, s.sub, s.job, s.result, s.died, s.turn = "activating", "auto-restart", "", "signal", "it was killed by SIGSEGV", s.turn+1
	m.world.tell(m.id, "%s dies, and is to start again", s.unit)
	m.changed(s.unit)
	turn := s.turn
	m.world.in(restartRest, m.id, "", func() {
		if s.turn != turn {
			return
		}
		s.restarts++
		m.comesUp(s)
	})
}

// tornDown is a systemctl stop of the volume's mount, with all that stands on
// it, in an instant.
func (m *machine) tornDown() {
	s := m.services[database]
	s.active, s.sub, s.job, s.result, s.byItself, s.turn = "inactive", "", "", "success", false, s.turn+1
	m.grants, m.started = map[string]*grant{}, map[string]bool{}
	for _, where := range []string{dataDir, volumeAt} {
		if mt := m.mounts[where]; mt != nil {
			m.unmounted(mt)
		}
	}
	m.all()
}

// exits has a service end by itself, which its unit does not mind.
func (m *machine) exits(s *service) {
	if s.active != "active" {
		return
	}
	s.active, s.sub, s.job, s.result, s.byItself, s.turn = "inactive", "", "", "success", true, s.turn+1
	m.world.tell(m.id, "%s ends by itself", s.unit)
	m.changed(s.unit)
}

// write has the database acknowledge a row now and then.
func (m *machine) write(s *service, turn int) {
	w := m.world
	w.in(w.between(2*time.Second, 20*time.Second), m.id, "", func() {
		if s.turn != turn || s.active != "active" {
			return
		}
		mt := m.mounts[dataDir]
		if mt != nil && !mt.dead && s.vol != nil && s.vol.live != nil {
			s.vol.change(func(f *filesystem) {
				d := f.dirs[s.dir]
				d.rows++
				f.dirs[s.dir] = d
			})
			if w.oneIn(3) {
				s.vol.sync(s.dir)
				w.acked[s.vol.ID] = s.vol.log.dirs[s.dir].rows
			}
		}
		m.write(s, turn)
	})
}

// stopService stops a service, which takes its time.
func (m *machine) stopService(s *service, clean bool) {
	if s.active != "active" && s.active != "activating" {
		s.job = ""
		return
	}
	if s.sub == "auto-restart" { // nothing runs that would have to end
		s.active, s.sub, s.job, s.byItself, s.turn = "inactive", "", "", false, s.turn+1
		m.changed(s.unit)
		return
	}
	s.active, s.job, s.byItself, s.turn = "deactivating", "stop", false, s.turn+1
	m.changed(s.unit)
	w, turn := m.world, s.turn
	if mt := m.mounts[dataDir]; mt != nil && mt.dead && (s.clings || w.oneIn(3)) {
		s.hangs = true
		w.tell(m.id, "%s hangs, as its disk is gone", s.unit)
		return
	}
	w.in(w.between(200*time.Millisecond, 5*time.Second), m.id, "", func() {
		if s.turn != turn {
			return
		}
		s.active, s.job, s.result = "inactive", "", "success"
		if mt := m.mounts[dataDir]; mt != nil && !mt.dead && s.vol != nil && s.vol.live != nil && clean {
			s.vol.sync(s.dir)
		}
		w.tell(m.id, "%s has stopped", s.unit)
		m.changed(s.unit)
	})
}

// runCommand runs a program in a unit of its own, for as long as it takes.
func (m *machine) runCommand(name string, c *command, takes time.Duration, done func() error) {
	m.commands[name] = c
	c.running = true
	m.world.in(takes, m.id, "", func() {
		if m.commands[name] != c || !c.running {
			return
		}
		c.running = false
		if err := done(); err != nil {
			c.failed = true
		}
		m.world.tell(m.id, "%s has ended (failed: %t)", c.about, c.failed)
	})
}

// ended tells whether a command has ended, and outcome how.
func (m *machine) ended(name string) func() bool {
	return func() bool { return m.commands[name] == nil || !m.commands[name].running }
}

func (m *machine) outcome(name string) func() error {
	return func() error {
		if c := m.commands[name]; c == nil || c.failed {
			return fmt.Errorf("the start of %s ended as %q", name, "failed")
		}
		return nil
	}
}

func (m *machine) cutCommand(name string) {
	c := m.commands[name]
	c.running, c.failed = false, true
	if c.cut != nil {
		c.cut()
	}
}

// plug has a disk appear.
func (m *machine) plug(v *ebs) {
	if !m.up {
		return // it is found at the next boot
	}
	m.seq++
	v.minor += 16
	m.plugged[v.ID.Serial()] = &disk{vol: v, minor: v.minor, seq: m.seq}
	m.diskEvent(m.plugged[v.ID.Serial()].event())
}

// unplug has a disk go, with all that stands on it.
func (m *machine) unplug(v *ebs) {
	d := m.plugged[v.ID.Serial()]
	if d == nil {
		return
	}
	delete(m.plugged, v.ID.Serial())
	for _, where := range sortedKeys(m.mounts) {
		if mt := m.mounts[where]; mt.vol == v && !mt.dead {
			mt.dead, mt.stopping, mt.pinned = true, true, m.pins && where == volumeAt
		}
	}
	for _, name := range sortedKeys(m.commands) {
		if c := m.commands[name]; c.running && c.dev == d.dev() {
			m.cutCommand(name)
		}
	}
	v.cut(m.world)
	m.diskEvent(d.event())
}

// diskEvent tells the agent that something happened to a disk, as udev does.
func (m *machine) diskEvent(e host.DiskEvent) {
	if a := m.agent; a != nil && a.boot() != nil && !m.world.mutant.deaf(a, diskEvent) {
		a.person(func() error { a.boot().DiskChanged(context.Background(), e); return nil })
	}
}

// event is one of a disk, by which nothing that is known of it has changed.
func (d *disk) event() host.DiskEvent {
	b := d.block()
	return host.DiskEvent{Name: b.Name, Serial: b.Serial}
}

func (m *machine) mountedAt(where string) string {
	if m.mounts[where] == nil {
		return "inactive"
	}
	return "active"
}

// state is what systemd says of a unit.
func (m *machine) state(unit string) host.UnitState {
	for _, where := range []string{volumeAt, dataDir} {
		if unit == mountUnit(where) {
			mt := m.mounts[where]
			return host.UnitState{Active: m.mountedAt(where), Busy: mt != nil && mt.stopping}
		}
	}
	for _, name := range sortedKeys(m.services) {
		switch unit {
		case name:
			s := m.services[name]
			return host.UnitState{Active: s.active, Sub: s.sub, Busy: s.job != ""}
		case grantUnit(name):
			g := m.grants[name]
			if g == nil {
				return host.UnitState{Active: "inactive"}
			}
			active := "inactive"
			if g.active {
				active = "active"
			}
			return host.UnitState{Active: active, Busy: g.starting || g.stopping}
		}
	}
	panic(fmt.Sprintf("nobody knows the unit %s", unit))
}

// howEnded is what systemd says of a service that does not run.
func (m *machine) howEnded(unit string) host.Ended {
	s := m.services[unit]
	if s == nil {
		panic(fmt.Sprintf("nobody knows the service %s", unit))
	}
	return host.Ended{Result: s.result, Died: s.died, Ran: s.ran, ByItself: s.byItself, Processes: s.runs()}
}
