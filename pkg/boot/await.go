package boot

import (
	"context"
	"errors"
	"time"
)

// await asks again until the answer is another than a Pending_, for at most
// as long as within, and tells what it waits for meanwhile. The error is that
// of ask, of ctx, or an *Expired.
func (s *Story) await(ctx context.Context, within time.Duration, ask func(context.Context) error) error {
	return s.awaitSince(ctx, time.Now(), mostRest, within, ask)
}

// mostRest is the longest rest between two questions to what is near.
const mostRest = 10 * time.Second

// awaitSince is await, with rests of up to most, for what has been waited for
// since a while. It asks once in any case.
func (s *Story) awaitSince(ctx context.Context, since time.Time, most, within time.Duration, ask func(context.Context) error) error {
	until := since.Add(within)
	told, done := Pending_{}, func() {}
	defer func() { done() }()
	for p := (patience{most: most}); ; {
		var notYet *Pending_
		if err := ask(ctx); !errors.As(err, &notYet) {
			return err
		}
		if *notYet != told {
			told, done = *notYet, Waits(ctx, Wait{For: notYet.For, Until: until, Hint: notYet.Hint})
		}
		rest := p.rest(*notYet)
		rest = min(rest+s.jitter(rest/4), time.Until(until))
		if rest <= 0 {
			return &Expired{within, notYet}
		}
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A patience says how long to rest after each question: half a second, half as
// much again each time, up to most. Up to a quarter more is added to it. What
// moves is asked for often again, but each time less so, as it may move to and
// fro; that nobody answers is no move.
type patience struct {
	most  time.Duration
	asked int
	moved int
	last  Pending_
}

func (p *patience) rest(answer Pending_) time.Duration {
	p.asked++
	if !answer.Unanswered && answer != p.last {
		p.moved++
		p.asked, p.last = p.moved, answer
	}
	rest := min(500*time.Millisecond, p.most)
	for range min(p.asked-1, 40) {
		rest = min(rest*3/2, p.most)
	}
	return rest
}
