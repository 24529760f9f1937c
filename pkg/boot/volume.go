package boot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// A volume is one volume of the plan on its way to being mounted. Its fields
// pass from each step to the next.
type volume struct {
	role.Volume
	boot *Boot

	found, mounted, noted *graph.Step
	steps                 []*graph.Step // all that are about its disk, in their order
	known                 known

	id      string // of the volume of the cloud, once it is found
	here    bool   // it was mounted before, and its disk is there: the cloud need not be asked
	disk    host.Disk
	content host.Content
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
	id, err := v.boot.host.Records.Recorded(v.Name, v.Find)
	if err != nil {
		return err
	}
	v.id, v.here = id, false
	if id != "" {
		v.known.is(serialOf(id))
		_, v.here, err = v.boot.host.Disks.Find(ctx, serialOf(id))
		if v.here || err != nil {
			return err
		}
	}
	return v.await(ctx, func(ctx context.Context) (err error) {
		v.id, err = v.boot.host.Volumes.FindVolume(ctx, v.Find)
		if err == nil {
			v.known.is(serialOf(v.id))
		}
		return err
	})
}

// claim makes sure that the volume is one that this instance may use.
func (v *volume) claim(ctx context.Context) error {
	if v.here {
		return nil
	}
	return v.await(ctx, func(ctx context.Context) error { return v.boot.host.Volumes.Claim(ctx, v.id) })
}

// attach has the volume attached to this instance, when nobody else has it.
func (v *volume) attach(ctx context.Context) error {
	if v.here {
		return nil
	}
	return v.await(ctx, func(ctx context.Context) error { return v.boot.host.Volumes.Attach(ctx, v.id) })
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
// the step has failed. But nothing tells the agent when somebody detaches the
// volume after all, so the agent goes on asking.
func (v *volume) await(ctx context.Context, ask func(context.Context) error) error {
	err := v.boot.AwaitSince(ctx, graph.Since(ctx), askVolume, v.Timeout, ask)
	if expired := (*fault.Expired)(nil); errors.As(err, &expired) {
		return v.boot.KeepAsking(ctx, expired, askVolume, askAnyway, ask)
	}
	return err
}

// serial is the serial number of the volume's disk.
func (v *volume) serial() string {
	if v.id != "" {
		return serialOf(v.id)
	}
	return v.Find.Serial
}

// device finds the disk, or waits for it.
func (v *volume) device(ctx context.Context) error {
	v.proven, v.content = false, host.Content{}
	disk, there, err := v.boot.host.Disks.Find(ctx, v.serial())
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
func (v *volume) appear(ctx context.Context) (host.Disk, error) {
	until := graph.Since(ctx).Add(v.Timeout)
	patience, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	hint := "attach it; the agent goes on as soon as it is there"
	defer graph.SetWaiting(ctx, graph.Wait{For: "the disk with serial " + v.serial(), Until: until, Hint: hint})()

	disk, err := v.boot.host.Disks.Appear(patience, v.serial())
	if err == nil || patience.Err() == nil || ctx.Err() != nil {
		return disk, err
	}
	graph.SetFailed(ctx, fault.WithHint(fmt.Errorf("no disk with serial %s appeared within %s", v.serial(), v.Timeout), hint))
	return v.boot.host.Disks.Appear(ctx, v.serial())
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
	if err := v.boot.host.Filesystems.Settle(ctx, v.disk); err != nil {
		return err
	}
	if err := v.tidy(ctx); err != nil {
		return err
	}
	content, err := v.boot.host.Disks.Read(ctx, v.disk, v.Volume)
	if err != nil {
		return err
	}
	v.content = content
	var intent host.Intent
	if content.Filesystem == "" { // a filesystem speaks for itself, by its ledger
		if intent, err = v.intent(ctx); err != nil {
			return err
		}
	}
	look := "bootagent inspect " + v.disk.Path + " shows what is on it"
	switch {
	case content.Blank && intent.Made:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("disk %s is blank, but the %s filesystem %s was made on it before",
				v.disk.Serial, v.Filesystem, intent.UUID),
			"its data is gone or it is another disk: find out which, and restore it"))
	case content.Blank && v.Format != role.FormatIfBlank:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("disk %s is blank and the role may not make a filesystem on it", v.disk.Serial),
			fmt.Sprintf("if it is meant to be new, say format: %s for the volume in the role file, then: bootagent retry", role.FormatIfBlank)))
	case content.Blank:
		return v.isNew(ctx)
	case content.Filesystem == "" && intent.UUID != "" && !intent.Made:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("disk %s %s: a filesystem was being made on it and was not finished", v.disk.Serial, content.Words),
			fmt.Sprintf("%s; if nothing on it is worth keeping, put a new volume in its place, or zero this one, which writes all of it: "+
				"blkdiscard --zeroout %s; then: bootagent retry", look, v.disk.Link)))
	case content.Filesystem == "" && content.Mend != "":
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("disk %s can't be told to be the %s volume that the role means: it %s", v.disk.Serial, v.Filesystem, content.Words),
			fmt.Sprintf("if its %s filesystem is what is meant, and the rest is left over from before, this takes the rest away, and keeps a copy of each mark in root's home directory: %s; then: bootagent retry",
				v.Filesystem, content.Mend)))
	case content.Filesystem != string(v.Filesystem):
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("disk %s is not the %s volume that the role means: it %s", v.disk.Serial, v.Filesystem, content.Words),
			look+"; nothing was changed"))
	}
	if content.Beside != "" {
		graph.Warn(ctx, fmt.Sprintf("disk %s has %s beside its %s filesystem, left over from before: nothing looks for it when this is mounted, and no filesystem would be made here",
			v.disk.Serial, content.Beside, v.Filesystem))
	}
	return nil
}

