package report

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/status"
)

// A status that could not be written, as the disk was full, is no lost one.
func TestAStatusThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	r := newReporter(filepath.Join(t.TempDir(), "absent", "status.json"))
	ready := status.Status{Role: "mysql", State: status.Ready}
	r.Report(ready)
	if err := os.Mkdir(filepath.Dir(r.file), 0o755); err != nil {
		t.Fatal(err)
	}
	r.Report(ready)
	if s, err := status.Read(r.file); err != nil || s.State != status.Ready {
		t.Errorf("it is written that %+v, %v", s, err)
	}
}

// What does not work of the agent itself is said for as long as it does not,
// whatever else is told meanwhile.
func TestAPartOfTheAgentThatDoesNotWorkIsSaid(t *testing.T) {
	r := newReporter(filepath.Join(t.TempDir(), "status.json"))
	says := func(want string) {
		t.Helper()
		s, err := status.Read(r.file)
		if got := strings.Join(s.Warnings, "|"); err != nil || got != want || !strings.HasSuffix(s.Line(), strings.ReplaceAll(want, "|", "; ")) {
			t.Errorf("it says %q, %v", got, err)
		}
	}
	r.SetProblem("disks", "the socket failed")
	if _, err := os.Stat(r.file); err == nil {
		t.Error("a status was written before there was one")
	}
	r.Report(status.Status{Role: "mysql", State: status.Starting})
	says("agent: disks: the socket failed")
	r.Report(status.Status{Role: "mysql", State: status.Ready, Warnings: []string{"it relies on something"}})
	says("it relies on something|agent: disks: the socket failed")
	r.SetProblem("disks", "it failed again")
	says("it relies on something|agent: disks: it failed again")
	r.SetProblem("disks", "")
	says("it relies on something")
}

// newReporter returns a reporter that tells systemd nothing.
func newReporter(file string) *Reporter {
	return New(slog.New(slog.DiscardHandler), file, status.Agent{PID: 1}, func(string) error { return nil })
}

// The boot is held for as long as it is set to be, though nothing happens that
// could be told meanwhile.
func TestTheStartIsExtendedByTheClockUntilItIsReady(t *testing.T) {
	const more = "EXTEND_TIMEOUT_USEC=60000000"
	for name, c := range map[string]struct {
		within time.Duration
		ready  time.Duration // 0 is never
		want   int
	}{
		"until it is ready":          {10 * time.Minute, 3*time.Minute + time.Second, 10},
		"at most for as long as set": {10 * time.Minute, 0, 30},
		"an adopted role":            {10 * time.Minute, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReporter("")
			sent := 0
			synctest.Test(t, func(t *testing.T) {
				r.send = func(state string) error {
					if state == more {
						sent++
					}
					return nil
				}
				if c.ready > 0 {
					time.AfterFunc(c.ready, r.Ready)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				r.HoldStart(ctx, c.within)
			})
			if sent < c.want || sent > c.want+1 {
				t.Errorf("it asked for more time %d times, and %d are wanted", sent, c.want)
			}
		})
	}
	r := newReporter("")
	var sent []string
	r.send = func(state string) error { sent = append(sent, state); return nil }
	r.extend()
	r.Ready()
	r.Ready()
	if r.extend() || !r.IsReady() || strings.Join(sent, "|") != more+"|READY=1" {
		t.Errorf("systemd was told %q", sent)
	}
	if extendBy < 2*extendEvery {
		t.Error("one question that is lost ends the start")
	}
}

