package storage

import (
	"context"
	"fmt"
	"path"
	"sync"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

// findDevice finds the disk of the source, or waits for it.
func (v *Volume) findDevice(ctx context.Context) error {
	v.filesystem.forget()
	disk, there, err := v.host.Disks.Find(ctx, v.Serial())
	if err == nil && !there {
		v.known.seen(disk, false, nil)
		disk, err = v.appear(ctx)
	}
	v.known.seen(disk, err == nil, err)
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
	serial, about := v.known.concerns(e)
	if !about {
		return ""
	}
	disk, there, err := v.host.Disks.Find(ctx, serial)
	if ctx.Err() != nil {
		return ""
	}
	if why = v.known.change(serial, e, disk, there, err); why != "" {
		v.log.Info("the disk of a volume has changed", "volume", v.Name, "serial", serial, "why", why)
		v.graph.RetryFailed(why, v.steps...)
	}
	return why
}

// known is what is known of a volume's disk, by which an event that says
// something new is told from one that does not. The steps of the volume and the
// events of disks both use it.
type known struct {
	mu     sync.Mutex
	serial string // "" while it is not known which disk is meant
	name   string // of the disk, while it is there
	found  string // how the disk was found
	holds  string // what udev saw on it
}

// KnownSerial is Serial for callers that are no step of the volume.
func (v *Volume) KnownSerial() string {
	v.known.mu.Lock()
	defer v.known.mu.Unlock()
	return v.known.serial
}

// is says which disk is meant.
func (k *known) is(serial string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.serial != serial {
		k.serial, k.name, k.found, k.holds = serial, "", "", ""
	}
}

// seen says how the disk was found.
func (k *known) seen(d host.Disk, there bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(d, there, err)
}

func (k *known) note(d host.Disk, there bool, err error) {
	k.name, k.found = "", found(d, there, err)
	if there && err == nil {
		k.name = path.Base(d.Path)
	}
}

// found is all that tells how a disk was found.
func found(d host.Disk, there bool, err error) string {
	switch {
	case err != nil:
		return "error: " + err.Error()
	case !there:
		return "absent"
	}
	return fmt.Sprintf("%+v", d)
}

// concerns reports whether an event may be about the disk: it says so, or does
// not say which disk it is about.
func (k *known) concerns(e host.DiskEvent) (serial string, about bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serial, k.serial != "" && (e.Serial == "" && (k.name == "" || e.Name == "" || e.Name == k.name) ||
		e.Serial == k.serial || e.Name == k.name && k.name != "")
}

// change notes how the disk is found now, and says what of that is new, or "".
func (k *known) change(serial string, e host.DiskEvent, d host.Disk, there bool, err error) (why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.serial != serial {
		return "" // another volume is meant by now, and its own step finds its disk
	}
	before, now := k.found, found(d, there, err)
	k.note(d, there, err)
	holds := k.holds
	if e.Holds != "" && e.Name == k.name {
		k.holds = e.Holds
	}
	switch {
	case before == "" && now == "absent":
		return "" // no step has looked before, and there is nothing
	case now != before && !there:
		return "disk " + serial + " is gone"
	case now != before:
		return "disk " + serial + " is there, and not as it was"
	case k.holds != holds:
		return "disk " + serial + " holds something else"
	}
	return ""
}
