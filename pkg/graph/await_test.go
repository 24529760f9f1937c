package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
)

// A thousand instances that wait ask a thousand times as often as one.
func TestWhatDoesNotMoveIsAskedForEverLessOften(t *testing.T) {
	held := fault.Pending{For: "volume vol-1 to be detached from i-2"}
	for _, test := range []struct {
		name      string
		answer    func(asked int) fault.Pending
		atMost    int           // questions in 20 minutes
		firstRest time.Duration // and their first rests
	}{
		{"nothing moves", func(int) fault.Pending { return held }, 32, 500 * time.Millisecond},
		{"nobody answers now and then", func(asked int) fault.Pending {
			if asked%2 == 0 {
				return fault.Pending{For: fmt.Sprint("EC2 to answer ", asked), Unanswered: true}
			}
			return held
		}, 32, 500 * time.Millisecond},
		{"it moves to and fro", func(asked int) fault.Pending { return fault.Pending{For: fmt.Sprint(asked % 2)} }, 32, 500 * time.Millisecond},
		{"it is never told alike", func(asked int) fault.Pending { return fault.Pending{For: fmt.Sprint(asked)} }, 32, 500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New()
				s.Jitter = func(time.Duration) time.Duration { return 0 }
				var at []time.Time
				err := s.AwaitSince(t.Context(), time.Now(), time.Minute, 20*time.Minute, func(context.Context) error {
					at = append(at, time.Now())
					answer := test.answer(len(at))
					return &answer
				})
				if !errors.As(err, new(*fault.Expired)) || len(at) > test.atMost || at[1].Sub(at[0]) != test.firstRest {
					t.Errorf("it asked %d times, at first after %s: %v", len(at), at[1].Sub(at[0]), err)
				}
			})
		})
	}
}

// Who waited for long sees at once how it goes on.
func TestWhatMovesIsAskedForOftenAgain(t *testing.T) {
	p := patience{most: time.Minute}
	held, attaching := fault.Pending{For: "it to be detached"}, fault.Pending{For: "it to be attached"}
	for range 30 {
		p.rest(held)
	}
	if got := p.rest(held); got != time.Minute {
		t.Errorf("it rests %s", got)
	}
	var got []time.Duration
	for range 3 {
		got = append(got, p.rest(attaching))
	}
	if want := []time.Duration{750 * time.Millisecond, 1125 * time.Millisecond, 1687500 * time.Microsecond}; !slices.Equal(got, want) {
		t.Errorf("then it rests %v, want %v", got, want)
	}
}

// What has failed is asked on, with rests that begin where those before ended.
func TestWhatHasFailedIsAskedForWithLongRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.Jitter = func(time.Duration) time.Duration { return 0 }
		held := &fault.Pending{For: "it to be detached"}
		var at []time.Time
		began := time.Now()
		err := s.KeepAsking(t.Context(), &fault.Expired{Within: time.Hour, Last: held}, time.Minute, 10*time.Minute, func(context.Context) error {
			if at = append(at, time.Now()); len(at) == 12 {
				return nil
			}
			return held
		})
		if err != nil {
			t.Fatal(err)
		}
		if rest := at[0].Sub(began); rest < time.Minute || rest > 2*time.Minute {
			t.Errorf("it first rests %s", rest)
		}
		if rest := at[11].Sub(at[10]); rest != 10*time.Minute {
			t.Errorf("at last it rests %s", rest)
		}
	})
}
