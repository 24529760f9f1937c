package data

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
)

// unfinishedMax is how many unfinished initialisations may be on a volume. None
// is ever deleted: a person finds out why they did not finish.
const unfinishedMax = 3

// initialize lets the engine make a new database in a directory beside the final
// one, which gets its final name when it is complete and on the disk.
func (d *Directory) initialize(ctx context.Context) error {
	noted, known := d.volume.Ledger().Data[d.Name]
	switch {
	case noted.Ready:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s is absent, but the volume's ledger says that it was there", d.path()),
			"find out what removed it, and restore it; bootagent does not make a new database in its place"))
	case d.IfAbsent != role.Initialize:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s is absent, and the role does not allow bootagent to initialise it", d.path()),
			"restore it; or, for a new database, set if-absent: initialize in the role file; then: bootagent retry"))
	}
	if !known {
		if err := d.mayInitialize(ctx); err != nil {
			return err
		}
	}
	staging, err := d.staging(ctx, noted)
	if err != nil {
		return err
	}
	if err := d.host.Engines.Initialize(ctx, d.at(staging), d.set); err != nil {
		return err
	}
	made, err := d.host.Directories.Examine(ctx, d.at(staging), d.set)
	if err != nil {
		return err
	}
	if made.State != host.Ready {
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s initialised %s, and it is %s: %s", d.Engine, staging, made.State, made.Reason),
			fmt.Sprintf("read its log: journalctl --boot --no-pager --unit bootagent-initialize-%s.service; then: bootagent retry, which initialises another directory", d.Name)))
	}
	if err := d.host.Directories.Publish(ctx, staging, d.path()); err != nil {
		return err
	}
	if err := d.host.Engines.Initialized(ctx, d.at(d.path())); err != nil {
		return err
	}
	return d.noteReady(ctx, made)
}

// mayInitialize refuses a filesystem that may have had this data before.
func (d *Directory) mayInitialize(ctx context.Context) error {
	ledger := d.volume.Ledger()
	for _, name := range slices.Sorted(maps.Keys(ledger.Data)) {
		if was := ledger.Data[name]; was.Ready && !slices.Contains(d.onVolume, name) && !slices.Contains(d.Beside, name) {
			return fault.Permanent(fault.WithHint(
				fmt.Errorf("%s is absent, and the volume's ledger says that it holds the data %q of %s, which the role does not name",
					d.path(), name, strings.TrimSpace(was.Engine+" "+was.Version)),
				fmt.Sprintf("if %q is that data, give it its former name in the role file; to make a new, empty database beside it, "+
					"set beside: [%s] for %q there; then: bootagent retry", d.Name, name, d.Name)))
		}
	}
	strange, err := d.volume.Strange(ctx)
	switch {
	case err != nil:
		return err
	case slices.Contains(strange, storage.LostAndFound):
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s is absent, and %s is not empty: the filesystem was repaired, and the data may be in there",
				d.path(), filepath.Join(d.volume.Mount, storage.LostAndFound)),
			fmt.Sprintf("list what is in there: ls -lA %s; put the data back in its place, or restore the volume from a snapshot; "+
				"if you need nothing of it, move it off the volume; then: bootagent retry", filepath.Join(d.volume.Mount, storage.LostAndFound))))
	case ledger.Made == nil && len(strange) > 0:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s is absent from a filesystem that bootagent did not make and that holds %q", d.path(), strange[0]),
			"if the data is there under another name, set dir: to that name in the role file; then: bootagent retry"))
	}
	return nil
}

// staging returns the directory in which to initialise: the one in which that
// goes on, or that was left empty, or a new one.
func (d *Directory) staging(ctx context.Context, noted storage.LedgerData) (string, error) {
	if noted.Staging != "" {
		dir := filepath.Join(d.volume.Mount, noted.Staging)
		if going, err := d.host.Engines.Initializing(ctx, d.at(dir), d.set); going || err != nil {
			return dir, err
		}
		if names, err := d.host.Directories.Names(ctx, dir); err == nil && len(names) == 0 {
			return dir, nil
		}
	}
	there, err := d.host.Directories.Names(ctx, d.volume.Mount)
	if err != nil {
		return "", err
	}
	for n := 1; n <= unfinishedMax; n++ {
		name := fmt.Sprintf("%s.initializing-%d", d.Dir, n)
		if slices.Contains(there, name) {
			continue
		}
		if err := d.volume.RecordData(ctx, d.Name, storage.LedgerData{Engine: string(d.Engine), Staging: name}); err != nil {
			return "", err
		}
		dir := filepath.Join(d.volume.Mount, name)
		return dir, d.host.Directories.Create(ctx, dir, d.Owner)
	}
	return "", fault.Permanent(fault.WithHint(
		fmt.Errorf("the initialisation of %s was begun %d times, and never succeeded", d.path(), unfinishedMax),
		fmt.Sprintf("read its log: journalctl --boot --no-pager --unit bootagent-initialize-%s.service; then remove %s.initializing-*, which no service ever used, and: bootagent retry", d.Name, d.path())))
}
