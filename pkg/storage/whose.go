package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

// check makes sure by its ledger that the filesystem is the volume of this plan,
// and has its own checker mend it.
func (f *filesystem) check(ctx context.Context) error {
	ledger, names, err := f.look(ctx)
	if err == nil && ledger != nil {
		err = f.accept(ledger)
	}
	if err == nil && ledger == nil {
		err = f.withoutLedger(ctx, names)
	}
	if err == nil {
		err = f.host.Filesystems.Check(ctx, f.disk, string(f.Filesystem))
	}
	return err
}

// accept refuses a ledger that is not this volume's of this role.
func (f *filesystem) accept(l *Ledger) error {
	switch {
	case l == nil:
		return fault.Refuse(fmt.Sprintf("somebody removed it, or mounted another filesystem there: findmnt %s shows what is mounted", f.Mount),
			"the filesystem mounted from disk %s has no ledger, bootagent's record of whose it is", f.disk.Serial)
	case l.Volume != ledgerVolume(f.disk.Serial):
		return fault.Refuse(fmt.Sprintf("to use the volume itself, attach %s in place of the copy; to use the copy, %s", l.Volume, f.hintLedger()),
			"disk %s is a copy of volume %s, as its ledger says, bootagent's record on it", f.disk.Serial, l.Volume)
	case l.Role != f.role:
		return fault.Refuse("give the instance the volume of its own role",
			"disk %s is a volume of role %q, and this instance has role %q", f.disk.Serial, l.Role, f.role)
	case f.content.UUID != "" && l.UUID != f.content.UUID:
		return fault.Refuse("somebody gave the filesystem another UUID, or copied the ledger here; "+f.hintLedger(),
			"disk %s holds filesystem %s, and its ledger names %s", f.disk.Serial, f.content.UUID, l.UUID)
	}
	return nil
}

// ledgerVolume is how a ledger names the volume of a disk: by its ID if it is an
// EBS volume, whichever way the role finds it, and else by its serial number.
func ledgerVolume(serial string) string {
	if id, ok := name.VolumeOfSerial(serial); ok {
		return string(id)
	}
	return serial
}

// withoutLedger gives a filesystem its first ledger, or refuses it. An intent
// says who chose its UUID, and not what is on it: xfs_repair keeps the UUID
// when it makes a new root directory, and anybody who may tag the volume can
// write an intent. So only what is as mkfs leaves it counts as just made.
func (f *filesystem) withoutLedger(ctx context.Context, names []string) error {
	intent, err := f.settledIntent(ctx)
	if err != nil {
		return err
	}
	ours := intent.UUID == f.content.UUID
	what := fmt.Sprintf("disk %s holds the %s filesystem %s", f.disk.Serial, f.content.Filesystem, f.content.UUID)
	const adopt = "if it is this role's, say adopt: true for the volume in the role file, then: bootagent retry; nothing was changed"
	switch {
	case ours && !intent.Made && len(names) == 0:
		return f.introduce(ctx, Ledger{UUID: intent.UUID, Made: now()})
	case ours && intent.Made && (!f.Adopt || len(names) == 0):
		return fault.Refuse(f.hintLost(),
			"%s, which bootagent made, and its ledger, bootagent's record on it, is gone: something else repaired it or wrote to it; it holds %s", what, listed(names))
	case f.Adopt:
		return f.introduce(ctx, Ledger{UUID: f.content.UUID, Adopted: now()})
	case ours:
		return fault.Refuse(adopt,
			"%s, and an intent of bootagent has that UUID, but it holds %s, which mkfs does not leave: it was not just made", what, listed(names))
	}
	return fault.Refuse(adopt, "%s without a ledger: it was not made by bootagent", what)
}

// introduce gives a filesystem its first ledger, and makes sure of it. Meanwhile the
// log is replayed, which may hold a ledger or files that were not seen before.
func (f *filesystem) introduce(ctx context.Context, l Ledger) error {
	l.Volume, l.Role = ledgerVolume(f.disk.Serial), f.role
	src, err := l.Encode()
	if err != nil {
		return err
	}
	if err := f.host.Filesystems.Introduce(ctx, f.disk, host.Introduction{
		Filesystem: string(f.Filesystem), Ledger: src, Made: l.Made != nil, Mount: f.Mount,
	}); err != nil {
		return err
	}
	there, names, err := f.look(ctx)
	switch {
	case err != nil:
		return err
	case there != nil:
		return f.accept(there)
	case l.Made != nil && len(names) > 0:
		return fault.Refuse("see what is on it, which changes nothing: "+f.readOnlyMount(),
			"the filesystem %s on disk %s was taken for just made, but it holds %s", l.UUID, f.disk.Serial, listed(names))
	}
	return fmt.Errorf("the ledger of the filesystem %s on disk %s was written, and is not there", l.UUID, f.disk.Serial)
}

// hintLost is what a person does about a filesystem that lost its ledger.
func (f *filesystem) hintLost() string {
	return "nothing was changed; take a snapshot, then look what is left, also in lost+found: " + f.readOnlyMount() +
		"; put the data back in its place, or restore the volume from an older snapshot; " +
		"then set adopt: true for the volume in the role file, which lets bootagent take the filesystem as it is, and: bootagent retry"
}

// hintLedger is what a person does about a ledger that can't be right.
func (f *filesystem) hintLedger() string {
	return fmt.Sprintf("read its ledger, which changes nothing (getfattr is in the package attr): %s && getfattr --name trusted.bootagent --only-values /mnt; "+
		"if the data is this role's, take a snapshot, mount it for writing, remove the ledger with setfattr --remove trusted.bootagent /mnt, "+
		"set adopt: true for the volume in the role file, and: bootagent retry", f.readOnlyMount())
}

// read reads the ledger of the filesystem that is mounted at root: nil if it has
// none.
func (f *filesystem) read(ctx context.Context, root string) (*Ledger, error) {
	src, err := f.host.Ledgers.ReadLedger(ctx, root)
	if err != nil {
		return nil, err
	}
	return f.decode(src)
}

// decode decodes a ledger, which is nil if there is none.
func (f *filesystem) decode(src []byte) (*Ledger, error) {
	l, err := DecodeLedger(src)
	if err != nil {
		hint := f.hintLedger()
		if newer := (*newerLedgerError)(nil); errors.As(err, &newer) {
			hint = "a newer bootagent wrote it: start the instance from an image that has that version or a later one; nothing was changed"
		}
		return nil, fault.Permanent(fault.WithHint(fmt.Errorf("disk %s: %w", f.disk.Serial, err), hint))
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
