package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/unit"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// mountUnit and grantUnit name units as systemd and the guards do.
func mountUnit(where string) string { return unit.MountAt(where) }

func grantUnit(service string) string { return unit.GrantOf(service) }

// A mount is a mount unit that is active.
type mount struct {
	where    string
	vol      *ebs
	dev      uint64
	dir      string // of the volume, for one that is bound
	on       string // mount point that it goes with
	since    time.Time
	clean    bool      // the services had stopped cleanly when it was mounted
	byPerson bool      // who is free to mount what he likes
	dead     bool      // its disk is gone
	stopped  time.Time // since when nothing can be written to it; zero is that it can
	pinned   bool      // a process holds it, so that it can only be detached
	stopping bool
}

// A grant is the unit that a service is bound to.
type grant struct {
	mounts   []string
	active   bool
	starting bool
	stopping bool
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
	if a := m.agent; a != nil && !slices.Contains(a.changes, unit) && !m.world.mutant.deaf(a, unit) {
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
	if d := m.plugged[mt.vol.ID.Serial()]; d != nil && mt.where == volumeAt {
		d.read = false // whoever mounts it next has to read it first
	}
	switch {
	case mt.dir != "" || mt.dead:
	case !mt.stopped.IsZero():
		mt.vol.cut(m.world) // what was not on the disk is lost
	default:
		mt.vol.close()
	}
	m.changed(mountUnit(mt.where))
}

// takesWrites tells whether the volume is mounted, and can be written.
func (m *machine) takesWrites() bool {
	mt := m.mounts[volumeAt]
	return mt != nil && !mt.dead && mt.stopped.IsZero()
}

// tornDown is a systemctl stop of the volume's mount, with all that stands on
// it, in an instant.
func (m *machine) tornDown() {
	s := m.services[database]
	s.active, s.sub, s.job, s.result, s.byItself, s.turn = "inactive", "", "", "success", false, s.turn+1
	m.grants, m.started = map[string]*grant{}, map[string]bool{}
	for _, where := range []string{dataDir, otherDir, spoolAt, volumeAt} {
		if mt := m.mounts[where]; mt != nil {
			m.unmounted(mt)
		}
	}
	m.all()
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

func (m *machine) mountedAt(where string) string {
	if m.mounts[where] == nil {
		return "inactive"
	}
	return "active"
}

// state is what systemd says of a unit.
func (m *machine) state(unit string) host.UnitState {
	for _, where := range places {
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
