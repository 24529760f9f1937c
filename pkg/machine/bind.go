package machine

import (
	"context"
	"log/slog"

	"bootagent/pkg/data/auto"
	"bootagent/pkg/machine/engines"
	"bootagent/pkg/role"
	"bootagent/pkg/systemd"
)

// Bind returns a plan with a path for all data that is bound to auto, as an agent
// of this machine would find it now: see auto.Bind. It is for commands that show
// it, and keeps nothing.
func Bind(ctx context.Context, runDir string, plan role.Plan) (role.Plan, error) {
	if !auto.Unbound(plan) {
		return plan, nil
	}
	log := slog.New(slog.DiscardHandler)
	former, err := (&Keeper{RunDir: runDir}).InForce()
	if err != nil {
		return plan, err
	}
	manager := systemd.Beside(runDir, log)
	children := NewChildren(log, manager)
	defer children.Close()
	return auto.Bind(ctx, engines.Engines{Manager: manager, Children: children}, mounts{manager, children}, plan, former)
}
