package grow

import (
	"context"
	"fmt"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/ledger"
)

// A layer is what lies on a disk, or on another layer, and can be grown to take all
// that the one below it has.
type layer interface {
	name() string

	// size returns how many bytes of what is below the layer takes.
	size(ctx context.Context, on ground) (int64, error)

	// grow makes the layer take all that is below. It changes nothing that is not
	// mounted and proven to be the role's, and never forces.
	grow(ctx context.Context, at state) error
}

// layers are those of a volume, from the lowest to the highest. A new one is a file
// of its own and a line here: a partition, an LVM volume or LUKS would come before
// the filesystem, each grown before what lies on it.
func (g *Growth) layers() []layer { return []layer{&filesystem{g}} }

// A ground is a disk that was just proven to be the volume of this role, in use by
// this machine.
type ground struct {
	disk   host.Disk
	ledger *ledger.Ledger
}

// A state is how far the layers of a volume take what is below them.
type state struct {
	ground
	layer layer // the lowest that can be grown, or nil
	size  int64 // of that layer, or else of the highest, in bytes
	room  int64 // that is below it, in bytes
}

func (s state) String() string {
	return fmt.Sprintf("disk %s has %s, and its filesystem %s", s.disk.Serial, gib(s.disk.Size), gib(s.size))
}

func (s state) change() string { return "grown from " + gib(s.size) + " to " + gib(s.room) }

// gib is a number of bytes in GiB, as AWS counts the size of volumes.
func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// look proves that what is mounted is the volume, and finds the lowest layer that
// can be grown. If a growth runs that an agent began before it died, look waits for
// its end.
func (g *Growth) look(ctx context.Context) (state, error) {
	on, err := g.prove(ctx)
	if err == nil {
		err = g.Host.Filesystems.Settle(ctx, on.disk)
	}
	if err != nil {
		return state{}, err
	}
	at := state{ground: on, room: on.disk.Size}
	for _, l := range g.layers() {
		if at.size, err = l.size(ctx, on); err != nil {
			return state{}, err
		}
		if at.room-at.size >= host.GrowsFrom {
			at.layer = l
			return at, nil
		}
	}
	return at, nil
}

// prove returns the disk as it is now, if what is mounted for the volume is mounted
// from that disk, and its ledger says that this role of this machine has it in this
// boot.
func (g *Growth) prove(ctx context.Context) (ground, error) {
	serial := g.Volume.KnownSerial()
	disk, there, err := g.Host.Disks.Find(ctx, serial)
	if err != nil {
		return ground{}, err
	}
	dev, mounted, err := g.Host.Mounts.At(g.plan.Mount)
	switch {
	case err != nil:
		return ground{}, err
	case !there:
		return ground{}, fmt.Errorf("disk %s is gone", serial)
	case !mounted:
		return ground{}, fmt.Errorf("nothing is mounted at %s", g.plan.Mount)
	case dev != disk.Dev:
		return ground{}, fault.WithHint(fmt.Errorf("the device that is mounted at %s (%#x) is not disk %s (%#x)", g.plan.Mount, dev, serial, disk.Dev),
			"findmnt "+g.plan.Mount+" shows which")
	}
	src, err := g.Host.Ledgers.ReadLedger(ctx, g.plan.Mount)
	if err != nil {
		return ground{}, err
	}
	l, err := ledger.Decode(src)
	volume := serial
	if id, ok := name.VolumeOfSerial(serial); ok {
		volume = string(id)
	}
	self := g.Host.Machine
	switch {
	case err != nil:
		return ground{}, err
	case l == nil:
		return ground{}, fmt.Errorf("the filesystem at %s has no ledger", g.plan.Mount)
	case l.Volume != volume, l.Role != g.Role, l.Instance != self.ID, l.BootID != self.BootID:
		return ground{}, fmt.Errorf("the ledger of the filesystem at %s names volume %s of role %s, in use by %s in its boot %s: it is not in use here",
			g.plan.Mount, l.Volume, l.Role, l.Instance, l.BootID)
	}
	return ground{disk, l}, nil
}

// filesystem is the highest layer.
type filesystem struct{ *Growth }

func (f *filesystem) name() string {
	return fmt.Sprintf("the %s filesystem at %s", f.plan.Filesystem, f.plan.Mount)
}

func (f *filesystem) size(ctx context.Context, on ground) (int64, error) {
	return f.Host.Growths.Size(ctx, on.disk, string(f.plan.Filesystem), f.plan.Mount)
}

func (f *filesystem) grow(ctx context.Context, at state) error {
	return f.Host.Growths.Grow(ctx, host.Growth{
		Disk: at.disk, Filesystem: string(f.plan.Filesystem), Where: f.plan.Mount,
		Volume: at.ledger.Volume, Role: at.ledger.Role, UUID: at.ledger.UUID,
	})
}
