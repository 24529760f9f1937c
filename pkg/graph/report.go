package graph

import (
	"context"
	"time"

	"bootagent/pkg/fault"
)

// Observed says that the step's function, which got ctx, sees from here on all
// that happened before: events that are queued for the step are dropped.
func Observed(ctx context.Context) {
	report(ctx, func(step *Step) { step.queued = nil })
}

// SetWaiting makes the step whose function got ctx Waiting, until done is called.
func SetWaiting(ctx context.Context, w Wait) (done func()) {
	become := func(state State, w Wait) {
		report(ctx, func(step *Step) {
			step.become(state)
			step.wait = w
			if step.failingSince.IsZero() && state == Waiting {
				step.failingSince = step.since
			}
		})
	}
	become(Waiting, w)
	return func() { become(Running, Wait{}) }
}

// Since returns when the step whose function got ctx began to wait or to fail,
// however often it was started since. It is now if nothing went wrong, or if ctx is
// of no step.
func Since(ctx context.Context) time.Time {
	if running, ok := ctx.Value(runningKey{}).(running); ok && !running.since.IsZero() {
		return running.since
	}
	return time.Now()
}

// Warn adds a warning to the step whose function got ctx: the step may be Done, and
// people should still know of this. The warning stays until the step runs again.
func Warn(ctx context.Context, warning string) {
	report(ctx, func(step *Step) { step.warning = warning })
}

// Answer says what the last answer was that the step got whose function got ctx, in a
// few words. It stays until the step runs again.
func Answer(ctx context.Context, text string) {
	report(ctx, func(step *Step) { step.answer = text })
}

// SetFailed makes the step whose function got ctx Failed, while the function goes
// on to look whether the cause has gone: people are told, and the step can still
// become Done.
func SetFailed(ctx context.Context, err error) {
	report(ctx, func(step *Step) {
		if step.state == Failed && step.err.Error() == err.Error() {
			return
		}
		news := step.state != Failed
		step.countsAsFailed = true
		step.become(Failed)
		step.err = err
		if news {
			step.log.Error("failed", "error", err, "hint", fault.HintOf(err))
		}
		step.runQueued() // its function may run for long
	})
}

// report changes the step whose function got ctx, unless that function was
// cancelled.
func report(ctx context.Context, happened func(*Step)) {
	running, ok := ctx.Value(runningKey{}).(running)
	if !ok {
		return
	}
	running.graph.send(func() {
		if !running.step.outdated {
			happened(running.step)
		}
	})
}

type (
	runningKey struct{}
	running    struct {
		graph *Graph
		step  *Step
		since time.Time // when the step began to wait or to fail, or zero
	}
)
