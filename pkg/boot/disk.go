package boot

import (
	"context"
	"fmt"
	"path"
	"sync"

	"bootagent/pkg/host"
)

// A DiskEvent says that something may have happened to a disk. It is a reason
// to look whether anything did.
type DiskEvent struct {
	Name   string // of the disk, as the kernel calls it; "" where it may be any
	Serial string // "" where the event does not tell it
	Holds  string // what udev sees on it, in words of its own; "" where the event does not tell it
}

// DiskChanged has a volume's failed steps run again at once if the event is
// about its disk, and if what is known of that disk has changed: it came or
// went, it is another one, it has another size, udev sees something else on it.
// An event that changes nothing known is none: who opens a disk to check it
// makes one by closing it. How long a step rests, and when it has failed, is
// not begun anew.
func (b *Boot) DiskChanged(ctx context.Context, e DiskEvent) {
	for _, v := range b.ordered() {
		serial, about := v.known.concerns(e)
		if !about {
			continue
		}
		disk, there, err := b.host.Disks.Find(ctx, serial)
		if ctx.Err() != nil {
			return
		}
		if why := v.known.change(serial, e, disk, there, err); why != "" {
			b.log.Info("the disk of a volume has changed", "volume", v.Name, "serial", serial, "why", why)
			b.RetryFailed(why, v.steps...)
		}
	}
}

// known is what is known of a volume's disk, by which an event that says
// something new is told from one that does not. The steps of the volume and the
// events of disks both look.
type known struct {
	mu     sync.Mutex
	serial string // "" where it is not known yet which disk is meant
	name   string // of the disk, while it is there
	looks  string // how the disk was found
	holds  string // what udev saw on it
}

// is says which disk is meant.
func (k *known) is(serial string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.serial != serial {
		k.serial, k.name, k.looks, k.holds = serial, "", "", ""
	}
}

// seen says how the disk was found.
func (k *known) seen(d host.Disk, there bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(d, there, err)
}

func (k *known) note(d host.Disk, there bool, err error) {
	k.name, k.looks = "", looks(d, there, err)
	if there && err == nil {
		k.name = path.Base(d.Path)
	}
}

// looks is all that tells how a disk was found.
func looks(d host.Disk, there bool, err error) string {
	switch {
	case err != nil:
		return "error: " + err.Error()
	case !there:
		return "absent"
	}
	return fmt.Sprintf("%+v", d)
}

// concerns tells whether an event may be about the disk: it says so, or does not
// say which disk it is about.
func (k *known) concerns(e DiskEvent) (serial string, about bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serial, k.serial != "" && (e.Serial == "" && (k.name == "" || e.Name == "" || e.Name == k.name) ||
		e.Serial == k.serial || e.Name == k.name && k.name != "")
}

// change notes how the disk is found now, and says what of that is new, or "".
func (k *known) change(serial string, e DiskEvent, d host.Disk, there bool, err error) (why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.serial != serial {
		return "" // another volume is meant by now, and is looked at for itself
	}
	before, now := k.looks, looks(d, there, err)
	k.note(d, there, err)
	holds := k.holds
	if e.Holds != "" && e.Name == k.name {
		k.holds = e.Holds
	}
	switch {
	case before == "" && now == "absent":
		return "" // nobody has looked before, and there is nothing
	case now != before && !there:
		return "disk " + serial + " is gone"
	case now != before:
		return "disk " + serial + " is there, and not as it was"
	case k.holds != holds:
		return "disk " + serial + " holds something else"
	}
	return ""
}
