package main

import (
	"context"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"

	"bootagent/pkg/host"
	"bootagent/pkg/report"
	"bootagent/pkg/status"
	"bootagent/pkg/systemd"
)

// newReporter returns the reporter of the agent that this process is.
func newReporter(log *slog.Logger, file string) *report.Reporter {
	return report.New(log, file, status.ThisAgent(programVersion()), func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	})
}

// watchdog tells systemd that the agent works, if the unit has WatchdogSec=.
func watchdog(ctx context.Context, r *report.Reporter, ping func()) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return err
	}
	r.Watchdog(ctx, interval, ping)
	return nil
}

// A systemdRoleUnit is bootagent-role.service.
type systemdRoleUnit struct{ manager *systemd.Manager }

func (u systemdRoleUnit) State(ctx context.Context) (host.UnitState, error) {
	s, err := u.manager.State(ctx, roleUnit)
	return asUnitState(s), err
}

func (u systemdRoleUnit) Stopping(ctx context.Context) (bool, error) { return u.manager.Stopping(ctx) }

func (u systemdRoleUnit) Restart(ctx context.Context) error { return u.manager.Restart(ctx, roleUnit) }
