package boot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/role"
)

// A volume is one volume of the plan on its way to being mounted. Its fields
// pass from each step to the next.
type volume struct {
	role.Volume
	boot *Boot

	found, mounted, noted *Step

	id      string // of the volume of the cloud, once it is found
	here    bool   // it was mounted before, and its disk is there: the cloud need not be asked
	disk    Disk
	content Content
	proven  bool // the disk is this volume, read as it is now

	// Several data directories may be noted at once. This is a lock that a
	// simulated world can see a step wait for.
	lock   chan struct{}
	ledger *Ledger
}

// find tells which volume of the cloud is meant. One that this instance had
// mounted before and that is still attached is taken without asking: a plain
// reboot needs no API.
func (v *volume) find(ctx context.Context) error {
	id, err := v.boot.world.Records.Recorded(v.Name, v.Find)
	if err != nil {
		return err
	}
	v.id, v.here = id, false
	if id != "" {
		_, v.here, err = v.boot.world.Disks.Find(ctx, serialOf(id))
		if v.here || err != nil {
			return err
		}
	}
	return v.await(ctx, func(ctx context.Context) (err error) {
		v.id, err = v.boot.world.Volumes.FindVolume(ctx, v.Find)
		return err
	})
}

// claim makes sure that the volume is one that this instance may use.
func (v *volume) claim(ctx context.Context) error {
	if v.here {
		return nil
	}
	return v.await(ctx, func(ctx context.Context) error { return v.boot.world.Volumes.Claim(ctx, v.id) })
}

// attach has the volume attached to this instance, when nobody else has it.
func (v *volume) attach(ctx context.Context) error {
	if v.here {
		return nil
	}
	return v.await(ctx, func(ctx context.Context) error { return v.boot.world.Volumes.Attach(ctx, v.id) })
}

// How long to rest between two questions to the cloud, at the most: while a
// volume is waited for, and once that was in vain. All instances of an account
// ask the same cloud, which answers some 20 such questions in a second to all
// of them together: docs/fleet.md.
const (
	askVolume = time.Minute
	askAnyway = 10 * time.Minute
)

