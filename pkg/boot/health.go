package boot

import (
	"context"
	"time"

	"bootagent/pkg/storage/health"
)

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
