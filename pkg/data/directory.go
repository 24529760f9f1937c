package data

import (
	"context"
	"fmt"
	"path/filepath"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/storage"
)

// askEngine makes sure that the engine is set to use the path where the data
// directory is bound.
func (d *Directory) askEngine(ctx context.Context) error {
	told, err := d.host.Engines.Settings(ctx, d.at(d.path()), d.services)
	if err != nil {
		return err
	}
	if err := refuseElsewhere(told.DataDirectory, told.Elsewhere); err != nil {
		return err
	}
	set := told.DataDirectory
	d.set = told
	if filepath.Clean(set) == d.Bind {
		return nil
	}
	same, err := d.host.Directories.SameDirectory(ctx, set, d.Bind)
	if err != nil {
		return err
	}
	if !same {
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s uses the data directory %s, by its own settings, and the role binds data %q to %s", d.Engine, set, d.Name, d.Bind),
			fmt.Sprintf("set bind: %s in the role file, or change the settings of the engine; then: bootagent retry", set)))
	}
	return nil
}

// refuseElsewhere refuses data that is outside of its data directory, where
// nothing checks it.
func refuseElsewhere(dir string, places []host.Place) error {
	if len(places) == 0 {
		return nil
	}
	return fault.Permanent(fault.WithHint(
		fmt.Errorf("a part of the data is outside of the data directory %s: %s is %s", dir, places[0].Setting, places[0].Value),
		fmt.Sprintf("stop the engine, move that data into the data directory, and remove %s; then: bootagent retry", places[0].Setting)))
}

// directory checks the data directory. The engine makes it if the volume never
// had one and the role allows it.
func (d *Directory) directory(ctx context.Context) error {
	return d.unlessGone(ctx, d.examine(ctx))
}

// unlessGone starts again at the disk if that is gone and caused the error. Its
// mounts may stay until no service uses them.
func (d *Directory) unlessGone(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if gone, findErr := d.volume.Gone(ctx); findErr == nil && gone {
		d.volume.Lost("its disk is gone")
	}
	return err
}

func (d *Directory) examine(ctx context.Context) error {
	found, err := d.host.Directories.Examine(ctx, d.at(d.path()), d.set)
	if err != nil {
		return err
	}
	switch found.State {
	case host.Absent:
		return d.initialize(ctx)
	case host.Ready:
		if err := refuseElsewhere(d.path(), found.Elsewhere); err != nil {
			return err
		}
		if err := d.host.Engines.Initialized(ctx, d.at(d.path())); err != nil {
			return err
		}
		if err := d.volume.NoteEngine(ctx, d.Name, string(d.Engine), found); err != nil {
			return err
		}
		return d.noteReady(ctx, found)
	default:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s is not a data directory that %s can start on: it is %s: %s", d.path(), d.Engine, found.State, found.Reason),
			found.Hint))
	}
}

// noteReady writes into the ledger that the data is there.
func (d *Directory) noteReady(ctx context.Context, found host.DirectoryReport) error {
	want := storage.LedgerData{Engine: string(d.Engine), Version: found.Version, Ready: true}
	if d.volume.Ledger().Data[d.Name] == want {
		return nil
	}
	return d.volume.RecordData(ctx, d.Name, want)
}
