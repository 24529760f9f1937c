package report

import (
	"errors"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/status"
)

var (
	since = time.Date(2026, 11, 23, 10, 0, 1, 0, time.UTC)
	later = since.Add(20 * time.Minute)

	attach = graph.Wait{For: "the disk with serial vol0", Until: later, Hint: "attach it"}
	broken = fault.WithHint(errors.New("it is broken"), "mend it")
)

// The steps of two services: the last step of each is Serving.
func device(state graph.State) graph.Progress {
	return graph.Progress{Step: "volume data: device", State: state, Since: since}
}

func up(unit string, state graph.State) graph.Progress {
	return graph.Progress{Step: "service " + unit + ": up", State: state, Since: since, Serves: true}
}

func waiting(p graph.Progress, w graph.Wait) graph.Progress {
	p.State, p.Wait = graph.Waiting, w
	return p
}

func failed(p graph.Progress, err error) graph.Progress {
	p.State, p.Err = graph.Failed, err
	return p
}

func again(p graph.Progress, state graph.State, err error) graph.Progress {
	p.State, p.Err = state, err
	if state == graph.Failed {
		p.RetryAt = later
	}
	return p
}

// gaveUp is a step that has gone wrong for an hour.
func gaveUp(p graph.Progress) graph.Progress {
	p.CountsAsFailed, p.Failures, p.FailingSince, p.First = true, 7, since.Add(-time.Hour), errors.New("it was new")
	return p
}

func TestAStepAsideIsOnlyToBeKnown(t *testing.T) {
	grow := graph.Progress{Step: "volume data: grow", Since: since, Aside: true}
	for name, c := range map[string]struct {
		progress graph.Progress
		says     string
	}{
		"running": {again(grow, graph.Running, nil), ""},
		"skipped": {again(grow, graph.Skipped, nil), ""},
		"waiting": {waiting(grow, attach), "volume data: grow: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0; attach it"},
		"failed":  {failed(grow, broken), "volume data: grow failed at 10:00:01: it is broken; mend it"},
		"late":    {gaveUp(again(grow, graph.Failed, broken)), "volume data: grow failed at 10:00:01 (7 tries since 09:00:01): it is broken (at first: it was new); mend it"},
	} {
		progress := []graph.Progress{c.progress, up("a.service", graph.Done)}
		s := Of(status.Status{}, nil, progress)
		if s.State != status.Ready || strings.Join(s.Warnings, "|") != c.says || len(s.Steps) != 2 {
			t.Errorf("%s: it is %s, and tells %q", name, s.State, s.Warnings)
		}
		if !Settled(progress) {
			t.Errorf("%s: the boot is not settled", name)
		}
	}
}

