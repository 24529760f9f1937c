package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"bootagent/pkg/fault"
)

// A tale is a graph that is being run.
type tale struct {
	*Graph
	t    *testing.T
	told atomic.Pointer[[]Progress]
}

// step is how a step is, by its number.
func (r *tale) step(n int) Progress { return (*r.told.Load())[n] }

// runs runs a graph until the test ends. Call it in a synctest bubble.
func runs(t *testing.T, s *Graph) *tale {
	r := &tale{Graph: s, t: t}
	s.Jitter = func(time.Duration) time.Duration { return 0 }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, slog.New(slog.DiscardHandler), func(p []Progress) { r.told.Store(&p) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	synctest.Wait()
	return r
}

func (r *tale) after(d time.Duration) Progress {
	time.Sleep(d)
	synctest.Wait()
	return r.step(0)
}

// An event comes when it comes, also while the function of its step runs.
func TestAnEventOfAStepThatRunsIsKeptUntilItHasEnded(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*Graph, *Step)
		fails   bool // the step, at first
		again   bool // it runs again at once
	}{
		"nothing":                          {func(*Graph, *Step) {}, false, false},
		"a recheck of what is done":        {func(s *Graph, step *Step) { s.Recheck(step, "it", Done) }, false, true},
		"a recheck of what failed":         {func(s *Graph, step *Step) { s.Recheck(step, "it", Failed) }, true, true},
		"a recheck of what failed, done":   {func(s *Graph, step *Step) { s.Recheck(step, "it", Failed) }, false, false},
		"it is undone":                     {func(s *Graph, step *Step) { s.Invalidate(step, "it", step) }, false, true},
		"it is undone, and failed":         {func(s *Graph, step *Step) { s.Invalidate(step, "it", step) }, true, false},
		"what it failed of changed":        {func(s *Graph, step *Step) { s.RetryFailed("it", step) }, true, true},
		"what it failed of changed, done":  {func(s *Graph, step *Step) { s.RetryFailed("it", step) }, false, false},
		"it is undone, and then looks":     {func(s *Graph, step *Step) { s.Invalidate(step, "it", step) }, false, false},
		"a recheck, and then looks":        {func(s *Graph, step *Step) { s.Recheck(step, "it", Done) }, false, false},
		"a recheck of what runs, in vain ": {func(s *Graph, step *Step) { s.Recheck(step, "it", Pending) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ran atomic.Int32
				s := New()
				step := s.Add("step", func(ctx context.Context) error {
					ran.Add(1)
					time.Sleep(time.Minute)
					if strings.Contains(name, "then looks") {
						Observed(ctx)
					}
					if c.fails {
						return fault.Permanent(errors.New("it failed"))
					}
					return nil
				})
				r := runs(t, s)
				r.after(30 * time.Second)
				c.happens(s, step)
				r.after(40 * time.Second)
				if again := ran.Load() == 2; again != c.again {
					t.Errorf("it ran %d times", ran.Load())
				}
				if r.after(5 * time.Minute); ran.Load() > 2 {
					t.Errorf("it ran %d times", ran.Load())
				}
			})
		})
	}
}

// Which of the two is seen first, that a database died or that its disk is gone, is
// left to chance. Told is the same.
func TestWhatAStepFailedOfIsNotToldWhileItsNeedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		gone := false
		disk := s.Add("disk", func(ctx context.Context) error {
			if !gone {
				return nil
			}
			defer SetWaiting(ctx, Wait{For: "the disk"})()
			<-ctx.Done()
			return context.Cause(ctx)
		})
		s.Add("service", func(context.Context) error { return fault.Permanent(errors.New("it was killed")) }, disk)
		r := runs(t, s)
		if p := r.step(1); p.State != Failed || p.Err == nil || !p.CountsAsFailed {
			t.Fatalf("it is %+v", p)
		}
		gone = true
		s.Invalidate(disk, "it was pulled", disk)
		r.after(time.Second)
		if p := r.step(1); p.State != Pending || p.Err != nil || p.CountsAsFailed || p.Failures != 1 {
			t.Errorf("while the disk is waited for it is %+v", p)
		}
	})
}

