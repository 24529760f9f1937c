package sim

import (
	"fmt"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
)

const (
	volumeAt = "/srv/data"
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
	intents map[string]host.Intent // of disks that are no volumes
	facts   file[*host.Identity]
	kept    file[bool] // the sealed secret
	tags    file[map[string]string]

	released release // the last shutdown

	looks, serves string // where the engine says that it keeps its data, and where the server does that

	bypasses map[string]host.Bypass // in /run; World.mu guards it
	inForce  string                 // the plan, in /run; World.mu guards it

	plugged          map[string]*disk
	seq              uint64
	mounts           map[string]*mount
	grants           map[string]*grant
	services         map[string]*service
	commands         map[string]*command
	started          map[string]bool
	byHand           map[string]bool
	staged, versions map[string]string // secrets, and their versions
	files            map[string]string // of the role
	told             host.Instance     // which instance it is; World.mu guards it
	stopping         bool
	pins             bool   // a process is in the volume, and stays when its disk goes
	after            func() // the shutdown

	down  time.Time // since when the service does not run
	early time.Time // since when the role is told to be ready
	mute  time.Time // since when it is not told that nothing can be written to the volume
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

func newMachine(w *World, id, userData string) *machine {
	m := &machine{world: w, id: id, userData: userData}
	m.intents = map[string]host.Intent{}
	m.records.now = map[string]name.VolumeID{}
	m.clear()
	m.settles()
	return m
}

// clear forgets what is in memory.
func (m *machine) clear() {
	m.plugged, m.mounts, m.grants = map[string]*disk{}, map[string]*mount{}, map[string]*grant{}
	m.commands, m.started, m.byHand, m.staged, m.versions = map[string]*command{}, map[string]bool{}, map[string]bool{}, map[string]string{}, map[string]string{}
	m.services = map[string]*service{database: {unit: database, active: "inactive", result: "success"}}
	m.stopping, m.after = false, nil
	m.files = map[string]string{}
	m.world.mu.Lock()
	m.bypasses = map[string]host.Bypass{}
	m.told, m.inForce = host.Instance{}, ""
	m.world.mu.Unlock()
}

// boot boots the machine, in its time.
func (m *machine) boot() {
	w := m.world
	w.in(w.between(5*time.Second, 15*time.Second), m.id, "boots", func() {
		if m.up || m.gone {
			return
		}
		m.up, m.booted, m.serves = true, m.booted+1, m.looks
		for _, v := range w.cloud.volumes {
			if a := v.holder(); a != nil && a.Instance == m.id && a.State == "attached" || v.store {
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
		if mt := m.mounts[where]; !mt.dead && mt.dir == "" {
			mt.vol.cut(m.world)
		}
	}
	m.records.cut(m.world)
	m.facts.cut(m.world)
	m.kept.cut(m.world)
	m.tags.cut(m.world)
	m.up, m.agent = false, nil
	m.clear()
}

func (m *machine) bootID() string { return fmt.Sprintf("boot %d of %s", m.booted, m.id) }

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
		m.services[unit].slow = m.services[unit].slow || m.world.oneIn(8) && m.world.faults.act()
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
	if len(m.mounts) == 0 {
		m.released = release{m.bootID(), time.Now()}
	}
	m.world.tell(m.id, "is off")
	m.off()
	then()
}

// The interfaces of host.Host are in the files host_*_test.go.

func (a *agent) world() host.Host {
	return host.Host{
		Volumes: a.volumes, Records: records{a}, Intents: intents{a}, Releases: releases{a}, Bypasses: bypasses{a}, Disks: disks{a}, Filesystems: filesystems{a}, Growths: growths{a}, Ledgers: ledgers{a},
		Mounts: mounts{a}, Directories: directories{a}, Engines: engines{a}, Secrets: a.secrets(), Files: configFiles{a}, Units: units{a}, Runs: units{a}, Grants: units{a}, Jobs: units{a}, Probes: probes{a}, Stops: units{a}, Shutdown: units{a},
		Machine:      host.Machine{ID: a.machine.id, BootID: a.machine.bootID()},
		UnlockWithin: time.Hour,
		NewUUID: func() string {
			n := a.machine.world.drawFor("uuid " + a.name)
			return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(n), uint16(n>>32), n>>48&0xfff, n>>52&0xfff, n&0xffffffffffff)
		},
	}
}
