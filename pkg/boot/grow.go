package boot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/role"
	"bootagent/pkg/storage/grow"
)

// growConfig is what the growth of a volume has to know: it begins when no step
// has the volume any more.
func (b *Boot) growConfig(v role.Volume) grow.Config {
	needs := []*graph.Step{b.volumes[v.Name].Ready()}
	for _, d := range b.plan.Data {
		if d.Volume == v.Name {
			needs = append(needs, b.data[d.Name].There())
		}
	}
	return grow.Config{Graph: b.Graph, Host: b.host, Role: b.plan.Role, Log: b.log, Volume: b.volumes[v.Name], Needs: needs}
}

// Grow grows a volume because a person asks for it, or only says what it would do.
func (b *Boot) Grow(ctx context.Context, volume string, only bool) (answer string, err error) {
	if g := b.growths[volume]; g != nil {
		return g.Order(ctx, only)
	}
	return "", b.noVolume(volume)
}

// noVolume refuses the name of a volume that the role does not have.
func (b *Boot) noVolume(volume string) error {
	var names []string
	for _, v := range b.ordered() {
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return fault.Permanent(fmt.Errorf("the role has no volume %q; its volumes are: %s", volume, strings.Join(names, ", ")))
}
