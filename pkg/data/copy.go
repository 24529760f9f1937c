package data

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role/directory"
	"bootagent/pkg/storage"
)

// mayCopy refuses a directory of the image that the engine could not start on.
func (d *Directory) mayCopy(ctx context.Context) error {
	of := d.at(d.CopyFrom)
	found, err := d.host.Directories.Examine(ctx, of, d.set)
	switch {
	case err != nil:
		return err
	case found.State == host.Absent:
		return fault.Refuse("build an image that has it, or set another copy-from: for the data in the role file; then: bootagent retry",
			"%s, of which data %q is to be a copy, is not in this image", d.CopyFrom, d.Name)
	case found.State != host.Ready:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s, of which data %q is to be a copy, is %s: %s", d.CopyFrom, d.Name, found.State, found.Reason), found.Hint))
	}
	return nil
}

// isWhole compares a copy with what it is a copy of.
func (d *Directory) isWhole(ctx context.Context, staging string) error {
	differs, err := d.host.Directories.Compare(ctx, d.CopyFrom, staging)
	if err == nil && differs != "" {
		err = d.host.Engines.Initialized(ctx, d.at(staging)) // the next attempt copies to another directory
	}
	if err == nil && differs != "" {
		err = fault.Permanent(fault.WithHint(
			fmt.Errorf("%s is not a whole copy of %s: %s", staging, d.CopyFrom, differs),
			fmt.Sprintf("read its log: journalctl --boot --no-pager --unit bootagent-initialize-%s.service; make sure that nothing writes to %s; "+
				"then: bootagent retry, which copies to another directory", d.Name, d.CopyFrom)))
	}
	return err
}

// copying is the name of the directory into which a person copies the data. It is
// the sign that it is not complete: it goes when that person renames it, or removes
// it.
func (d *Directory) copying() string { return d.Dir + ".copying" }

// ask makes the directory into which a person copies the data, and waits for that
// person. The ledger has the name of it first, so that whatever gets the final name
// later is told from what was there before.
func (d *Directory) ask(ctx context.Context) error {
	if err := d.volume.RecordData(ctx, d.Name, storage.LedgerData{Engine: string(d.Engine), Staging: d.copying()}); err != nil {
		return err
	}
	return d.copied(ctx)
}

// copied waits until a person has copied the data, and says so by the name of the
// directory.
func (d *Directory) copied(ctx context.Context) error {
	ask := d.isCopied
	if d.IfAbsent != directory.Wait {
		return d.notAsked(ctx)
	}
	err := d.graph.AwaitSince(ctx, graph.Since(ctx), graph.MaxRest, d.volume.Timeout, ask)
	if expired := (*fault.Expired)(nil); errors.As(err, &expired) {
		err = d.graph.KeepAsking(ctx, expired, graph.MaxRest, graph.MaxRest, ask)
	}
	if err != nil {
		return err
	}
	return d.takeCopy(ctx)
}

// isCopied is a *fault.Pending until a person has copied the data.
func (d *Directory) isCopied(ctx context.Context) error {
	there, copying, err := d.look(ctx)
	if err != nil {
		return err
	}
	into := filepath.Join(d.volume.Mount, d.copying())
	switch {
	case there && copying:
		return &fault.Pending{
			For: fmt.Sprintf("somebody to finish the copy of data %q: %s is there, and so is %s", d.Name, d.path(), into),
			Hint: fmt.Sprintf("when all of the data is in %s: rmdir %s; if it is in the other: rmdir %s; mv --no-target-directory %s %s",
				d.path(), into, d.path(), into, d.path()),
		}
	case there:
		return nil
	case !copying:
		if err := d.host.Directories.Create(ctx, d.at(into)); err != nil {
			return err
		}
	}
	return &fault.Pending{
		For: fmt.Sprintf("somebody to copy data %q to %s", d.Name, d.path()),
		Hint: fmt.Sprintf("copy it into %s, with its owners (rsync --archive, or cp --archive); when all of it is there: mv --no-target-directory %s %s",
			into, into, d.path()),
	}
}

// look tells whether the directory has its final name, and whether there is one
// that a person copies into.
func (d *Directory) look(ctx context.Context) (there, copying bool, err error) {
	names, err := d.host.Directories.Names(ctx, d.volume.Mount)
	return slices.Contains(names, d.Dir), slices.Contains(names, d.copying()), err
}

// notAsked goes on where the role does not wait for a copy any more that a person
// was asked for.
func (d *Directory) notAsked(ctx context.Context) error {
	there, copying, err := d.look(ctx)
	switch {
	case err != nil:
		return err
	case there && copying:
		return fault.Refuse(
			fmt.Sprintf("when all of the data is in %s: rmdir %s; then: bootagent retry", d.path(), filepath.Join(d.volume.Mount, d.copying())),
			"a person was asked to copy data %q to %s, and did not finish: %s is there, too", d.Name, d.path(), d.copying())
	case there:
		return d.takeCopy(ctx)
	}
	return d.initialize(ctx)
}

// takeCopy takes what a person has copied, when all of it is on the disk.
func (d *Directory) takeCopy(ctx context.Context) error {
	found, err := d.host.Directories.Examine(ctx, d.at(d.path()), d.set)
	switch {
	case err != nil:
		return err
	case found.State != host.Ready:
		return d.refuse(found)
	case found.Empty:
		return fault.Refuse(
			fmt.Sprintf("if there is no data to copy, set if-absent: initialize in the role file; else remove the empty directory: rmdir %s; then: bootagent retry", d.path()),
			"%s is empty, and data %q was to be copied to it", d.path(), d.Name)
	}
	if err := d.host.Directories.Sync(ctx, d.path()); err != nil {
		return err
	}
	return d.noteReady(ctx, found)
}
