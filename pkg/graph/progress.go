package graph

import (
	"fmt"
	"slices"
	"time"
)

// State is what a step is doing.
type State string

// The states of a step. Only Waiting, Done, Failed and Skipped can last.
const (
	Pending State = "pending" // its needs are not done yet
	Running State = "running"
	Waiting State = "waiting" // for something outside, see Wait
	Done    State = "done"
	Failed  State = "failed"
	Skipped State = "skipped" // something that it needs failed
)

// A Wait says what a step waits for, in words that complete "waiting for".
type Wait struct {
	For   string
	Until time.Time // when the step gives up
	Hint  string    // what a person can do
}

// Progress is what a story tells of one step.
type Progress struct {
	Step    string
	State   State
	Since   time.Time
	Started time.Time // when it was last started; zero where it never was
	Wait    Wait      // while Waiting
	Err     error     // why it Failed, also while it is tried again, or was Skipped
	RetryAt time.Time
	Serves  bool   // it is Done when a service serves
	Warning string // what is to be known of it although it is Done

	// Of a step that fails again and again:
	Failures       int       // failures in a row
	FailingSince   time.Time // since when it waits or fails
	First          error     // why it failed at first
	FailsAt        time.Time // when it has failed, if it goes on so; zero where it has no such time
	CountsAsFailed bool      // it has failed, whatever it does now, until it is Done
}

func (g *Graph) progress() []Progress {
	all := make([]Progress, len(g.steps))
	for i, st := range g.steps {
		all[i] = Progress{
			Step: st.name, State: st.state, Since: st.since, Started: st.started, Wait: st.wait, Err: st.err,
			RetryAt: st.retryAt, Serves: st.serves, Warning: st.warning,
			Failures: st.failures, FailingSince: st.failingSince, First: st.first, FailsAt: g.due(st), CountsAsFailed: st.countsAsFailed,
		}
		switch {
		case st.state == Skipped:
			all[i].Err = st.blocked
		case st.heldUp():
			all[i].Err, all[i].First, all[i].CountsAsFailed = nil, nil, false
		}
	}
	return all
}

// heldUp tells whether a step that is to run again can't, as something that it
// needs waits. How that goes is then the more telling, and why the step failed
// before is not told: a database that died with its disk fails of no more.
func (s *Step) heldUp() bool {
	return s.state == Pending && slices.ContainsFunc(s.needs, func(need *Step) bool {
		return need.state == Waiting || need.heldUp()
	})
}

// heldBy follows a step's needs to the first one that holds it up.
func (s *Step) HeldBy(at map[string]Progress) *Step {
	if at[s.name].State == Done {
		return nil
	}
	for _, need := range s.needs {
		if by := need.HeldBy(at); by != nil {
			return by
		}
	}
	return s
}

// String says in a sentence what a step is at.
func (p Progress) String() string {
	text := fmt.Sprintf("%s: %s since %s", p.Step, p.State, clock(p.Since))
	switch p.State {
	case Waiting:
		text += fmt.Sprintf(" until %s for %s", until(p.Since, p.Wait.Until), p.Wait.For)
	case Failed:
		return fmt.Sprintf("%s failed at %s%s: %v", p.Step, clock(p.Since), p.often(), p.why())
	}
	if p.Err != nil && (p.State != Waiting || p.CountsAsFailed) {
		text += fmt.Sprintf(", after it failed%s: %v", p.often(), p.why())
	}
	return text
}

// often says how often a step has failed, where it did more than once.
func (p Progress) often() string {
	if p.Failures < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d tries since %s)", p.Failures, until(p.Since, p.FailingSince))
}

// why is the error of a step, and its first one, where that was another.
func (p Progress) why() string {
	if first := p.Earlier(); first != "" {
		return fmt.Sprintf("%v (at first: %s)", p.Err, first)
	}
	return fmt.Sprint(p.Err)
}

// Earlier is what a step failed of at first, where that is not what it failed
// of last, or "".
func (p Progress) Earlier() string {
	if p.First == nil || p.Err == nil || p.State == Skipped || p.First.Error() == p.Err.Error() {
		return ""
	}
	return p.First.Error()
}

// clock is a time of day as people compare it with their own clock.
func clock(t time.Time) string { return t.Format(time.TimeOnly) }

// until is another time than that of which it stands beside, with its day where
// that is another.
func until(beside, t time.Time) string {
	if beside.Format(time.DateOnly) != t.Format(time.DateOnly) {
		return t.Format(time.DateTime)
	}
	return clock(t)
}