// await waits for the cloud for as long as the role lets the volume take. Then
// the step has failed. But nothing tells the agent when somebody lets go of the
// volume after all, so it goes on asking.
func (v *volume) await(ctx context.Context, ask func(context.Context) error) error {
	err := v.boot.awaitEvery(ctx, askVolume, v.Wait, ask)
	expired := (*expiredError)(nil)
	if !errors.As(err, &expired) {
		return err
	}
	p := patience{most: askAnyway, asked: askedByThen, last: *expired.last}
	for {
		GaveUp(ctx, expired)
		rest := p.rest(*expired.last)
		select {
		case <-time.After(rest + v.boot.jitter(rest/4)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		switch asked, notYet := ask(ctx), (*NotYetError)(nil); {
		case errors.As(asked, &notYet):
			expired = &expiredError{v.Wait, notYet}
		case asked == nil, isFinal(asked):
			return asked
		}
	}
}

// askedByThen is after how many questions the rest is askVolume.
const askedByThen = 12

// serial is the serial number of the volume's disk.
func (v *volume) serial() string {
	if v.id != "" {
		return serialOf(v.id)
	}
	return v.Find.Serial
}

// device finds the disk, or waits for it.
func (v *volume) device(ctx context.Context) error {
	v.proven, v.content = false, Content{}
	disk, there, err := v.boot.world.Disks.Find(ctx, v.serial())
	if err == nil && !there {
		disk, err = v.appear(ctx)
	}
	v.disk = disk
	return err
}

func (v *volume) appear(ctx context.Context) (Disk, error) {
	until := time.Now().Add(v.Wait)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	hint := "attach it; the agent goes on as soon as it is there"
	defer Waits(ctx, Wait{For: "the disk with serial " + v.serial(), Until: until, Hint: hint})()

	disk, err := v.boot.world.Disks.Appear(ctx, v.serial())
	if errors.Is(err, context.DeadlineExceeded) {
		err = Final(WithHint(fmt.Errorf("no disk with serial %s appeared within %s", v.serial(), v.Wait), hint))
	}
	return disk, err
}

// prove reads what is on the disk and refuses all that is neither the
// filesystem of the plan nor, where one may be made, proven to be nothing.
func (v *volume) prove(ctx context.Context) error {
	if err := v.left(ctx); err != nil {
		return err
	}
	if mounted, err := v.isMounted(); mounted || err != nil {
		return err
	}
	if err := v.boot.world.Filesystems.Settle(ctx, v.disk); err != nil {
		return err
	}
	if err := v.tidy(ctx); err != nil {
		return err
	}
	content, err := v.boot.world.Disks.Read(ctx, v.disk)
	if err != nil {
		return err
	}
	v.content = content
	var intent Intent
	if content.Filesystem == "" { // a filesystem speaks for itself, by its ledger
		if intent, err = v.intent(ctx); err != nil {
			return err
		}
	}
	look := "bootagent prove " + v.disk.Path + " shows what is on it"
	switch {
	case content.Blank && intent.Made:
		return Final(WithHint(
			fmt.Errorf("disk %s is blank, but the %s filesystem %s was made on it before",
				v.disk.Serial, v.Filesystem, intent.UUID),
			"its data is gone or it is another disk: find out which, and restore it"))
	case content.Blank && v.Make != role.MakeIfBlank:
		return Final(WithHint(
			fmt.Errorf("disk %s is blank and the role may not make a filesystem on it", v.disk.Serial),
			fmt.Sprintf("if it is meant to be new, say make: %s for the volume in the role file", role.MakeIfBlank)))
	case content.Blank:
		return v.isNew(ctx)
	case content.Filesystem == "" && intent.UUID != "" && !intent.Made:
		return Final(WithHint(
			fmt.Errorf("disk %s %s: a filesystem was being made on it and was not finished", v.disk.Serial, content.Words),
			look+"; if nothing on it is worth keeping, clear it with wipefs --all and blkdiscard, then: bootagent retry"))
	case content.Filesystem != string(v.Filesystem):
		return Final(WithHint(
			fmt.Errorf("disk %s is not the %s volume that the role means: it %s", v.disk.Serial, v.Filesystem, content.Words),
			look+"; nothing was changed"))
	}
	return nil
}

// prepare makes the filesystem if the disk is blank, and sees to it that the
// filesystem says, by its ledger, that it is the volume of this plan.
func (v *volume) prepare(ctx context.Context) error {
	if mounted, err := v.isMounted(); mounted || err != nil {
		return err
	}
	if v.content.Blank {
		err := v.make(ctx)
		v.proven = err == nil
		return err
	}
	ledger, err := v.look(ctx)
	if err != nil {
		return err
	}
	var intent Intent
	if ledger == nil {
		if intent, err = v.settledIntent(ctx); err != nil {
			return err
		}
	}
	switch {
	case ledger != nil:
		if err := v.accept(ledger); err != nil {
			return err
		}
	case intent.UUID == v.content.UUID:
		if err := v.introduce(ctx, Ledger{UUID: intent.UUID, Made: now()}); err != nil {
			return err
		}
	case v.Adopt:
		if err := v.introduce(ctx, Ledger{UUID: v.content.UUID, Adopted: now()}); err != nil {
			return err
		}
	default:
		return Final(WithHint(
			fmt.Errorf("disk %s holds the %s filesystem %s without a ledger: it was not made by bootagent",
				v.disk.Serial, v.content.Filesystem, v.content.UUID),
			"if it is this role's, say adopt: true for the volume in the role file; nothing was changed"))
	}
	err = v.boot.world.Filesystems.Check(ctx, v.disk, v.Filesystem)
	v.proven = err == nil
	return err
}

// make makes the filesystem, with a UUID that is noted before, so that after
// a crash it can be told from another's.
func (v *volume) make(ctx context.Context) error {
	intent, err := v.intent(ctx)
	if err != nil {
		return err
	}
	if intent.UUID == "" {
		intent.UUID = v.boot.newUUID()
		if err := v.intend(ctx, intent); err != nil {
			return err
		}
	}
	if err := v.boot.world.Filesystems.Make(ctx, v.disk, v.Filesystem, intent.UUID); err != nil {
		return err
	}
	v.content = Content{Filesystem: string(v.Filesystem), UUID: intent.UUID}
	return v.introduce(ctx, Ledger{UUID: intent.UUID, Made: now()})
}

// isNew refuses a blank volume that the cloud knows to be more than it looks,
// or to be another than the disk that was read.
func (v *volume) isNew(ctx context.Context) error {
	if v.id == "" {
		return nil
	}
	origin, err := v.boot.world.Volumes.Origin(ctx, v.id)
	switch {
	case err != nil:
		return err
	case origin.From != "":
		return Final(WithHint(
			fmt.Errorf("volume %s is blank, but was made from %s: what is in that should be on it", v.id, origin.From),
			"look whether it was made from the right one; no filesystem is made on a volume that is not new"))
	case origin.Size != v.disk.Size:
		return fmt.Errorf("volume %s has %d bytes, and disk %s has %d: they are not the same", v.id, origin.Size, v.disk.Serial, v.disk.Size)
	}
	return nil
}

// intent is what the agent was about to make on the disk. It is noted on the
// volume itself where the cloud lets it, and else on this machine.
func (v *volume) intent(ctx context.Context) (Intent, error) {
	if v.id != "" {
		return v.boot.world.Volumes.Intent(ctx, v.id)
	}
	return v.boot.world.Intents.Intent(ctx, v.disk.Serial)
}

// intentWithin is how long EC2 may take to tell of a tag that was just written.
const intentWithin = 30 * time.Second

// settledIntent is the intent once it fits the filesystem that is there, or
// has not come to fit it: the cloud may not yet tell what an agent that died
// has written, and whose a filesystem is can't be taken back.
func (v *volume) settledIntent(ctx context.Context) (intent Intent, err error) {
	told := false
	err = v.boot.await(ctx, intentWithin, func(ctx context.Context) (err error) {
		intent, err = v.intent(ctx)
		told = err == nil
		if told && v.id != "" && !v.Adopt && intent.UUID != v.content.UUID {
			err = &NotYetError{For: fmt.Sprintf("EC2 to tell that the filesystem %s was made by bootagent", v.content.UUID)}
		}
		return err
	})
	if told && errors.As(err, new(*expiredError)) {
		err = nil // that it is another's is the answer
	}
	return intent, err
}

func (v *volume) intend(ctx context.Context, intent Intent) error {
	if v.id != "" {
		return v.boot.world.Volumes.Intend(ctx, v.id, intent)
	}
	return v.boot.world.Intents.Intend(ctx, v.disk.Serial, intent)
}

// introduce writes the first ledger of a filesystem. It is mounted aside for
// that, and unmounted, which brings the ledger to its final place on the disk:
// look could not see it in the log.
func (v *volume) introduce(ctx context.Context, l Ledger) error {
	l.Volume, l.Role = v.disk.Serial, v.boot.plan.Role
	err := v.aside(ctx, false, func(root string) error { return v.write(root, &l) })
	if err != nil {
		return err
	}
	if l.Made != nil {
		return v.intend(ctx, Intent{UUID: l.UUID, Made: true})
	}
	return nil
}

// look reads the ledger without changing a byte of the disk.
func (v *volume) look(ctx context.Context) (ledger *Ledger, err error) {
	err = v.aside(ctx, true, func(root string) error {
		ledger, err = v.read(root)
		return err
	})
	return ledger, err
}

// aside mounts the filesystem where no service looks for it, for as long as
// do takes. Read-only means that not even its log is replayed.
func (v *volume) aside(ctx context.Context, readOnly bool, do func(root string) error) error {
	m := Mount{What: v.disk.Link, Where: v.asidePath(), Type: string(v.Filesystem), Look: true}
	m.Options = append(m.Options, "nosuid", "nodev", "noexec")
	switch {
	case readOnly && v.Filesystem == role.XFS:
		m.Options = append(m.Options, "ro", "norecovery") // xfs(5)
	case readOnly:
		m.Options = append(m.Options, "ro", "noload") // ext4(5)
	}
	if err := v.boot.world.Mounts.Mount(ctx, m); err != nil {
		return err
	}
	err := v.onDevice(m.Where)
	if err == nil {
		err = do(m.Where)
	}
	return errors.Join(err, v.boot.world.Mounts.Unmount(context.WithoutCancel(ctx), m.Where))
}

func (v *volume) asidePath() string { return "/run/bootagent/look/" + v.Name }

// gone tells whether the volume's disk is not there. One that was pulled and
// has come back is another device than the one that is mounted, which stays gone.
func (v *volume) gone(ctx context.Context) (bool, error) {
	disk, there, err := v.boot.world.Disks.Find(ctx, v.serial())
	if err != nil || !there {
		return err == nil, err
	}
	dev, mounted, err := v.boot.world.Mounts.At(v.At)
	return mounted && dev != disk.Dev, err
}

// left waits until the services have stopped that hold what was mounted from
// the disk before it was pulled: it can't go before, and nothing can come back.
func (v *volume) left(ctx context.Context) error {
	dev, mounted, err := v.boot.world.Mounts.At(v.At)
	if err != nil || !mounted || dev == v.disk.Dev {
		return err
	}
	for _, s := range v.boot.services {
		if slices.Contains(s.volumes(), v) {
			err = errors.Join(err, s.stopped(ctx))
		}
	}
	return err
}

// tidy unmounts what an agent that died left mounted aside.
func (v *volume) tidy(ctx context.Context) error {
	_, left, err := v.boot.world.Mounts.At(v.asidePath())
	if err != nil || !left {
		return err
	}
	return v.boot.world.Mounts.Unmount(ctx, v.asidePath())
}

// mount mounts the volume where the role wants it, and makes sure that what is
// mounted is what was proven.
func (v *volume) mount(ctx context.Context) error {
	mounted, err := v.isMounted()
	if err != nil {
		return err
	}
	if !mounted && !v.proven {
		return fmt.Errorf("%s was unmounted after it was found mounted", v.At)
	}
	if !mounted {
		err := v.boot.world.Mounts.Mount(ctx, Mount{
			What: v.disk.Link, Where: v.At, Type: string(v.Filesystem),
			Options: []string{"nosuid", "nodev"},
		})
		if err != nil {
			return err
		}
	}
	err = v.onDevice(v.At)
	if err == nil {
		v.ledger, err = v.read(v.At)
	}
	if err == nil {
		err = v.accept(v.ledger)
	}
	if err != nil && !mounted {
		err = errors.Join(err, v.boot.world.Mounts.Unmount(context.WithoutCancel(ctx), v.At))
	}
	return err
}

// note writes into the ledger that this machine has the volume now, and keeps
// which volume it is.
func (v *volume) note(context.Context) error {
	if v.id != "" && !v.here {
		if err := v.boot.world.Records.Record(v.Name, v.Find, v.id); err != nil {
			return err
		}
	}
	if v.ledger.BootID == v.boot.world.Instance.BootID && v.ledger.Stopped == nil {
		return nil
	}
	return v.record(func(l *Ledger) {
		l.Generation++
		l.Instance = v.boot.world.Instance.ID
		l.BootID = v.boot.world.Instance.BootID
		l.Stopped = nil
	})
}

// accept refuses a ledger that is not this volume's of this role.
func (v *volume) accept(l *Ledger) error {
	switch {
	case l == nil:
		return Finalf("the filesystem mounted from disk %s has no ledger", v.disk.Serial)
	case l.Volume != v.disk.Serial:
		return Final(WithHint(
			fmt.Errorf("disk %s holds a copy of volume %s: its ledger says so", v.disk.Serial, l.Volume),
			"attach the volume itself, or make the copy's data a volume of its own"))
	case l.Role != v.boot.plan.Role:
		return Final(WithHint(
			fmt.Errorf("disk %s is a volume of role %q, and this instance has role %q", v.disk.Serial, l.Role, v.boot.plan.Role),
			"give the instance the volume of its own role"))
	case v.content.UUID != "" && l.UUID != v.content.UUID:
		return Finalf("disk %s holds filesystem %s, and its ledger speaks of %s", v.disk.Serial, v.content.UUID, l.UUID)
	}
	return nil
}

// isMounted tells whether the disk is mounted where the role wants it, as it is
// when the agent was started again. Anything else there is an error.
func (v *volume) isMounted() (bool, error) {
	_, mounted, err := v.boot.world.Mounts.At(v.At)
	if err != nil || !mounted {
		return false, err
	}
	return true, v.onDevice(v.At)
}

// onDevice refuses a mount point under which another device is mounted than
// the disk that was proven.
func (v *volume) onDevice(where string) error {
	dev, mounted, err := v.boot.world.Mounts.At(where)
	switch {
	case err != nil:
		return err
	case !mounted:
		return fmt.Errorf("nothing is mounted at %s", where)
	case dev != v.disk.Dev:
		return fmt.Errorf("another device is mounted at %s than disk %s: %#x, not %#x", where, v.disk.Serial, dev, v.disk.Dev)
	}
	return nil
}

// noteStop writes into the ledger how the services that use the volume ended.
func (v *volume) noteStop(ctx context.Context) error {
	if mounted, err := v.isMounted(); err != nil || !mounted || v.ledger == nil {
		return err
	}
	stop := Stop{At: *now(), Clean: true}
	for _, s := range v.boot.services {
		if !slices.Contains(s.volumes(), v) {
			continue
		}
		if why := s.uncleanStop(ctx); why != "" {
			stop.Clean, stop.Why = false, why
		}
	}
	return v.record(func(l *Ledger) { l.Stopped = &stop })
}

func (v *volume) read(root string) (*Ledger, error) {
	src, err := v.boot.world.Ledgers.ReadLedger(root)
	if err != nil {
		return nil, err
	}
	l, err := DecodeLedger(src)
	if err != nil {
		return nil, Finalf("disk %s: %w", v.disk.Serial, err)
	}
	return l, nil
}

func (v *volume) write(root string, l *Ledger) error {
	src, err := l.Encode()
	if err != nil {
		return err
	}
	return v.boot.world.Ledgers.WriteLedger(root, src)
}

// record changes the ledger of the volume while it is mounted for its role.
func (v *volume) record(change func(*Ledger)) error {
	v.lock <- struct{}{}
	defer func() { <-v.lock }()
	changed := *v.ledger
	changed.Data = maps.Clone(v.ledger.Data)
	change(&changed)
	if err := v.write(v.At, &changed); err != nil {
		return err
	}
	v.ledger = &changed
	return nil
}

// entry is what the ledger says of a data directory.
func (v *volume) entry(name string) (LedgerData, bool) {
	v.lock <- struct{}{}
	defer func() { <-v.lock }()
	d, ok := v.ledger.Data[name]
	return d, ok
}

func now() *time.Time {
	t := time.Now().UTC().Truncate(time.Second)
	return &t
}

// newUUID returns a random UUID, RFC 9562 version 4, unless the world has its
// own.
func (b *Boot) newUUID() string {
	if b.world.NewUUID != nil {
		return b.world.NewUUID()
	}
	return randomUUID()
}

func randomUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, see its documentation
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// inCloud tells whether a volume is the cloud's, to be found and attached by
// its API, and not a disk of this machine.
func inCloud(v role.Volume) bool { return v.Find.ID != "" || len(v.Find.Tags) > 0 }

// serialOf is the serial number that the disk of an EBS volume reports: its id
// without the dash (EC2 User Guide, "EBS volumes and NVMe").
func serialOf(id string) string { return strings.Replace(id, "-", "", 1) }
