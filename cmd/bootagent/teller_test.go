package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/status"
	"bootagent/pkg/systemd/pid1"
)

// A status that could not be written, as the disk was full, is no lost one.
func TestAStatusThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	teller := newTeller(slog.New(slog.DiscardHandler))
	teller.file = filepath.Join(t.TempDir(), "absent", "status.json")
	ready := status.Status{Role: "mysql", State: status.Ready}
	teller.tell(ready)
	if err := os.Mkdir(filepath.Dir(teller.file), 0o755); err != nil {
		t.Fatal(err)
	}
	teller.tell(ready)
	if s, err := status.Read(teller.file); err != nil || s.State != status.Ready {
		t.Errorf("it is written that %+v, %v", s, err)
	}
}

// What does not work of the agent itself is said for as long as it does not,
// whatever else is told meanwhile.
func TestAPartOfTheAgentThatDoesNotWorkIsSaid(t *testing.T) {
	teller := newTeller(slog.New(slog.DiscardHandler))
	teller.file = filepath.Join(t.TempDir(), "status.json")
	says := func(want string) {
		t.Helper()
		s, err := status.Read(teller.file)
		if got := strings.Join(s.Remarks, "|"); err != nil || got != want || !strings.HasSuffix(s.Line(), strings.ReplaceAll(want, "|", "; ")) {
			t.Errorf("it says %q, %v", got, err)
		}
	}
	teller.Ails("disks", "the socket failed")
	if _, err := os.Stat(teller.file); err == nil {
		t.Error("a status was written before there was one")
	}
	teller.tell(status.Status{Role: "mysql", State: status.Starting})
	says("warning: disks: the socket failed")
	teller.tell(status.Status{Role: "mysql", State: status.Ready, Remarks: []string{"it relies on something"}})
	says("it relies on something|warning: disks: the socket failed")
	teller.Ails("disks", "it failed again")
	says("it relies on something|warning: disks: it failed again")
	teller.Ails("disks", "")
	says("it relies on something")
}

// notified are what systemd was told.
func notified(t *testing.T) func() string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return func() string {
		var all []string
		buf := make([]byte, 4096)
		for {
			conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			n, err := conn.Read(buf)
			if err != nil {
				return strings.Join(all, "|")
			}
			all = append(all, string(buf[:n]))
		}
	}
}

// The boot is held for as long as it is set to be, though nothing happens that
// could be told meanwhile.
func TestTheStartIsExtendedByTheClockUntilItIsReady(t *testing.T) {
	told := notified(t)
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
			teller := newTeller(slog.New(slog.DiscardHandler))
			sent := 0
			synctest.Test(t, func(t *testing.T) {
				teller.send = func(state string) error {
					if state == more {
						sent++
					}
					return nil
				}
				if c.ready > 0 {
					time.AfterFunc(c.ready, teller.Ready)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				teller.holdStart(ctx, c.within)
			})
			if sent < c.want || sent > c.want+1 {
				t.Errorf("it asked for more time %d times, and %d are wanted", sent, c.want)
			}
		})
	}
	teller := newTeller(slog.New(slog.DiscardHandler))
	teller.extend()
	teller.Ready()
	if got := told(); got != more+"|READY=1" {
		t.Errorf("systemd was told %q", got)
	}
	if extendBy < 2*extendEvery {
		t.Error("one question that is lost ends the start")
	}
}

// Each status is written once: to write it costs time, and wakes all that wait.
func TestAStatusThatHasNotChangedIsNotWrittenAgain(t *testing.T) {
	teller := newTeller(slog.New(slog.DiscardHandler))
	teller.file = filepath.Join(t.TempDir(), "status.json")
	written := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(teller.file)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	steps := func(state string) []status.Step { return []status.Step{{Name: "volume data: device", State: state}} }

	teller.tell(status.Status{Role: "mysql", State: status.Starting, Steps: steps("running")})
	first := written()
	teller.tell(status.Status{Role: "mysql", State: status.Starting, Steps: steps("running")})
	if !os.SameFile(first, written()) {
		t.Error("the same status was written twice")
	}
	teller.tell(status.Status{Role: "mysql", State: status.Starting, Steps: steps("done")})
	if os.SameFile(first, written()) {
		t.Error("a step was done, and that was not written")
	}
	if s, err := status.Read(teller.file); err != nil || s.Steps[0].State != "done" {
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
			teller := newTeller(slog.New(slog.DiscardHandler))
			teller.file = filepath.Join(t.TempDir(), "status.json")
			teller.keepFile() // there is nothing to tell yet
			if _, err := os.Stat(teller.file); err == nil {
				t.Error("a status was written before there was one")
			}
			teller.tell(status.Status{Role: "mysql", State: status.Ready})
			first := teller.written
			teller.keepFile()
			if !os.SameFile(first, teller.written) {
				t.Error("it was written again, and nobody had touched it")
			}
			if err := os.WriteFile(teller.file+".other", []byte("ready"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := harm(teller.file); err != nil {
				t.Fatal(err)
			}
			teller.keepFile()
			if s, err := status.Read(teller.file); err != nil || s.State != status.Ready {
				t.Errorf("there is %+v, %v", s, err)
			}
		})
	}
}

// An activeRoleUnit is bootagent-role.service, which is active, and counts how often
// it was run again.
type activeRoleUnit struct{ restarts int }

func (*activeRoleUnit) State(context.Context, string) (pid1.UnitState, error) {
	return pid1.UnitState{Active: "active"}, nil
}
func (*activeRoleUnit) Stopping(context.Context) (bool, error)  { return false, nil }
func (u *activeRoleUnit) Restart(context.Context, string) error { u.restarts++; return nil }

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
				unit := new(activeRoleUnit)
				teller := newTeller(slog.New(slog.DiscardHandler))
				teller.file = filepath.Join(t.TempDir(), "status.json")
				go teller.keepRoleUnit(ctx, unit)
				for _, state := range c.states {
					teller.tell(status.Status{State: state})
					time.Sleep(time.Second)
				}
				time.Sleep(c.after - time.Second)
				synctest.Wait()
				if unit.restarts != c.restarts {
					t.Errorf("it was run %d times, not %d", unit.restarts, c.restarts)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// What EC2 or a ledger says may not be an order to systemd, nor to a terminal.
func TestForeignTextIsNoOrder(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	teller := newTeller(slog.New(slog.DiscardHandler))
	teller.file = filepath.Join(t.TempDir(), "status.json")
	teller.tell(status.Status{Role: "mysql", State: status.Failed, Reason: "EC2 says\nREADY=1\x1b[2J\u202e"})
	note := make([]byte, 4096)
	n, err := systemd.Read(note)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(note[:n]), "\n")
	if len(lines) != 1 || !strings.HasSuffix(lines[0], `: EC2 says; READY=1\u001b[2J\u202e`) {
		t.Errorf("systemd is told %q", lines)
	}
}

func TestWhatACommandPrintsIsHarmless(t *testing.T) {
	var out, errs bytes.Buffer
	name := filepath.Join(t.TempDir(), "a\x1b[31m\u202eb.yaml")
	if code := run(t.Context(), []string{"validate", name}, &out, &errs); code != exitFailed {
		t.Fatalf("exit %d", code)
	}
	if err := os.WriteFile(name, []byte("version: 1\nrole: web\nservices: {web.service: {}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"validate", name}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, printed := range []string{out.String(), errs.String()} {
		if strings.ContainsAny(printed, "\x1b\u202e") || !strings.Contains(printed, `a\u001b[31m\u202eb.yaml`) {
			t.Errorf("got %q", printed)
		}
	}
}
