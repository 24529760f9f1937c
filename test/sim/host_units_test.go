package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bootagent/pkg/host"
)

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
		if mt := u.machine.mounts[u.machine.serves]; mt != nil && !mt.dead {
			u.machine.world.breaks("%s is killed, and its disk is there", unit)
		}
		s.active, s.sub, s.job, s.result, s.hangs, s.turn = "failed", "", "", "signal", false, s.turn+1
		u.machine.changed(unit)
		return nil
	}})
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
