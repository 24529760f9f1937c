package sim

import (
	"context"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/status"
)

// A release is a shutdown that found the volume unmounted.
type release struct {
	bootID string
	at     time.Time
}

type releases struct{ *agent }

func (r releases) Released(bootID, _ string) (at time.Time, err error) {
	err = r.call(context.Background(), "asks", "how "+bootID+" ended", effect{do: func() error {
		if last := r.machine.released; last.bootID == bootID {
			at = last.at
		}
		return nil
	}})
	return at, err
}

// Began is when a unit last ceased to be inactive.
func (u units) Began(ctx context.Context, unit string) (began time.Duration, err error) {
	m := u.machine
	err = u.call(ctx, "asks", "when "+unit+" was started", effect{do: func() error {
		var at time.Time
		if s := m.services[unit]; s != nil {
			at = s.began
		}
		for _, mt := range m.mounts {
			if unit == mountUnit(mt.where) {
				at = mt.since
			}
		}
		if !at.IsZero() {
			began = at.Sub(m.world.began)
		}
		return nil
	}})
	return began, err
}

// saysStopped reports whether the ledger says that the services have stopped.
func saysStopped(f *filesystem) bool { return f != nil && strings.Contains(f.ledger, `"stopped":`) }

// mayStillSayStopped reports the same of any state that a power cut may leave.
func (b *blocks) mayStillSayStopped() bool {
	return saysStopped(b.log) || saysStopped(b.live) || slices.ContainsFunc(b.since, saysStopped)
}

// toldStop is how the agent tells that the services had stopped, if it does, and the
// volume is in use.
func (m *machine) toldStop() (last status.LastStop, told bool) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	inUse := slices.ContainsFunc(m.agent.progress, func(p graph.Progress) bool {
		return p.Step == "volume data: ledger" && p.State == graph.Done
	})
	for _, v := range m.agent.told.Volumes {
		if inUse {
			return v.LastStop, true
		}
	}
	return last, false
}

// lookAtStop breaks where the agent tells that the services had stopped cleanly, and
// they had not.
func (w *World) lookAtStop(m *machine) {
	mt := m.mounts[volumeAt]
	if mt == nil || mt.dead || mt.byPerson || m.stopping {
		return
	}
	if last, told := m.toldStop(); told && last.Clean && !mt.clean {
		w.breaks("%s is told to have %s, which is not so", mt.vol.ID, last.Text)
	}
}

// mustTellStop breaks unless the agent tells in these words how the services had
// stopped.
func mustTellStop(words string) func(*World, *machine) {
	return func(w *World, m *machine) {
		if last, _ := m.toldStop(); !strings.Contains(last.Text, words) {
			w.breaks("how the services stopped has to be told with the words %q: %q", words, last.Text)
		}
	}
}
