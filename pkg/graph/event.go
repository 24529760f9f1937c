package graph

import (
	"fmt"
	"slices"
)

// Invalidate says that what a step did no longer holds. If the step is Done, the
// steps of from run again, and all steps that need them; their functions that
// run now are cancelled first. If the step's function runs, the event waits until
// it has ended.
func (g *Graph) Invalidate(step *Step, why string, from ...*Step) {
	g.send(func() {
		g.whenIdle(step, func() {
			if step.state == Done {
				g.startOver(why, from...)
			}
		})
	})
}

// Recheck runs a step again if it is in one of these states. If the step's
// function runs, in another state, the event waits until it has ended.
func (g *Graph) Recheck(step *Step, why string, in ...State) {
	again := func() {
		if slices.Contains(in, step.state) {
			step.rerun(fmt.Errorf("looking again: %s", why))
		}
	}
	g.send(func() {
		if slices.Contains(in, step.state) {
			again()
			return
		}
		g.whenIdle(step, again)
	})
}

// Reset is Recheck after a person did something: the failures of the step are
// forgotten, and its deadline begins again.
func (g *Graph) Reset(step *Step, why string, in ...State) {
	again := func() {
		if slices.Contains(in, step.state) {
			step.forget()
			step.rerun(fmt.Errorf("looking again: %s", why))
		}
	}
	g.send(func() { g.whenIdle(step, again) })
}

// RetryFailed runs each of these steps again that is Failed, beginning at the step
// that From has set. If a step's function runs, the event waits until it has ended.
func (g *Graph) RetryFailed(why string, steps ...*Step) {
	g.send(func() {
		for _, step := range steps {
			g.whenIdle(step, func() {
				if step.state == Failed {
					// A permanent error was about what was there before. The deadline
					// stays as it is.
					step.countsAsFailed = g.late(step)
					g.startOver(why, step.from)
				}
			})
		}
	})
}

// whenIdle calls happen, but not while the step's function runs, because the end
// of the function would undo it: then happen is queued. A function that was
// cancelled runs again, and sees for itself what happened. A function that called
// SetFailed is idle.
func (g *Graph) whenIdle(step *Step, happen func()) {
	switch {
	case step.cancel == nil || step.state == Failed:
		happen()
	case !step.outdated:
		step.queued = append(step.queued, happen)
	}
}

// Retry runs every Failed step again, also those whose error is permanent. A
// person asked for it, so all deadlines begin again.
func (g *Graph) Retry() {
	g.send(func() {
		var failed []*Step
		for _, step := range g.steps {
			if step.state == Failed {
				failed = append(failed, step)
			}
			if step.state != Done {
				step.forget()
			}
		}
		for _, step := range failed {
			g.startOver("trying again", step.from)
		}
	})
}

// IsDone reports whether a step is Done.
func (g *Graph) IsDone(step *Step) bool {
	is := make(chan bool, 1)
	g.send(func() { is <- step.state == Done })
	select {
	case done := <-is:
		return done
	case <-g.over:
		return false
	}
}

// Ping returns when the goroutine of Run has answered, which shows that it is not stuck.
func (g *Graph) Ping() { g.send(func() {}) }

// send gives an event to the goroutine of Run, or drops it if Run has returned.
func (g *Graph) send(happened func()) {
	select {
	case g.events <- happened:
	case <-g.over:
	}
}
