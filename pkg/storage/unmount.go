package storage

import (
	"context"
	"fmt"
	"time"

	"bootagent/pkg/graph"
)

// closeStale waits until nobody uses what is still mounted of the disk from
// before it was pulled, and unmounts that. systemd tries to once, when the disk
// goes; the disk that came back can't be mounted before.
func (f *filesystem) closeStale(ctx context.Context) error {
	dev, mounted, err := f.host.Mounts.At(f.Mount)
	if err != nil || !mounted || dev == f.disk.Dev {
		return err
	}
	if err := f.release(ctx, f.Volume); err != nil {
		return err
	}
	return f.UnmountStale(ctx, f.Mount)
}

// UnmountStale unmounts what is mounted at a path if it is of a disk that is
// gone. Anything else there is left alone.
func (v *Volume) UnmountStale(ctx context.Context, where string) error {
	stale, err := v.host.Mounts.Stale(where)
	if err != nil || !stale {
		return err
	}
	if err := v.unmount(ctx, where); err != nil {
		return fmt.Errorf("the disk that was mounted at %s is gone: %w", where, err)
	}
	return nil
}

const (
	// unmountWithin is how long an unmount takes at most: systemd gives one up
	// after 10 min, and it may have to be tried again.
	unmountWithin = 15 * time.Minute

	// unmountIsSlow is after how long the status says that an unmount is waited
	// for. One takes a fraction of a second, unless the disk is slow or hangs.
	unmountIsSlow = 5 * time.Second
)

// unmount unmounts, also where ctx has ended: what was mounted and then refused may
// not stay.
func (v *Volume) unmount(ctx context.Context, where string) error {
	until := time.Now().Add(unmountWithin)
	told := make(chan func(), 1)
	slow := time.AfterFunc(unmountIsSlow, func() {
		told <- graph.SetWaiting(ctx, graph.Wait{For: where + " to be unmounted", Until: until, Hint: "bootagent holders " + where + " names what holds it"})
	})
	defer func() {
		if !slow.Stop() {
			(<-told)()
		}
	}()
	within, cancel := context.WithDeadlineCause(context.WithoutCancel(ctx), until,
		fmt.Errorf("%s was not unmounted within %s", where, unmountWithin))
	defer cancel()
	return v.host.Mounts.Unmount(within, where)
}