// What failed for good failed of what was there. Where that has changed, it has not
// failed again before it was looked at; but how long it may take goes on.
func TestWhatFailedForGoodHasNotFailedOfWhatIsThereNow(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := New()
			step := s.Add("step", func(context.Context) error {
				time.Sleep(time.Minute)
				return fault.Permanent(errors.New("it is another's"))
			}).Within(10 * time.Minute)
			r := runs(t, s)
			r.after(90 * time.Second)
			if p := r.step(0); p.State != Failed || !p.CountsAsFailed {
				t.Fatalf("it is %+v", p)
			}
			if late {
				r.after(10 * time.Minute)
			}
			s.RetryFailed("its disk is another", step)
			r.after(30 * time.Second)
			if p := r.step(0); p.State != Running || p.CountsAsFailed != late || p.Failures != 1 {
				t.Errorf("late: %t, and while it runs again it is %+v", late, p)
			}
			r.after(time.Minute)
			if p := r.step(0); p.State != Failed || !p.CountsAsFailed || p.Failures != 2 {
				t.Errorf("it is %+v", p)
			}
		})
	}
}

func TestAStepThatFailsForTooLongHasFailedAndIsTriedOn(t *testing.T) {
	for name, c := range map[string]struct {
		within, story, want time.Duration
	}{
		"its own time":      {5 * time.Minute, time.Hour, 5 * time.Minute},
		"that of the story": {0, 10 * time.Minute, 10 * time.Minute},
		"the usual":         {0, 0, DefaultRetryWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ran atomic.Int32
				var good atomic.Bool
				s := New()
				s.RetryWithin = c.story
				s.Add("step", func(context.Context) error {
					switch n := ran.Add(1); {
					case good.Load():
						return nil
					case n == 1:
						return errors.New("the first error")
					}
					return errors.New("another error")
				}).Within(c.within)
				r := runs(t, s)
				p := r.after(c.want - 2*time.Second)
				if p.CountsAsFailed || p.FailsAt.Sub(p.FailingSince) != c.want {
					t.Errorf("before its time: %+v", p)
				}
				p = r.after(3 * time.Second)
				if !p.CountsAsFailed || p.Failures != int(ran.Load()) || p.RetryAt.IsZero() && p.State == Failed {
					t.Errorf("after its time, and %d tries: %+v", ran.Load(), p)
				}
				for _, words := range []string{"tries since", "another error", "at first: the first error"} {
					if !strings.Contains(p.String(), words) {
						t.Errorf("it does not say %q: %s", words, p)
					}
				}
				before := ran.Load()
				if p = r.after(24 * time.Hour); !p.CountsAsFailed || ran.Load() < before+1000 {
					t.Errorf("a day later, after %d more tries: %+v", ran.Load()-before, p)
				}
				good.Store(true)
				if p = r.after(2 * time.Minute); p.State != Done || p.CountsAsFailed || p.Err != nil || p.Failures != 0 {
					t.Errorf("it is mended: %+v", p)
				}
			})
		})
	}
}

func TestAHiccupIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := New(), time.Now()
		s.Add("step", func(context.Context) error {
			if time.Since(began) < 8*time.Minute {
				return errors.New("slow down")
			}
			return nil
		})
		r := runs(t, s)
		for range 10 {
			if p := r.after(time.Minute); p.CountsAsFailed {
				t.Fatalf("after %s: %+v", time.Since(began), p)
			}
		}
		if r.step(0).State != Done {
			t.Errorf("in the end: %+v", r.step(0))
		}
	})
}

// Whatever is told of a step that fails, it is not tried more often for it in
// the end, and its time goes on.
func TestNoEventBeginsABackOffOrADeadlineAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		first := s.Add("first", func(context.Context) error { return nil })
		step := s.Add("step", func(context.Context) error { return errors.New("it fails") }, first).From(first)
		r := runs(t, s)
		r.after(10 * time.Minute)
		before, failing := r.step(1).Failures, r.step(1).FailingSince
		for range 3 {
			s.RetryFailed("something changed", step)
			s.Recheck(step, "something changed", Failed)
			s.Invalidate(first, "something changed", first)
			synctest.Wait()
		}
		r.after(50 * time.Second)
		p := r.step(1)
		if p.Failures < before+3 || p.Failures > before+10 || !p.FailingSince.Equal(failing) {
			t.Errorf("%d tries since %s, and before %d since %s", p.Failures, p.FailingSince, before, failing)
		}
		if left := time.Until(p.RetryAt); left > time.Minute {
			t.Errorf("the next is in %s", left)
		}
		r.after(DefaultRetryWithin)
		if !r.step(1).CountsAsFailed {
			t.Errorf("it has not failed: %+v", r.step(1))
		}
		s.RetryFailed("something changed", step)
		synctest.Wait()
		if p := r.step(1); !p.CountsAsFailed {
			t.Errorf("after one more event it has not failed any more: %+v", p)
		}
	})
}

func TestARetryOfAPersonBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.Add("step", func(context.Context) error { return errors.New("it fails") })
		r := runs(t, s)
		if p := r.after(time.Hour); !p.CountsAsFailed {
			t.Fatalf("it has not failed: %+v", p)
		}
		s.Retry()
		if p := r.after(0); p.CountsAsFailed || p.Failures != 1 || time.Until(p.RetryAt) > 2*time.Second {
			t.Errorf("after a retry: %+v", p)
		}
	})
}

