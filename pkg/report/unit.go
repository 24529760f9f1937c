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

// lookAgainIn is when to look again at a unit that is about to change by itself, or
// that systemd did not restart.
const lookAgainIn = 2 * time.Second

// KeepRoleUnit restarts the role's unit whenever its state is not the role's,
// until ctx ends.
func (r *Reporter) KeepRoleUnit(ctx context.Context, unit RoleUnit) {
	var later <-chan time.Time
	var failed error // the last time
	for {
		changed := false
		select {
		case <-r.changed:
			changed = true
		case <-later:
		case <-ctx.Done():
			return
		}
		in, err := r.runRoleUnit(ctx, unit, changed)
		if err != nil {
			in = lookAgainIn
		}
		if err != nil && (failed == nil || failed.Error() != err.Error()) {
			r.log.Error("cannot run the role's unit", "error", err)
		}
		failed, later = err, nil
		if in > 0 {
			later = time.After(in)
		}
	}
}

// runRoleUnit restarts the role's unit if that is necessary, or returns when to
// look again: the role has changed, or did a while ago.
func (r *Reporter) runRoleUnit(ctx context.Context, unit RoleUnit, changed bool) (again time.Duration, err error) {
	at, err := unit.State(ctx)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	state, final := r.last.State, r.final
	r.mu.Unlock()
	switch {
	case at.Active == "activating", at.Busy:
		// It waits for the role. Or it ends with what the role was before.
		if changed || state.Final() {
			return lookAgainIn, nil
		}
		return 0, nil
	case at.Active == "active" && (state == status.Ready || state == status.Idle):
		return 0, nil
	case at.Active == "active" && !state.Final() && time.Since(final) < unsettledFor:
		return unsettledFor - time.Since(final), nil
	case at.Active == "failed" && state == status.Failed && !changed:
		return 0, nil
	}
	if stopping, err := unit.Stopping(ctx); err != nil || stopping {
		return 0, err
	}
	return lookAgainIn, unit.Restart(ctx)
}
