package boot

import (
	"context"

	"bootagent/pkg/host"
	"bootagent/pkg/storage"
)

// Adopt has a filesystem taken for a volume of the plan because a person says whose it
// is, or only says what it would do.
func (b *Boot) Adopt(ctx context.Context, volume string, want storage.Adoption) (answer string, err error) {
	v := b.volumes[volume]
	if v == nil {
		return "", b.noVolume(volume)
	}
	var data []host.Data
	for _, d := range b.plan.Data {
		if d.Volume == volume {
			data = append(data, host.Data{Name: d.Name, Engine: string(d.Engine), Owner: d.Owner, Group: d.Group, Mode: d.Mode, Bind: d.Bind, Dir: d.Dir})
		}
	}
	return v.AdoptAs(ctx, want, data)
}
