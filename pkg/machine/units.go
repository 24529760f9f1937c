package machine

import (
	"context"

	"bootagent/pkg/host"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// units are the services of the role.
type units struct{ *systemd.Manager }

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

// A RoleUnit is bootagent-role.service.
type RoleUnit struct{ Manager *systemd.Manager }

// State returns what the unit is doing.
func (u RoleUnit) State(ctx context.Context) (host.UnitState, error) {
	return units{u.Manager}.State(ctx, unit.Role)
}

// Stopping reports whether the machine shuts down.
func (u RoleUnit) Stopping(ctx context.Context) (bool, error) { return u.Manager.Stopping(ctx) }

// Restart restarts the unit.
func (u RoleUnit) Restart(ctx context.Context) error { return u.Manager.Restart(ctx, unit.Role) }
