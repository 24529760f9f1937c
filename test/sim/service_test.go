package sim

import (
	"fmt"
	"time"

	"bootagent/pkg/host"
)

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
	began    time.Time // it was last started
	died     string    // of what, until it lives again
	byItself bool      // its last end
	crashes  int       // how often it is still to die by itself
	limited  bool      // it has hit its start limit: systemd starts it no more
	slow     bool      // it does not stop in its time, and is killed

	stopped bool // by a person, for good
	sure    bool // and the agent has had the time to see it
}

func (s *service) runs() bool {
	return s.active == "active" || s.active == "activating" || s.active == "deactivating"
}

// startService queues a start.
func (m *machine) startService(unit string) {
	if s := m.services[unit]; s.job == "" && !s.limited && (s.active == "inactive" || s.active == "failed") {
		s.job, s.restarts, s.died = "start", 0, ""
	}
}

// comesUp starts the database on whatever is where it looks for its data.
func (m *machine) comesUp(s *service) {
	s.active, s.sub, s.died, s.turn = "activating", "", "", s.turn+1
	s.vol, s.dir, s.began = nil, "", time.Now()
	if mt := m.mounts[m.looksWhere()]; mt != nil {
		s.vol, s.dir = mt.vol, mt.dir
		s.vol.clean = false
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

// stopLimit is TimeoutStopSec= of the service's unit.
const stopLimit = 90 * time.Second

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
		if s.limited = s.limited || m.world.oneIn(30) && m.world.faults.act(); s.limited {
			s.active, s.sub, s.result, s.turn = "failed", "failed", "start-limit-hit", s.turn+1
			m.world.tell(m.id, "%s has hit its start limit", s.unit)
			m.changed(s.unit)
			return
		}
		s.restarts++
		m.comesUp(s)
	})
}

// exits has a service end by itself, which its unit does not mind.
func (m *machine) exits(s *service) {
	if s.active != "active" {
		return
	}
	s.active, s.sub, s.job, s.result, s.byItself, s.turn = "inactive", "", "", "success", true, s.turn+1
	if s.vol != nil && s.vol.live != nil && m.takesWrites() {
		s.vol.sync(s.dir)
		s.vol.clean = true
	}
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
		mt := m.mounts[m.serves]
		if mt != nil && !mt.dead && s.vol != nil && s.vol.live != nil && m.takesWrites() {
			s.vol.change(func(f *filesystem) {
				d := f.dirs[s.dir]
				d.rows++
				d.bare = false
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
	if mt := m.mounts[m.serves]; mt != nil && mt.dead && (s.clings || w.oneIn(3)) {
		s.hangs = true
		w.tell(m.id, "%s hangs, as its disk is gone", s.unit)
		return
	}
	took := w.between(200*time.Millisecond, 5*time.Second)
	if s.slow {
		took = stopLimit
	}
	w.in(took, m.id, "", func() {
		if s.turn != turn {
			return
		}
		if s.slow {
			s.active, s.job, s.result, s.died, s.slow = "failed", "", "timeout", "it was killed by SIGKILL", false
			w.tell(m.id, "%s is killed at its stop limit", s.unit)
			m.changed(s.unit)
			return
		}
		s.active, s.job, s.result = "inactive", "", "success"
		if mt := m.mounts[m.serves]; mt != nil && !mt.dead && s.vol != nil && s.vol.live != nil && clean && m.takesWrites() {
			s.vol.sync(s.dir)
			s.vol.clean = true
		}
		w.tell(m.id, "%s has stopped", s.unit)
		m.changed(s.unit)
	})
}

// howEnded is what systemd says of a service that does not run.
func (m *machine) howEnded(unit string) host.Ended {
	s := m.services[unit]
	if s == nil {
		panic(fmt.Sprintf("nobody knows the service %s", unit))
	}
	return host.Ended{Result: s.result, Died: s.died, Ran: s.ran, ByItself: s.byItself, Processes: s.runs()}
}
