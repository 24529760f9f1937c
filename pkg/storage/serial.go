package storage

import (
	"context"

	"bootagent/pkg/host"
)

// serial is the source of a volume whose disk is there without the agent's
// doing, and is found by its serial number.
type serial struct{ volume *Volume }

func (d *serial) add(s *steps) {
	d.volume.known.is(d.serial())
	s.device()
}

func (d *serial) serial() string { return d.volume.Find.Serial }

// isNew allows any blank disk: nothing else is known of one.
func (d *serial) isNew(context.Context, host.Disk) error { return nil }

func (d *serial) intent(ctx context.Context) (host.Intent, error) {
	return d.volume.host.Intents.Intent(ctx, d.serial())
}

func (d *serial) intend(ctx context.Context, intent host.Intent) error {
	return d.volume.host.Intents.Intend(ctx, d.serial(), intent)
}

// volumeID is "": a serial number alone does not say that the disk is an EBS volume.
func (d *serial) volumeID() string { return "" }

func (d *serial) remote() bool { return false }

// exclusive is false: nobody says who else has the disk.
func (d *serial) exclusive() bool { return false }

func (d *serial) keep() error { return nil }
