package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"bootagent/pkg/data"
	"bootagent/pkg/graph"
	"bootagent/pkg/role"
	"bootagent/pkg/service"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/stop"
	"bootagent/pkg/unit"
)

// dataInOrder has plain data first: it may hold a part of other data.
func dataInOrder(all []role.Data) (ordered []role.Data) {
	for _, plain := range []bool{true, false} {
		for _, d := range all {
			if d.Plain == plain {
				ordered = append(ordered, d)
			}
		}
	}
	return ordered
}

// dataConfig is what a data directory has to know.
func (b *Boot) dataConfig(d role.Data) data.Config {
	c := data.Config{Graph: b.Graph, Host: b.host, Volume: b.volumes[d.Volume]}
	for _, other := range b.plan.Data {
		if other.Volume == d.Volume {
			c.OnVolume = append(c.OnVolume, other.Name)
		}
	}
	c.Services = b.plan.ServicesOf(d.Name)
	for _, unit := range c.Services {
		c.Files = append(c.Files, b.filesOf(unit)...)
	}
	for _, other := range b.plan.Data {
		if other.Plain && !d.Plain && b.needTogether(d.Name, other.Name) {
			c.Parts = append(c.Parts, b.data[other.Name])
		}
	}
	return c
}

// needTogether tells whether every service that needs the one data needs the
// other, too.
func (b *Boot) needTogether(one, other string) bool {
	return !slices.ContainsFunc(b.plan.Services, func(s role.Service) bool {
		return slices.Contains(s.Needs, role.Need{Kind: role.KindData, Name: one}) &&
			!slices.Contains(s.Needs, role.Need{Kind: role.KindData, Name: other})
	})
}

// serviceConfig is what a service has to know. A bypass lets it start without some of
// its needs, or without all of them.
func (b *Boot) serviceConfig(s role.Service) service.Config {
	c := service.Config{Graph: b.Graph, Host: b.host, Log: b.log, Mounts: b.plan.MountsOf(s.Unit), Unmounted: b.unmounted}
	for _, need := range s.Needs {
		switch need.Kind {
		case role.KindVolume:
			c.Volumes = append(c.Volumes, b.volumes[need.Name])
		case role.KindData:
			c.Volumes = append(c.Volumes, b.data[need.Name].On())
		}
	}
	if bypass, ok := b.bypassed[s.Unit]; ok {
		c.Bypass = &bypass
		c.After = b.after(s.Needs, func(k role.NeedKind) bool { return isProof(k) && !bypass.WithoutProof })
		c.Secrets = b.secretsOf(s.Unit)
		return c
	}
	c.After = b.after(s.Needs, func(role.NeedKind) bool { return true })
	return c
}

// after are the last steps of the needs of some kinds.
func (b *Boot) after(needs []role.Need, of func(role.NeedKind) bool) (steps []*graph.Step) {
	for _, need := range needs {
		if !of(need.Kind) {
			continue
		}
		switch need.Kind {
		case role.KindVolume:
			steps = append(steps, b.volumes[need.Name].Ready())
		case role.KindData:
			steps = append(steps, b.data[need.Name].There())
		case role.KindSecret:
			steps = append(steps, b.secrets[need.Name].opened)
		case role.KindFile:
			steps = append(steps, b.files[need.Name].Written())
		}
	}
	return steps
}

// release waits until the services that stand on a volume have stopped, if they
// are being stopped, and unmounts what is bound from a disk that is gone.
func (b *Boot) release(ctx context.Context, v *storage.Volume) (err error) {
	for _, s := range b.services {
		if slices.Contains(s.Volumes, service.Volume(v)) {
			err = errors.Join(err, s.Stopped(ctx))
		}
	}
	for _, d := range b.plan.Data {
		if err == nil && d.Volume == v.Name {
			err = v.UnmountStale(ctx, d.Bind)
		}
	}
	return err
}

// noteFilled notes which data directories of a volume are not empty any more.
func (b *Boot) noteFilled(ctx context.Context, v *storage.Volume) error {
	var errs []error
	for _, d := range b.plan.Data {
		if d.Volume != v.Name {
			continue
		}
		if err := b.data[d.Name].NoteFilled(ctx); err != nil {
			errs = append(errs, fmt.Errorf("data %s: %w", d.Name, err))
		}
	}
	return errors.Join(errs...)
}

// stopped says how the services that stand on a volume stopped, or nil if none of them
// ran since the volume was mounted.
func (b *Boot) stopped(ctx context.Context, v *storage.Volume) (last *stop.Stop, err error) {
	mounted, err := b.host.Runs.Began(ctx, unit.MountAt(v.Mount))
	if err != nil {
		return nil, err
	}
	for _, s := range b.services {
		if !slices.Contains(s.Volumes, service.Volume(v)) {
			continue
		}
		ran, err := s.RanSince(ctx, mounted)
		if err != nil {
			return nil, err
		}
		if !ran {
			continue
		}
		if last == nil {
			last = new(stop.Stop)
		}
		last.Why = cmp.Or(last.Why, s.UncleanStop(ctx))
		if s.Bypass != nil {
			last.Bypass = s.Bypass.String()
		}
	}
	if last != nil {
		last.Clean = last.Why == ""
	}
	return last, nil
}

// LastStops says of each volume, by name, how the services on it had stopped before
// it was taken into use. It has no volume of which that is not known.
func (b *Boot) LastStops() map[string]stop.Stop {
	all := make(map[string]stop.Stop)
	for _, v := range b.volumes {
		if last := v.LastStop(); last != nil {
			all[v.Name] = *last
		}
	}
	return all
}

// byStep is the progress of all steps, by their names.
func byStep(progress []graph.Progress) map[string]graph.Progress {
	at := make(map[string]graph.Progress, len(progress))
	for _, p := range progress {
		at[p.Step] = p
	}
	return at
}

// Held says of each service that may not start yet which step holds it, from
// the progress of all steps. One that was granted, by this agent or one before, is
// not held, unless it has lost its disk.
func (b *Boot) Held(progress []graph.Progress, granted func(unit string) bool) map[string]graph.Progress {
	at := byStep(progress)
	held := make(map[string]graph.Progress)
	for _, s := range b.services {
		if by := s.Granted().HeldBy(at); by != nil && (!granted(s.Unit) || s.Lost(at)) {
			held[s.Unit] = at[by.Name()]
		}
	}
	return held
}
