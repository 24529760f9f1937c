package storage

import (
	"context"
	"fmt"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/storage/plugged"
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
	v := d.volume
	return v.await(ctx, lookEvery, lookEvery, func(ctx context.Context) error {
		disk, err := plugged.Marked(ctx, v.host, v.Volume)
		if err == nil {
			d.found = disk.Serial
			v.known.Is(d.found)
		}
		return err
	})
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
