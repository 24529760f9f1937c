// Package storage brings up the volumes of a plan: it finds the disk of each,
// has it attached, checks that it is the one that is meant, makes a filesystem
// on it where that is allowed and the disk is proven blank, and mounts it.
//
// A volume is made of layers, which layers.go lists. Each layer adds its steps
// to the graph of a boot. The package reads and changes nothing itself: it asks
// the interfaces of package host. It knows nothing of services and engines.
package storage

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage/known"
	"bootagent/pkg/storage/ledger"
	"bootagent/pkg/storage/stop"
)

// What a volume says of itself, and of one data directory on it; see package ledger.
type (
	Ledger     = ledger.Ledger
	LedgerData = ledger.Data
)

// A Config is what a volume needs to know of the boot that it is part of.
type Config struct {
	Graph *graph.Graph // gets the steps
	Host  host.Host
	Role  string // of this instance; a ledger has to name it
	Log   *slog.Logger

	// Release returns when nothing that the boot started uses what is mounted
	// from the volume: its services have stopped, and what was bound from it is
	// unmounted. It is called before a mount is unmounted whose disk is gone.
	Release func(ctx context.Context, v *Volume) error
}

// A Volume is one volume of a plan on its way to being mounted.
type Volume struct {
	role.Volume
	graph   *graph.Graph
	host    host.Host
	role    string
	log     *slog.Logger
	release func(context.Context, *Volume) error

	source     source
	filesystem *filesystem

	device  *graph.Step   // the disk is there; all above it starts over from here
	mounted *graph.Step   // the volume is mounted
	ready   *graph.Step   // its ledger says that this machine has it
	steps   []*graph.Step // all that are about its disk, in their order

	last    atomic.Pointer[stop.Stop] // see LastStop
	engines asked

	known known.Known // of its disk, by which events are told apart
	disk  host.Disk   // that the source found, from the step "device" on
}

// Add adds the steps of a volume to a graph.
func Add(c Config, plan role.Volume) *Volume {
	v := &Volume{Volume: plan, graph: c.Graph, host: c.Host, role: c.Role, log: c.Log, release: c.Release}
	all := v.sources()
	v.source = all[max(0, slices.IndexFunc(all, func(s candidate) bool { return s.meant }))].source // a plan means one of them
	v.filesystem = newFilesystem(v)
	add := &steps{volume: v}
	for _, layer := range v.layers() {
		layer.add(add)
	}
	return v
}

// Include takes steps of others that read or change what is on the volume: the
// volume's timeout is theirs, too, and they run again when its disk changes.
func (v *Volume) Include(steps ...*graph.Step) {
	for _, step := range steps {
		v.steps = append(v.steps, step.Within(v.Timeout))
	}
}

// Ready is the step that is done when the volume can be used.
func (v *Volume) Ready() *graph.Step { return v.ready }

// Device is the step that finds the volume's disk, where all that stands on the
// disk starts over when the disk is lost.
func (v *Volume) Device() *graph.Step { return v.device }

// Lost starts over from the disk if the volume was mounted.
func (v *Volume) Lost(why string) { v.graph.Invalidate(v.mounted, why, v.device) }

// Serial is the serial number of the volume's disk, or "" if it is not known yet
// which disk is meant.
func (v *Volume) Serial() string { return v.source.serial() }

// ID is the ID of the EBS volume, or "" if it is not known, or the disk is not one.
func (v *Volume) ID() string { return v.source.volumeID() }

// Dev is the device number of what is mounted from the volume, as in st_dev.
func (v *Volume) Dev() uint64 { return v.disk.Dev }

// Gone reports whether the volume's disk is not there. A disk that was pulled
// and has come back is another device than the one that is mounted, which stays
// gone.
func (v *Volume) Gone(ctx context.Context) (bool, error) {
	disk, there, err := v.host.Disks.Find(ctx, v.Serial())
	if err != nil || !there {
		return err == nil, err
	}
	dev, mounted, err := v.host.Mounts.At(v.Mount)
	return mounted && dev != disk.Dev, err
}

// Ledger is the ledger of the volume as it is now. Do not change it.
func (v *Volume) Ledger() *Ledger { return v.filesystem.current() }

// RecordData writes into the ledger what is known of a data directory.
func (v *Volume) RecordData(ctx context.Context, name string, d LedgerData) error {
	return v.filesystem.record(ctx, func(l *Ledger) {
		if l.Data == nil {
			l.Data = make(map[string]LedgerData)
		}
		l.Data[name] = d
	})
}

// Strange returns the names in the root directory of the mounted volume, without
// an empty lost+found.
func (v *Volume) Strange(ctx context.Context) ([]string, error) {
	names, err := v.host.Directories.Names(ctx, v.Mount)
	if err != nil {
		return nil, err
	}
	return withoutLostAndFound(ctx, v.host.Directories, v.Mount, names)
}

// steps adds the steps of one volume to its graph. Each needs the one before.
type steps struct {
	volume *Volume
	last   *graph.Step
	from   *graph.Step // where a retry of the next step begins; nil is at itself
}

// device adds the step that finds the disk of the source. Where a step above it
// fails, a retry begins there.
func (s *steps) device() {
	s.from = s.then("device", s.volume.findDevice)
	s.volume.device = s.from
}

// then adds the next step.
func (s *steps) then(name string, run func(context.Context) error) *graph.Step {
	needs := slices.DeleteFunc([]*graph.Step{s.last}, func(need *graph.Step) bool { return need == nil })
	step := s.volume.graph.Add("volume "+s.volume.Name+": "+name, run, needs...)
	if s.from != nil {
		step.From(s.from)
	}
	s.volume.Include(step)
	s.last = step
	return step
}
