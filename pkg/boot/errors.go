package boot

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Final marks an error that no amount of trying again will mend by itself:
// its step runs again only after an event that touches it, or when a person
// says so. An error of another package is final where it has a method
// Final() bool that says so.
func Final(err error) error { return &finalError{err} }

type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }
func (e *finalError) Final() bool   { return true }

func isFinal(err error) bool {
	var may interface{ Final() bool }
	return errors.As(err, &may) && may.Final()
}

// WithHint adds to an error what a person can do about it. An error of another
// package has a hint where it has a method Hint() string.
func WithHint(err error, hint string) error { return &hintedError{err, hint} }

// HintOf is the hint that was added to an error, or "".
func HintOf(err error) string {
	var may interface{ Hint() string }
	if errors.As(err, &may) {
		return may.Hint()
	}
	return ""
}

type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }
func (e *hintedError) Hint() string  { return e.hint }

// A NotYetError says that what was asked for is not so yet, but may become so
// by itself. Its words complete "waiting for".
type NotYetError struct {
	For  string
	Hint string // what a person can do, or ""

	// Unanswered says that nobody answered whether it is so, maybe because too
	// much is asked.
	Unanswered bool
}

func (e *NotYetError) Error() string { return "still waiting for " + e.For }

// An expiredError is a NotYetError that lasted for too long.
type expiredError struct {
	within time.Duration
	last   *NotYetError
}

func (e *expiredError) Error() string {
	return fmt.Sprintf("waited %s in vain for %s", e.within, e.last.For)
}

func (e *expiredError) Unwrap() error { return WithHint(e.last, e.last.Hint) }

// await asks again until the answer is another than a NotYetError, for at most
// as long as within, and tells what it waits for meanwhile. The error is that
// of ask, of ctx, or an *expiredError.
func (s *Story) await(ctx context.Context, within time.Duration, ask func(context.Context) error) error {
	return s.awaitSince(ctx, time.Now(), mostRest, within, ask)
}

// mostRest is the longest rest between two questions to what is near.
const mostRest = 10 * time.Second

// awaitSince is await, with rests of up to most, for what has been waited for
// since a while. It asks once in any case.
func (s *Story) awaitSince(ctx context.Context, since time.Time, most, within time.Duration, ask func(context.Context) error) error {
	until := since.Add(within)
	told, done := NotYetError{}, func() {}
	defer func() { done() }()
	for p := (patience{most: most}); ; {
		var notYet *NotYetError
		if err := ask(ctx); !errors.As(err, &notYet) {
			return err
		}
		if *notYet != told {
			told, done = *notYet, Waits(ctx, Wait{For: notYet.For, Until: until, Hint: notYet.Hint})
		}
		rest := p.rest(*notYet)
		rest = min(rest+s.jitter(rest/4), time.Until(until))
		if rest <= 0 {
			return &expiredError{within, notYet}
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
	last  NotYetError
}

func (p *patience) rest(answer NotYetError) time.Duration {
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
