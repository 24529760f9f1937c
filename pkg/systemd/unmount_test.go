package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/systemd/pid1/pid1test"
)

// stand has a disk mounted at /srv/data, of which sysfs tells, or which is gone.
func stand(t *testing.T, p *pid1test.PID1, m *Manager, gone bool) {
	t.Helper()
	m.unmountRest = time.Millisecond
	m.sys, m.mountinfo = t.TempDir(), filepath.Join(t.TempDir(), "mountinfo")
	ok(t, os.MkdirAll(filepath.Join(m.sys, "dev/block"), 0o755))
	if !gone {
		ok(t, os.Symlink("../../nvme1n1", filepath.Join(m.sys, "dev/block/259:3")))
	}
	ok(t, os.WriteFile(m.mountinfo, []byte("240 21 259:3 / /srv/data rw,nosuid shared:140 - xfs /dev/nvme1n1 rw\n"), 0o600))
	p.Add("srv-data.mount", "active")
}

const (
	stopOfMount = "stop srv-data.mount replace-irreversibly"
	finder      = "bootagent-holders-srv-data.service"
	detacher    = "bootagent-detach-srv-data.service"
)

// busy has every unmount fail, and PID 1 tell a holder. A unit that detaches
// takes the mount away, as the kernel does.
func busy(p *pid1test.PID1, m *Manager) {
	p.Ends = func(verb, unit string) string {
		switch {
		case verb == "stop" && unit == "srv-data.mount":
			return "failed"
		case unit == finder:
			os.WriteFile(filepath.Join(m.run, "holders/srv-data.mount"), []byte("sleep (pid 7 of nobody, by its working directory)\n"), 0o600)
		case unit == detacher:
			os.WriteFile(m.mountinfo, nil, 0o600)
		}
		return "done"
	}
}

func TestWhatIsHeldIsNotUnmountedAndItsHolderIsNamed(t *testing.T) {
	p, m, run := newPID1(t)
	stand(t, p, m, false)
	busy(p, m)
	detached, err := m.Unmount(t.Context(), "/srv/data")
	held := (*HeldError)(nil)
	if !errors.As(err, &held) || detached != nil {
		t.Fatalf("got %q, %v", detached, err)
	}
	if want := "cannot unmount /srv/data: it is held by sleep (pid 7 of nobody, by its working directory)"; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if !strings.Contains(held.Hint(), "bootagent holders /srv/data") {
		t.Errorf("the hint is %q", held.Hint())
	}
	jobs := p.Took()
	equal(t, "jobs", jobs, append(slices.Repeat([]string{stopOfMount}, unmountTries), "start "+finder+" fail"))
	equal(t, "files", files(t, run), nil)
}

func TestWhatIsHeldOfADiskThatIsGoneIsDetached(t *testing.T) {
	p, m, _ := newPID1(t)
	stand(t, p, m, true)
	busy(p, m)
	held, err := m.Unmount(t.Context(), "/srv/data")
	ok(t, err)
	equal(t, "held", held, []string{"sleep (pid 7 of nobody, by its working directory)"})
	if jobs := p.Took(); jobs[len(jobs)-1] != "start "+detacher+" fail" {
		t.Errorf("the jobs are %q", jobs)
	}
	if stale, err := m.Stale("/srv/data"); stale || err != nil {
		t.Errorf("it is still there: %t, %v", stale, err)
	}
}

// The disk came back between the look of the agent and that of the unit.
func TestWhatIsNotDetachedAfterAllIsAnError(t *testing.T) {
	p, m, _ := newPID1(t)
	stand(t, p, m, true)
	busy(p, m)
	ends := p.Ends
	p.Ends = func(verb, unit string) string {
		if unit == detacher {
			return "done" // its condition did not hold
		}
		return ends(verb, unit)
	}
	if _, err := m.Unmount(t.Context(), "/srv/data"); err == nil || !strings.Contains(err.Error(), "cannot detach /srv/data: it is still mounted") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyWhatHasADiskCanHaveLostIt(t *testing.T) {
	_, m, _ := newPID1(t)
	m.sys, m.mountinfo = t.TempDir(), filepath.Join(t.TempDir(), "mountinfo")
	for line, want := range map[string]bool{
		"240 21 259:3 / /srv/data rw - xfs /dev/nvme1n1 rw\n": true,
		"240 21 0:52 / /srv/data rw - tmpfs tmpfs rw\n":       false,
		"240 21 259:3 / /srv/other rw - xfs /dev/sda rw\n":    false,
	} {
		ok(t, os.WriteFile(m.mountinfo, []byte(line), 0o600))
		if stale, err := m.Stale("/srv/data"); stale != want || err != nil {
			t.Errorf("%s: %t, %v", line, stale, err)
		}
	}
}

// xfs_healer@.service of xfsprogs 7.2 is started for each new mount and requires
// it: its start cancels an unmount, or is queued before it.
func TestAnUnmountThatSomebodyElsesJobCancelsIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		ends   []string // of the stops, in their order
		refuse []string
		want   string
	}{
		"once":     {[]string{"canceled"}, nil, ""},
		"twice":    {[]string{"canceled", "canceled"}, nil, ""},
		"refused":  {nil, []string{"TransactionIsDestructive"}, ""},
		"for good": {slices.Repeat([]string{"canceled"}, unmountTries), nil, `cannot unmount /srv/data: the stop of srv-data.mount ended as "canceled"`},
		"timeout":  {[]string{"timeout"}, nil, `ended as "timeout"`},
		"unknown":  {nil, []string{"AccessDenied"}, "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			p, m, _ := newPID1(t)
			stand(t, p, m, false)
			next := func(list *[]string, otherwise string) string {
				if len(*list) == 0 {
					return otherwise
				}
				first := (*list)[0]
				*list = (*list)[1:]
				return first
			}
			p.Ends = func(string, string) string { return next(&c.ends, "done") }
			p.Refuse = func(string, string, string) string { return next(&c.refuse, "") }
			_, err := m.Unmount(t.Context(), "/srv/data")
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A command that stands on a disk that is gone is not let finish: it can't.
func TestACommandOnADiskThatIsGoneIsKilled(t *testing.T) {
	for gone, want := range map[bool][]string{true: {"bootagent-initialize-mysql.service"}, false: nil} {
		p, m, _ := newPID1(t)
		stand(t, p, m, gone)
		for _, unit := range []string{"bootagent-initialize-mysql.service", "bootagent-grant-mariadb.service", "backup.service"} {
			p.Units[unit] = &pid1test.Unit{Active: "active", Requires: "srv-data.mount"}
		}
		_, err := m.Unmount(t.Context(), "/srv/data")
		ok(t, err)
		equal(t, fmt.Sprintf("killed, gone: %t", gone), p.Kills, want)
	}
}

func TestOnlyRootMayEnterWhatTheAgentKeeps(t *testing.T) {
	_, m, run := newPID1(t)
	ok(t, m.Mount(t.Context(), data))
	ok(t, m.SetStoppedByHand("mariadb.service", true))
	ok(t, touch(m.started("mariadb.service")))
	for _, dir := range []string{"permit", "started", "stopped"} {
		if info, err := os.Stat(filepath.Join(run, dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
}
