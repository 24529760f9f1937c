package machine

import (
	"context"
	"fmt"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/filesystem/growfs"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd"
	"bootagent/pkg/unit"
)

// growWithin is how long a growth may take. The kernel is not to be interrupted in
// it, and ext4 is as large as it has come, after each group.
const growWithin = 6 * time.Hour

func growUnit(d host.Disk) string { return unit.CommandOn("grow", d.Serial) }

func (f filesystems) Size(ctx context.Context, d host.Disk, fstype, where string) (size int64, err error) {
	err = reach(ctx, f.disks.children, task{Do: sizeOf, Path: where, Other: d.Path, Dev: d.Dev, Filesystem: fstype}, &size)
	return size, err
}

// Grow runs bootagent growfs in a unit that goes with the mount: the mount waits for
// its end.
func (f filesystems) Grow(ctx context.Context, g host.Growth) error {
	if _, err := f.disks.same(ctx, g.Disk); err != nil {
		return err
	}
	c := systemd.Command{
		Unit: growUnit(g.Disk), Description: "Growing of the filesystem on disk " + g.Disk.Serial,
		Argv: growfs.Argv(g), Writable: []string{g.Where}, Devices: []string{g.Disk.Path}, Timeout: growWithin, Mounts: []string{g.Where},
	}
	tried := try(f.disks.children, c.Unit, g.Disk.Path)
	over, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		f.tell(ctx, g, over)
	}()
	err := f.run(ctx, c)
	close(over)
	<-left
	if !hasFailed(err) {
		return err
	}
	return fault.WithHint(tried.quote(ctx, err), "see what the kernel says: journalctl --dmesg --priority=warning --no-pager; the filesystem is in use as it was")
}

// tell says now and then how large the filesystem is by now.
func (f filesystems) tell(ctx context.Context, g host.Growth, over <-chan struct{}) {
	for {
		select {
		case <-time.After(tellEvery):
		case <-ctx.Done():
			return
		case <-over:
			return
		}
		if size, err := f.Size(ctx, g.Disk, g.Filesystem, g.Where); err == nil {
			graph.Answer(ctx, fmt.Sprintf("it has %d bytes so far", size))
		}
	}
}