// Each status is written once: to write it costs time, and wakes all that wait.
func TestAStatusThatHasNotChangedIsNotWrittenAgain(t *testing.T) {
	r := newReporter(filepath.Join(t.TempDir(), "status.json"))
	written := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(r.file)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	steps := func(state string) []status.Step { return []status.Step{{Name: "volume data: device", State: state}} }

	r.Report(status.Status{Role: "mysql", State: status.Starting, Steps: steps("running")})
	first := written()
	r.Report(status.Status{Role: "mysql", State: status.Starting, Steps: steps("running")})
	if !os.SameFile(first, written()) {
		t.Error("the same status was written twice")
	}
	r.Report(status.Status{Role: "mysql", State: status.Starting, Steps: steps("done")})
	if os.SameFile(first, written()) {
		t.Error("a step was done, and that was not written")
	}
	if s, err := status.Read(r.file); err != nil || s.Steps[0].State != "done" {
		t.Errorf("it is written that %+v, %v", s, err)
	}
}

func TestAStatusThatWasDeletedOrOverwrittenIsWrittenAgain(t *testing.T) {
	for name, harm := range map[string]func(file string) error{
		"deleted":     os.Remove,
		"overwritten": func(file string) error { return os.WriteFile(file, []byte("{}"), 0o644) },
		"replaced":    func(file string) error { return os.Rename(file+".other", file) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReporter(filepath.Join(t.TempDir(), "status.json"))
			r.KeepFile() // there is nothing to tell yet
			if _, err := os.Stat(r.file); err == nil {
				t.Error("a status was written before there was one")
			}
			r.Report(status.Status{Role: "mysql", State: status.Ready})
			first := r.written
			r.KeepFile()
			if !os.SameFile(first, r.written) {
				t.Error("it was written again, and nobody had touched it")
			}
			if err := os.WriteFile(r.file+".other", []byte("ready"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := harm(r.file); err != nil {
				t.Fatal(err)
			}
			r.KeepFile()
			if s, err := status.Read(r.file); err != nil || s.State != status.Ready {
				t.Errorf("there is %+v, %v", s, err)
			}
		})
	}
}

// A roleUnit is bootagent-role.service as systemd runs it: bootagent wait reads the role's
// state some time after it was started, and its end is seen some time after that.
type roleUnit struct {
	ctx      context.Context
	reporter *Reporter
	mu       sync.Mutex
	state    host.UnitState
	errors   int // how often systemd does not restart it
	restarts int
}

func (u *roleUnit) is(active string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state = host.UnitState{Active: active}
}

func (u *roleUnit) State(context.Context) (host.UnitState, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state, nil
}

func (*roleUnit) Stopping(context.Context) (bool, error) { return false, nil }

func (u *roleUnit) Restart(context.Context) error {
	if u.errors > 0 {
		u.errors--
		return errors.New("systemd does not answer")
	}
	u.restarts++
	u.is("activating")
	go func() {
		for u.ctx.Err() == nil {
			time.Sleep(300 * time.Millisecond)
			u.reporter.mu.Lock()
			state := u.reporter.last.State
			u.reporter.mu.Unlock()
			if !state.Final() {
				continue
			}
			time.Sleep(300 * time.Millisecond)
			if u.is("failed"); state != status.Failed {
				u.is("active")
			}
			return
		}
	}()
	return nil
}

// An agent that is started again or upgraded finds the role's unit active. What
// is ordered after the role must not be told that it is not ready, only since
// the agent has to look at what runs.
func TestTheRolesUnitDoesNotFlapWhileAnAgentIsStartedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		states   []status.State // one each second
		after    time.Duration
		restarts int
	}{
		"it adopts what runs":                {[]status.State{status.Starting, status.Waiting, status.Ready}, time.Minute, 0},
		"what runs is not whole for a while": {[]status.State{status.Starting, status.Waiting}, unsettledFor + 3*time.Second, 1},
		"something failed for good":          {[]status.State{status.Starting, status.Failed}, 2 * time.Second, 1},
		"a ready role loses its disk":        {[]status.State{status.Ready, status.Waiting}, unsettledFor - 2*time.Second, 0},
		"and does not get it back":           {[]status.State{status.Ready, status.Waiting}, unsettledFor + 3*time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				r := newReporter(filepath.Join(t.TempDir(), "status.json"))
				unit := &roleUnit{ctx: ctx, reporter: r, state: host.UnitState{Active: "active"}}
				go r.KeepRoleUnit(ctx, unit)
				for _, state := range c.states {
					r.Report(status.Status{State: state})
					time.Sleep(time.Second)
				}
				time.Sleep(c.after - time.Second)
				synctest.Wait()
				if unit.restarts != c.restarts {
					t.Errorf("it was run %d times, not %d", unit.restarts, c.restarts)
				}
				cancel()
				time.Sleep(time.Second) // what waits for the role ends
			})
		})
	}
}

