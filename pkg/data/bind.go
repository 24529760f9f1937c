package data

import (
	"context"
	"errors"
	"fmt"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

// bind mounts the data directory where its engine looks for it.
func (d *Directory) bind(ctx context.Context) error {
	if err := d.unlessGone(ctx, d.mountBind(ctx)); err != nil {
		return err
	}
	if d.set.Inside {
		return d.unlessGone(ctx, d.askEngine(ctx))
	}
	return nil
}

func (d *Directory) mountBind(ctx context.Context) error {
	dev, mounted, err := d.host.Mounts.At(d.Bind)
	if err != nil {
		return err
	}
	if mounted && dev != d.volume.Dev() {
		// A process may have held this alone of the disk that was pulled.
		if err := d.volume.UnmountStale(ctx, d.Bind); err != nil {
			return err
		}
		if _, mounted, err = d.host.Mounts.At(d.Bind); err != nil {
			return err
		}
	}
	if !mounted {
		err := d.host.Mounts.Mount(ctx, host.Mount{
			What: d.path(), Where: d.Bind, On: d.volume.Mount,
			Options: []string{"bind", "nosuid", "nodev"},
		})
		if err != nil {
			return err
		}
	}
	graph.Observed(ctx) // earlier events of the mount are older than this
	same, err := d.host.Directories.SameDirectory(ctx, d.path(), d.Bind)
	switch {
	case err == nil && same:
		return nil
	case err == nil:
		err = fault.Permanent(fault.WithHint(
			fmt.Errorf("something other than %s is mounted at %s", d.path(), d.Bind),
			fmt.Sprintf("findmnt %s shows what it is; if it is not needed there: umount %s; then: bootagent retry", d.Bind, d.Bind)))
	}
	if !mounted {
		err = errors.Join(err, d.host.Mounts.Unmount(context.WithoutCancel(ctx), d.Bind))
	}
	return err
}
