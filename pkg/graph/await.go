package graph

import (
	"context"
	"errors"
	"time"

	"bootagent/pkg/fault"
)

// MaxRest is the longest rest between two questions about something on this
// machine.
const MaxRest = 10 * time.Second

// Await calls ask until its error is no *fault.Pending, for at most within. The
// step whose function got ctx is Waiting meanwhile. The error is that of ask, the
// cause of ctx, or a *fault.Expired.
func (g *Graph) Await(ctx context.Context, within time.Duration, ask func(context.Context) error) error {
	return g.AwaitSince(ctx, time.Now(), MaxRest, within, ask)
}

// AwaitSince is Await for what has been waited for since a while: within counts
// from then. It rests for up to maxRest between two questions, and asks at least
// once.
func (g *Graph) AwaitSince(ctx context.Context, since time.Time, maxRest, within time.Duration, ask func(context.Context) error) error {
	until := since.Add(within)
	told, done := fault.Pending{}, func() {}
	defer func() { done() }()
	for p := (patience{most: maxRest}); ; {
		var pending *fault.Pending
		if err := ask(ctx); !errors.As(err, &pending) {
			return err
		}
		if *pending != told {
			told, done = *pending, SetWaiting(ctx, Wait{For: pending.For, Until: until, Hint: pending.Hint})
		}
		rest := p.rest(*pending)
		rest = min(rest+g.jitter(rest/4), time.Until(until))
		if rest <= 0 {
			return &fault.Expired{Within: within, Last: pending}
		}
		if err := sleep(ctx, rest); err != nil {
			return err
		}
	}
}

// KeepAsking goes on after AwaitSince returned an *fault.Expired: the step has
// failed, and ask is called until its error is permanent or nil. The first rest
// is about from, each one is longer, up to maxRest.
func (g *Graph) KeepAsking(ctx context.Context, expired *fault.Expired, from, maxRest time.Duration, ask func(context.Context) error) error {
	p := patience{most: maxRest, last: *expired.Last}
	for p.asked++; p.length() < from; p.asked++ {
	}
	p.asked-- // rest counts the next question
	for {
		SetFailed(ctx, expired)
		rest := p.rest(*expired.Last)
		if err := sleep(ctx, rest+g.jitter(rest/4)); err != nil {
			return err
		}
		switch err, pending := ask(ctx), (*fault.Pending)(nil); {
		case errors.As(err, &pending):
			expired = &fault.Expired{Within: expired.Within, Last: pending}
		case err == nil, fault.IsPermanent(err):
			return err
		}
	}
}

// sleep returns after d, or earlier with the cause of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A patience is how long to rest after each question: half a second at first,
// half as much again after each question, up to most. When the answer changes,
// the rests become short again, but less so with each change, because an answer
// may change to and fro. No answer is no change.
type patience struct {
	most    time.Duration
	asked   int // questions since the last change, and one for each change before
	changes int
	last    fault.Pending
}

func (p *patience) rest(answer fault.Pending) time.Duration {
	p.asked++
	if !answer.Unanswered && answer != p.last {
		p.changes++
		p.asked, p.last = p.changes, answer
	}
	return p.length()
}

func (p *patience) length() time.Duration {
	rest := min(500*time.Millisecond, p.most)
	for range min(p.asked-1, 40) {
		rest = min(rest*3/2, p.most)
	}
	return rest
}
