package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role/find"
)

// ebs is the source of a volume that is an EBS volume: it is found by its ID or
// its tags, and attached to this instance; or it is found where EC2 attaches it.
type ebs struct {
	volume *Volume

	id   name.VolumeID // once it is found
	here bool          // it was mounted before, and its disk is there: EC2 need not be asked
}

func (e *ebs) add(s *steps) {
	s.from = s.then("find", e.find)
	s.then("claim", e.claim)
	s.then("attach", e.attach)
	s.device()
}

// wanted is how the plan says which volume is meant.
func (e *ebs) wanted() host.Find { return Wanted(e.volume.Find) }

// Wanted is how a plan says which EBS volume is meant.
func Wanted(f find.Find) host.Find {
	return host.Find{ID: name.VolumeID(f.ID), Tags: f.Tags, Device: f.Attached, Any: f.Pick == find.AnyFree}
}

// find finds the volume that is meant. One that this instance had mounted before
// and that is still attached is taken without asking: a plain reboot needs no
// API.
func (e *ebs) find(ctx context.Context) error {
	v := e.volume
	id, err := v.host.Records.Recorded(v.Name, e.wanted())
	if err != nil {
		return err
	}
	e.id, e.here = id, false
	if id != "" {
		v.known.Is(id.Serial())
		_, e.here, err = v.host.Disks.Find(ctx, id.Serial())
		if e.here || err != nil {
			return err
		}
	}
	return e.volume.Await(ctx, func(ctx context.Context) (err error) {
		want := e.wanted()
		want.Last = id
		e.id, err = v.host.Volumes.FindVolume(ctx, want)
		if err == nil {
			v.known.Is(e.id.Serial())
		}
		return err
	})
}

// claim makes sure that the volume is one that this instance may use.
func (e *ebs) claim(ctx context.Context) error {
	if e.here {
		return nil
	}
	return e.volume.Await(ctx, func(ctx context.Context) error { return e.volume.host.Volumes.Claim(ctx, e.id) })
}

// attach attaches the volume to this instance once nobody else has it, or waits until
// EC2 has attached it.
func (e *ebs) attach(ctx context.Context) error {
	if e.here {
		return nil
	}
	v := e.volume
	err := v.Await(ctx, func(ctx context.Context) error {
		if v.Find.Attached != "" {
			return v.host.Volumes.Held(ctx, e.id, v.Find.Attached)
		}
		return v.host.Volumes.Attach(ctx, e.id)
	})
	if deleted := v.host.Volumes.DeletedWithInstance(e.id); err == nil && deleted != "" && !v.Disposable {
		graph.Warn(ctx, deleted)
	}
	return err
}

// How long to rest between two questions to EC2, at the most: while a volume is
// waited for, and once that was in vain. All instances of an account ask the same
// EC2, which answers some 20 such questions in a second to all of them together:
// docs/fleet.md.
const (
	askVolume = time.Minute
	askAnyway = 10 * time.Minute
)

// Await asks EC2 something about the volume, until the error is no *fault.Pending,
// for as long as the role lets the volume take. Then the step has failed. But nothing
// tells the agent when somebody detaches the volume after all, so the agent keeps
// asking.
func (v *Volume) Await(ctx context.Context, ask func(context.Context) error) error {
	return v.await(ctx, askVolume, askAnyway, ask)
}

// await asks, with at most so long a rest between two questions: while the volume may
// take its time, and afterwards.
func (v *Volume) await(ctx context.Context, rest, anyway time.Duration, ask func(context.Context) error) error {
	err := v.graph.AwaitSince(ctx, graph.Since(ctx), rest, v.Timeout, ask)
	if expired := (*fault.Expired)(nil); errors.As(err, &expired) {
		return v.graph.KeepAsking(ctx, expired, rest, anyway, ask)
	}
	return err
}

func (e *ebs) volumeID() string { return string(e.id) }

func (e *ebs) serial() string { return e.id.Serial() }

// isNew refuses a blank volume that EC2 knows to be more than it looks, or to be
// another than the disk that was read.
func (e *ebs) isNew(ctx context.Context, disk host.Disk) error {
	origin, err := e.volume.host.Volumes.Origin(ctx, e.id)
	switch {
	case err != nil:
		return err
	case origin.From != "":
		return fault.Refuse("check whether it was made from the right one; bootagent makes no filesystem on a volume that is not new",
			"volume %s is blank, but was made from %s: what is in that should be on it", e.id, origin.From)
	case origin.Size != disk.Size:
		return fmt.Errorf("volume %s has %d bytes, and disk %s has %d: they are not the same", e.id, origin.Size, disk.Serial, disk.Size)
	}
	return nil
}

func (e *ebs) intent(ctx context.Context) (host.Intent, error) {
	return e.volume.host.Volumes.Intent(ctx, e.id)
}

func (e *ebs) intend(ctx context.Context, intent host.Intent) error {
	return e.volume.host.Volumes.Intend(ctx, e.id, intent)
}

// seek has nothing to do: the step find did it. But where somebody else attaches the
// volume and its disk is gone, another one may have its place: then the step fails, and
// begins with find.
func (e *ebs) seek(ctx context.Context) error {
	if e.volume.Find.Attached == "" {
		return nil
	}
	_, there, err := e.volume.host.Disks.Find(ctx, e.serial())
	if there || err != nil {
		return err
	}
	e.here = false
	return e.attach(ctx)
}

func (e *ebs) remote() bool { return true }

// exclusive is true: the agent refuses volumes with multi-attach enabled, and
// EC2 attaches any other to one instance only.
func (e *ebs) exclusive() bool { return true }

func (e *ebs) keep() error {
	if e.here {
		return nil
	}
	return e.volume.host.Records.Record(e.volume.Name, e.wanted(), e.id)
}
