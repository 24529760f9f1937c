package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A thousand instances that wait ask a thousand times as often as one.
func TestWhatDoesNotMoveIsAskedForEverLessOften(t *testing.T) {
	held := Pending_{For: "volume vol-1 to be let go by i-2"}
	for _, test := range []struct {
		name      string
		answer    func(asked int) Pending_
		atMost    int           // questions in 20 minutes
		firstRest time.Duration // and their first rests
	}{
		{"nothing moves", func(int) Pending_ { return held }, 32, 500 * time.Millisecond},
		{"nobody answers now and then", func(asked int) Pending_ {
			if asked%2 == 0 {
				return Pending_{For: fmt.Sprint("EC2 to answer ", asked), Unanswered: true}
			}
			return held
		}, 32, 500 * time.Millisecond},
		{"it moves to and fro", func(asked int) Pending_ { return Pending_{For: fmt.Sprint(asked % 2)} }, 32, 500 * time.Millisecond},
		{"it is never told alike", func(asked int) Pending_ { return Pending_{For: fmt.Sprint(asked)} }, 32, 500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewStory()
				s.Jitter = func(time.Duration) time.Duration { return 0 }
				var at []time.Time
				err := s.awaitSince(t.Context(), time.Now(), askVolume, 20*time.Minute, func(context.Context) error {
					at = append(at, time.Now())
					answer := test.answer(len(at))
					return &answer
				})
				if !errors.As(err, new(*Expired)) || len(at) > test.atMost || at[1].Sub(at[0]) != test.firstRest {
					t.Errorf("it asked %d times, at first after %s: %v", len(at), at[1].Sub(at[0]), err)
				}
			})
		})
	}
}

// Who waited for long sees at once how it goes on.
func TestWhatMovesIsAskedForOftenAgain(t *testing.T) {
	p := patience{most: time.Minute}
	held, attaching := Pending_{For: "it to be let go"}, Pending_{For: "it to be attached"}
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
	p = patience{most: askAnyway, asked: askedByThen, last: held}
	if got := p.rest(held); got < askVolume || got > 2*askVolume {
		t.Errorf("after the deadline it first rests %s", got)
	}
	for range 10 {
		p.rest(held)
	}
	if got := p.rest(held); got != askAnyway {
		t.Errorf("and at last %s", got)
	}
}
