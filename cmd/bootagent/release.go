package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"bootagent/pkg/bypass"
	"bootagent/pkg/command"
	"bootagent/pkg/journal"
	"bootagent/pkg/machine"
	"bootagent/pkg/release"
	"bootagent/pkg/role"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/holder"
	"bootagent/pkg/systemd/pid1"
)

func releaseCommand() command.Command {
	return command.Command{
		Name: "release", Summary: "release the volumes at shutdown", RunBy: "bootagent-release.service",
		Setup: func(*flag.FlagSet) command.Action { return releaseAtShutdown },
	}
}

// releaseAtShutdown logs, at shutdown, which volumes systemd has unmounted, and which it
// could not unmount.
func releaseAtShutdown(ctx context.Context, _ []string, _ io.Writer) error {
	log, flush := journal.New(os.Stderr)
	defer flush()
	stopping, err := pid1.New(log).Stopping(ctx)
	if err != nil {
		log.Warn("cannot tell whether the machine shuts down; going on as if it does", "error", err)
		stopping = true
	}
	if stopping {
		if err := bypass.Below(runDir).EndAll(); err != nil {
			log.Error("cannot end the bypasses", "error", err)
		}
	}
	plan, err := (&machine.Keeper{RunDir: runDir}).InForce()
	if err != nil {
		return fmt.Errorf("cannot tell which volumes there are: %w", err)
	}
	if plan == nil {
		return nil // the agent has said why there is no plan, and mounted nothing
	}
	unmounted, err := releaseVolumes(ctx, *plan, stopping, log)
	if stopping {
		err = errors.Join(err, keepRelease(unmounted))
	}
	return err
}

// keepRelease keeps for the next boot which volumes this shutdown has released. If
// the agent did not run, nobody else knows that the machine did shut down.
func keepRelease(unmounted []string) error {
	bootID, err := machine.BootID()
	if err != nil {
		return err
	}
	return release.Release{BootID: bootID, At: time.Now().UTC().Truncate(time.Second), Unmounted: unmounted}.Keep(stateDir)
}

// releaseVolumes releases the volumes that are unmounted, and returns their names.
// While the machine runs on, as when a person stops the unit, what is mounted may be
// in use.
func releaseVolumes(ctx context.Context, plan role.Plan, stopping bool, log *slog.Logger) (unmounted []string, err error) {
	var mounted []string
	for _, v := range plan.Volumes {
		_, is, err := systemd.MountedAt(v.Mount)
		if err != nil {
			return unmounted, err
		}
		switch {
		case !is:
			unmounted = append(unmounted, v.Name)
			log.Info("volume released", "volume", v.Name, "at", v.Mount)
		case !stopping:
			log.Info("volume stays mounted, as the machine does not shut down", "volume", v.Name, "at", v.Mount)
		default:
			mounted = append(mounted, heldAt(ctx, v.Mount))
		}
	}
	if len(mounted) > 0 {
		return unmounted, fmt.Errorf("still mounted at shutdown: %s", strings.Join(mounted, ", "))
	}
	return unmounted, nil
}

// heldAt is a mount point, and who holds what is mounted there.
func heldAt(ctx context.Context, at string) string {
	ctx, cancel := context.WithTimeout(ctx, holder.Within)
	defer cancel()
	holders, err := holder.Find(ctx, "/proc", at)
	if err != nil || len(holders) == 0 {
		return at
	}
	return at + ", held by " + strings.Join(holders, "; ")
}
