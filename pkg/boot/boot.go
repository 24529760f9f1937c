// Package boot is the way of an instance to its role: which steps there are, what
// each needs, when each is tried again, and what stops it.
//
// It decides, and changes nothing itself: it asks the interfaces of package host.
package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"bootagent/pkg/data"
	"bootagent/pkg/files"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/service"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/grow"
	"bootagent/pkg/storage/health"
	"bootagent/pkg/storage/stop"
	"bootagent/pkg/unit"
)

// A Boot is a plan being made true, and kept true, on one instance.
type Boot struct {
	*graph.Graph
	plan     role.Plan
	host     host.Host
	log      *slog.Logger
	volumes  map[string]*storage.Volume
	growths  map[string]*grow.Growth // by volume
	health   map[string]*health.Health
	data     map[string]*data.Directory
	secrets  map[string]*secret
	files    map[string]*files.File
	services []*service.Service
	unlocked *graph.Step              // nil where no secret needs a key
	left     atomic.Pointer[[]string] // see LeftAlone
	bypassed map[string]host.Bypass   // that are in force, by unit
}

// New adds the steps of a plan. This is the whole way of a boot:
func New(plan role.Plan, h host.Host, log *slog.Logger) *Boot {
	b := &Boot{
		Graph: graph.New(), plan: plan, host: h, log: log,
		volumes: make(map[string]*storage.Volume), growths: make(map[string]*grow.Growth), health: make(map[string]*health.Health), data: make(map[string]*data.Directory), secrets: make(map[string]*secret),
		files: make(map[string]*files.File),
	}
	b.RetryWithin = h.RetryWithin
	b.applyBypasses()
	for _, v := range plan.Volumes {
		b.volumes[v.Name] = storage.Add(storage.Config{Graph: b.Graph, Host: b.host, Role: plan.Role, Log: log, Release: b.release}, v)
	}
	b.addSecrets(plan.Secrets)
	for _, f := range plan.Files {
		b.files[f.Name] = files.Add(b.fileConfig(f), f)
	}
	for _, d := range dataInOrder(plan.Data) {
		b.data[d.Name] = data.Add(b.dataConfig(d), d)
	}
	for _, v := range plan.Volumes {
		b.growths[v.Name] = grow.Add(b.growConfig(v), v)
		b.health[v.Name] = health.Add(b.healthConfig(v), v)
	}
	for _, s := range plan.Services {
		b.services = append(b.services, service.Add(b.serviceConfig(s), s))
	}
	return b
}

// Run makes the plan true and keeps it so until ctx ends. After every change,
// report gets the progress of all steps.
func (b *Boot) Run(ctx context.Context, report func([]graph.Progress)) {
	b.Graph.Run(ctx, b.log, report)
}

// Units are the names of the units whose changes the plan depends on.
func (b *Boot) Units() map[string]bool {
	units := make(map[string]bool)
	for _, v := range b.volumes {
		units[unit.MountAt(v.Mount)] = true
	}
	for _, d := range b.data {
		units[unit.MountAt(d.Bind)] = true
	}
	for _, s := range b.services {
		units[s.Unit], units[unit.GrantOf(s.Unit)] = true, true
	}
	return units
}

// Changed takes note of a unit that changed, and has the steps run again that
// it undoes. While the machine shuts down, what stops is meant to stop. After
// an error, which is that of host.Units, nothing was noted.
func (b *Boot) Changed(ctx context.Context, c service.Change) error {
	undo := b.undoneBy(ctx, c)
	if undo == nil {
		return nil
	}
	if stopping, err := b.host.Shutdown.Stopping(ctx); stopping || err != nil {
		return err
	}
	undo()
	return nil
}

// undoneBy returns what has the steps run again that a change undoes, or nil.
func (b *Boot) undoneBy(ctx context.Context, c service.Change) (undo func()) {
	for _, v := range b.ordered() {
		if c.Down() && c.Unit == unit.MountAt(v.Mount) {
			return func() { b.unmounted(v.Mount) }
		}
	}
	for _, d := range b.plan.Data {
		if c.Down() && c.Unit == unit.MountAt(d.Bind) {
			return func() { b.unmounted(d.Bind) }
		}
	}
	for _, s := range b.services {
		if undo := s.UndoneBy(ctx, c); undo != nil {
			return undo
		}
	}
	return nil
}

// unmounted starts over from the disk of what is not mounted any more.
func (b *Boot) unmounted(where string) {
	why := where + " is not mounted any more"
	for _, v := range b.ordered() {
		if v.Mount == where {
			v.Lost(why)
		}
	}
	for _, d := range b.plan.Data {
		if d.Bind == where {
			b.Invalidate(b.data[d.Name].There(), why, b.data[d.Name].On().Device())
		}
	}
}

// ordered are the volumes in the order of the plan.
func (b *Boot) ordered() (volumes []*storage.Volume) {
	for _, v := range b.plan.Volumes {
		volumes = append(volumes, b.volumes[v.Name])
	}
	return volumes
}

// DiskChanged runs the failed steps of a volume again, and looks whether it can grow,
// if the event is about its disk, and what is known of that disk has changed.
func (b *Boot) DiskChanged(ctx context.Context, e host.DiskEvent) {
	for _, v := range b.ordered() {
		if why := v.DiskChanged(ctx, e); why != "" {
			b.growths[v.Name].Again(why)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// Follow has steps run again that a change of a unit undoes, until next, which
// returns the name of a unit that may have changed, gives an error.
func (b *Boot) Follow(ctx context.Context, next func(context.Context) (unit string, err error)) {
	last := make(map[string]string)
	for {
		unit, err := next(ctx)
		if err != nil {
			return
		}
		state, err := b.host.Units.State(ctx, unit)
		if err == nil {
			change := service.Change{Unit: unit, Active: state.Active, Again: last[unit] == state.Active}
			err = b.Changed(ctx, change)
		}
		switch {
		case err == nil:
			last[unit] = state.Active
		case ctx.Err() == nil:
			// systemd closed the connection. With the next one, all are told of.
			b.log.Warn("will look again", "unit", unit, "error", err)
		}
	}
}

// RetryNow runs every failed step again, writes the files again that have tags, and starts every service that could
// run and does not, those that a person stopped among them.
func (b *Boot) RetryNow(ctx context.Context) error {
	err := b.StartAgain(ctx)
	for _, f := range b.files {
		f.Again("bootagent retry")
	}
	b.Retry()
	return err
}

// StartAgain starts every service that could run and does not, those that a
// person stopped among them.
func (b *Boot) StartAgain(ctx context.Context) error {
	var errs []error
	for _, s := range b.services {
		errs = append(errs, s.StartAgain(ctx))
	}
	return errors.Join(errs...)
}

// StoppedServices notes in each volume's ledger how the services that use it
// were stopped, and which of its data directories are not empty any more. It does
// so only while the machine shuts down: at any other time the services go on
// without the agent.
func (b *Boot) StoppedServices(ctx context.Context) error {
	stopping, err := b.host.Shutdown.Stopping(ctx)
	if err != nil || !stopping {
		return err
	}
	var errs []error
	for _, v := range b.ordered() {
		stopped := func(ctx context.Context) (*stop.Stop, error) {
			errs = append(errs, b.noteFilled(ctx, v))
			return b.stopped(ctx, v)
		}
		if err := v.RecordStop(ctx, stopped); err != nil {
			errs = append(errs, fmt.Errorf("volume %s: %w", v.Name, err))
		}
	}
	return errors.Join(errs...)
}
