// Package report reports the state of the role and of the agent: to the status
// file, to systemd, to the role's unit, and to the journal of the units that are
// held.
//
// Of, OfIdentify and Settled decide what is reported; they touch nothing. A
// Reporter writes the status file, and sends the rest through the functions and
// the interface that it is given.
package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/plan"
	"bootagent/pkg/status"
	"bootagent/pkg/unit"
)

// Messages to systemd, see sd_notify(3).
const (
	notifyReady    = "READY=1"
	notifyWatchdog = "WATCHDOG=1"
)

// A Reporter reports the state of the agent. It is safe for concurrent use.
type Reporter struct {
	log     *slog.Logger
	file    string
	agent   status.Agent
	send    func(state string) error
	changed chan struct{} // has room for one; the new state is in last

	mu       sync.Mutex
	reported status.Status // last, without the problems of the agent
	last     status.Status
	written  os.FileInfo // of the file that holds last; nil if no file does
	final    time.Time   // when the state was last final, or the agent was started
	isReady  bool
	since    time.Time         // when the role came into its state
	problems map[string]string // by part of the agent, why the part does not work
	held     map[string]string // by unit, why it was reported to be held
}

// New returns a Reporter that writes a status file as an agent. Notify sends a
// message to systemd, as sd_notify(3) does.
func New(log *slog.Logger, file string, agent status.Agent, notify func(state string) error) *Reporter {
	return &Reporter{
		log:      log,
		file:     file,
		agent:    agent,
		send:     notify,
		changed:  make(chan struct{}, 1),
		final:    time.Now(),
		problems: make(map[string]string),
		held:     make(map[string]string),
	}
}

// SetProblem adds a warning to the status: this part of the agent does not work.
// The warning stays until the part has another problem, or none, "".
func (r *Reporter) SetProblem(part, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.problems[part] == why {
		return
	}
	if r.problems[part] = why; why == "" {
		delete(r.problems, part)
	}
	if r.last.State != "" {
		r.report(r.reported)
	}
}

// Identifying reports how the agent learns which plan the machine has.
func (r *Reporter) Identifying(progress []graph.Progress) { r.Report(OfIdentify(progress)) }

// Booting reports how a role comes up, and what holds its services, by unit. Told
// has the role, and what is told of it beside its steps.
func (r *Reporter) Booting(told status.Status, held map[string]graph.Progress, progress []graph.Progress) {
	r.Report(Of(told, held, progress))
	r.reportHeld(held)
	if Settled(progress) {
		r.Ready()
	}
}

// NoPlan reports why there is no plan, that units are held for that, and which a person
// has started all the same.
func (r *Reporter) NoPlan(err error, units []string, bypassed []status.Bypass) {
	s := status.Status{State: status.Failed, Bypassed: bypassed, Reason: err.Error(), Hint: fault.HintOf(err)}
	if errors.Is(err, plan.ErrNoRole) {
		s.State = status.Idle
	}
	why := graph.Progress{Step: "plan", State: graph.Failed, Since: time.Now(), Err: err}
	held := make(map[string]graph.Progress)
	for _, name := range units {
		held[name] = why
		s.Held = append(s.Held, status.Held{Unit: name, Why: "there is no plan: " + err.Error()})
	}
	r.Report(s)
	r.reportHeld(held)
}

// Report reports a status, if it is new.
func (r *Reporter) Report(s status.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report(s)
}

func (r *Reporter) report(s status.Status) {
	r.reported = s
	now := time.Now()
	if s.State != r.last.State {
		r.since = now
	} else if since := graph.AsOf(now, r.since); since.Sub(r.since.Round(0)).Abs() > time.Second {
		r.since = since // the clock was set
	}
	s.Agent, s.Since = r.agent, r.since.UTC()
	s.Warnings = slices.Clone(s.Warnings)
	for _, part := range slices.Sorted(maps.Keys(r.problems)) {
		s.Warnings = append(s.Warnings, "agent: "+part+": "+r.problems[part])
	}
	if r.written != nil && reflect.DeepEqual(s, r.last) {
		return
	}
	r.write(s)
	if s.Line() != r.last.Line() {
		r.notify("STATUS=" + s.Line())
	}
	if r.last.State.Final() {
		r.final = time.Now()
	}
	if s.State != r.last.State {
		r.log.Info("the role is "+string(s.State), "reason", s.Reason, "hint", s.Hint)
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	r.last = s
}

// write writes the status file, and remembers which file it is.
func (r *Reporter) write(s status.Status) {
	err := s.Write(r.file)
	r.written = nil
	if err == nil {
		r.written, err = os.Lstat(r.file)
	}
	if err != nil {
		r.log.Error("cannot write the status", "error", err)
	}
}

// KeepFile writes the status file again if somebody deleted or changed it.
func (r *Reporter) KeepFile() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.State == "" || r.written != nil && sameFile(r.written, r.file) {
		return
	}
	r.write(r.last)
	r.log.Warn("the status file was deleted or changed, and was written again", "file", r.file)
}

// sameFile reports whether path is still the file that was seen, unchanged.
func sameFile(seen os.FileInfo, path string) bool {
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(seen, now) && now.ModTime().Equal(seen.ModTime()) && now.Size() == seen.Size()
}

const (
	// extendEvery is how often systemd is asked for more time to start, and
	// extendBy for how much: one message may be late, or be lost. The unit
	// begins with 90 s (TimeoutStartSec=).
	extendEvery = 20 * time.Second
	extendBy    = time.Minute
)

// HoldStart lets systemd wait for the agent's start until the agent is ready,
// but at most for within.
func (r *Reporter) HoldStart(ctx context.Context, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for r.extend() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// extend asks systemd for more time, unless the agent is ready.
func (r *Reporter) extend() (asked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isReady {
		r.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()))
	}
	return !r.isReady
}

// Ready tells systemd that the boot of the machine need not wait for the agent
// any more.
func (r *Reporter) Ready() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isReady {
		r.isReady = true
		r.notify(notifyReady)
	}
}

// IsReady reports whether Ready was called.
func (r *Reporter) IsReady() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isReady
}

// reportHeld logs for each unit which step holds it, once for each cause, so
// that systemctl status of the unit shows it.
func (r *Reporter) reportHeld(held map[string]graph.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, by := range held {
		why := by.Step + by.Wait.For
		if by.Err != nil {
			why += by.Err.Error()
		}
		if (by.State == graph.Waiting || by.State == graph.Failed) && r.held[name] != why {
			r.held[name] = why
			r.log.Info(name+" may not start yet: "+by.String(), unit.JournalField, name)
		}
	}
}

// Watchdog tells systemd that the agent works, three times in each interval of
// the unit's watchdog, as long as ping returns, until ctx ends. Without an
// interval, it only waits for that.
func (r *Reporter) Watchdog(ctx context.Context, interval time.Duration, ping func()) {
	if interval <= 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ping()
			r.notify(notifyWatchdog)
		case <-ctx.Done():
			return
		}
	}
}

func (r *Reporter) notify(state string) {
	if err := r.send(state); err != nil {
		r.log.Error("cannot notify systemd", "error", err)
	}
}
