package asstatus

import (
	"errors"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/boot"
	"bootagent/pkg/status"
)

var (
	since = time.Date(2026, 11, 23, 10, 0, 1, 0, time.UTC)
	later = since.Add(20 * time.Minute)

	attach = boot.Wait{For: "the disk with serial vol0", Until: later, Hint: "attach it"}
	broken = boot.WithHint(errors.New("it is broken"), "mend it")
)

// A story of two services: the last step of each Serves.
func device(state boot.State) boot.Progress {
	return boot.Progress{Step: "volume data: device", State: state, Since: since}
}

func up(unit string, state boot.State) boot.Progress {
	return boot.Progress{Step: "service " + unit + ": up", State: state, Since: since, Serves: true}
}

func waiting(p boot.Progress, w boot.Wait) boot.Progress {
	p.State, p.Wait = boot.Waiting, w
	return p
}

func failed(p boot.Progress, err error) boot.Progress {
	p.State, p.Err = boot.Failed, err
	return p
}

func again(p boot.Progress, state boot.State, err error) boot.Progress {
	p.State, p.Err = state, err
	if state == boot.Failed {
		p.RetryAt = later
	}
	return p
}

// gaveUp is a step that has gone wrong for an hour.
func gaveUp(p boot.Progress) boot.Progress {
	p.GaveUp, p.Tries, p.Failing, p.First = true, 7, since.Add(-time.Hour), errors.New("it was new")
	return p
}

func TestStateOfARoleIsThatOfItsWorstStep(t *testing.T) {
	skipped := up("a.service", boot.Skipped)
	skipped.Err = errors.New(`needs "volume data: device"`)
	for name, c := range map[string]struct {
		progress []boot.Progress
		state    status.State
		reason   string
		hint     string
	}{
		"all done": {
			[]boot.Progress{device(boot.Done), up("a.service", boot.Done)},
			status.Ready, "", "",
		},
		"nothing to do": {nil, status.Ready, "", ""},
		"running": {
			[]boot.Progress{device(boot.Running), up("a.service", boot.Pending)},
			status.Starting, "volume data: device: running since 10:00:01", "",
		},
		"between two steps": {
			[]boot.Progress{device(boot.Done), up("a.service", boot.Pending)},
			status.Starting, "service a.service: up: pending since 10:00:01", "",
		},
		"about to start over, and one is up": {
			[]boot.Progress{device(boot.Pending), up("a.service", boot.Done)},
			status.Starting, "volume data: device: pending since 10:00:01", "",
		},
		"running, and one is up": {
			[]boot.Progress{device(boot.Running), up("a.service", boot.Done)},
			status.Starting, "volume data: device: running since 10:00:01", "",
		},
		"waiting": {
			[]boot.Progress{waiting(device(""), attach), up("a.service", boot.Pending)},
			status.Waiting, "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0", "attach it",
		},
		"waiting, before one that runs": {
			[]boot.Progress{up("a.service", boot.Running), waiting(device(""), attach)},
			status.Waiting, "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0", "attach it",
		},
		"failed for good": {
			[]boot.Progress{failed(device(""), broken), skipped},
			status.Failed, "volume data: device failed at 10:00:01: it is broken", "mend it",
		},
		"failed for good, and one is up": {
			[]boot.Progress{failed(device(""), broken), skipped, up("b.service", boot.Done)},
			status.Degraded, "volume data: device failed at 10:00:01: it is broken", "mend it",
		},
		"failed for good, and another waits": {
			[]boot.Progress{waiting(device(""), attach), failed(up("a.service", ""), broken)},
			status.Failed, "service a.service: up failed at 10:00:01: it is broken", "mend it",
		},
		"failed, and tried again": {
			[]boot.Progress{again(device(""), boot.Failed, broken), skipped},
			status.Waiting, "volume data: device failed at 10:00:01: it is broken", "mend it",
		},
		"failed, and tried now": {
			[]boot.Progress{again(device(""), boot.Running, broken), skipped},
			status.Waiting, "volume data: device: running since 10:00:01, after it failed: it is broken", "mend it",
		},
		"failed, and waiting now for something": {
			[]boot.Progress{again(waiting(device(""), attach), boot.Waiting, broken), skipped},
			status.Waiting, "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0", "attach it",
		},
		"failed, and pending as it starts over": {
			[]boot.Progress{device(boot.Running), again(up("a.service", ""), boot.Pending, broken)},
			status.Waiting, "service a.service: up: pending since 10:00:01, after it failed: it is broken", "mend it",
		},
		"failed for too long, and tried again": {
			[]boot.Progress{gaveUp(again(device(""), boot.Failed, broken)), skipped},
			status.Failed, "volume data: device failed at 10:00:01 (7 tries since 09:00:01): it is broken (at first: it was new)", "mend it",
		},
		"failed for too long, and tried now": {
			[]boot.Progress{gaveUp(again(device(""), boot.Running, broken)), skipped},
			status.Failed, "volume data: device: running since 10:00:01, after it failed (7 tries since 09:00:01): it is broken (at first: it was new)", "mend it",
		},
		"failed for too long, and waiting now": {
			[]boot.Progress{gaveUp(again(waiting(device(""), attach), boot.Waiting, broken)), up("b.service", boot.Done)},
			status.Degraded, "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0, " +
				"after it failed (7 tries since 09:00:01): it is broken (at first: it was new)", "attach it",
		},
		"failed for too long, and done": {
			[]boot.Progress{gaveUp(device(boot.Done)), up("b.service", boot.Done)},
			status.Ready, "", "",
		},
		"the first of two that are as bad": {
			[]boot.Progress{failed(up("a.service", ""), broken), failed(up("b.service", ""), errors.New("too late"))},
			status.Failed, "service a.service: up failed at 10:00:01: it is broken", "mend it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := Of("mysql", nil, c.progress)
			if s.Role != "mysql" || s.State != c.state || s.Reason != c.reason || s.Hint != c.hint {
				t.Errorf("got %s: %q, hint %q; want %s: %q, hint %q", s.State, s.Reason, s.Hint, c.state, c.reason, c.hint)
			}
			if len(s.Steps) != len(c.progress) {
				t.Errorf("it tells %d steps of %d", len(s.Steps), len(c.progress))
			}
		})
	}
}