func TestTheRolesUnitComesToBeWhatTheRoleIs(t *testing.T) {
	for name, c := range map[string]struct {
		unit   string         // at first
		states []status.State // one each 200 ms
		errors int
		want   string
		most   int // restarts
	}{
		"ready":                              {"inactive", []status.State{status.Starting, status.Ready}, 0, "active", 1},
		"failed":                             {"inactive", []status.State{status.Starting, status.Failed}, 0, "failed", 1},
		"it ends with what the role was":     {"inactive", []status.State{status.Starting, status.Ready, status.Failed}, 0, "failed", 2},
		"it fails with what the role was":    {"inactive", []status.State{status.Starting, status.Failed, status.Waiting}, 0, "activating", 2},
		"it fails, and the role gets ready":  {"active", []status.State{status.Failed, status.Waiting, status.Starting, status.Ready}, 0, "active", 2},
		"systemd does not answer, and later": {"active", []status.State{status.Failed}, 3, "failed", 1},
		"it has failed already":              {"failed", []status.State{status.Starting, status.Failed}, 0, "failed", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				r := newReporter(filepath.Join(t.TempDir(), "status.json"))
				unit := &roleUnit{ctx: ctx, reporter: r, errors: c.errors, state: host.UnitState{Active: c.unit}}
				go r.KeepRoleUnit(ctx, unit)
				for _, state := range c.states {
					r.Report(status.Status{State: state})
					time.Sleep(200 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				if at, _ := unit.State(ctx); at.Active != c.want || unit.restarts > c.most {
					t.Errorf("it is %s, and was run %d times", at.Active, unit.restarts)
				}
				r.Report(status.Status{State: status.Ready})
				time.Sleep(time.Minute)
				if at, _ := unit.State(ctx); at.Active != "active" {
					t.Errorf("the role is ready, and it is %s", at.Active)
				}
				cancel()
				time.Sleep(time.Second) // what waits for the role ends
			})
		})
	}
}

// What EC2 or a ledger says may not be an order to systemd, nor to a terminal.
func TestForeignTextIsNoOrder(t *testing.T) {
	r := newReporter(filepath.Join(t.TempDir(), "status.json"))
	var note string
	r.send = func(state string) error { note = state; return nil }
	r.Report(status.Status{Role: "mysql", State: status.Failed, Reason: "EC2 says\nREADY=1\x1b[2J\u202e"})
	lines := strings.Split(note, "\n")
	if len(lines) != 1 || !strings.HasSuffix(lines[0], `: EC2 says; READY=1\u001b[2J\u202e`) {
		t.Errorf("systemd is told %q", lines)
	}
}

// The watchdog is told while ping returns, and no more when it hangs.
func TestTheWatchdogIsToldWhileTheAgentWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newReporter("")
		var sent atomic.Int64
		r.send = func(state string) error {
			if state == "WATCHDOG=1" {
				sent.Add(1)
			}
			return nil
		}
		began := time.Now()
		go r.Watchdog(ctx, time.Minute, func() {
			if time.Since(began) > 5*time.Minute {
				<-ctx.Done()
			}
		})
		go r.Watchdog(ctx, 0, func() { t.Error("it pings without an interval") })
		time.Sleep(10 * time.Minute)
		if n := sent.Load(); n != 15 {
			t.Errorf("it was told %d times, want 15: three times in each of 5 minutes", n)
		}
		cancel()
		synctest.Wait()
	})
}