// prepare makes the filesystem if the disk is blank, and sees to it that the
// filesystem says, by its ledger, that it is the volume of this plan.
func (v *volume) prepare(ctx context.Context) error {
	if mounted, err := v.isMounted(); mounted || err != nil {
		return err
	}
	if v.content == (host.Content{}) {
		return fmt.Errorf("%s was unmounted after it was found mounted: its disk was not read", v.Mount)
	}
	if v.content.Blank {
		err := v.make(ctx)
		v.proven = err == nil
		return err
	}
	ledger, names, err := v.readLedger(ctx)
	if err == nil && ledger != nil {
		err = v.accept(ledger)
	}
	if err == nil && ledger == nil {
		err = v.withoutLedger(ctx, names)
	}
	if err == nil {
		err = v.boot.host.Filesystems.Check(ctx, v.disk, v.Filesystem)
	}
	v.proven = err == nil
	return err
}

// withoutLedger gives a filesystem its first ledger, or refuses it. An intent
// says who chose its UUID, and not what is on it: xfs_repair keeps the UUID
// when it makes a new root directory, and anybody who may tag the volume can
// write an intent. So only what is as mkfs leaves it counts as just made.
func (v *volume) withoutLedger(ctx context.Context, names []string) error {
	intent, err := v.settledIntent(ctx)
	if err != nil {
		return err
	}
	ours := intent.UUID == v.content.UUID
	what := fmt.Sprintf("disk %s holds the %s filesystem %s", v.disk.Serial, v.content.Filesystem, v.content.UUID)
	switch {
	case ours && !intent.Made && len(names) == 0:
		return v.introduce(ctx, Ledger{UUID: intent.UUID, Made: now()})
	case ours && intent.Made && (!v.Adopt || len(names) == 0):
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s, which bootagent made, and its ledger is gone: it was repaired or written to by something else, and holds %s",
				what, listed(names)), v.hintLost()))
	case v.Adopt:
		return v.introduce(ctx, Ledger{UUID: v.content.UUID, Adopted: now()})
	case ours:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s, and an intent of bootagent has that UUID, but it holds %s, which mkfs does not leave: it was not just made",
				what, listed(names)),
			"if it is this role's, say adopt: true for the volume in the role file, then: bootagent retry; nothing was changed"))
	}
	return fault.Permanent(fault.WithHint(
		fmt.Errorf("%s without a ledger: it was not made by bootagent", what),
		"if it is this role's, say adopt: true for the volume in the role file, then: bootagent retry; nothing was changed"))
}

// hintLost is what a person does about a filesystem that lost its ledger.
func (v *volume) hintLost() string {
	return "take a snapshot, then look what is left, also in lost+found: " + v.readOnlyMount() +
		"; put the data back to its place, or restore the volume from a snapshot of before; " +
		"then say adopt: true for the volume in the role file, and: bootagent retry; nothing was changed"
}

