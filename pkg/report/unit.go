package report

import (
	"context"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/status"
)

// A RoleUnit is the role's unit, bootagent-role.service, in systemd. The unit
// runs bootagent wait: it succeeds when the role is ready, and fails when the
// role does.
type RoleUnit interface {
	State(ctx context.Context) (host.UnitState, error)
	Stopping(ctx context.Context) (bool, error) // whether the machine shuts down
	Restart(ctx context.Context) error
}

// unsettledFor is how long the role may be on its way before its unit, which is
// active, becomes inactive. An agent that was restarted finds out within seconds
// what runs, and who waits for the role need not learn of that.
const unsettledFor = 15 * time.Second

// KeepRoleUnit restarts the role's unit whenever its state is not the role's,
// until ctx ends.
func (r *Reporter) KeepRoleUnit(ctx context.Context, unit RoleUnit) {
	var later <-chan time.Time
	for {
		select {
		case <-r.changed:
			later = nil
		case <-later:
			later = nil
		case <-ctx.Done():
			return
		}
		in, err := r.runRoleUnit(ctx, unit)
		if err != nil {
			r.log.Error("cannot run the role's unit", "error", err)
		}
		if in > 0 {
			later = time.After(in)
		}
	}
}

// runRoleUnit restarts the role's unit if that is necessary, or returns when to
// look again.
func (r *Reporter) runRoleUnit(ctx context.Context, unit RoleUnit) (again time.Duration, err error) {
	at, err := unit.State(ctx)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	state, final := r.last.State, r.final
	r.mu.Unlock()
	switch {
	case at.Active == "activating", at.Busy: // it waits for the role already
		return 0, nil
	case at.Active == "active" && (state == status.Ready || state == status.Idle):
		return 0, nil
	case at.Active == "active" && !state.Final() && time.Since(final) < unsettledFor:
		return unsettledFor - time.Since(final), nil
	}
	if stopping, err := unit.Stopping(ctx); err != nil || stopping {
		return 0, err
	}
	return 0, unit.Restart(ctx)
}
