package machine

import (
	"context"
	"log/slog"

	"bootagent/pkg/data/auto"
	"bootagent/pkg/fault"
	"bootagent/pkg/machine/engines"
	"bootagent/pkg/role"
	"bootagent/pkg/systemd"
)

// BindOf is how it is found out where the roles of a root directory bind what is
// bound to auto: this machine is asked, and of an image it is nil.
func BindOf(root, runDir string) func(context.Context, role.Plan) (role.Plan, error) {
	if root != "/" {
		return nil
	}
	return func(ctx context.Context, plan role.Plan) (role.Plan, error) { return Bind(ctx, runDir, plan) }
}

// BindIfTold is Bind where an engine that gives no answer now is no error: the plan
// has no path then.
func BindIfTold(ctx context.Context, runDir string, plan role.Plan) (role.Plan, error) {
	bound, err := Bind(ctx, runDir, plan)
	switch {
	case err == nil:
		return bound, nil
	case fault.IsPermanent(err):
		return plan, err
	}
	return plan, nil
}

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
