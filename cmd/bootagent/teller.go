package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"bootagent/pkg/boot"
	"bootagent/pkg/status"
	"bootagent/pkg/systemd"
)

// A teller tells the state of the agent: to the status file, to systemd, to
// the role's unit, and to the journal of the units that are held.
type teller struct {
	log     *slog.Logger
	file    string
	agent   status.Agent
	changed chan struct{} // has room for one; what changed is in last

	mu      sync.Mutex
	last    status.Status
	written bool // last is in the file
	isReady bool
	held    map[string]string // by unit, why it was told to be held
}

func newTeller(log *slog.Logger) *teller {
	return &teller{
		log:     log,
		file:    statusFile,
		agent:   status.Agent{Version: version, PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second)},
		changed: make(chan struct{}, 1),
		held:    make(map[string]string),
	}
}

// tell tells a state, if it is another than before.
func (t *teller) tell(s status.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Agent = t.agent
	s.Since = time.Now().UTC()
	if s.State == t.last.State {
		s.Since = t.last.Since
	}
	if t.written && reflect.DeepEqual(s, t.last) {
		return
	}
	err := s.Write(t.file)
	if t.written = err == nil; err != nil {
		t.log.Error("cannot write the status", "error", err)
	}
	// A start that makes progress may take its time.
	if s.Line() != t.last.Line() {
		note := "STATUS=" + s.Line()
		if !t.isReady {
			note += fmt.Sprintf("\nEXTEND_TIMEOUT_USEC=%d", (90 * time.Second).Microseconds())
		}
		t.notify(note)
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

// ready tells systemd that the boot need not wait for the agent any more.
func (t *teller) ready() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isReady {
		t.isReady = true
		t.notify(daemon.SdNotifyReady)
	}
}

// tellHeld tells, where systemctl status of each unit shows it, what holds it,
// once for each cause.
func (t *teller) tellHeld(held map[string]boot.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for unit, by := range held {
		why := by.Step + by.Wait.For
		if by.Err != nil {
			why += by.Err.Error()
		}
		if (by.State == boot.Waiting || by.State == boot.Failed) && t.held[unit] != why {
			t.held[unit] = why
			t.log.Info(unit+" may not start yet: "+by.String(), fieldUnit, unit)
		}
	}
}

func (t *teller) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		t.log.Error("cannot notify systemd", "error", err)
	}
}

// keepRoleUnit runs the role's unit again whenever its state tells another
// thing than the role's: it runs bootagent wait, and so ends as the role does.
func (t *teller) keepRoleUnit(ctx context.Context, m *systemd.Manager) error {
	for {
		select {
		case <-t.changed:
			if err := t.runRoleUnit(ctx, m); err != nil {
				t.log.Error("cannot run the role's unit", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *teller) runRoleUnit(ctx context.Context, m *systemd.Manager) error {
	unit, err := m.State(ctx, roleUnit)
	if err != nil {
		return err
	}
	t.mu.Lock()
	ready := t.last.State == status.Ready
	t.mu.Unlock()
	if unit.Active == "activating" || unit.Job != "" || unit.Active == "active" && ready {
		return nil
	}
	if stopping, err := m.Stopping(ctx); err != nil || stopping {
		return err
	}
	return m.Restart(ctx, roleUnit)
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