// hintLedger is what a person does about a ledger that can't be right.
func (v *volume) hintLedger() string {
	return fmt.Sprintf("see what it says, which changes nothing (getfattr is in the package attr): %s && getfattr --name trusted.bootagent --only-values /mnt; "+
		"if the data is this role's, take a snapshot, mount it for writing, take the ledger off by setfattr --remove trusted.bootagent /mnt, "+
		"say adopt: true for the volume in the role file, and: bootagent retry", v.readOnlyMount())
}

// readOnlyMount is the command by which a person looks into the filesystem
// without changing a byte of the disk.
func (v *volume) readOnlyMount() string {
	return fmt.Sprintf("mount -t %s -o %s %s /mnt", v.Filesystem, strings.Join(withoutRecovery(v.Filesystem), ","), v.disk.Link)
}

// listed names some of the names in a root directory.
func listed(names []string) string {
	const most = 3
	switch {
	case len(names) == 0:
		return "no file"
	case len(names) > most:
		return fmt.Sprintf("%q and %d more", names[:most], len(names)-most)
	}
	return fmt.Sprintf("%q", names)
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
	if err := v.boot.host.Filesystems.Make(ctx, v.disk, v.Filesystem, intent.UUID); err != nil {
		return err
	}
	v.content = host.Content{Filesystem: string(v.Filesystem), UUID: intent.UUID}
	return v.introduce(ctx, Ledger{UUID: intent.UUID, Made: now()})
}

// isNew refuses a blank volume that the cloud knows to be more than it looks,
// or to be another than the disk that was read.
func (v *volume) isNew(ctx context.Context) error {
	if v.id == "" {
		return nil
	}
	origin, err := v.boot.host.Volumes.Origin(ctx, v.id)
	switch {
	case err != nil:
		return err
	case origin.From != "":
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("volume %s is blank, but was made from %s: what is in that should be on it", v.id, origin.From),
			"look whether it was made from the right one; no filesystem is made on a volume that is not new"))
	case origin.Size != v.disk.Size:
		return fmt.Errorf("volume %s has %d bytes, and disk %s has %d: they are not the same", v.id, origin.Size, v.disk.Serial, v.disk.Size)
	}
	return nil
}

// intent is what the agent was about to make on the disk. It is noted on the
// volume itself where the cloud lets it, and else on this machine.
func (v *volume) intent(ctx context.Context) (host.Intent, error) {
	if v.id != "" {
		return v.boot.host.Volumes.Intent(ctx, v.id)
	}
	return v.boot.host.Intents.Intent(ctx, v.disk.Serial)
}

// intentWithin is how long EC2 may take to tell of a tag that was just written.
const intentWithin = 30 * time.Second

// settledIntent is the intent once it fits the filesystem that is there, or
// has not come to fit it: the cloud may not yet tell what an agent that died
// has written, and whose a filesystem is can't be taken back.
func (v *volume) settledIntent(ctx context.Context) (intent host.Intent, err error) {
	told := false
	err = v.boot.Await(ctx, intentWithin, func(ctx context.Context) (err error) {
		intent, err = v.intent(ctx)
		told = err == nil
		if told && v.id != "" && !v.Adopt && intent.UUID != v.content.UUID {
			err = &fault.Pending{For: fmt.Sprintf("EC2 to tell that the filesystem %s was made by bootagent", v.content.UUID)}
		}
		return err
	})
	if told && errors.As(err, new(*fault.Expired)) {
		err = nil // that it is another's is the answer
	}
	return intent, err
}

func (v *volume) intend(ctx context.Context, intent host.Intent) error {
	if v.id != "" {
		return v.boot.host.Volumes.Intend(ctx, v.id, intent)
	}
	return v.boot.host.Intents.Intend(ctx, v.disk.Serial, intent)
}

// introduce writes the first ledger of a filesystem. It is mounted aside for
// that, and unmounted, which brings the ledger to its final place on the disk:
// look could not see it in the log.
func (v *volume) introduce(ctx context.Context, l Ledger) error {
	l.Volume, l.Role = v.disk.Serial, v.boot.plan.Role
	return v.inspect(ctx, false, func(root string) error {
		// The log is replayed by now, and may hold more than look saw.
		there, err := v.read(ctx, root)
		if err != nil {
			return err
		}
		if there != nil {
			return v.accept(there)
		}
		names, err := v.names(ctx, root)
		if err != nil {
			return err
		}
		if l.Made != nil && len(names) > 0 {
			return fault.Permanent(fault.WithHint(
				fmt.Errorf("the filesystem %s on disk %s was taken for just made, but it holds %s", l.UUID, v.disk.Serial, listed(names)),
				"see what is on it, which changes nothing: "+v.readOnlyMount()))
		}
		return v.write(ctx, root, &l)
	})
}

