package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"bootagent/pkg/systemd"
)

// release lets go of the volumes at shutdown, when systemd has unmounted them,
// and tells of those that it could not unmount.
func release(_ context.Context, args []string, out io.Writer) error {
	if err := parse("release", args, nil, 0, 0); err != nil {
		return err
	}
	log, flush := newLog(os.Stderr)
	defer flush()
	src, err := os.ReadFile(planFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the agent has said why there is no plan, and mounted nothing
	}
	var plan mounting
	if err == nil {
		err = json.Unmarshal(src, &plan)
	}
	if err != nil {
		return fmt.Errorf("cannot tell which volumes there are: %w", err)
	}
	return releaseVolumes(plan, log)
}

// mounting is what a kept plan says of mounts.
type mounting struct {
	Volumes []struct{ Name, At string }
}

func releaseVolumes(plan mounting, log *slog.Logger) error {
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
		log.Info("volume released", "volume", v.Name, "at", v.At)
	}
	if len(mounted) > 0 {
		return fmt.Errorf("still mounted at shutdown: %q", mounted)
	}
	return nil
}
