package storage

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage/ledger"
)

// filesystem is the highest layer of every volume. On the disk that the layers
// below give, it
//
//   - inspects what is there, and refuses all that is not meant (inspect.go)
//   - creates a filesystem on a disk that is proven blank (format.go)
//   - checks by its ledger whose a filesystem is, and has it mended (whose.go)
//   - opens it: mounts it where the role wants it (this file)
//   - closes what is mounted from a disk that is gone (unmount.go)
type filesystem struct {
	*Volume

	content host.Content // what the step "prove" read
	proven  bool         // the disk is this volume, read as it is now
	fresh   bool         // this agent has mounted it, and not taken it into use yet
	names   []string     // in its root directory, when it was last looked at

	doubt atomic.Pointer[ledger.Doubt] // why it was refused, until it is checked again
	order atomic.Pointer[ledger.Order] // a person's, to adopt what was refused

	// Several data directories may write into the ledger at once. This is a lock
	// that a simulated world can see a step wait for.
	lock   chan struct{}
	ledger *Ledger // nil until the volume is mounted
}

func newFilesystem(v *Volume) *filesystem {
	return &filesystem{Volume: v, lock: make(chan struct{}, 1)}
}

func (f *filesystem) add(s *steps) {
	s.then("prove", f.inspect)
	s.then("prepare", f.prepare)
	f.mounted = s.then("mount", f.open)
	f.ready = s.then("ledger", f.recordUse)
	s.from = nil
	s.then("intent", f.closeIntent)
}

// forget forgets what was read, as the disk may be another by now.
func (f *filesystem) forget() {
	f.proven, f.content = false, host.Content{}
	f.doubt.Store(nil)
}

// prepare creates the filesystem if the disk is blank, or checks the one that is
// there.
func (f *filesystem) prepare(ctx context.Context) error {
	if mounted, err := f.isMounted(); mounted || err != nil {
		return err
	}
	if f.content == (host.Content{}) {
		return fmt.Errorf("%w: its disk was not read", f.wasUnmounted())
	}
	var err error
	if f.content.Blank {
		err = f.create(ctx)
	} else {
		err = f.check(ctx)
	}
	f.proven = err == nil
	return err
}

// open mounts the volume where the role wants it, and makes sure that what is
// mounted is what was proven.
func (f *filesystem) open(ctx context.Context) error {
	mounted, err := f.isMounted()
	if err != nil {
		return err
	}
	if !mounted && !f.proven {
		return f.wasUnmounted()
	}
	if !mounted {
		f.fresh = true
		f.last.Store(nil)
		err := f.host.Mounts.Mount(ctx, host.Mount{
			What: f.disk.Link, Where: f.Mount, Type: string(f.Filesystem),
			Options: f.options(),
		})
		if err != nil {
			return err
		}
	}
	graph.Observed(ctx) // events of the mount that are queued are older than this
	err = f.onDevice(f.Mount)
	if err == nil {
		f.ledger, err = f.read(ctx, f.Mount)
	}
	if err != nil && !mounted {
		err = errors.Join(err, f.unmount(ctx, f.Mount))
	}
	return err
}

// options are those of every mount of the volume's filesystem.
func (f *filesystem) options() []string {
	options := []string{"nosuid", "nodev"}
	switch f.Filesystem {
	case role.XFS:
		// A process that still holds this filesystem from before its disk was pulled
		// keeps the UUID in use, and the kernel would refuse the disk that came back.
		// The serial number and the ledger tell which filesystem it is.
		options = append(options, "nouuid")
	case role.Ext4:
		// The kernel stops writing once it has found damage, whatever the superblock
		// says: the default is to go on.
		options = append(options, "errors=remount-ro")
	}
	return append(options, f.Options...)
}

// isMounted reports whether the disk is mounted where the role wants it, as it
// is when the agent was started again. Anything else there is an error.
func (f *filesystem) isMounted() (bool, error) {
	_, mounted, err := f.host.Mounts.At(f.Mount)
	if err != nil || !mounted {
		return false, err
	}
	return true, f.onDevice(f.Mount)
}

// onDevice refuses a mount point where another device is mounted than the disk
// that was proven.
func (f *filesystem) onDevice(where string) error {
	dev, mounted, err := f.host.Mounts.At(where)
	switch {
	case err != nil:
		return err
	case !mounted:
		return fmt.Errorf("nothing is mounted at %s", where)
	case dev != f.disk.Dev:
		return fault.WithHint(
			fmt.Errorf("the device that is mounted at %s (%#x) is not disk %s (%#x)", where, dev, f.disk.Serial, f.disk.Dev),
			fmt.Sprintf("findmnt %s shows which; if it is not needed there: umount %s, and then: bootagent retry", where, where))
	}
	return nil
}

// wasUnmounted is the error for a volume that the agent found mounted, so that
// nobody has read its disk, and that is not mounted any more.
func (f *filesystem) wasUnmounted() error {
	return fmt.Errorf("%s was unmounted after it was found mounted", f.Mount)
}
