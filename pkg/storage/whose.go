package storage

import (
	"context"
	"fmt"
	"maps"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/ledger"
)

// check makes sure by its ledger that the filesystem is the volume of this plan,
// and has its own checker mend it.
func (f *filesystem) check(ctx context.Context) error {
	f.doubt.Store(nil)
	ledger, doubt, err := f.look(ctx)
	if err == nil && ledger == nil && doubt == nil {
		doubt, err = f.withoutLedger(ctx, f.names)
	}
	if err == nil && doubt != nil {
		err = f.orRefuse(ctx, doubt)
	}
	if err == nil {
		err = f.host.Filesystems.Check(ctx, f.disk, string(f.Filesystem))
	}
	return err
}

// orRefuse refuses a filesystem, unless a person has ordered to adopt this very one.
// An order is for one try: what it did not end, a person looks at again.
func (f *filesystem) orRefuse(ctx context.Context, doubt *ledger.Doubt) error {
	order := f.order.Swap(nil)
	if !order.Ends(doubt) {
		f.doubt.Store(doubt)
		return doubt.Err()
	}
	f.log.Warn("a person has a filesystem adopted", "volume", f.Name, "serial", f.disk.Serial, "by", order.By, "as", doubt.Claim.String())
	err := f.introduce(ctx, doubt.Adopted(order, *now()), doubt.Replaces())
	// The log, which is replayed by now, may have held a later ledger. If it says the
	// same of whose the filesystem is, the order is for that one, too.
	if later := f.doubt.Swap(nil); later != nil && order.EndsLater(later) {
		return f.introduce(ctx, later.Adopted(order, *now()), later.Replaces())
	} else if later != nil {
		f.doubt.Store(later)
	}
	return err
}

// described is the disk and its filesystem as a ledger is judged by.
func (f *filesystem) described() ledger.Disk {
	return ledger.Disk{
		Name: f.Name, Role: f.role, Mount: f.Mount,
		Serial: f.disk.Serial, Seq: f.disk.Seq, Size: f.disk.Size, Filesystem: string(f.Filesystem), UUID: f.content.UUID, Used: f.content.Size,
		Volume: ledgerVolume(f.disk.Serial), Machine: f.host.Machine.ID, Exclusive: f.source.exclusive(), LookAt: f.readOnlyMount(),
	}
}

// ledgerVolume is how a ledger names the volume of a disk: by its ID if it is an
// EBS volume, whichever way the role finds it, and else by its serial number.
func ledgerVolume(serial string) string {
	if id, ok := name.VolumeOfSerial(serial); ok {
		return string(id)
	}
	return serial
}

// withoutLedger gives a filesystem its first ledger, or says why not. An intent
// says who chose its UUID, and not what is on it: xfs_repair keeps the UUID
// when it makes a new root directory, and anybody who may tag the volume can
// write an intent. So only what is as mkfs leaves it counts as just made.
func (f *filesystem) withoutLedger(ctx context.Context, names []string) (*ledger.Doubt, error) {
	intent, err := f.settledIntent(ctx)
	if err != nil {
		return nil, err
	}
	ours := intent.UUID == f.content.UUID
	switch {
	case ours && !intent.Made && len(names) == 0:
		return nil, f.introduce(ctx, Ledger{UUID: intent.UUID, Made: now()}, "")
	case f.Adopt && (!ours || !intent.Made || len(names) > 0):
		return nil, f.introduce(ctx, Ledger{UUID: f.content.UUID, Adopted: now()}, "")
	}
	return f.described().WithoutLedger(names, ours && intent.Made, ours), nil
}

// introduce gives a filesystem its ledger, in place of one that is named by its digest,
// and makes sure of it. Meanwhile the log is replayed, which may hold a ledger or files
// that were not seen before.
func (f *filesystem) introduce(ctx context.Context, l Ledger, instead string) error {
	l.Volume, l.Role = ledgerVolume(f.disk.Serial), f.role
	src, err := l.Encode()
	if err != nil {
		return err
	}
	if err := f.host.Filesystems.Introduce(ctx, f.disk, host.Introduction{
		Filesystem: string(f.Filesystem), Ledger: src, Instead: instead, Made: l.Made != nil, Mount: f.Mount,
	}); err != nil {
		return err
	}
	there, doubt, err := f.look(ctx)
	switch {
	case err != nil:
		return err
	case doubt != nil:
		f.doubt.Store(doubt)
		return doubt.Err()
	case there != nil:
		return nil
	case l.Made != nil && len(f.names) > 0:
		return fault.Refuse("see what is on it, which changes nothing: "+f.readOnlyMount(),
			"the filesystem %s on disk %s was taken for just made, but it holds %s", l.UUID, f.disk.Serial, ledger.Listed(f.names))
	}
	return fmt.Errorf("the ledger of the filesystem %s on disk %s was written, and is not there", l.UUID, f.disk.Serial)
}

// read reads the ledger of the filesystem that is mounted at root, and refuses one
// that is not this volume's of this role.
func (f *filesystem) read(ctx context.Context, root string) (*Ledger, error) {
	src, err := f.host.Ledgers.ReadLedger(ctx, root)
	if err != nil {
		return nil, err
	}
	l, doubt := f.described().Judge(src)
	switch {
	case doubt != nil:
		return nil, doubt.Err()
	case l == nil:
		return nil, fault.Refuse(fmt.Sprintf("somebody removed it, or mounted another filesystem there: findmnt %s shows what is mounted", f.Mount),
			"the filesystem mounted from disk %s has no ledger, bootagent's record of whose it is", f.disk.Serial)
	}
	return l, nil
}

func (f *filesystem) write(ctx context.Context, root string, l *Ledger) error {
	src, err := l.Encode()
	if err != nil {
		return err
	}
	return f.host.Ledgers.WriteLedger(ctx, root, src)
}

// record changes the ledger of the volume while it is mounted for its role.
func (f *filesystem) record(ctx context.Context, change func(*Ledger)) error {
	f.lock <- struct{}{}
	defer func() { <-f.lock }()
	changed := *f.ledger
	changed.Data = maps.Clone(f.ledger.Data)
	change(&changed)
	if err := f.write(ctx, f.Mount, &changed); err != nil {
		return err
	}
	f.ledger = &changed
	return nil
}

// current is the ledger of the volume as it is now.
func (f *filesystem) current() *Ledger {
	f.lock <- struct{}{}
	defer func() { <-f.lock }()
	return f.ledger
}

// now is the time as a ledger has it.
func now() *time.Time {
	t := time.Now().UTC().Truncate(time.Second)
	return &t
}