// look reads the ledger, without changing a byte of the disk, and where there
// is none also the names in the root directory that mkfs does not leave there.
func (v *volume) readLedger(ctx context.Context) (ledger *Ledger, names []string, err error) {
	err = v.inspect(ctx, true, func(root string) (err error) {
		if ledger, err = v.read(ctx, root); err != nil || ledger != nil {
			return err
		}
		names, err = v.names(ctx, root)
		return err
	})
	return ledger, names, err
}

// lostAndFound is where a checker puts what has lost its name. mkfs.ext4 makes
// it, and leaves it empty; xfs_repair(8) makes one when it has to.
const lostAndFound = "lost+found"

// names are those in the root directory of a filesystem that mkfs does not
// leave there.
func (v *volume) names(ctx context.Context, root string) ([]string, error) {
	names, err := v.boot.host.Directories.Names(ctx, root)
	if err != nil || v.Filesystem == role.XFS {
		return names, err
	}
	return v.boot.found(ctx, root, names)
}

// found leaves lost+found out of the names in a root directory where it is
// empty: it is nothing only then.
func (b *Boot) found(ctx context.Context, root string, names []string) ([]string, error) {
	at := slices.Index(names, lostAndFound)
	if at < 0 {
		return names, nil
	}
	inside, err := b.host.Directories.Names(ctx, filepath.Join(root, lostAndFound))
	if err != nil || len(inside) > 0 {
		return names, err
	}
	return slices.Delete(slices.Clone(names), at, at+1), nil
}

// aside mounts the filesystem where no service looks for it, for as long as
// do takes. Read-only means that not even its log is replayed.
func (v *volume) inspect(ctx context.Context, readOnly bool, do func(root string) error) error {
	m := host.Mount{What: v.disk.Link, Where: v.inspectPath(), Type: string(v.Filesystem), Inspect: true}
	m.Options = append(v.options(), "noexec")
	if readOnly {
		m.Options = append(m.Options, withoutRecovery(v.Filesystem)...)
	}
	if err := v.boot.host.Mounts.Mount(ctx, m); err != nil {
		return err
	}
	err := v.onDevice(m.Where)
	if err == nil {
		err = do(m.Where)
	}
	return errors.Join(err, v.unmount(ctx, m.Where))
}

// options are those of every mount of the volume's filesystem.
func (v *volume) options() []string {
	options := []string{"nosuid", "nodev"}
	switch v.Filesystem {
	case role.XFS:
		// What a process still holds of this filesystem, from before its disk was
		// pulled, keeps its UUID taken, and the kernel would refuse the disk that
		// came back. Which filesystem it is, the serial number and the ledger tell.
		options = append(options, "nouuid")
	case role.Ext4:
		// What the kernel found damaged is not written to any more, whatever the
		// superblock says: its default is to go on.
		options = append(options, "errors=remount-ro")
	}
	return options
}

// withoutRecovery are the mount options that leave even the log as it is.
func withoutRecovery(t role.FilesystemType) []string {
	if t == role.XFS {
		return []string{"ro", "norecovery"} // xfs(5)
	}
	return []string{"ro", "noload"} // ext4(5)
}

func (v *volume) inspectPath() string { return "/run/bootagent/look/" + v.Name }

// gone tells whether the volume's disk is not there. One that was pulled and
// has come back is another device than the one that is mounted, which stays gone.
func (v *volume) gone(ctx context.Context) (bool, error) {
	disk, there, err := v.boot.host.Disks.Find(ctx, v.serial())
	if err != nil || !there {
		return err == nil, err
	}
	dev, mounted, err := v.boot.host.Mounts.At(v.Mount)
	return mounted && dev != disk.Dev, err
}

// left waits until the services have stopped that hold what was mounted from
// the disk before it was pulled, and unmounts that: systemd tries to once, when
// the disk goes, and nothing can come back before.
func (v *volume) left(ctx context.Context) error {
	dev, mounted, err := v.boot.host.Mounts.At(v.Mount)
	if err != nil || !mounted || dev == v.disk.Dev {
		return err
	}
	for _, s := range v.boot.services {
		if slices.Contains(s.volumes(), v) {
			err = errors.Join(err, s.stopped(ctx))
		}
	}
	for _, d := range v.boot.plan.Data {
		if err == nil && d.Volume == v.Name {
			err = v.unmountStale(ctx, d.Bind)
		}
	}
	if err != nil {
		return err
	}
	return v.unmountStale(ctx, v.Mount)
}

