package graph

import (
	"time"
)

// followClock corrects the times that the graph reports after somebody has set the
// clock. Deadlines and rests need no correction: Go measures them by the kernel's
// monotonic clock, which nobody sets.
func (g *Graph) followClock(now time.Time) {
	if by := setBy(g.base, now); by.Abs() < leastSet {
		return
	}
	for _, st := range g.steps {
		for _, t := range []*time.Time{&st.since, &st.started, &st.failingSince, &st.retryAt, &st.wait.Until} {
			*t = AsOf(now, *t)
		}
	}
	g.base = now
}

// leastSet is the smallest change of the clock that counts as a set clock. NTP makes
// smaller changes all the time.
const leastSet = time.Second

// setBy is by how much the clock was set between two times that were read from it.
func setBy(before, now time.Time) time.Duration {
	return now.Round(0).Sub(before.Round(0)) - now.Sub(before)
}

// AsOf corrects a time that was read before the clock was set: it is what the clock
// would have given, had it always been as it is at now.
func AsOf(now, t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(t.Sub(now))
}
