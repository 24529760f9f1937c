package boot

import (
	"context"
	"slices"
	"time"

	"bootagent/pkg/role"
	"bootagent/pkg/service"
	"bootagent/pkg/storage/health"
)

// healthConfig is what the health of a volume has to know.
func (b *Boot) healthConfig(v role.Volume) health.Config {
	return health.Config{Graph: b.Graph, Host: b.host, Device: b.volumes[v.Name].Device(), Services: func() (units []string) {
		for _, s := range b.services {
			if slices.Contains(s.Volumes, service.Volume(b.volumes[v.Name])) {
				units = append(units, s.Unit)
			}
		}
		return units
	}}
}

// WatchHealth looks now and then whether all volumes can be written, until ctx ends.
func (b *Boot) WatchHealth(ctx context.Context) {
	for {
		select {
		case <-time.After(health.Every):
		case <-ctx.Done():
			return
		}
		for _, v := range b.plan.Volumes {
			b.health[v.Name].Look(ctx)
		}
	}
}
