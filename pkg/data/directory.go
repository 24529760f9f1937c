package data

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"reflect"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role/directory"
	"bootagent/pkg/storage"
)

// askEngine makes sure that the engine is set to use the path where the data
// directory is bound, and keeps all of its data there or in a part.
func (d *Directory) askEngine(ctx context.Context) error {
	set, err := d.host.Engines.Settings(ctx, d.at(d.path()), d.services)
	if err != nil {
		return err
	}
	if set.Elsewhere, err = d.inParts(set.Elsewhere); err != nil {
		return err
	}
	d.set = set
	if set.DataDirectory == "" || filepath.Clean(set.DataDirectory) == d.Bind {
		return nil
	}
	same, err := d.host.Directories.SameDirectory(ctx, set.DataDirectory, d.Bind)
	if err != nil {
		return err
	}
	switch {
	case !same && d.Auto:
		return fault.Refuse(
			fmt.Sprintf("to bind it to %s: systemctl reboot; as long as nothing is mounted at %s, this is enough: bootagent retry", set.DataDirectory, d.Bind),
			"%s uses the data directory %s, by its own settings, and used %s when bootagent asked it where to bind data %q; the settings were changed since, or the package was upgraded",
			d.Engine, set.DataDirectory, d.Bind, d.Name)
	case !same:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s uses the data directory %s, by its own settings, and the role binds data %q to %s", d.Engine, set.DataDirectory, d.Name, d.Bind),
			fmt.Sprintf("set bind: %s in the role file, or change the settings of the engine; then: bootagent retry", set.DataDirectory)))
	}
	return nil
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
	noted := d.noted()
	switch {
	case noted.Staging == d.copying() && !noted.Ready:
		return d.copied(ctx)
	case found.State == host.Absent, d.Dir == directory.Root && found.Empty && !noted.Ready:
		return d.initialize(ctx)
	case found.Empty && noted.Filled:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s is empty, but the volume's ledger says that it was not", d.path()),
			"find out what emptied it, and restore what was in it; bootagent does not start a service on an empty directory in its place"))
	case found.State == host.Ready:
		if err := d.host.Engines.Initialized(ctx, d.at(d.path())); err != nil {
			return err
		}
		if err := d.volume.NoteEngine(ctx, d.Name, string(d.Engine), found); err != nil {
			return err
		}
		return d.noteReady(ctx, found)
	}
	return d.refuse(found)
}

// refuse refuses a directory that is not ready.
func (d *Directory) refuse(found host.DirectoryReport) error {
	return fault.Permanent(fault.WithHint(
		fmt.Errorf("%s is not a data directory that %s can start on: it is %s: %s", d.path(), d.service(), found.State, found.Reason),
		found.Hint))
}

// NoteFilled writes into the ledger that the directory is not empty any more. A
// directory that was empty when its service was started is looked at again once the
// service has stopped: whether what is in it was lost later, its files cannot tell.
func (d *Directory) NoteFilled(ctx context.Context) error {
	if was := d.noted(); !was.Ready || was.Filled {
		return nil
	}
	found, err := d.host.Directories.Examine(ctx, d.at(d.path()), d.set)
	if err != nil || found.Empty || found.State == host.Absent {
		return err
	}
	filled := d.noted()
	filled.Filled, filled.Version = true, cmp.Or(found.Version, filled.Version)
	return d.volume.RecordData(ctx, d.Name, filled)
}

// service is how texts call what uses the directory.
func (d *Directory) service() string {
	if d.Plain {
		return "its service"
	}
	return string(d.Engine)
}

// tellMoved tells where the engine kept its data before, if that was elsewhere.
func (d *Directory) tellMoved(ctx context.Context, was string) {
	if was != "" && was != d.Bind {
		graph.Warn(ctx, fmt.Sprintf("%s keeps its data in %s on this machine, and %s is bound there; it was bound to %s before: make sure that nothing else needs it there",
			d.Engine, d.Bind, d.path(), was))
	}
}

// noteReady writes into the ledger that the data is there, if all of it is where
// the role has data.
func (d *Directory) noteReady(ctx context.Context, found host.DirectoryReport) error {
	linked, err := d.inParts(found.Elsewhere)
	if err != nil {
		return err
	}
	was := d.noted()
	parts, err := d.noteParts(ctx, was, append(linked, d.set.Elsewhere...))
	if err != nil {
		return err
	}
	want := storage.LedgerData{
		Engine: string(d.Engine), Version: found.Version,
		Ready: true, Filled: was.Filled || !found.Empty, Parts: parts,
	}
	if d.Auto {
		want.Bind = d.Bind
		d.tellMoved(ctx, was.Bind)
	}
	if reflect.DeepEqual(was, want) {
		return nil
	}
	return d.volume.RecordData(ctx, d.Name, want)
}
