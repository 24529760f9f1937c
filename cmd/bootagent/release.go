package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/systemd"
)

// release lets go of the volumes at shutdown, when systemd has unmounted them,
// and tells of those that it could not unmount.
func release(_ context.Context, args []string, out io.Writer) error {
	if err := parse("release", args, nil, 0, 0); err != nil {
		return err
	}
	log := newLog(os.Stderr)
	set, err := settings.Load(agentFile)
	if err != nil {
		return err
	}
	plan, err := makePlan(set, rolesDir)
	if err != nil {
		return nil // the agent has said so, and mounted nothing
	}
	return releaseVolumes(plan, log)
}

func releaseVolumes(plan role.Plan, log *slog.Logger) error {
	var mounted []string
	for _, v := range plan.Volumes {
		_, is, err := systemd.MountedAt(v.At)
		if err != nil {
			return err
		}
		if is {
			mounted = append(mounted, v.At)
			continue
		}
		log.Info("volume released", "volume", v.Name, "serial", v.Find.Serial)
	}
	if len(mounted) > 0 {
		return fmt.Errorf("still mounted at shutdown: %q", mounted)
	}
	return nil
}
