package storage

import (
	"context"
	"fmt"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

// findDevice finds the disk of the source, or waits for it.
func (v *Volume) findDevice(ctx context.Context) error {
	v.filesystem.forget()
	if err := v.source.seek(ctx); err != nil {
		return err
	}
	disk, there, err := v.host.Disks.Find(ctx, v.Serial())
	switch {
	case err == nil && !there && v.Find.Sought():
		err = fmt.Errorf("disk %s was there, and is gone", v.Serial())
	case err == nil && !there:
		v.known.Seen(disk, false, nil)
		disk, err = v.appear(ctx)
	}
	v.known.Seen(disk, err == nil, err)
	v.disk = disk
	return err
}

// appear waits for the disk for as long as the role lets the volume take. Then
// the step has failed, and the disk is taken if it comes later.
func (v *Volume) appear(ctx context.Context) (host.Disk, error) {
	until := graph.Since(ctx).Add(v.Timeout)
	patience, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	hint := "attach it; the agent goes on as soon as it is there"
	defer graph.SetWaiting(ctx, graph.Wait{For: "the disk with serial " + v.Serial(), Until: until, Hint: hint})()

	disk, err := v.host.Disks.Appear(patience, v.Serial())
	if err == nil || patience.Err() == nil || ctx.Err() != nil {
		return disk, err
	}
	graph.SetFailed(ctx, fault.WithHint(fmt.Errorf("no disk with serial %s appeared within %s", v.Serial(), v.Timeout), hint))
	return v.host.Disks.Appear(ctx, v.Serial())
}

// DiskChanged runs the volume's failed steps again at once if the event is about
// its disk, and if what is known of that disk has changed: it came or went, it is
// another one, it has another size, udev sees something else on it. An event that
// changes nothing known is ignored, and why is "": a checker that opens a disk makes one when it
// closes it. How long a step rests, and when it has failed, does not begin again.
func (v *Volume) DiskChanged(ctx context.Context, e host.DiskEvent) (why string) {
	serial, about := v.known.Concerns(e)
	if !about {
		return ""
	}
	disk, there, err := v.host.Disks.Find(ctx, serial)
	if ctx.Err() != nil {
		return ""
	}
	if why = v.known.Change(serial, e, disk, there, err); why != "" {
		v.log.Info("the disk of a volume has changed", "volume", v.Name, "serial", serial, "why", why)
		v.graph.RetryFailed(why, v.steps...)
		// systemd unmounts what is mounted of a disk that goes, unless somebody starts a
		// service of it in that moment. It does not come back with the disk.
		if stale, err := v.host.Mounts.Stale(v.Mount); there && stale && err == nil {
			v.Lost(fmt.Sprintf("what is mounted at %s is of the disk from before it was gone", v.Mount))
		}
	}
	return why
}

// KnownSerial is Serial for callers that are no step of the volume.
func (v *Volume) KnownSerial() string {
	return v.known.Serial()
}