func TestAStepThatWaitsInItsTurnsHasOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := New(), time.Now()
		step := s.Add("step", func(ctx context.Context) error {
			return s.AwaitSince(ctx, Since(ctx), MaxRest, 20*time.Minute, func(context.Context) error { return &fault.Pending{For: "it"} })
		})
		r := runs(t, s)
		r.after(15 * time.Minute)
		s.Recheck(step, "something happened", Waiting)
		if p := r.after(time.Second); p.Wait.Until.Sub(began) != 20*time.Minute {
			t.Errorf("it waits until %s", p.Wait.Until.Sub(began))
		}
		if p := r.after(5 * time.Minute); !p.CountsAsFailed || !strings.Contains(p.String(), "waited 20m0s in vain for it") {
			t.Errorf("after 20 minutes: %+v", p)
		}
	})
}

// A function that gave up asks on, and may do so for ever.
func TestAnEventOfAStepThatGivesUpIsNotKeptForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int32
		s := New()
		step := s.Add("step", func(ctx context.Context) error {
			ran.Add(1)
			time.Sleep(time.Minute)
			SetFailed(ctx, errors.New("in vain"))
			<-ctx.Done()
			return ctx.Err()
		})
		r := runs(t, s)
		r.after(30 * time.Second)
		s.Recheck(step, "something happened", Done, Failed)
		if r.after(time.Minute); ran.Load() != 2 {
			t.Errorf("it ran %d times", ran.Load())
		}
	})
}

// set gives a time as the clock would have read it, had somebody set it before.
// What the kernel's monotonic clock said is the same.
func set(t time.Time, by time.Duration) time.Time {
	const hasMonotonic, nanoseconds = 1 << 63, 30 // see package time
	wall := (*uint64)(unsafe.Pointer(&t))
	if *wall&hasMonotonic == 0 {
		panic("the time has no reading of the monotonic clock")
	}
	*wall += uint64(by/time.Second) << nanoseconds
	return t
}

// A clock that is set changes what is told, and nothing that is waited for.
func TestAClockThatIsSet(t *testing.T) {
	for _, by := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		now := time.Now()
		if shifted := set(now, by); setBy(now, shifted) != by || shifted.Sub(now) != 0 {
			t.Fatalf("it was set by %s, and %s passed", setBy(now, shifted), shifted.Sub(now))
		}
		s := New()
		s.base = now
		step := s.Add("step", nil)
		step.since, step.started, step.failingSince = now.Add(-time.Minute), now.Add(-time.Minute), now.Add(-time.Minute)
		step.state, step.wait = Waiting, Wait{For: "it", Until: now.Add(20 * time.Minute)}
		later := set(now.Add(time.Second), by)
		s.followClock(later)
		if s.base != later {
			t.Error("it is not seen")
		}
		for what, times := range map[string][2]time.Time{
			"since": {step.since, later.Add(-61 * time.Second)}, "until": {step.wait.Until, later.Add(20*time.Minute - time.Second)},
			"failing": {step.failingSince, later.Add(-61 * time.Second)},
		} {
			if got, want := times[0].Round(0), times[1].Round(0); !got.Equal(want) {
				t.Errorf("%s by %s: it tells %s, and it is %s", what, by, got, want)
			}
		}
		if left := step.wait.Until.Sub(later); left != 20*time.Minute-time.Second {
			t.Errorf("%s are left", left)
		}
		if !step.retryAt.IsZero() {
			t.Error("what is not set was set")
		}
	}
	s := New()
	s.base = time.Now()
	before := s.base
	if s.followClock(s.base.Add(time.Hour)); s.base != before {
		t.Error("an hour that passes counts as a clock that was set")
	}
}

func TestWrapRunsAroundEachRunOfAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		failed := false
		s.Add("it", func(context.Context) error {
			if !failed {
				failed = true
				return errors.New("not yet")
			}
			return nil
		})
		var ran []string
		s.Wrap = func(step string, _ *slog.Logger, run Func) Func {
			return func(ctx context.Context) error {
				err := run(ctx)
				ran = append(ran, fmt.Sprint(step, ": ", err))
				return err
			}
		}
		r := runs(t, s)
		if state := r.after(2 * time.Second).State; state != Done {
			t.Errorf("the step is %s", state)
		}
		if want := []string{"it: not yet", "it: <nil>"}; !slices.Equal(ran, want) {
			t.Errorf("it ran %q, and not %q", ran, want)
		}
	})
}
