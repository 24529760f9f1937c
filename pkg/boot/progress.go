package boot

import (
	"fmt"
	"time"
)

// heldBy follows a step's needs to the first one that holds it up.
func (s *Step) heldBy(at map[string]Progress) *Step {
	if at[s.name].State == Done {
		return nil
	}
	for _, need := range s.needs {
		if by := need.heldBy(at); by != nil {
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
	if p.Err != nil && (p.State != Waiting || p.GaveUp) {
		text += fmt.Sprintf(", after it failed%s: %v", p.often(), p.why())
	}
	return text
}

// often says how often a step has failed, where it did more than once.
func (p Progress) often() string {
	if p.Tries < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d tries since %s)", p.Tries, until(p.Since, p.Failing))
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
