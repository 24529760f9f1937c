package main

import (
	"context"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"

	"bootagent/pkg/host"
	"bootagent/pkg/report"
	"bootagent/pkg/status"
	"bootagent/pkg/systemd"
	"bootagent/pkg/unit"
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

// A roleUnit is bootagent-role.service.
type roleUnit struct{ manager *systemd.Manager }

func (u roleUnit) State(ctx context.Context) (host.UnitState, error) {
	s, err := u.manager.State(ctx, unit.Role)
	return host.UnitState{Active: s.Active, Sub: s.Sub, Busy: s.Job != ""}, err
}

func (u roleUnit) Stopping(ctx context.Context) (bool, error) { return u.manager.Stopping(ctx) }
func (u roleUnit) Restart(ctx context.Context) error          { return u.manager.Restart(ctx, unit.Role) }
