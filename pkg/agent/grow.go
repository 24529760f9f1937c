package agent

import (
	"context"
	"errors"

	"bootagent/pkg/fault"
)

// Grow grows a volume of the plan because a person asks for it, or only says what it
// would do.
func (a *Agent) Grow(ctx context.Context, volume string, only bool) (answer string, err error) {
	b := a.Boot()
	if b == nil {
		return "", fault.WithHint(errors.New("the agent has no plan, so it knows no volume"), "bootagent status says why it has none")
	}
	return b.Grow(ctx, volume, only)
}