// unmountStale unmounts what is mounted at a path if it is of a disk that is
// gone. Anything else there is left alone.
func (v *volume) unmountStale(ctx context.Context, where string) error {
	stale, err := v.boot.host.Mounts.Stale(where)
	if err != nil || !stale {
		return err
	}
	return v.unmount(ctx, where)
}

// tidy unmounts what an agent that died left mounted aside.
func (v *volume) tidy(ctx context.Context) error {
	_, left, err := v.boot.host.Mounts.At(v.inspectPath())
	if err != nil || !left {
		return err
	}
	return v.unmount(ctx, v.inspectPath())
}

// unmountWithin is how long an unmount takes at most: systemd gives one up
// after 10 min, and it may have to be tried again.
const unmountWithin = 15 * time.Minute

// unmount unmounts, also where ctx has ended: what was mounted aside may not
// stay. While that takes long, it is told.
func (v *volume) unmount(ctx context.Context, where string) error {
	until := time.Now().Add(unmountWithin)
	told := make(chan func(), 1)
	slow := time.AfterFunc(unmountIsSlow, func() {
		told <- graph.SetWaiting(ctx, graph.Wait{For: where + " to be unmounted", Until: until, Hint: "bootagent holders " + where + " names what holds it"})
	})
	defer func() {
		if !slow.Stop() {
			(<-told)()
		}
	}()
	within, cancel := context.WithDeadlineCause(context.WithoutCancel(ctx), until,
		fmt.Errorf("%s was not unmounted within %s", where, unmountWithin))
	defer cancel()
	return v.boot.host.Mounts.Unmount(within, where)
}

// unmountIsSlow is after how long an unmount is told of. One takes a fraction of
// a second, but for a disk that is slow or hangs.
const unmountIsSlow = 5 * time.Second

// mount mounts the volume where the role wants it, and makes sure that what is
// mounted is what was proven.
func (v *volume) mount(ctx context.Context) error {
	mounted, err := v.isMounted()
	if err != nil {
		return err
	}
	if !mounted && !v.proven {
		return fmt.Errorf("%s was unmounted after it was found mounted", v.Mount)
	}
	if !mounted {
		err := v.boot.host.Mounts.Mount(ctx, host.Mount{
			What: v.disk.Link, Where: v.Mount, Type: string(v.Filesystem),
			Options: v.options(),
		})
		if err != nil {
			return err
		}
	}
	graph.Observed(ctx) // what was told of the mount is older than this
	err = v.onDevice(v.Mount)
	if err == nil {
		v.ledger, err = v.read(ctx, v.Mount)
	}
	if err == nil {
		err = v.accept(v.ledger)
	}
	if err != nil && !mounted {
		err = errors.Join(err, v.unmount(ctx, v.Mount))
	}
	return err
}

// note writes into the ledger that this machine has the volume now, and keeps
// which volume it is.
func (v *volume) note(ctx context.Context) error {
	if v.id != "" && !v.here {
		if err := v.boot.host.Records.Record(v.Name, v.Find, v.id); err != nil {
			return err
		}
	}
	self, before := v.boot.host.Machine, v.current()
	if before.BootID == self.BootID && before.Stopped == nil {
		return nil
	}
	if v.id == "" && before.Instance != "" && before.Instance != self.ID && before.Stopped == nil {
		// EC2 attaches a volume to one instance only. Of other disks nobody tells.
		graph.Warn(ctx, fmt.Sprintf("the ledger of disk %s says that %s had it last and did not stop: "+
			"if that machine still runs, it must not use this disk", v.disk.Serial, before.Instance))
	}
	return v.record(ctx, func(l *Ledger) {
		l.Generation++
		l.Instance, l.BootID = self.ID, self.BootID
		l.Stopped = nil
	})
}

