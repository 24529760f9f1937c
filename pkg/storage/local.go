package storage

import (
	"context"
	"fmt"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/plugged"
)

// local is the source of a volume whose disk is there without the agent's doing. It
// is found by its serial number, by the filesystem on it, or as instance store.
type local struct {
	volume *Volume
	found  string // the serial number of the disk that is sought, once it is found
}

func (d *local) add(s *steps) {
	d.volume.known.Is(d.serial())
	s.device()
}

func (d *local) serial() string {
	if d.volume.Find.Sought() {
		return d.found
	}
	return d.volume.Find.Serial
}

// lookEvery is how long to rest between two looks at the disks of the machine.
const lookEvery = 10 * time.Second

// seek finds the one disk that is meant, or waits for it. From then on, its serial number
// says which disk it is, until the step "device" runs again.
func (d *local) seek(ctx context.Context) error {
	v := d.volume
	if !v.Find.Sought() {
		return nil
	}
	return v.await(ctx, lookEvery, lookEvery, func(ctx context.Context) error {
		disk, warning, err := plugged.Sought(ctx, v.host, v.Volume)
		if err == nil {
			d.found = disk.Serial
			v.known.Is(d.found)
			graph.Warn(ctx, warning)
		}
		return err
	})
}

// isNew allows any blank disk with the serial number: nothing else is known of one.
// Where a filesystem says which disk it is, no blank one is meant, and where it is
// instance store, no other.
func (d *local) isNew(_ context.Context, disk host.Disk) error {
	switch {
	case d.volume.Find.OnDisk():
		return fmt.Errorf("disk %s is blank now, and had the filesystem by which it was found", disk.Serial)
	case d.volume.Find.Store != "":
		return plugged.IsStore(disk)
	}
	return nil
}

// intent forgets that a filesystem was made on instance store that is blank now: EC2
// wiped it when the instance stopped.
func (d *local) intent(ctx context.Context) (host.Intent, error) {
	v := d.volume
	intent, err := v.host.Intents.Intent(ctx, d.serial())
	if v.Find.Store != "" && intent.Made && v.filesystem.content.Blank {
		return host.Intent{}, err
	}
	return intent, err
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
