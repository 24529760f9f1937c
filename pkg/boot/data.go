package boot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
)

// A data is one data directory of the plan on its way to its engine.
type data struct {
	role.Data
	boot   *Boot
	volume *storage.Volume
	there  *graph.Step         // the last step
	set    host.EngineSettings // what askEngine was told
}

// unfinishedMax is how many unfinished initialisations may be on a volume. None
// is ever deleted: a person finds out why they did not finish.
const unfinishedMax = 3

// path is where the data directory is on its volume.
func (d *data) path() string { return filepath.Join(d.volume.Mount, d.Dir) }

// at is what the host is asked about the data, for one directory of it.
func (d *data) at(dir string) host.Data {
	return host.Data{Name: d.Name, Engine: string(d.Engine), Owner: d.Owner, Dir: dir}
}

// askEngine makes sure that the engine is set to use the path where the data
// directory is bound.
func (d *data) askEngine(ctx context.Context) error {
	told, err := d.boot.host.Engines.Settings(ctx, d.at(d.path()), d.services())
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
	same, err := d.boot.host.Directories.SameDirectory(ctx, set, d.Bind)
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

// services are the units that need the data. One of them starts the engine.
func (d *data) services() (units []string) {
	for _, s := range d.boot.plan.Services {
		if slices.Contains(s.Needs, role.Need{Kind: role.KindData, Name: d.Name}) {
			units = append(units, s.Unit)
		}
	}
	return units
}

// directory checks the data directory. The engine makes it if the volume never
// had one and the role allows it.
func (d *data) directory(ctx context.Context) error {
	return d.unlessGone(ctx, d.examine(ctx))
}

// unlessGone starts again at the disk if that is gone and caused the error. Its
// mounts may stay until no service uses them.
func (d *data) unlessGone(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if gone, findErr := d.volume.Gone(ctx); findErr == nil && gone {
		d.volume.Lost("its disk is gone")
	}
	return err
}

func (d *data) examine(ctx context.Context) error {
	found, err := d.boot.host.Directories.Examine(ctx, d.at(d.path()), d.set)
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
		if err := d.boot.host.Engines.Initialized(ctx, d.at(d.path())); err != nil {
			return err
		}
		return d.noteReady(ctx, found)
	default:
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s is not a data directory that %s can start on: it is %s: %s", d.path(), d.Engine, found.State, found.Reason),
			found.Hint))
	}
}

// initialize lets the engine make a new database in a directory beside the final
// one, which gets its final name when it is complete and on the disk.
func (d *data) initialize(ctx context.Context) error {
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
	if err := d.boot.host.Engines.Initialize(ctx, d.at(staging), d.set); err != nil {
		return err
	}
	made, err := d.boot.host.Directories.Examine(ctx, d.at(staging), d.set)
	if err != nil {
		return err
	}
	if made.State != host.Ready {
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s initialised %s, and it is %s: %s", d.Engine, staging, made.State, made.Reason),
			fmt.Sprintf("read its log: journalctl --boot --no-pager --unit bootagent-initialize-%s.service; then: bootagent retry, which initialises another directory", d.Name)))
	}
	if err := d.boot.host.Directories.Publish(ctx, staging, d.path()); err != nil {
		return err
	}
	if err := d.boot.host.Engines.Initialized(ctx, d.at(d.path())); err != nil {
		return err
	}
	return d.noteReady(ctx, made)
}

// mayInitialize refuses a filesystem that may have had this data before.
func (d *data) mayInitialize(ctx context.Context) error {
	ledger := d.volume.Ledger()
	for _, name := range slices.Sorted(maps.Keys(ledger.Data)) {
		if was := ledger.Data[name]; was.Ready && !d.boot.hasData(d.Volume, name) && !slices.Contains(d.Beside, name) {
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

// hasData tells whether the plan names data of a name on a volume.
func (b *Boot) hasData(volume, name string) bool {
	return slices.ContainsFunc(b.plan.Data, func(d role.Data) bool { return d.Volume == volume && d.Name == name })
}

// staging returns the directory in which to initialise: the one in which that
// goes on, or that was left empty, or a new one.
func (d *data) staging(ctx context.Context, noted storage.LedgerData) (string, error) {
	if noted.Staging != "" {
		dir := filepath.Join(d.volume.Mount, noted.Staging)
		if going, err := d.boot.host.Engines.Initializing(ctx, d.at(dir), d.set); going || err != nil {
			return dir, err
		}
		if names, err := d.boot.host.Directories.Names(ctx, dir); err == nil && len(names) == 0 {
			return dir, nil
		}
	}
	there, err := d.boot.host.Directories.Names(ctx, d.volume.Mount)
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
		return dir, d.boot.host.Directories.Create(ctx, dir, d.Owner)
	}
	return "", fault.Permanent(fault.WithHint(
		fmt.Errorf("the initialisation of %s was begun %d times, and never succeeded", d.path(), unfinishedMax),
		fmt.Sprintf("read its log: journalctl --boot --no-pager --unit bootagent-initialize-%s.service; then remove %s.initializing-*, which no service ever used, and: bootagent retry", d.Name, d.path())))
}

// noteReady writes into the ledger that the data is there.
func (d *data) noteReady(ctx context.Context, found host.DirectoryReport) error {
	want := storage.LedgerData{Engine: string(d.Engine), Version: found.Version, Ready: true}
	if d.volume.Ledger().Data[d.Name] == want {
		return nil
	}
	return d.volume.RecordData(ctx, d.Name, want)
}

// bind mounts the data directory where its engine looks for it.
func (d *data) bind(ctx context.Context) error {
	return d.unlessGone(ctx, d.mountBind(ctx))
}

func (d *data) mountBind(ctx context.Context) error {
	dev, mounted, err := d.boot.host.Mounts.At(d.Bind)
	if err != nil {
		return err
	}
	if mounted && dev != d.volume.Dev() {
		// A process may have held this alone of the disk that was pulled.
		if err := d.volume.UnmountStale(ctx, d.Bind); err != nil {
			return err
		}
		if _, mounted, err = d.boot.host.Mounts.At(d.Bind); err != nil {
			return err
		}
	}
	if !mounted {
		err := d.boot.host.Mounts.Mount(ctx, host.Mount{
			What: d.path(), Where: d.Bind, On: d.volume.Mount,
			Options: []string{"bind", "nosuid", "nodev"},
		})
		if err != nil {
			return err
		}
	}
	graph.Observed(ctx) // earlier events of the mount are older than this
	same, err := d.boot.host.Directories.SameDirectory(ctx, d.path(), d.Bind)
	switch {
	case err == nil && same:
		return nil
	case err == nil:
		err = fault.Permanent(fault.WithHint(
			fmt.Errorf("something other than %s is mounted at %s", d.path(), d.Bind),
			fmt.Sprintf("findmnt %s shows what it is; if it is not needed there: umount %s; then: bootagent retry", d.Bind, d.Bind)))
	}
	if !mounted {
		err = errors.Join(err, d.boot.host.Mounts.Unmount(context.WithoutCancel(ctx), d.Bind))
	}
	return err
}
