package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/size"
	"bootagent/pkg/uuid"
)

// create makes the filesystem on the blank disk, with a UUID that is noted
// before, so that after a crash the filesystem can be told from another's.
func (f *filesystem) create(ctx context.Context) error {
	intent, err := f.source.intent(ctx)
	if err != nil {
		return err
	}
	if intent.UUID == "" {
		intent.UUID = f.newUUID()
		if err := f.source.intend(ctx, intent); err != nil {
			return err
		}
	}
	if err := f.sure(ctx); err != nil {
		return err
	}
	if err := f.host.Filesystems.Format(ctx, f.disk, string(f.Filesystem), intent.UUID); err != nil {
		return err
	}
	f.content = host.Content{Filesystem: string(f.Filesystem), UUID: intent.UUID}
	return f.introduce(ctx, Ledger{UUID: intent.UUID, Made: now()}, "")
}

// sure returns nil once EC2 is sure of the size of the blank disk. A policy of before
// bootagent asked for modifications does not allow the question. The role comes up all
// the same, with a warning: isNew has the size that EC2 tells otherwise compared once
// more, and a modification has to fail in the first minutes of a new volume to matter.
func (f *filesystem) sure(ctx context.Context) error {
	err := f.Await(ctx, func(ctx context.Context) error {
		if disk, there, err := f.host.Disks.Find(ctx, f.disk.Serial); err != nil || !there || disk != f.disk {
			return cmp.Or(err, fmt.Errorf("disk %s is not as it was when it was read", f.disk.Serial))
		}
		return size.Sure(ctx, f.host.Volumes, f.Find, f.disk)
	})
	if !errors.As(err, new(*host.Denied)) {
		return err
	}
	graph.Warn(ctx, fmt.Sprintf("a filesystem of %d bytes is made on disk %s, and whether EC2 is still changing its size is not known: %s", f.disk.Size, f.disk.Serial, err))
	return f.source.isNew(ctx, f.disk)
}

// intentWithin is how long EC2 may take to return a tag that was just written.
const intentWithin = 30 * time.Second

// settledIntent returns the intent once it fits the filesystem that is there, or
// has not come to fit it: EC2 may not yet return what an agent that died has
// written, and whose a filesystem is can't be decided twice.
func (f *filesystem) settledIntent(ctx context.Context) (intent host.Intent, err error) {
	read := false
	err = f.graph.Await(ctx, intentWithin, func(ctx context.Context) (err error) {
		intent, err = f.source.intent(ctx)
		read = err == nil
		if read && f.source.remote() && !f.Adopt && intent.UUID != f.content.UUID {
			err = &fault.Pending{For: fmt.Sprintf("EC2 to tell that the filesystem %s was made by bootagent", f.content.UUID)}
		}
		return err
	})
	if read && errors.As(err, new(*fault.Expired)) {
		err = nil // the answer is that it is another's
	}
	return intent, err
}

// closeIntent has the intent say that the filesystem was made, once its ledger
// says so. Until then, a disk that is blank one day could be taken for one on
// which mkfs never began. It is a state, and not an act: whichever run finds it
// open closes it, and writes that into the ledger, so that a reboot asks EC2 for
// nothing.
func (f *filesystem) closeIntent(ctx context.Context) error {
	ledger, remote := f.current(), f.source.remote()
	if ledger.Made == nil || remote && ledger.Closed {
		return nil
	}
	closed := host.Intent{UUID: ledger.UUID, Made: true}
	if !remote {
		if intent, err := f.source.intent(ctx); err != nil || intent == closed {
			return err
		}
		return f.source.intend(ctx, closed)
	}
	if err := f.source.intend(ctx, closed); err != nil {
		return err
	}
	return f.record(ctx, func(l *Ledger) { l.Closed = true })
}

// newUUID returns a UUID for a filesystem: a random one, unless the host has its own.
func (f *filesystem) newUUID() string {
	if f.host.NewUUID != nil {
		return f.host.NewUUID()
	}
	return uuid.New()
}
