package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

var data = Mount{What: "/dev/disk/by-id/nvme-data", Where: "/srv/data", Type: "xfs", Options: []string{"nosuid", "nodev"}}

func TestAMountIsPermittedOnlyWhileTheAgentMounts(t *testing.T) {
	p, m, run := newPID1(t)
	ok(t, m.Mount(t.Context(), data))
	equal(t, "active", p.active(), []string{"srv-data.mount"})
	equal(t, "files", files(t, run), nil)

	// Anybody else who starts the unit fails on the assertion.
	p.becomes("srv-data.mount", "failed")
	err := m.StartAndWait(t.Context(), "srv-data.mount")
	if job := (*JobError)(nil); !errors.As(err, &job) || job.Result != "assert" {
		t.Errorf("started by another: %v", err)
	}
	equal(t, "active", p.active(), nil)
}

func TestAMountThatFailsIsNotPermittedAnyMore(t *testing.T) {
	p, m, run := newPID1(t)
	p.ends = func(string, string) string { return "failed" }
	err := m.Mount(t.Context(), data)
	want := `cannot mount /dev/disk/by-id/nvme-data at /srv/data: ` +
		`the start of srv-data.mount ended as "failed"; journalctl -u srv-data.mount tells more`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	equal(t, "files", files(t, run), nil)
}

func TestAMountUnitThatIsLoadedIsStartedAsItIs(t *testing.T) {
	p, m, _ := newPID1(t)
	p.add("srv-data.mount", "inactive")
	ok(t, m.Mount(t.Context(), data))
	equal(t, "jobs", p.took(), []string{"start srv-data.mount fail"})
}

func TestUnmountOfWhatIsNotThereIsDone(t *testing.T) {
	p, m, _ := newPID1(t)
	unmount := func() error { _, err := m.Unmount(t.Context(), "/srv/data"); return err }
	ok(t, unmount())
	ok(t, m.Mount(t.Context(), data))
	ok(t, unmount())
	equal(t, "active", p.active(), nil)
	p.add("srv-data.mount", "active")
	p.ends = func(string, string) string { return "timeout" }
	if err := unmount(); err == nil || !strings.Contains(err.Error(), "cannot unmount /srv/data: the stop of srv-data.mount ended as") {
		t.Errorf("got %v", err)
	}
}

// An agent that died while it mounted can't have taken its permit away.
func TestANewAgentFindsNoPermit(t *testing.T) {
	run := t.TempDir()
	ok(t, touch(filepath.Join(run, "permit", "srv-data.mount")))
	ok(t, touch(filepath.Join(run, "started", "mariadb.service")))
	_, err := NewManager(run, slog.New(slog.DiscardHandler))
	if _, statErr := os.Stat("/run/systemd/private"); statErr != nil && (err == nil || !strings.Contains(err.Error(), "cannot reach systemd")) {
		t.Errorf("without systemd: %v", err)
	}
	equal(t, "files", files(t, run), []string{"started/mariadb.service"})
}

func TestAGrantIsMadeOnce(t *testing.T) {
	p, m, _ := newPID1(t)
	ctx := t.Context()
	is := func(want bool) {
		t.Helper()
		if granted, err := m.Granted(ctx, "mariadb.service"); granted != want || err != nil {
			t.Errorf("granted: %t, %v", granted, err)
		}
	}
	is(false)
	ok(t, m.Grant(ctx, "mariadb.service", []string{"/srv/data"}))
	is(true)
	ok(t, m.Grant(ctx, "mariadb.service", []string{"/srv/data"}))
	equal(t, "jobs", p.took(), []string{"start bootagent-grant-mariadb.service fail"})

	// The service refers to it, so that it stays loaded when it has ended.
	p.add("bootagent-grant-mariadb.service", "inactive")
	is(false)
	ok(t, m.Grant(ctx, "mariadb.service", []string{"/srv/data"}))
	is(true)
	equal(t, "jobs", p.took(), []string{"start bootagent-grant-mariadb.service fail"})
}

