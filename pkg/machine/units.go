package machine

import (
	"context"

	"bootagent/pkg/host"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/pid1"
)

// units are the services of the role.
type units struct{ *systemd.Manager }

func (u units) Probe(ctx context.Context, unit string) error { return u.StartAndWait(ctx, unit) }

func (u units) State(ctx context.Context, unit string) (host.UnitState, error) {
	s, err := u.Manager.State(ctx, unit)
	return asUnitState(s), err
}

func (u units) Restarts(ctx context.Context, unit string) (host.Restarts, error) {
	r, err := u.Manager.Restarts(ctx, unit)
	return host.Restarts(r), err
}

func (u units) Ended(ctx context.Context, unit string) (host.Ended, error) {
	e, err := u.Manager.Ended(ctx, unit)
	return host.Ended(e), err
}

func (u units) Await(ctx context.Context, unit string, until func(host.UnitState) bool) (host.UnitState, error) {
	s, err := u.Manager.Await(ctx, unit, func(s pid1.UnitState) bool { return until(asUnitState(s)) })
	return asUnitState(s), err
}

func asUnitState(s pid1.UnitState) host.UnitState {
	return host.UnitState{Active: s.Active, Sub: s.Sub, Busy: s.Job != ""}
}
