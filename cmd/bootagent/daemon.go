package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"bootagent/pkg/agent"
	"bootagent/pkg/block"
	"bootagent/pkg/boot"
	"bootagent/pkg/bypass/byhand"
	"bootagent/pkg/child"
	"bootagent/pkg/command"
	"bootagent/pkg/control"
	"bootagent/pkg/host"
	"bootagent/pkg/journal"
	"bootagent/pkg/machine"
	"bootagent/pkg/machine/disks"
	"bootagent/pkg/report"
	"bootagent/pkg/secret"
	"bootagent/pkg/settings"
	"bootagent/pkg/systemd"
	"bootagent/pkg/unit"
)

// daemonCommand is the agent: what bootagent.service runs.
func daemonCommand(ctx context.Context, args []string, _ io.Writer) error {
	if err := command.Parse("daemon", args, nil, 0, 0); err != nil {
		return err
	}
	if err := secret.Harden(); err != nil {
		return err
	}
	unix.Umask(0o022)
	log, flush := journal.New(os.Stderr)
	defer flush()
	slog.SetDefault(log)
	keeper := &machine.Keeper{RunDir: runDir, RolesDir: rolesDir, Log: log}
	if err := keeper.Lock(); err != nil {
		return err
	}
	defer keeper.Unlock()
	manager, err := systemd.NewManager(runDir, log)
	if err != nil {
		return err
	}
	keeper.Manager = manager
	children := machine.NewChildren(log, manager)
	defer children.Close()
	reporter := newReporter(log, statusFile)
	if machine.AnyGranted() {
		reporter.Ready() // a role that was granted before waits for nothing
	}
	ctx, stop := context.WithCancel(ctx)
	a := newAgent(log, reporter, keeper, manager, children)
	running := background(ctx, a, reporter, manager, log)
	defer func() {
		stop()
		running.Wait()
	}()
	// It waits for the agent's own start to be over. Only if its job is queued
	// before that is the machine not told to have started before the role is.
	if err := manager.Start(ctx, unit.Role); err != nil {
		log.Error("cannot start the role's unit", "error", err)
	}
	err = a.Run(ctx)
	daemon.SdNotify(false, daemon.SdNotifyStopping)
	return err
}

// newAgent returns the agent of this machine.
func newAgent(log *slog.Logger, reporter *report.Reporter, keeper *machine.Keeper, manager *systemd.Manager, children *child.Group) *agent.Agent {
	keys := new(secret.Keys)
	real := &machine.Machine{Log: log, Manager: manager, Children: children, Keys: keys, RunDir: runDir, StateDir: stateDir}
	return agent.New(agent.Config{
		Log:    log,
		Inputs: machine.Inputs{SettingsFile: settings.File, RolesDir: rolesDir, StateDir: stateDir, Log: log},
		Host: func(l *agent.Lesson) (host.Host, error) {
			metadata, _ := l.Metadata.(*machine.Metadata)
			return real.Host(machine.Config{Settings: l.Settings, Identity: l.Identity, Role: l.Plan.Role, Metadata: metadata})
		},
		Report: reporter,
		Keep:   keeper,
		AddKeys: func(text []byte) (string, error) {
			added, err := keys.Add(text)
			if err != nil {
				return "", err
			}
			return secret.Taken(added), nil
		},
		Watch: func(ctx context.Context, units []string) func(context.Context) (string, error) {
			return manager.Watch(ctx, units...).Next
		},
		Parts: map[string]func(context.Context, *boot.Boot) error{
			"systemd": func(ctx context.Context, _ *boot.Boot) error { return manager.Follow(ctx) },
			"disks": func(ctx context.Context, b *boot.Boot) error {
				disks.Follow(ctx, block.Listen, b.DiskChanged, func(why string) { reporter.SetProblem("disks", why) }, log)
				return nil
			},
		},
	})
}

// startAtMost bounds how long systemd is asked to wait for the agent's start: by
// then ready-within is over, whatever its value is.
const startAtMost = time.Hour

// inspectEvery is how often the agent looks whether what nobody tells it of is
// still so.
const inspectEvery = 10 * time.Second

// background starts what the agent does from its beginning to its end.
func background(ctx context.Context, a *agent.Agent, reporter *report.Reporter, manager *systemd.Manager, log *slog.Logger) *sync.WaitGroup {
	var running sync.WaitGroup
	running.Go(func() { reporter.HoldStart(ctx, startAtMost) })
	for part, run := range map[string]func(context.Context) error{
		"role unit": func(ctx context.Context) error {
			reporter.KeepRoleUnit(ctx, machine.RoleUnit{Manager: manager})
			return nil
		},
		"watchdog": func(ctx context.Context) error { return watchdog(ctx, reporter, a.Ping) },
		"control":  func(ctx context.Context) error { return serveControl(ctx, a, reporter, log) },
	} {
		running.Go(func() { agent.KeepRunning(ctx, part, run, reporter, log) })
	}
	return &running
}

// serveControl serves the control API, and makes again what somebody deleted of
// what the agent keeps in /run/bootagent.
func serveControl(ctx context.Context, a *agent.Agent, reporter *report.Reporter, log *slog.Logger) error {
	server := control.NewServer(log, controlSocket, byhand.Commands(a))
	defer server.Close()
	tick := time.NewTicker(inspectEvery)
	defer tick.Stop()
	for {
		server.Keep()
		select {
		case <-tick.C:
			reporter.KeepFile()
			a.Inspect(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}