func TestStateOfARoleIsThatOfItsWorstStep(t *testing.T) {
	skipped := up("a.service", graph.Skipped)
	skipped.Err = errors.New(`needs "volume data: device"`)
	for name, c := range map[string]struct {
		progress []graph.Progress
		state    status.State
		reason   string
		hint     string
	}{
		"all done": {
			[]graph.Progress{device(graph.Done), up("a.service", graph.Done)},
			status.Ready, "", "",
		},
		"nothing to do": {nil, status.Ready, "", ""},
		"running": {
			[]graph.Progress{device(graph.Running), up("a.service", graph.Pending)},
			status.Starting, "volume data: device: running since 10:00:01", "",
		},
		"between two steps": {
			[]graph.Progress{device(graph.Done), up("a.service", graph.Pending)},
			status.Starting, "service a.service: up: pending since 10:00:01", "",
		},
		"about to start over, and one is up": {
			[]graph.Progress{device(graph.Pending), up("a.service", graph.Done)},
			status.Starting, "volume data: device: pending since 10:00:01", "",
		},
		"running, and one is up": {
			[]graph.Progress{device(graph.Running), up("a.service", graph.Done)},
			status.Starting, "volume data: device: running since 10:00:01", "",
		},
		"waiting": {
			[]graph.Progress{waiting(device(""), attach), up("a.service", graph.Pending)},
			status.Waiting, "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0", "attach it",
		},
		"waiting, before one that runs": {
			[]graph.Progress{up("a.service", graph.Running), waiting(device(""), attach)},
			status.Waiting, "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0", "attach it",
		},
		"failed for good": {
			[]graph.Progress{failed(device(""), broken), skipped},
			status.Failed, "volume data: device failed at 10:00:01: it is broken", "mend it",
		},
		"failed for good, and one is up": {
			[]graph.Progress{failed(device(""), broken), skipped, up("b.service", graph.Done)},
			status.Degraded, "volume data: device failed at 10:00:01: it is broken", "mend it",
		},
		"failed for good, and another waits": {
			[]graph.Progress{waiting(device(""), attach), failed(up("a.service", ""), broken)},
			status.Failed, "service a.service: up failed at 10:00:01: it is broken", "mend it",
		},
		"failed, and tried again": {
			[]graph.Progress{again(device(""), graph.Failed, broken), skipped},
			status.Waiting, "volume data: device failed at 10:00:01: it is broken", "mend it",
		},
		"failed, and tried now": {
			[]graph.Progress{again(device(""), graph.Running, broken), skipped},
			status.Waiting, "volume data: device: running since 10:00:01, after it failed: it is broken", "mend it",
		},
		"failed, and waiting now for something": {
			[]graph.Progress{again(waiting(device(""), attach), graph.Waiting, broken), skipped},
			status.Waiting, "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0", "attach it",
		},
		"failed, and pending as it starts over": {
			[]graph.Progress{device(graph.Running), again(up("a.service", ""), graph.Pending, broken)},
			status.Waiting, "service a.service: up: pending since 10:00:01, after it failed: it is broken", "mend it",
		},
		"failed for too long, and tried again": {
			[]graph.Progress{gaveUp(again(device(""), graph.Failed, broken)), skipped},
			status.Failed, "volume data: device failed at 10:00:01 (7 tries since 09:00:01): it is broken (at first: it was new)", "mend it",
		},
		"failed for too long, and tried now": {
			[]graph.Progress{gaveUp(again(device(""), graph.Running, broken)), skipped},
			status.Failed, "volume data: device: running since 10:00:01, after it failed (7 tries since 09:00:01): it is broken (at first: it was new)", "mend it",
		},
		"failed for too long, and waiting now": {
			[]graph.Progress{gaveUp(again(waiting(device(""), attach), graph.Waiting, broken)), up("b.service", graph.Done)},
			status.Degraded, "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0, " +
				"after it failed (7 tries since 09:00:01): it is broken (at first: it was new)", "attach it",
		},
		"failed for too long, and done": {
			[]graph.Progress{gaveUp(device(graph.Done)), up("b.service", graph.Done)},
			status.Ready, "", "",
		},
		"the first of two that are as bad": {
			[]graph.Progress{failed(up("a.service", ""), broken), failed(up("b.service", ""), errors.New("too late"))},
			status.Failed, "service a.service: up failed at 10:00:01: it is broken", "mend it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := Of(status.Status{Role: "mysql"}, nil, c.progress)
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
	retried := again(waiting(device(""), attach), graph.Waiting, broken)
	retried.RetryAt = later
	steps := Of(status.Status{Role: "mysql"}, nil, []graph.Progress{device(graph.Done), retried}).Steps
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
	p := gaveUp(again(device(""), graph.Failed, broken))
	p.FailsAt = later
	s := Of(status.Status{Role: "mysql"}, nil, []graph.Progress{p}).Steps[0]
	if s.Tries != 7 || !s.Failing.Equal(since.Add(-time.Hour)) || s.FirstError != "it was new" || s.Error != "it is broken" || !s.Until.Equal(later) {
		t.Errorf("got %+v", s)
	}
	p.First, p.Failures = p.Err, 1
	if s := Of(status.Status{Role: "mysql"}, nil, []graph.Progress{p}).Steps[0]; s.FirstError != "" {
		t.Errorf("one error is told twice: %+v", s)
	}
}

func TestHeldServicesAreToldInOrder(t *testing.T) {
	by := waiting(device(""), attach)
	s := Of(status.Status{Role: "mysql"}, map[string]graph.Progress{"b.service": by, "a.service": by}, []graph.Progress{by})
	if len(s.Held) != 2 || s.Held[0].Unit != "a.service" || s.Held[1].Unit != "b.service" || s.Held[0].Why != by.String() {
		t.Errorf("got %+v", s.Held)
	}
}

// While a step runs, the boot waits for it; what is pending then waits for it
// as well. What waits for something outside may take for ever.
func TestSettled(t *testing.T) {
	for name, c := range map[string]struct {
		progress []graph.Progress
		want     bool
	}{
		"nothing":         {nil, true},
		"all done":        {[]graph.Progress{device(graph.Done), up("a", graph.Done)}, true},
		"one runs":        {[]graph.Progress{device(graph.Running), up("a", graph.Pending)}, false},
		"one waits":       {[]graph.Progress{waiting(device(""), attach), up("a", graph.Pending)}, true},
		"one failed":      {[]graph.Progress{failed(device(""), broken), up("a", graph.Skipped)}, true},
		"waits and runs":  {[]graph.Progress{waiting(device(""), attach), up("a", graph.Running)}, false},
		"between two":     {[]graph.Progress{device(graph.Done), up("a", graph.Pending)}, false},
		"failed and runs": {[]graph.Progress{failed(device(""), broken), up("a", graph.Running)}, false},
	} {
		if got := Settled(c.progress); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Who waits for the role must not take a plan for it.
func TestALaunchIsNeverReady(t *testing.T) {
	told := []graph.Progress{{Step: "instance: metadata", State: graph.Done}, {Step: "instance: plan", State: graph.Done}}
	if s := OfIdentify(told); s.State != status.Starting || s.State.Final() {
		t.Errorf("got %s", s.Line())
	}
	told[1] = graph.Progress{Step: "instance: plan", State: graph.Failed, Err: fault.Permanent(errors.New("no such role"))}
	if s := OfIdentify(told); s.State != status.Failed || !strings.Contains(s.Reason, "no such role") {
		t.Errorf("got %s", s.Line())
	}
}
