package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"bootagent/pkg/graph"
	"bootagent/pkg/journal"
	"bootagent/pkg/status"
	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// A teller tells the state of the agent: to the status file, to systemd, to
// the role's unit, and to the journal of the units that are held.
type teller struct {
	log     *slog.Logger
	file    string
	agent   status.Agent
	changed chan struct{} // has room for one; what changed is in last
	send    func(state string) error

	mu      sync.Mutex
	last    status.Status
	written os.FileInfo // of the file that last is in; nil where it is in none
	moved   time.Time   // when the role was ready, idle or failed last, or the agent was started
	isReady bool
	since   time.Time         // when the role came into its state
	ailing  map[string]string // by a part of the agent, why it does not work
	held    map[string]string // by unit, why it was told to be held
}

func newTeller(log *slog.Logger) *teller {
	return &teller{
		log:     log,
		file:    statusFile,
		agent:   thisAgent(),
		changed: make(chan struct{}, 1),
		moved:   time.Now(),
		send:    func(state string) error { _, err := daemon.SdNotify(false, state); return err },
		ailing:  make(map[string]string),
		held:    make(map[string]string),
	}
}

func thisAgent() status.Agent {
	ticks, _ := startTicks(os.Getpid()) // without it, the name of the process has to do
	return status.Agent{Version: version, PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second), Ticks: ticks}
}

// Ails tells in the status, until it is told to be well again, that a part of
// the agent does not work. "" is well.
func (t *teller) Ails(part, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ailing[part] == why {
		return
	}
	if t.ailing[part] = why; why == "" {
		delete(t.ailing, part)
	}
	if t.last.State != "" {
		t.write(t.last)
	}
}

// tell tells a state, if it is another than before.
func (t *teller) tell(s status.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write(s)
}

// write tells a state, with what ails the agent.
func (t *teller) write(s status.Status) {
	now := time.Now()
	if s.State != t.last.State {
		t.since = now
	} else if since := graph.AsOf(now, t.since); since.Sub(t.since.Round(0)).Abs() > time.Second {
		t.since = since // the clock was set
	}
	s.Agent, s.Since = t.agent, t.since.UTC()
	s.Remarks = slices.DeleteFunc(slices.Clone(s.Remarks), func(r string) bool { return strings.HasPrefix(r, ails) })
	for _, part := range slices.Sorted(maps.Keys(t.ailing)) {
		s.Remarks = append(s.Remarks, ails+part+": "+t.ailing[part])
	}
	if t.written != nil && reflect.DeepEqual(s, t.last) {
		return
	}
	t.writeFile(s)
	if s.Line() != t.last.Line() {
		t.notify("STATUS=" + s.Line())
	}
	if t.last.State.Final() {
		t.moved = time.Now()
	}
	if s.State != t.last.State {
		t.log.Info("the role is "+string(s.State), "reason", s.Reason, "hint", s.Hint)
		select {
		case t.changed <- struct{}{}:
		default:
		}
	}
	t.last = s
}

// writeFile writes a status, and notes which file it is in.
func (t *teller) writeFile(s status.Status) {
	err := s.Write(t.file)
	t.written = nil
	if err == nil {
		t.written, err = os.Lstat(t.file)
	}
	if err != nil {
		t.log.Error("cannot write the status", "error", err)
	}
}

// keepFile writes the status once more where somebody has deleted the file,
// or written something else into it.
func (t *teller) keepFile() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.State == "" || t.written != nil && sameFile(t.written, t.file) {
		return
	}
	t.writeFile(t.last)
	t.log.Warn("the status was gone, or not as it was written, and is there again")
}

// sameFile tells whether a file is the very one that was seen, unchanged.
func sameFile(seen os.FileInfo, path string) bool {
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(seen, now) && now.ModTime().Equal(seen.ModTime()) && now.Size() == seen.Size()
}

// ails begins a remark about a part of the agent that does not work.
const ails = "warning: "

const (
	// extendEvery is how often systemd is asked for more time to start, and
	// extendBy how much that is: one question may be late, or lost. The unit
	// begins with 90 s (TimeoutStartSec=).
	extendEvery = 20 * time.Second
	extendBy    = time.Minute
)

// holdStart has systemd wait for the agent's start, by the clock and whatever
// the agent does meanwhile, until it is ready or that has lasted for within.
func (t *teller) holdStart(ctx context.Context, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for t.extend() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// extend asks for more time, unless none is needed any more.
func (t *teller) extend() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isReady {
		t.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()))
	}
	return !t.isReady
}

// Ready tells systemd that the boot need not wait for the agent any more.
func (t *teller) Ready() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isReady {
		t.isReady = true
		t.notify(daemon.SdNotifyReady)
	}
}

// tellHeld tells, where systemctl status of each unit shows it, what holds it,
// once for each cause.
func (t *teller) tellHeld(held map[string]graph.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for unit, by := range held {
		why := by.Step + by.Wait.For
		if by.Err != nil {
			why += by.Err.Error()
		}
		if (by.State == graph.Waiting || by.State == graph.Failed) && t.held[unit] != why {
			t.held[unit] = why
			t.log.Info(unit+" may not start yet: "+by.String(), journal.FieldUnit, unit)
		}
	}
}

func (t *teller) notify(state string) {
	if err := t.send(state); err != nil {
		t.log.Error("cannot notify systemd", "error", err)
	}
}

// A roleUnits runs the role's unit: systemd, or that of a test.
type roleUnits interface {
	State(ctx context.Context, unit string) (pid1.UnitState, error)
	Stopping(ctx context.Context) (bool, error)
	Restart(ctx context.Context, unit string) error
}

// unsettledFor is how long a role may be on its way until its unit, which told
// that it is ready, tells so no more. An agent that was started again looks at
// what runs within seconds, and nobody who waits for the role need hear of it.
const unsettledFor = 15 * time.Second

// keepRoleUnit runs the role's unit again whenever its state tells another
// thing than the role's: it runs bootagent wait, and so ends as the role does.
func (t *teller) keepRoleUnit(ctx context.Context, m roleUnits) error {
	var later <-chan time.Time
	for {
		select {
		case <-t.changed:
			later = nil
		case <-later:
			later = nil
		case <-ctx.Done():
			return nil
		}
		in, err := t.runRoleUnit(ctx, m)
		if err != nil {
			t.log.Error("cannot run the role's unit", "error", err)
		}
		if in > 0 {
			later = time.After(in)
		}
	}
}

// runRoleUnit runs the role's unit if it has to, or says in how long to look
// again.
func (t *teller) runRoleUnit(ctx context.Context, m roleUnits) (again time.Duration, err error) {
	now, err := m.State(ctx, unit.Role)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	state, moved := t.last.State, t.moved
	t.mu.Unlock()
	switch {
	case now.Active == "activating", now.Job != "": // it waits by itself
		return 0, nil
	case now.Active == "active" && (state == status.Ready || state == status.Idle):
		return 0, nil
	case now.Active == "active" && !state.Final() && time.Since(moved) < unsettledFor:
		return unsettledFor - time.Since(moved), nil
	}
	if stopping, err := m.Stopping(ctx); err != nil || stopping {
		return 0, err
	}
	return 0, m.Restart(ctx, unit.Role)
}

// watchdog tells systemd that the agent is not stuck, as often as it wants to
// hear, with a margin, for as long as turn comes back, until ctx ends.
func (t *teller) watchdog(ctx context.Context, turn func()) error {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return err
	}
	if every == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			turn()
			t.notify(daemon.SdNotifyWatchdog)
		case <-ctx.Done():
			return nil
		}
	}
}
