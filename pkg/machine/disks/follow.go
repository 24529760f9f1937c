// Package disks tells the agent of disks to which something happened.
package disks

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"bootagent/pkg/block"
	"bootagent/pkg/host"
)

const (
	// burst is how long events are gathered: one plugged disk makes several.
	burst = time.Second

	// lookBlind is how often to look at all disks while no event comes.
	lookBlind = 10 * time.Second

	// listenAgainMost bounds the rest before another try to listen, which begins
	// with a second and is doubled.
	listenAgainMost = time.Minute
)

// Follow tells of disks to which something happened, until ctx ends. While
// it can't listen to the kernel it says so, looks anyway, and tries again.
func Follow(ctx context.Context, listen func(context.Context) (<-chan block.Event, error),
	changed func(context.Context, host.DiskEvent), ails func(why string), log *slog.Logger,
) {
	rest := time.Second
	for ctx.Err() == nil {
		events, err := listen(ctx)
		if err == nil {
			ails("")
			began := time.Now()
			changed(ctx, host.DiskEvent{}) // something may have happened while nobody listened
			err = forward(ctx, events, changed)
			if time.Since(began) > listenAgainMost {
				rest = time.Second
			}
		}
		if ctx.Err() != nil {
			return
		}
		log.Warn("does not hear of disks, and listens again", "error", err, "rest", rest)
		ails(fmt.Sprintf("the agent does not hear of disks that come and go, and looks every %s: %v", lookBlind, err))
		lookUntil(ctx, time.Now().Add(rest), changed)
		rest = min(2*rest, listenAgainMost)
	}
}

// lookUntil looks at all disks now and then.
func lookUntil(ctx context.Context, until time.Time, changed func(context.Context, host.DiskEvent)) {
	for time.Until(until) > 0 {
		select {
		case <-time.After(min(lookBlind, time.Until(until))):
			changed(ctx, host.DiskEvent{})
		case <-ctx.Done():
			return
		}
	}
}

// forward tells of events until no more come, and returns why. The kernel's own
// event is the forerunner of udev's, with which the links are there. Events of
// one disk that come together are one, the last; where some were lost, all disks
// are looked at.
func forward(ctx context.Context, events <-chan block.Event, changed func(context.Context, host.DiskEvent)) error {
	gathered := make(map[string]host.DiskEvent)
	var due <-chan time.Time // nil while nothing is gathered
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				return errEventsEnded
			case e.Err != nil:
				return e.Err
			case e.Lost:
				gathered[""] = host.DiskEvent{}
			case e.Udev:
				gathered[e.Disk] = host.DiskEvent{Name: e.Disk, Serial: e.Serial, Holds: e.Holds}
			}
			if due == nil && len(gathered) > 0 {
				due = time.After(burst)
			}
		case <-due:
			for _, e := range gathered {
				changed(ctx, e)
			}
			clear(gathered)
			due = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errEventsEnded = fmt.Errorf("the events ended")
