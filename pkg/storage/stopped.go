package storage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/stop"
)

// A ledger without Stopped says that the volume is in use. It says so, on the disk,
// before any service is granted that uses the volume. So if it says that the
// services stopped cleanly, then no service has run since.

// recordUse writes into the ledger that this machine has the volume now, and how
// the services had stopped before. It has the source keep which disk it is.
func (f *filesystem) recordUse(ctx context.Context) error {
	if err := f.source.keep(); err != nil {
		return err
	}
	before, now := f.current(), f.thisUse()
	if before.Stopped == nil && before.Use().Same(now) && !f.fresh {
		f.last.Store(before.Before)
		return nil
	}
	if !f.source.exclusive() && before.Instance != "" && before.Instance != now.Machine && before.Stopped == nil {
		graph.Warn(ctx, fmt.Sprintf("the ledger of disk %s says that %s had it last and did not stop: "+
			"if that machine still runs, it must not use this disk", f.disk.Serial, before.Instance))
	}
	stopped, err := f.stopBefore(before, now)
	if err != nil {
		return err
	}
	err = f.record(ctx, func(l *Ledger) {
		l.Generation++
		l.Instance, l.BootID, l.DiskSeq = now.Machine, now.BootID, now.DiskSeq
		l.Stopped, l.Before = nil, stopped
	})
	if err != nil {
		return err
	}
	f.fresh = false
	f.last.Store(stopped)
	f.engines.begin()
	f.tell()
	return nil
}

// thisUse is the use of the volume by this machine in this boot.
func (f *filesystem) thisUse() stop.Use {
	return stop.Use{Machine: f.host.Machine.ID, BootID: f.host.Machine.BootID, DiskSeq: f.disk.Seq}
}

// stopBefore returns how the services had stopped, from the ledger as it was. It is
// nil if no service has used the volume.
func (f *filesystem) stopBefore(before *Ledger, now stop.Use) (*stop.Stop, error) {
	switch {
	case before.Stopped != nil:
		stopped := *before.Stopped
		stopped.On = cmp.Or(stopped.On, before.Instance)
		return &stopped, nil
	case before.Instance == "":
		return nil, nil
	}
	var released time.Time
	if before.Instance == now.Machine && before.BootID != now.BootID {
		var err error
		if released, err = f.host.Releases.Released(before.BootID, f.Name); err != nil {
			return nil, err
		}
	}
	stopped := stop.Unnoted(before.Use(), now, released)
	return &stopped, nil
}

// tell logs how the services had stopped.
func (v *Volume) tell() {
	switch stopped := v.last.Load(); {
	case stopped == nil:
	case stopped.Clean && !stopped.Disagrees():
		v.log.Info("volume "+v.Name+": "+stopped.String(), "volume", v.Name)
	default:
		v.log.Warn("volume "+v.Name+": "+stopped.String(), "volume", v.Name)
	}
}

// LastStop returns how the services had stopped before the volume was taken into
// use. It is nil if no service has used the volume before, or if it is not in use.
func (v *Volume) LastStop() *stop.Stop { return v.last.Load() }

// NoteEngine keeps what an engine's own files say of its last stop. It does so only
// the first time since this agent has taken the volume into use: later, the engine
// may run.
func (v *Volume) NoteEngine(ctx context.Context, data, engine string, found host.DirectoryReport) error {
	if !v.engines.isNew(data) || v.last.Load() == nil {
		return nil
	}
	if found.LastStop != host.StopUnknown {
		err := v.filesystem.record(ctx, func(l *Ledger) {
			noted := *l.Before
			noted.Engines = append(slices.Clone(noted.Engines), stop.Engine{
				Data: data, Name: engine, Clean: found.LastStop == host.StopClean, Says: found.LastStopSays,
			})
			l.Before = &noted
			v.last.Store(&noted)
		})
		if err != nil {
			return err
		}
		v.tell()
	}
	v.engines.note(data)
	return nil
}

// RecordStop writes into the ledger how the services that use the volume stopped,
// which stopped says, but for when and where. It is nil if none of them ran since the
// volume was mounted: then they have last stopped as before. If the volume is not
// mounted, or its ledger does not have this use of it yet, RecordStop does nothing:
// what the ledger says is of a former use.
func (v *Volume) RecordStop(ctx context.Context, stopped func(context.Context) (*stop.Stop, error)) error {
	if mounted, err := v.filesystem.isMounted(); err != nil || !mounted || v.filesystem.ledger == nil {
		return err
	}
	if !v.filesystem.current().Use().Same(v.filesystem.thisUse()) {
		return nil
	}
	last, err := stopped(ctx)
	if err != nil {
		return err
	}
	if last == nil {
		last = v.filesystem.current().Before
	} else {
		last.At, last.On = *now(), v.host.Machine.ID
	}
	if last == nil { // no service has run on it that its ledger knows of
		last = &stop.Stop{At: *now(), On: v.host.Machine.ID, Clean: true}
		if v.filesystem.current().Adopted != nil {
			last.Clean, last.Why = false, "no service has run since the filesystem was adopted, and how it was left before that is not known"
		}
	}
	if err := v.filesystem.record(ctx, func(l *Ledger) { l.Stopped = last }); err != nil {
		return err
	}
	v.last.Store(last)
	v.tell()
	return nil
}

// asked are the data whose engine was asked since this agent has taken the volume
// into use. It is nil if another agent has.
type asked struct {
	mu sync.Mutex
	of map[string]bool
}

func (a *asked) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of = make(map[string]bool)
}

// isNew reports whether the engine was not asked yet.
func (a *asked) isNew(data string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of != nil && !a.of[data]
}

func (a *asked) note(data string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[data] = true
}
