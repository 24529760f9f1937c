package sim

import (
	"context"
	"maps"
	"slices"
	"time"

	"bootagent/pkg/host"
)

// bypasses are kept in the machine's /run. World.mu guards them.
type bypasses struct{ *agent }

func (b bypasses) Bypassed() (map[string]host.Bypass, error) {
	w := b.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(b.machine.bypasses), nil
}

func (b bypasses) Bypass(as host.Bypass) error {
	w := b.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	b.machine.bypasses[as.Unit] = as
	return nil
}

func (b bypasses) EndBypass(unit string) error {
	w := b.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(b.machine.bypasses, unit)
	return nil
}

// bypassed is the bypass of the database, or nil.
func (m *machine) bypassed() *host.Bypass {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	if b, is := m.bypasses[database]; is {
		return &b
	}
	return nil
}

// mayRunWithout tells whether a person lets the database run without its secret.
func (m *machine) mayRunWithout() bool { return m.bypassed() != nil }

// unproven tells whether a person lets the database run on what there is.
func (m *machine) unproven() bool {
	b := m.bypassed()
	return b != nil && b.WithoutProof
}

// bypass has a person bypass what holds the database.
func (m *machine) bypass(withoutProof bool) {
	if a := m.agent; a != nil {
		a.person(func() error {
			_, err := a.life.Bypass(context.Background(), host.Bypass{
				Unit: database, Reason: "it is needed now", By: "alice", At: time.Now(), WithoutProof: withoutProof,
			})
			return err
		})
	}
}

// endBypass has a person end that.
func (m *machine) endBypass() {
	if a := m.agent; a != nil {
		a.person(func() error { _, err := a.life.EndBypass(context.Background(), database); return err })
	}
}

func (u units) Revoke(ctx context.Context, unit string) error {
	m := u.machine
	return u.call(ctx, "revoke", unit, effect{do: func() error {
		if g := m.grants[unit]; g != nil {
			g.starting, g.stopping = false, g.active
		}
		return nil
	}})
}

// checkMount is asked before something is mounted for the role.
func (w *World) checkMount(m *machine, where string) {
	s := m.services[database]
	if m.unproven() && s.runs() && s.vol == nil && slices.Contains([]string{volumeAt, m.serves}, where) {
		w.breaks("%s mounts something at %s, under a database that started on what was there", m.id, where)
	}
}

// bypassedFor and endedBypass are what people do in scenarios.
func bypassedFor(withoutProof bool) func(*World, *machine) {
	return func(_ *World, m *machine) { m.bypass(withoutProof) }
}

func endedBypass(_ *World, m *machine) { m.endBypass() }

// mustRun breaks unless the database runs, or does not.
func mustRun(runs bool) func(*World, *machine) {
	return func(w *World, m *machine) {
		if is := m.services[database].active == "active"; is != runs {
			w.breaks("the database runs: %t, and that has to be %t", is, runs)
		}
	}
}

// mustTellBypass breaks unless the bypass is told.
func mustTellBypass(w *World, m *machine) {
	if s := m.status(); len(s.Bypassed) != 1 || len(s.Bypassed[0].Lacks) == 0 {
		w.breaks("the bypass has to be told, and what its service lacks: %s", s.Line())
	}
}