// systemd does not take back what a grant is bound to: one that was made for an
// earlier plan would outlive the mounts of this one.
func TestAGrantThatWasMadeForOtherMountsIsRefused(t *testing.T) {
	_, m, _ := newPID1(t)
	ok(t, m.Grant(t.Context(), "mariadb.service", []string{"/srv/data"}))
	err := m.Grant(t.Context(), "mariadb.service", []string{"/srv/data", "/srv/log"})
	if stale := (*StaleGrantError)(nil); !errors.As(err, &stale) || stale.Mount != "srv-log.mount" || !strings.Contains(err.Error(), "reboot") {
		t.Errorf("got %v", err)
	}
}

func TestAUnitWithoutItsGuardIsNotHeld(t *testing.T) {
	p, m, _ := newPID1(t)
	p.add("mariadb.service", "inactive")
	for _, c := range []struct {
		to   []string
		held bool
	}{{nil, false}, {[]string{"other.service"}, false}, {[]string{"bootagent-grant-mariadb.service"}, true}} {
		p.units["mariadb.service"].props = map[string]godbus.Variant{"BindsTo": godbus.MakeVariant(c.to)}
		if held, err := m.Held(t.Context(), "mariadb.service"); held != c.held || err != nil {
			t.Errorf("bound to %q it is held: %t, %v", c.to, held, err)
		}
	}
}

func TestAUnitIsStartedOnceForEachGrant(t *testing.T) {
	p, m, run := newPID1(t)
	p.add("mariadb.service", "inactive")
	ok(t, m.StartOnce(t.Context(), "mariadb.service"))
	ok(t, m.StartOnce(t.Context(), "mariadb.service"))
	equal(t, "jobs", p.took(), []string{"start mariadb.service fail"})

	ok(t, os.Remove(filepath.Join(run, "started", "mariadb.service"))) // as the grant does when it ends
	ok(t, m.StartOnce(t.Context(), "mariadb.service"))
	equal(t, "jobs", p.took(), []string{"start mariadb.service fail"})
	if err := m.StartOnce(t.Context(), "absent.service"); err == nil || !strings.Contains(err.Error(), "cannot start absent.service") {
		t.Errorf("got %v", err)
	}
	equal(t, "files", files(t, run), []string{"started/mariadb.service"}) // absent.service is tried again
}

// A mount that goes before the grant on it has begun fails the grant, and the
// start that was queued behind it.
func TestAUnitIsStartedAgainAfterAGrantThatNeverBegan(t *testing.T) {
	p, m, run := newPID1(t)
	p.add("mariadb.service", "inactive")
	ok(t, touch(filepath.Join(run, "started", "mariadb.service")))
	ok(t, m.Grant(t.Context(), "mariadb.service", []string{"/srv/data"}))
	ok(t, m.StartOnce(t.Context(), "mariadb.service"))
	if jobs := p.took(); !slices.Contains(jobs, "start mariadb.service fail") {
		t.Errorf("the jobs are %q", jobs)
	}
	ok(t, m.Grant(t.Context(), "mariadb.service", []string{"/srv/data"})) // it holds
	if there, err := exists(filepath.Join(run, "started", "mariadb.service")); !there || err != nil {
		t.Errorf("the mark is there: %t, %v", there, err)
	}
}

func TestStoppedByHandIsKept(t *testing.T) {
	_, m, run := newPID1(t)
	is := func(want bool) {
		t.Helper()
		if stopped, err := m.StoppedByHand("mariadb.service"); stopped != want || err != nil {
			t.Errorf("stopped by hand: %t, %v", stopped, err)
		}
	}
	is(false)
	ok(t, m.SetStoppedByHand("mariadb.service", false))
	ok(t, m.SetStoppedByHand("mariadb.service", true))
	ok(t, m.SetStoppedByHand("mariadb.service", true))
	is(true)
	equal(t, "files", files(t, run), []string{"stopped/mariadb.service"})
	ok(t, m.SetStoppedByHand("mariadb.service", false))
	is(false)
}

var mkfs = Command{Unit: "bootagent-make-vol1.service", Argv: []string{"/sbin/mkfs.xfs", "/dev/nvme1n1"}}

