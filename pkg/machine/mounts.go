package machine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bootagent/pkg/child"
	"bootagent/pkg/fault"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/selinux"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// mounts are transient units of PID 1's.
type mounts struct {
	manager  *systemd.Manager
	children *child.Group
}

func (mounts) At(where string) (uint64, bool, error) { return systemd.MountedAt(where) }

func (m mounts) Mount(ctx context.Context, mt host.Mount) error {
	tried := try(m.children, unit.MountAt(mt.Where), mt.What)
	err := m.manager.Mount(ctx, systemd.Mount(mt))
	switch {
	case err == nil:
		return nil
	case mt.Type == "":
		return unbindable(err, selinux.Kernel.Enforces())
	}
	return unmountable(ctx, tried, mt.What, mt.Type, err)
}

func (m mounts) Stale(where string) (bool, error) { return m.manager.Stale(where) }

func (m mounts) Stopped(ctx context.Context, where string) (why string, err error) {
	err = reach(ctx, m.children, task{Do: stopped, Path: where}, &why)
	return why, err
}

func (m mounts) Unmount(ctx context.Context, where string) error {
	held, err := m.manager.Unmount(ctx, where)
	if len(held) > 0 {
		graph.Warn(ctx, fmt.Sprintf("what was mounted at %s before its disk was gone is detached; still held by %s",
			where, strings.Join(held, "; ")))
	}
	return err
}

// hasFailed tells a job whose program was run and failed from one that was
// cancelled, timed out or could not be asked for.
func hasFailed(err error) bool {
	job := (*pid1.JobError)(nil)
	return errors.As(err, &job) && job.Result == "failed"
}

// unbindable is what a bind failed with. mount(8) may be denied it where it is for
// an engine, whose label is that of the engine's data.
func unbindable(err error, enforced bool) error {
	if !enforced || !hasFailed(err) {
		return err
	}
	return fault.WithHint(err, "SELinux enforces its policy here; see what it has denied: ausearch --message AVC --start today; "+
		"allow binds by bootagent's module: semodule --install="+selinux.Module+"; "+
		"or by a boolean: setsebool -P allow_mount_anyfile on, which is mount_anyfile in Red Hat's family; then: bootagent retry")
}

// unmountable is what a mount failed with, what the kernel says of it, and what
// a person can do. Nothing that is hinted at changes the disk.
func unmountable(ctx context.Context, r refusal, device, fstype string, err error) error {
	if fstype == "" || !hasFailed(err) && !errors.Is(err, filesystem.ErrUnmountable) {
		return err
	}
	err = r.quote(ctx, err)
	for _, newer := range []string{
		"unknown incompatible features", "unknown read-only compatible features", // fs/xfs/libxfs/xfs_sb.c
		"unsupported optional features", // fs/ext4/super.c
		"unknown filesystem type",       // mount(8)
		"fsopen: no such device",        // fsopen(2)
	} {
		if strings.Contains(err.Error(), newer) {
			return fault.Permanent(fault.WithHint(err, "the kernel of this image does not know this kind of "+fstype+
				": give the instance an image whose kernel does; nothing was changed"))
		}
	}
	look := "e2fsck -fn "
	if fstype == "xfs" {
		look = "xfs_repair -n "
	}
	return fault.WithHint(err, "see what is wrong, which changes nothing: "+look+device+"; before anything is mended, take a snapshot of the volume")
}