func TestStepsAreToldWhole(t *testing.T) {
	retried := again(waiting(device(""), attach), boot.Waiting, broken)
	retried.RetryAt = later
	steps := Of("mysql", nil, []boot.Progress{device(boot.Done), retried}).Steps
	if want := (status.Step{Name: "volume data: device", State: "done", Since: since}); steps[0] != want {
		t.Errorf("got %+v", steps[0])
	}
	got := steps[1]
	if got.Until == nil || !got.Until.Equal(later) || got.RetryAt == nil || !got.RetryAt.Equal(later) {
		t.Errorf("until %v, again at %v", got.Until, got.RetryAt)
	}
	if got.For != attach.For || got.Error != "it is broken" || got.Hint != "attach it" {
		t.Errorf("got %+v", got)
	}
}

func TestHowOftenAStepHasFailedIsTold(t *testing.T) {
	p := gaveUp(again(device(""), boot.Failed, broken))
	p.Due = later
	s := Of("mysql", nil, []boot.Progress{p}).Steps[0]
	if s.Tries != 7 || !s.Failing.Equal(since.Add(-time.Hour)) || s.FirstError != "it was new" || s.Error != "it is broken" || !s.Until.Equal(later) {
		t.Errorf("got %+v", s)
	}
	p.First, p.Tries = p.Err, 1
	if s := Of("mysql", nil, []boot.Progress{p}).Steps[0]; s.FirstError != "" {
		t.Errorf("one error is told twice: %+v", s)
	}
}

func TestHeldServicesAreToldInOrder(t *testing.T) {
	by := waiting(device(""), attach)
	s := Of("mysql", map[string]boot.Progress{"b.service": by, "a.service": by}, []boot.Progress{by})
	if len(s.Held) != 2 || s.Held[0].Unit != "a.service" || s.Held[1].Unit != "b.service" || s.Held[0].Why != by.String() {
		t.Errorf("got %+v", s.Held)
	}
}

// While a step runs, the boot waits for it; what is pending then waits for it
// as well. What waits for something outside may take for ever.
func TestSettled(t *testing.T) {
	for name, c := range map[string]struct {
		progress []boot.Progress
		want     bool
	}{
		"nothing":         {nil, true},
		"all done":        {[]boot.Progress{device(boot.Done), up("a", boot.Done)}, true},
		"one runs":        {[]boot.Progress{device(boot.Running), up("a", boot.Pending)}, false},
		"one waits":       {[]boot.Progress{waiting(device(""), attach), up("a", boot.Pending)}, true},
		"one failed":      {[]boot.Progress{failed(device(""), broken), up("a", boot.Skipped)}, true},
		"waits and runs":  {[]boot.Progress{waiting(device(""), attach), up("a", boot.Running)}, false},
		"between two":     {[]boot.Progress{device(boot.Done), up("a", boot.Pending)}, false},
		"failed and runs": {[]boot.Progress{failed(device(""), broken), up("a", boot.Running)}, false},
	} {
		if got := Settled(c.progress); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Who waits for the role must not take a plan for it.
func TestALaunchIsNeverReady(t *testing.T) {
	told := []boot.Progress{{Step: "instance: metadata", State: boot.Done}, {Step: "instance: plan", State: boot.Done}}
	if s := OfLaunch(told); s.State != status.Starting || s.State.Final() {
		t.Errorf("got %s", s.Line())
	}
	told[1] = boot.Progress{Step: "instance: plan", State: boot.Failed, Err: boot.Permanent(errors.New("no such role"))}
	if s := OfLaunch(told); s.State != status.Failed || !strings.Contains(s.Reason, "no such role") {
		t.Errorf("got %s", s.Line())
	}
}
