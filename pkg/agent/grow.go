package agent

import (
	"context"
	"errors"

	"bootagent/pkg/fault"
	"bootagent/pkg/storage"
)

var errNoVolumes = fault.WithHint(errors.New("the agent has no plan, so it knows no volume"), "bootagent status says why it has none")

// Grow grows a volume of the plan because a person asks for it, or only says what it
// would do.
func (a *Agent) Grow(ctx context.Context, volume string, only bool) (answer string, err error) {
	b := a.Boot()
	if b == nil {
		return "", errNoVolumes
	}
	return b.Grow(ctx, volume, only)
}

// Adopt has a filesystem taken for a volume of the plan because a person says whose it
// is, or only says what it would do.
func (a *Agent) Adopt(ctx context.Context, volume string, want storage.Adoption) (answer string, err error) {
	b := a.Boot()
	if b == nil {
		return "", errNoVolumes
	}
	return b.Adopt(ctx, volume, want)
}
