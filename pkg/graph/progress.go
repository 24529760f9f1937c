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

// A Wait says what a step waits for.
type Wait struct {
	For   string    // completes "waiting for"
	Until time.Time // its deadline, after which it has failed
	Hint  string    // what a person can do
}

// Progress is the state of one step, as Run reports it.
type Progress struct {
	Step    string
	State   State
	Since   time.Time
	Started time.Time // when its function was last started, or zero
	Wait    Wait      // while Waiting
	Err     error     // why it Failed, also while it is retried, or was Skipped
	RetryAt time.Time
	Serves  bool   // it is Done when a service is ready
	Aside   bool   // what it waits for, or fails of, is only to be known
	Answer  string // the last that it got
	Warning string // what people should know of it, even if it is Done

	// Of a step that fails again and again:
	Failures       int       // failures in a row
	FailingSince   time.Time // since when it waits or fails
	First          error     // the first of these failures
	FailsAt        time.Time // when it will count as failed, or zero
	CountsAsFailed bool      // its deadline has passed or its error is permanent, whatever it does now
}

func (g *Graph) progress() []Progress {
	all := make([]Progress, len(g.steps))
	for i, st := range g.steps {
		all[i] = Progress{
			Step: st.name, State: st.state, Since: st.since, Started: st.started, Wait: st.wait, Err: st.err,
			RetryAt: st.retryAt, Serves: st.serves, Aside: st.aside, Answer: st.answer, Warning: st.warning,
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

// heldUp reports whether a step waits for a need that waits. Then the need tells more
// than why the step failed before, which is not reported: a database that died with
// its disk has no fault of its own.
func (s *Step) heldUp() bool {
	return s.state == Pending && slices.ContainsFunc(s.needs, func(need *Step) bool {
		return need.state == Waiting || need.heldUp()
	})
}

// HeldBy follows the needs of a step to the first one that is not Done. at is the
// progress by the names of steps.
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

// String says in a sentence what a step is doing.
func (p Progress) String() string {
	text := fmt.Sprintf("%s: %s since %s", p.Step, p.State, clock(p.Since))
	switch p.State {
	case Waiting:
		text += fmt.Sprintf(" until %s for %s", until(p.Since, p.Wait.Until), p.Wait.For)
		if p.Answer != "" {
			text += "; the last answer is: " + p.Answer
		}
	case Failed:
		return fmt.Sprintf("%s failed at %s%s: %v", p.Step, clock(p.Since), p.often(), p.why())
	}
	if p.Err != nil && (p.State != Waiting || p.CountsAsFailed) {
		text += fmt.Sprintf(", after it failed%s: %v", p.often(), p.why())
	}
	return text
}

// often says how often a step has failed, if it did more than once.
func (p Progress) often() string {
	if p.Failures < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d tries since %s)", p.Failures, until(p.Since, p.FailingSince))
}

// why is the last error of a step, and its first one if that was another.
func (p Progress) why() string {
	if first := p.Earlier(); first != "" {
		return fmt.Sprintf("%v (at first: %s)", p.Err, first)
	}
	return fmt.Sprint(p.Err)
}

// Earlier is the first error of a step if it differs from the last one, or "".
func (p Progress) Earlier() string {
	if p.First == nil || p.Err == nil || p.State == Skipped || p.First.Error() == p.Err.Error() {
		return ""
	}
	return p.First.Error()
}

// clock is a time of day.
func clock(t time.Time) string { return t.Format(time.TimeOnly) }

// until is a time that stands beside another one: with its date if that differs.
func until(beside, t time.Time) string {
	if beside.Format(time.DateOnly) != t.Format(time.DateOnly) {
		return t.Format(time.DateTime)
	}
	return clock(t)
}
