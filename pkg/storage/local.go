package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

// local is the source of a volume whose disk is there without the agent's doing. It
// is found by its serial number, or by the filesystem on it.
type local struct {
	volume *Volume
	found  string // the serial number of the disk with the filesystem, once it is found
}

func (d *local) add(s *steps) {
	d.volume.known.Is(d.serial())
	s.device()
}

func (d *local) serial() string {
	if d.volume.Find.OnDisk() {
		return d.found
	}
	return d.volume.Find.Serial
}

// lookEvery is how long to rest between two looks at the disks of the machine.
const lookEvery = 10 * time.Second

// seek finds the one disk with the filesystem that is meant, or waits for it. From then
// on, its serial number says which disk it is, until the step "device" runs again.
func (d *local) seek(ctx context.Context) error {
	if !d.volume.Find.OnDisk() {
		return nil
	}
	return d.volume.await(ctx, lookEvery, lookEvery, d.look)
}

// look refuses several disks with the filesystem: a copy has the UUID and the label of
// its original. The one that is mounted where the volume belongs is in use already, and
// its ledger is read as always.
func (d *local) look(ctx context.Context) error {
	v := d.volume
	mark := host.Mark{Filesystem: string(v.Filesystem), UUID: v.Find.UUID, Label: v.Find.Label}
	all, err := v.host.Disks.Marked(ctx, mark)
	if err != nil {
		return err
	}
	dev, mounted, err := v.host.Mounts.At(v.Mount)
	if err != nil {
		return err
	}
	if at := slices.IndexFunc(all, func(disk host.Disk) bool { return mounted && disk.Dev == dev }); at >= 0 {
		all = all[at : at+1]
	}
	switch {
	case len(all) == 0:
		return &fault.Pending{For: "a disk with " + mark.String(), Hint: "attach it; the agent goes on as soon as it is there"}
	case len(all) > 1:
		var serials []string
		for _, disk := range all {
			serials = append(serials, disk.Serial)
		}
		return fault.WithHint(fmt.Errorf("%d disks have %s, and one is meant: %s", len(all), mark, strings.Join(serials, ", ")),
			"a copy has what its original has: detach those that are not meant, or name the serial number of the one below volumes in the user-data")
	}
	d.found = all[0].Serial
	v.known.Is(d.found)
	return nil
}

// isNew allows any blank disk with the serial number: nothing else is known of one.
// Where a filesystem says which disk it is, no blank one is meant.
func (d *local) isNew(_ context.Context, disk host.Disk) error {
	if d.volume.Find.OnDisk() {
		return fmt.Errorf("disk %s is blank now, and had the filesystem by which it was found", disk.Serial)
	}
	return nil
}

func (d *local) intent(ctx context.Context) (host.Intent, error) {
	return d.volume.host.Intents.Intent(ctx, d.serial())
}

func (d *local) intend(ctx context.Context, intent host.Intent) error {
	return d.volume.host.Intents.Intend(ctx, d.serial(), intent)
}

// volumeID is "": a disk alone does not say that it is an EBS volume of this instance.
func (d *local) volumeID() string { return "" }

func (d *local) remote() bool { return false }

// exclusive is false: nobody says who else has the disk.
func (d *local) exclusive() bool { return false }

func (d *local) keep() error { return nil }
