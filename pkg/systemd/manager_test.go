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

	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/systemd/pid1/pid1test"
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
	equal(t, "active", p.Active(), []string{"srv-data.mount"})
	equal(t, "files", files(t, run), nil)

	// Anybody else who starts the unit fails on the assertion.
	p.Becomes("srv-data.mount", "failed")
	err := m.StartAndWait(t.Context(), "srv-data.mount")
	if job := (*pid1.JobError)(nil); !errors.As(err, &job) || job.Result != "assert" {
		t.Errorf("started by another: %v", err)
	}
	equal(t, "active", p.Active(), nil)
}

func TestAMountThatFailsIsNotPermittedAnyMore(t *testing.T) {
	p, m, run := newPID1(t)
	p.Ends = func(string, string) string { return "failed" }
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
	p.Add("srv-data.mount", "inactive")
	ok(t, m.Mount(t.Context(), data))
	equal(t, "jobs", p.Took(), []string{"start srv-data.mount fail"})
}

func TestUnmountOfWhatIsNotThereIsDone(t *testing.T) {
	p, m, _ := newPID1(t)
	unmount := func() error { _, err := m.Unmount(t.Context(), "/srv/data"); return err }
	ok(t, unmount())
	ok(t, m.Mount(t.Context(), data))
	ok(t, unmount())
	equal(t, "active", p.Active(), nil)
	p.Add("srv-data.mount", "active")
	p.Ends = func(string, string) string { return "timeout" }
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
	equal(t, "jobs", p.Took(), []string{"start bootagent-grant-mariadb.service fail"})

	// The service refers to it, so that it stays loaded when it has ended.
	p.Add("bootagent-grant-mariadb.service", "inactive")
	is(false)
	ok(t, m.Grant(ctx, "mariadb.service", []string{"/srv/data"}))
	is(true)
	equal(t, "jobs", p.Took(), []string{"start bootagent-grant-mariadb.service fail"})
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
	p.Add("mariadb.service", "inactive")
	for _, c := range []struct {
		to   []string
		held bool
	}{{nil, false}, {[]string{"other.service"}, false}, {[]string{"bootagent-grant-mariadb.service"}, true}} {
		p.Units["mariadb.service"].Props = map[string]godbus.Variant{"BindsTo": godbus.MakeVariant(c.to)}
		if held, err := m.Held(t.Context(), "mariadb.service"); held != c.held || err != nil {
			t.Errorf("bound to %q it is held: %t, %v", c.to, held, err)
		}
	}
}

func TestAUnitIsStartedOnceForEachGrant(t *testing.T) {
	p, m, run := newPID1(t)
	p.Add("mariadb.service", "inactive")
	ok(t, m.StartOnce(t.Context(), "mariadb.service"))
	ok(t, m.StartOnce(t.Context(), "mariadb.service"))
	equal(t, "jobs", p.Took(), []string{"start mariadb.service fail"})

	ok(t, os.Remove(filepath.Join(run, "started", "mariadb.service"))) // as the grant does when it ends
	ok(t, m.StartOnce(t.Context(), "mariadb.service"))
	equal(t, "jobs", p.Took(), []string{"start mariadb.service fail"})
	if err := m.StartOnce(t.Context(), "absent.service"); err == nil || !strings.Contains(err.Error(), "cannot start absent.service") {
		t.Errorf("got %v", err)
	}
	equal(t, "files", files(t, run), []string{"started/mariadb.service"}) // absent.service is tried again
}

// A mount that goes before the grant on it has begun fails the grant, and the
// start that was queued behind it.
func TestAUnitIsStartedAgainAfterAGrantThatNeverBegan(t *testing.T) {
	p, m, run := newPID1(t)
	p.Add("mariadb.service", "inactive")
	ok(t, touch(filepath.Join(run, "started", "mariadb.service")))
	ok(t, m.Grant(t.Context(), "mariadb.service", []string{"/srv/data"}))
	ok(t, m.StartOnce(t.Context(), "mariadb.service"))
	if jobs := p.Took(); !slices.Contains(jobs, "start mariadb.service fail") {
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
	equal(t, "jobs", p.Took(), []string{start})
	ok(t, m.Run(ctx, mkfs))
	equal(t, "jobs of the second run", p.Took(), nil)

	other := mkfs
	other.Argv = []string{"/sbin/mkfs.xfs", "/dev/nvme2n1"}
	if going, err := m.Going(ctx, other); going || err != nil {
		t.Errorf("another command is going: %t, %v", going, err)
	}
	ok(t, m.Run(ctx, other))
	equal(t, "jobs of another command", p.Took(), []string{stop, start})
	ok(t, m.Forget(ctx, mkfs.Unit))
	if going, err := m.Going(ctx, other); going || err != nil {
		t.Errorf("a forgotten command is going: %t, %v", going, err)
	}
}

func TestACommandThatFailsCanRunAgain(t *testing.T) {
	p, m, _ := newPID1(t)
	p.Ends = func(string, string) string { return "failed" }
	if err := m.Run(t.Context(), mkfs); !errors.As(err, new(*pid1.JobError)) {
		t.Errorf("got %v", err)
	}
	p.Ends = nil
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
			p.Ends = func(string, string) string { return "" }
			short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
			defer stop()
			if err := m.Run(short, mkfs); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			ran, settled := make(chan error), make(chan error)
			go func() { ran <- m.Run(ctx, mkfs) }()
			go func() { settled <- m.Settle(ctx, mkfs.Unit) }()
			time.Sleep(50 * time.Millisecond)
			p.Becomes(mkfs.Unit, end)
			err := <-ran
			if job := (*pid1.JobError)(nil); want != (err == nil) || !want && !errors.As(err, &job) {
				t.Errorf("run: %v", err)
			}
			if err := <-settled; err != nil {
				t.Errorf("settle: %v", err)
			}
			equal(t, "jobs", p.Took(), []string{"start " + mkfs.Unit + " fail"})
		})
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
			p.Becomes("bootagent-grant-mariadb.service", c.grant)
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
	equal(t, "jobs", p.Took(), []string{"start bootagent-left-4711.scope fail"})
	if pids := fmt.Sprint(p.Units["bootagent-left-4711.scope"].Props["PIDs"].Value()); pids != "[4711]" {
		t.Errorf("it holds the processes %s", pids)
	}
}

// newPID1 starts a PID 1, and connects an agent that keeps its files in run.
func newPID1(t *testing.T) (p *pid1test.PID1, m *Manager, run string) {
	t.Helper()
	p, run = pid1test.New(t), t.TempDir()
	log := slog.New(slog.DiscardHandler)
	return p, newManager(pid1.Dialing(p.Dial, log), run, log), run
}

// files lists the files in the directories that the agent keeps in run.
func files(t *testing.T, run string) (all []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(run, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		all = append(all, strings.TrimPrefix(f, run+"/"))
	}
	return all
}
