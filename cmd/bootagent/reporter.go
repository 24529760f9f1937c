package main

import (
	"context"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"

	"bootagent/pkg/buildinfo"
	"bootagent/pkg/report"
	"bootagent/pkg/status"
)

// newReporter returns the reporter of the agent that this process is.
func newReporter(log *slog.Logger, file string) *report.Reporter {
	return report.New(log, file, status.ThisAgent(buildinfo.Version(version)), func(state string) error {
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
