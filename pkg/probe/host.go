package probe

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"bootagent/pkg/role/ready"
	"bootagent/pkg/systemd"
	"bootagent/pkg/unit"
)

// A Host probes the services of a machine, as host.Probes has it.
type Host struct {
	Manager *systemd.Manager
	Log     *slog.Logger
	RunDir  string // /run/bootagent, where the output of programs arrives

	// Unix does what Connect does with the path of a socket, and may be given up:
	// the path may be on a disk that hangs.
	Unix func(ctx context.Context, path string) error
}

// Probe asks a service once.
func (h Host) Probe(ctx context.Context, service string, r ready.Ready) (answer string, err error) {
	switch {
	case r.TCP != "":
		return connects, Connect(ctx, "tcp", r.TCP)
	case r.Unix != "":
		return connects, h.Unix(ctx, r.Unix)
	case r.HTTP != "":
		return Get(ctx, r.HTTP)
	case len(r.Command) > 0:
		return h.command(ctx, service, r)
	}
	return "", h.Manager.StartAndWait(ctx, r.Unit)
}

// command runs a program, and returns how it ended and what it printed.
func (h Host) command(ctx context.Context, service string, r ready.Ready) (answer string, err error) {
	c := command{
		unit: unit.CommandOn("probe", strings.TrimSuffix(service, ".service")), service: service,
		argv: r.Command, user: r.User, timeout: r.TryTimeout,
	}
	if until, bounded := ctx.Deadline(); bounded {
		c.timeout = time.Until(until)
	}
	if c.user == "" {
		if c.user, err = h.Manager.UserOf(ctx, service); err != nil {
			return "", err
		}
	}
	printed, err := h.runCommand(ctx, c)
	printed = Clip(printed)
	switch {
	case err == nil:
		return cmp.Or(printed, "exited with status 0"), nil
	case printed != "":
		return "", errors.New(Clip(err.Error() + ": " + printed))
	}
	return "", err
}
