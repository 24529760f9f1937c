package graph

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"bootagent/pkg/fault"
)

// Run runs the graph until ctx ends, and returns when no step's function runs any
// more. A step that failed runs again after a rest, unless its error is permanent;
// a step that is Done runs again after Invalidate or Recheck. After every change,
// report gets the progress of all steps, in the order in which they were added. It
// must not call the graph.
func (g *Graph) Run(ctx context.Context, log *slog.Logger, report func([]Progress)) {
	defer close(g.over)
	g.base = time.Now()
	for _, step := range g.steps {
		step.become(Pending)
	}
	for {
		g.followClock(time.Now())
		g.expire(log)
		g.advance(ctx, log)
		report(g.progress())
		timer := time.NewTimer(g.untilDue())
		select {
		case happened := <-g.events:
			happened()
		case <-timer.C:
			g.retryDue()
		case <-ctx.Done():
			timer.Stop()
			g.end()
			return
		}
		timer.Stop()
	}
}

// startOver runs steps again, and all steps that need them. Their failures stay
// counted: how long they rest, and since when they fail.
func (g *Graph) startOver(why string, from ...*Step) {
	affected := make(map[*Step]bool)
	for _, st := range from {
		affected[st] = true
	}
	for _, st := range g.steps {
		for _, need := range st.needs {
			affected[st] = affected[st] || affected[need]
		}
		if affected[st] {
			st.rerun(fmt.Errorf("starting over: %s", why))
		}
	}
}

// advance starts every step whose needs are Done, and skips every step that needs a
// step that failed. Needs were added before the steps that need them, so one pass is
// enough.
func (g *Graph) advance(ctx context.Context, log *slog.Logger) {
	for _, step := range g.steps {
		if step.state != Pending && step.state != Skipped || step.cancel != nil {
			continue
		}
		switch blocked, ready := step.needsMet(); {
		case ready:
			g.start(ctx, log, step)
		case blocked != nil && step.state == Pending:
			step.become(Skipped)
			step.blocked = fmt.Errorf("needs %q", blocked.name)
		case blocked == nil && step.state == Skipped:
			step.become(Pending)
		}
	}
}

// needsMet reports whether all needs are Done, and if not, which of them has failed.
func (s *Step) needsMet() (blocked *Step, ready bool) {
	ready = true
	for _, need := range s.needs {
		ready = ready && need.state == Done
		if need.state == Failed || need.state == Skipped {
			blocked = need
		}
	}
	return blocked, ready
}

func (g *Graph) start(ctx context.Context, log *slog.Logger, step *Step) {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, runningKey{}, running{g, step, step.failingSince}))
	step.become(Running)
	step.started = step.since
	step.cancel, step.warning, step.answer = cancel, "", ""
	step.log = log.With("step", step.name)
	wrap := g.Wrap
	if wrap == nil {
		wrap = Logged
	}
	run := wrap(step.name, step.log, step.run)
	go func() {
		err := run(ctx)
		cancel(nil)
		g.send(func() { g.finished(step, err) })
	}()
}

// finished records how a step's function ended, and then runs the events that came
// meanwhile.
func (g *Graph) finished(step *Step, err error) {
	step.cancel = nil
	if step.outdated {
		step.outdated = false
		step.become(Pending)
		return
	}
	if err == nil {
		step.forget()
		step.become(Done)
	} else {
		g.failed(step, err)
	}
	step.runQueued()
}

// runQueued runs the events that came while the step's function ran.
func (s *Step) runQueued() {
	queued := s.queued
	s.queued = nil
	for _, happen := range queued {
		happen()
	}
}

func (g *Graph) failed(step *Step, err error) {
	now := time.Now()
	if step.failingSince.IsZero() {
		step.failingSince = now
	}
	if step.failures == 0 {
		step.first = err
	}
	step.failures++
	step.become(Failed)
	step.err = err
	step.countsAsFailed = fault.IsPermanent(err) || g.late(step)
	if !fault.IsPermanent(err) {
		rest := backoff(step.failures)
		step.retryAt = now.Add(rest + g.jitter(rest/4))
	}
}

// late reports whether a step fails or waits for longer than it may.
func (g *Graph) late(step *Step) bool {
	return !step.failingSince.IsZero() && time.Since(step.failingSince) >= g.withinOf(step)
}

// withinOf is how long a step may fail or wait until it counts as failed.
func (g *Graph) withinOf(step *Step) time.Duration {
	return cmp.Or(step.within, g.RetryWithin, DefaultRetryWithin)
}

// due is when a step that fails will count as failed, or zero. A step that waits has
// a deadline of its own, and a step whose needs are not Done has none.
func (g *Graph) due(step *Step) time.Time {
	if step.failures == 0 || step.countsAsFailed || step.state != Failed && step.state != Running {
		return time.Time{}
	}
	return step.failingSince.Add(g.withinOf(step))
}

// expire logs the steps that have failed for longer than they may. They are retried
// all the same.
func (g *Graph) expire(log *slog.Logger) {
	for _, step := range g.steps {
		if due := g.due(step); !due.IsZero() && time.Until(due) <= 0 {
			step.countsAsFailed = true
			log.Error("has failed for too long, and is tried again", "step", step.name,
				"tries", step.failures, "within", g.withinOf(step), "error", step.err, "hint", fault.HintOf(step.err))
		}
	}
}

// forget forgets that the step waited or failed.
func (s *Step) forget() {
	s.failures, s.err, s.first, s.failingSince, s.countsAsFailed = 0, nil, nil, time.Time{}, false
}

// rerun makes the step run again. A function that runs is cancelled with cause.
func (s *Step) rerun(cause error) {
	s.become(Pending)
	if s.cancel != nil {
		s.outdated, s.queued = true, nil
		s.cancel(cause)
	}
}

// become changes the state. The last error stays until the step is Done.
func (s *Step) become(state State) {
	if s.state != state || s.since.IsZero() {
		s.since = time.Now()
	}
	s.state = state
	s.wait, s.retryAt, s.blocked = Wait{}, time.Time{}, nil
}

// backoff is how long a step rests after a number of failures in a row: 1 s, doubled
// with each failure, up to a minute. Up to a quarter is added to it, so that instances
// that failed together do not retry together.
func backoff(failures int) time.Duration {
	return min(time.Second<<min(failures-1, 6), time.Minute)
}

func (g *Graph) jitter(below time.Duration) time.Duration {
	if g.Jitter != nil {
		return g.Jitter(below)
	}
	return rand.N(below)
}

// untilDue is how long the graph may sleep if no event comes.
func (g *Graph) untilDue() time.Duration {
	next := time.Hour
	for _, step := range g.steps {
		for _, at := range []time.Time{step.retryAt, g.due(step)} {
			if !at.IsZero() {
				next = min(next, max(time.Until(at), 0))
			}
		}
	}
	return next
}

func (g *Graph) retryDue() {
	for _, step := range g.steps {
		if !step.retryAt.IsZero() && time.Until(step.retryAt) <= 0 {
			g.startOver("trying again", step.from)
		}
	}
}

// end waits until no step's function runs any more. The end of their context has
// cancelled them.
func (g *Graph) end() {
	for _, step := range g.steps {
		for step.cancel != nil {
			(<-g.events)()
		}
	}
}