func TestACommandRunsOnceUntilItIsForgotten(t *testing.T) {
	p, m, _ := newPID1(t)
	ctx := t.Context()
	start, stop := "start "+mkfs.Unit+" fail", "stop "+mkfs.Unit+" fail"
	ok(t, m.Run(ctx, mkfs))
	equal(t, "jobs", p.took(), []string{start})
	ok(t, m.Run(ctx, mkfs))
	equal(t, "jobs of the second run", p.took(), nil)

	other := mkfs
	other.Argv = []string{"/sbin/mkfs.xfs", "/dev/nvme2n1"}
	if going, err := m.Going(ctx, other); going || err != nil {
		t.Errorf("another command is going: %t, %v", going, err)
	}
	ok(t, m.Run(ctx, other))
	equal(t, "jobs of another command", p.took(), []string{stop, start})
	ok(t, m.Forget(ctx, mkfs.Unit))
	if going, err := m.Going(ctx, other); going || err != nil {
		t.Errorf("a forgotten command is going: %t, %v", going, err)
	}
}

func TestACommandThatFailsCanRunAgain(t *testing.T) {
	p, m, _ := newPID1(t)
	p.ends = func(string, string) string { return "failed" }
	if err := m.Run(t.Context(), mkfs); !errors.As(err, new(*JobError)) {
		t.Errorf("got %v", err)
	}
	p.ends = nil
	ok(t, m.Run(t.Context(), mkfs))
}

