package graph

import (
	"time"
)

// followClock has the times that are told be those of the clock as it is now,
// after it was set. What is waited for is not concerned: Go measures that by
// the kernel's monotonic clock, which nobody sets.
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

// leastSet is the least that a clock has to be set by for it to matter to who
// reads a time: less comes of the clock being kept right, all the time.
const leastSet = time.Second

// setBy is by how much the clock was set between two readings of it.
func setBy(before, now time.Time) time.Duration {
	return now.Round(0).Sub(before.Round(0)) - now.Sub(before)
}

// AsOf is a time that was read from the clock of this machine as the clock
// would give it, had it always been as it is now.
func AsOf(now, t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(t.Sub(now))
}