// close has the intent say that the filesystem was made, once its ledger says
// so. Until it does, a disk that is blank one day could be taken for one on
// which mkfs never began. It is a state, and not an act: whichever run finds
// it open closes it, and notes that, so that a reboot asks EC2 for nothing.
func (v *volume) close(ctx context.Context) error {
	ledger := v.current()
	if ledger.Made == nil || v.id != "" && ledger.Closed {
		return nil
	}
	closed := host.Intent{UUID: ledger.UUID, Made: true}
	if v.id == "" {
		if intent, err := v.intent(ctx); err != nil || intent == closed {
			return err
		}
		return v.intend(ctx, closed)
	}
	if err := v.intend(ctx, closed); err != nil {
		return err
	}
	return v.record(ctx, func(l *Ledger) { l.Closed = true })
}

// accept refuses a ledger that is not this volume's of this role.
func (v *volume) accept(l *Ledger) error {
	switch {
	case l == nil:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("the filesystem mounted from disk %s has no ledger", v.disk.Serial),
			fmt.Sprintf("somebody took it off, or mounted another there: findmnt %s tells what is mounted", v.Mount)))
	case l.Volume != v.disk.Serial:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("disk %s holds a copy of volume %s: its ledger says so", v.disk.Serial, l.Volume),
			"attach the volume itself, or make the copy's data a volume of its own"))
	case l.Role != v.boot.plan.Role:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("disk %s is a volume of role %q, and this instance has role %q", v.disk.Serial, l.Role, v.boot.plan.Role),
			"give the instance the volume of its own role"))
	case v.content.UUID != "" && l.UUID != v.content.UUID:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("disk %s holds filesystem %s, and its ledger speaks of %s", v.disk.Serial, v.content.UUID, l.UUID),
			"somebody gave the filesystem another UUID, or copied the ledger here; "+v.hintLedger()))
	}
	return nil
}

// isMounted tells whether the disk is mounted where the role wants it, as it is
// when the agent was started again. Anything else there is an error.
func (v *volume) isMounted() (bool, error) {
	_, mounted, err := v.boot.host.Mounts.At(v.Mount)
	if err != nil || !mounted {
		return false, err
	}
	return true, v.onDevice(v.Mount)
}

// onDevice refuses a mount point under which another device is mounted than
// the disk that was proven.
func (v *volume) onDevice(where string) error {
	dev, mounted, err := v.boot.host.Mounts.At(where)
	switch {
	case err != nil:
		return err
	case !mounted:
		return fmt.Errorf("nothing is mounted at %s", where)
	case dev != v.disk.Dev:
		return fault.WithHint(
			fmt.Errorf("another device is mounted at %s than disk %s: %#x, not %#x", where, v.disk.Serial, dev, v.disk.Dev),
			fmt.Sprintf("findmnt %s tells which; if it is not needed there: umount %s, and then: bootagent retry", where, where))
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
	return v.record(ctx, func(l *Ledger) { l.Stopped = &stop })
}

func (v *volume) read(ctx context.Context, root string) (*Ledger, error) {
	src, err := v.boot.host.Ledgers.ReadLedger(ctx, root)
	if err != nil {
		return nil, err
	}
	l, err := DecodeLedger(src)
	if err != nil {
		hint := v.hintLedger()
		if newer := (*newerLedgerError)(nil); errors.As(err, &newer) {
			hint = "a newer bootagent wrote it: start the instance from an image that has that version or a later one; nothing was changed"
		}
		return nil, fault.Permanent(fault.WithHint(fmt.Errorf("disk %s: %w", v.disk.Serial, err), hint))
	}
	return l, nil
}

func (v *volume) write(ctx context.Context, root string, l *Ledger) error {
	src, err := l.Encode()
	if err != nil {
		return err
	}
	return v.boot.host.Ledgers.WriteLedger(ctx, root, src)
}

// record changes the ledger of the volume while it is mounted for its role.
func (v *volume) record(ctx context.Context, change func(*Ledger)) error {
	v.lock <- struct{}{}
	defer func() { <-v.lock }()
	changed := *v.ledger
	changed.Data = maps.Clone(v.ledger.Data)
	change(&changed)
	if err := v.write(ctx, v.Mount, &changed); err != nil {
		return err
	}
	v.ledger = &changed
	return nil
}

// current is the ledger of the volume as it is now.
func (v *volume) current() *Ledger {
	v.lock <- struct{}{}
	defer func() { <-v.lock }()
	return v.ledger
}

func now() *time.Time {
	t := time.Now().UTC().Truncate(time.Second)
	return &t
}

// newUUID returns a random UUID, RFC 9562 version 4, unless the world has its
// own.
func (b *Boot) newUUID() string {
	if b.host.NewUUID != nil {
		return b.host.NewUUID()
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