// The agent that started the command died; the next one waits for its end.
// systemd forgets a command that failed, so that only its absence tells.
func TestTheEndOfACommandThatRunsAlreadyIsWaitedFor(t *testing.T) {
	for end, want := range map[string]bool{"active": true, "failed": false, "inactive": false} {
		t.Run(end, func(t *testing.T) {
			p, m, _ := newPID1(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go m.Follow(ctx)
			p.ends = func(string, string) string { return "" }
			short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
			defer stop()
			if err := m.Run(short, mkfs); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			ran, settled := make(chan error), make(chan error)
			go func() { ran <- m.Run(ctx, mkfs) }()
			go func() { settled <- m.Settle(ctx, mkfs.Unit) }()
			time.Sleep(50 * time.Millisecond)
			p.becomes(mkfs.Unit, end)
			err := <-ran
			if job := (*JobError)(nil); want != (err == nil) || !want && !errors.As(err, &job) {
				t.Errorf("run: %v", err)
			}
			if err := <-settled; err != nil {
				t.Errorf("settle: %v", err)
			}
			equal(t, "jobs", p.took(), []string{"start " + mkfs.Unit + " fail"})
		})
	}
}

func TestAwaitIsWokenByAChange(t *testing.T) {
	p, m, _ := newPID1(t)
	p.add("mariadb.service", "activating")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // less than the net below
	defer cancel()
	go m.Follow(ctx)
	time.AfterFunc(100*time.Millisecond, func() { p.becomes("mariadb.service", "active") })
	state, err := m.Await(ctx, "mariadb.service", func(s UnitState) bool { return s.Active == "active" })
	if err != nil || state.Active != "active" || state.Load != "loaded" {
		t.Errorf("got %+v, %v", state, err)
	}
}

// told has PID 1 tell something of a service.
func (p *pid1) told(unit, active, sub string, props map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := &unitOfPID1{active: active, sub: sub, props: make(map[string]godbus.Variant)}
	for name, v := range props {
		u.props[name] = godbus.MakeVariant(v)
	}
	p.units[unit], p.asked = u, 0
}

func TestWhoEndedAServiceIsToldByWhatCameFirst(t *testing.T) {
	p, m, _ := newPID1(t)
	for name, c := range map[string]struct {
		code, status                 int32
		began, entered, left, exited uint64
		want                         Ended
	}{
		"a stop that was asked for":          {1, 0, 9, 10, 20, 21, Ended{Died: "it exited with status 0", Ran: true}},
		"a process that ends":                {1, 3, 9, 10, 21, 20, Ended{Died: "it exited with status 3", Ran: true, ByItself: true}},
		"at the same time":                   {2, 15, 9, 10, 20, 20, Ended{Died: "it was killed by SIGTERM", Ran: true, ByItself: true}},
		"a process that dumps core":          {3, 11, 9, 10, 21, 20, Ended{Died: "it was killed by SIGSEGV and dumped core", Ran: true, ByItself: true}},
		"a signal without a name":            {2, 64, 9, 10, 21, 20, Ended{Died: "it was killed by signal 64", Ran: true, ByItself: true}},
		"a oneshot that stays, stopped":      {1, 0, 9, 10, 20, 9, Ended{Died: "it exited with status 0", Ran: true}},
		"a stop before it was active again":  {2, 15, 9, 10, 11, 40, Ended{Died: "it was killed by SIGTERM", Ran: true}},
		"stopped as it waits for a restart":  {2, 11, 22, 10, 21, 20, Ended{Died: "it was killed by SIGSEGV", Ran: true}},
		"it never ran":                       {0, 0, 0, 0, 0, 0, Ended{}},
		"stopped, and its process not known": {0, 0, 9, 10, 20, 0, Ended{Ran: true}},
	} {
		p.told("mariadb.service", "inactive", "dead", map[string]any{
			"ExecMainCode": c.code, "ExecMainStatus": c.status, "ExecMainExitTimestampMonotonic": c.exited,
			"ActiveEnterTimestampMonotonic": c.entered, "ActiveExitTimestampMonotonic": c.left,
			"InactiveExitTimestampMonotonic": c.began,
		})
		c.want.Result = "success"
		if got, err := m.Ended(t.Context(), "mariadb.service"); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestRestartsAreAskedForWithFewCalls(t *testing.T) {
	p, m, _ := newPID1(t)
	restarted := map[string]any{
		"NRestarts": uint32(3), "ExecMainCode": int32(2), "ExecMainStatus": int32(11), "ActiveEnterTimestampMonotonic": uint64(1),
	}
	first := map[string]any{"ExecMainCode": int32(1), "ExecMainStatus": int32(7)}
	for name, c := range map[string]struct {
		active, sub string
		props       map[string]any
		want        Restarts
		long        bool // it is active for long
		calls       int
	}{
		"never":                       {"active", "running", nil, Restarts{}, false, 1},
		"never, and it starts":        {"activating", "start", nil, Restarts{}, false, 1},
		"it waits for its first":      {"activating", "auto-restart", first, Restarts{Died: "it exited with status 7"}, false, 4},
		"it waits, on a new systemd":  {"activating", "auto-restart-queued", first, Restarts{Died: "it exited with status 7"}, false, 4},
		"it was, and is active":       {"active", "running", restarted, Restarts{Count: 3, Died: "it was killed by SIGSEGV"}, true, 4},
		"it was, and waits for a 4th": {"activating", "auto-restart", restarted, Restarts{Count: 3, Died: "it was killed by SIGSEGV"}, false, 4},
	} {
		p.told("mariadb.service", c.active, c.sub, c.props)
		got, err := m.Restarts(t.Context(), "mariadb.service")
		if long := got.Active > time.Second; long != c.long {
			t.Errorf("%s: it is active for %s", name, got.Active)
		}
		got.Active = 0
		if got != c.want || err != nil || p.asked != c.calls {
			t.Errorf("%s: %+v, %v, by %d calls; want %+v by %d", name, got, err, p.asked, c.want, c.calls)
		}
	}
	if s, err := m.State(t.Context(), "mariadb.service"); err != nil || s.Sub == "" {
		t.Errorf("its state is %+v, %v", s, err)
	}
}

func TestStateOfAUnitThatIsNotThere(t *testing.T) {
	_, m, _ := newPID1(t)
	state, err := m.State(t.Context(), "absent.service")
	if want := (UnitState{Load: "not-found", Active: "inactive"}); state != want || err != nil {
		t.Errorf("got %+v, %v", state, err)
	}
	ok(t, m.ResetFailed(t.Context(), "absent.service"))
	ok(t, m.StopAndWait(t.Context(), "absent.service"))
}

func TestStoppingIsTheSystemsState(t *testing.T) {
	p, m, _ := newPID1(t)
	for state, want := range map[string]bool{"running": false, "degraded": false, "starting": false, "stopping": true} {
		p.mu.Lock()
		p.state = state
		p.mu.Unlock()
		if stopping, err := m.Stopping(t.Context()); stopping != want || err != nil {
			t.Errorf("%s: %t, %v", state, stopping, err)
		}
	}
}

func TestAJobWhoseEndCanNotBeToldIsAnError(t *testing.T) {
	p, m, _ := newPID1(t)
	p.ends = func(string, string) string { return "" }
	p.add("mariadb.service", "inactive")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("no patience"))
	defer cancel()
	if err := m.StartAndWait(ctx, "mariadb.service"); err == nil || err.Error() != "the start of mariadb.service has not ended: no patience" {
		t.Errorf("with a deadline: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, p.hangUp)
	want := "cannot tell how the start of mariadb.service ended: systemd closed the connection"
	if err := m.StartAndWait(t.Context(), "mariadb.service"); err == nil || err.Error() != want {
		t.Errorf("without systemd: %v", err)
	}
}

func TestJobErrorSaysWhereToLook(t *testing.T) {
	err := &JobError{Unit: "srv-data.mount", Verb: "start", Result: "assert"}
	want := `the start of srv-data.mount ended as "assert"; journalctl -u srv-data.mount tells more`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestBusErrorsAreToldByTheirName(t *testing.T) {
	gone := godbus.Error{Name: "org.freedesktop.systemd1.NoSuchUnit", Body: []any{"Unit x not loaded."}}
	if !isBusError(gone, "NoSuchUnit") || !isBusError(fmt.Errorf("cannot stop x: %w", gone), "NoSuchUnit") {
		t.Error("it is not told")
	}
	for _, err := range []error{nil, &JobError{}, errors.New(gone.Name), context.Canceled} {
		if isBusError(err, "NoSuchUnit") {
			t.Errorf("%v counts as it", err)
		}
	}
	if isBusError(gone, "UnitExists") {
		t.Error("another error counts as it")
	}
}

func TestATokenThatWasDeletedIsThereAgainWhileItsGrantHolds(t *testing.T) {
	for name, c := range map[string]struct {
		delete func(run string) error
		grant  string // what becomes of it meanwhile
		lost   bool
	}{
		"it is there":                {func(string) error { return nil }, "active", false},
		"it was deleted":             {func(run string) error { return os.Remove(filepath.Join(run, "granted/mariadb.service")) }, "active", true},
		"all of it was deleted":      {func(run string) error { return os.RemoveAll(filepath.Join(run, "granted")) }, "active", true},
		"with its grant, by systemd": {func(run string) error { return os.Remove(filepath.Join(run, "granted/mariadb.service")) }, "inactive", false},
	} {
		t.Run(name, func(t *testing.T) {
			p, m, run := newPID1(t)
			ok(t, m.Grant(t.Context(), "mariadb.service", nil))
			token := filepath.Join(run, "granted/mariadb.service")
			ok(t, os.WriteFile(token, nil, 0o600)) // as the grant's own ExecStart does
			ok(t, c.delete(run))
			p.becomes("bootagent-grant-mariadb.service", c.grant)
			_, before := os.Lstat(token)
			lost, err := m.KeepGrant(t.Context(), "mariadb.service")
			if lost != c.lost || err != nil {
				t.Errorf("lost: %t, %v", lost, err)
			}
			if _, err := os.Lstat(token); (err == nil) != (before == nil || c.lost) {
				t.Errorf("the token: %v", err)
			}
			// And Grant, as after a restart of the agent, does the same.
			if c.lost {
				ok(t, c.delete(run))
				ok(t, m.Grant(t.Context(), "mariadb.service", nil))
				_, err := os.Lstat(token)
				ok(t, err)
			}
		})
	}
}

func TestAProcessThatHangsIsTakenOutOfItsUnit(t *testing.T) {
	p, m, _ := newPID1(t)
	ok(t, m.Leave(t.Context(), 4711))
	equal(t, "jobs", p.took(), []string{"start bootagent-left-4711.scope fail"})
	if pids := fmt.Sprint(p.units["bootagent-left-4711.scope"].props["PIDs"].Value()); pids != "[4711]" {
		t.Errorf("it holds the processes %s", pids)
	}
}
