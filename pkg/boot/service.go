package boot

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"bootagent/pkg/data"
	"bootagent/pkg/graph"
	"bootagent/pkg/role"
	"bootagent/pkg/service"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/stop"
	"bootagent/pkg/unit"
)

// dataConfig is what a data directory has to know.
func (b *Boot) dataConfig(d role.Data) data.Config {
	c := data.Config{Graph: b.Graph, Host: b.host, Volume: b.volumes[d.Volume]}
	for _, other := range b.plan.Data {
		if other.Volume == d.Volume {
			c.OnVolume = append(c.OnVolume, other.Name)
		}
	}
	for _, s := range b.plan.Services {
		if slices.Contains(s.Needs, role.Need{Kind: role.KindData, Name: d.Name}) {
			c.Services = append(c.Services, s.Unit)
		}
	}
	return c
}

// serviceConfig is what a service with these needs has to know.
func (b *Boot) serviceConfig(needs []role.Need) service.Config {
	c := service.Config{Graph: b.Graph, Host: b.host, Log: b.log, Unmounted: b.unmounted}
	for _, need := range needs {
		switch need.Kind {
		case role.KindVolume:
			v := b.volumes[need.Name]
			c.After = append(c.After, v.Ready())
			c.Mounts, c.Volumes = append(c.Mounts, v.Mount), append(c.Volumes, v)
		case role.KindData:
			d := b.data[need.Name]
			c.After = append(c.After, d.There())
			c.Mounts, c.Volumes = append(c.Mounts, d.On().Mount, d.Bind), append(c.Volumes, d.On())
		case role.KindSecret:
			c.After = append(c.After, b.secrets[need.Name].opened)
		}
	}
	slices.Sort(c.Mounts)
	c.Mounts = slices.Compact(c.Mounts)
	return c
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

// stopped says how the services that stand on a volume stopped: whether any of them
// ran since the volume was mounted, and what was not clean about it, or "".
func (b *Boot) stopped(ctx context.Context, v *storage.Volume) (ran bool, why string, err error) {
	mounted, err := b.host.Runs.Began(ctx, unit.MountAt(v.Mount))
	if err != nil {
		return false, "", err
	}
	for _, s := range b.services {
		if !slices.Contains(s.Volumes, service.Volume(v)) {
			continue
		}
		since, err := s.RanSince(ctx, mounted)
		if err != nil {
			return ran, why, err
		}
		if since {
			ran, why = true, cmp.Or(why, s.UncleanStop(ctx))
		}
	}
	return ran, why, nil
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

// Held says of each service that may not start yet which step holds it, from
// the progress of all steps.
func (b *Boot) Held(progress []graph.Progress) map[string]graph.Progress {
	at := make(map[string]graph.Progress, len(progress))
	for _, p := range progress {
		at[p.Step] = p
	}
	held := make(map[string]graph.Progress)
	for _, s := range b.services {
		if by := s.Granted().HeldBy(at); by != nil {
			held[s.Unit] = at[by.Name()]
		}
	}
	return held
}
