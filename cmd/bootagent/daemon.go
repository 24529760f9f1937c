package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"bootagent/pkg/block"
	"bootagent/pkg/boot"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/status"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/guard"
)

// roleUnit tells by its own state whether the role is ready.
const roleUnit = "bootagent-role.service"

func daemonCommand(ctx context.Context, args []string, _ io.Writer) error {
	if err := parse("daemon", args, nil, 0, 0); err != nil {
		return err
	}
	unix.Umask(0o022)
	log := newLog(os.Stderr)
	slog.SetDefault(log)
	lock, err := takeLock()
	if err != nil {
		return err
	}
	defer lock.Close()

	teller := newTeller(log)
	set, plan, err := preparePlan()
	switch {
	case errors.Is(err, errNoRole):
		teller.tell(status.Status{State: status.Idle, Reason: err.Error(), Hint: boot.HintOf(err)})
		teller.ready()
		var background sync.WaitGroup
		defer background.Wait()
		background.Go(func() { serveControl(ctx, log, func(context.Context) error { return err }) })
		return teller.watchdog(ctx, func() {})
	case err != nil:
		teller.tell(status.Status{State: status.Failed, Reason: err.Error(), Hint: boot.HintOf(err)})
		return configError{err}
	}
	manager, err := systemd.NewManager(runDir, log)
	if err != nil {
		return err
	}
	warnOfGuards(ctx, plan, manager, log)
	world, err := newWorld(manager)
	if err != nil {
		return err
	}
	return serve(ctx, boot.New(plan, world, log), plan, set, manager, teller, log)
}

// preparePlan makes the plan, and keeps a copy of the role files that are in
// force from now on, where the generator finds it.
func preparePlan() (settings.Settings, role.Plan, error) {
	set, err := settings.Load(agentFile)
	if err != nil {
		return set, role.Plan{}, err
	}
	plan, err := makePlan(set, rolesDir)
	if err == nil {
		err = keepRoles(rolesDir, filepath.Join(runDir, "roles.d"))
	}
	return set, plan, err
}

// warnOfGuards tells of services that could start before they are granted.
func warnOfGuards(ctx context.Context, plan role.Plan, m *systemd.Manager, log *slog.Logger) {
	for _, s := range plan.Services {
		switch held, err := m.Held(ctx, s.Unit); {
		case err != nil:
			log.Error("cannot tell whether "+s.Unit+" is held", "error", err)
		case !held:
			log.Error(s.Unit+" is not held: it can start before its data is there", "hint", "bootagent guard install")
		}
	}
}

// serve makes the plan true and keeps it so until ctx ends.
func serve(ctx context.Context, b *boot.Boot, plan role.Plan, set settings.Settings, m *systemd.Manager, t *teller, log *slog.Logger) error {
	if running(plan) {
		t.ready() // a role that was granted before waits for nothing
	}
	late := time.AfterFunc(set.ReadyWithin, t.ready)
	defer late.Stop()

	var background sync.WaitGroup
	for _, run := range []func(context.Context) error{
		m.Follow,
		func(ctx context.Context) error { return heal(ctx, b, m, log) },
		func(ctx context.Context) error { return onDisks(ctx, b) },
		func(ctx context.Context) error { serveControl(ctx, log, b.RetryNow); return nil },
		func(ctx context.Context) error { return t.keepRoleUnit(ctx, m) },
		func(ctx context.Context) error { return t.watchdog(ctx, b.Turn) },
	} {
		background.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				log.Error("a part of the agent stopped", "error", err)
			}
		})
	}
	b.Run(ctx, func(progress []boot.Progress) {
		held := b.Held(progress)
		t.tell(statusOf(plan.Role, held, progress))
		t.tellHeld(held)
		if settled(progress) {
			t.ready()
		}
	})
	background.Wait()
	daemon.SdNotify(false, daemon.SdNotifyStopping)

	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := b.StoppedServices(end); err != nil {
		log.Error("cannot note how the services stopped", "error", err)
	}
	return nil
}

// settled tells whether all is done, failed, or waits for something outside:
// whatever is still pending waits for a step that does.
func settled(progress []boot.Progress) bool {
	return !slices.ContainsFunc(progress, func(p boot.Progress) bool { return p.State == boot.Running })
}

// running tells whether a service of the plan was granted already.
func running(plan role.Plan) bool {
	for _, s := range plan.Services {
		if _, err := os.Lstat(guard.Token(s.Unit)); err == nil {
			return true
		}
	}
	return false
}

// heal has steps run again that a change of a unit undoes.
func heal(ctx context.Context, b *boot.Boot, m *systemd.Manager, log *slog.Logger) error {
	changes := m.Watch(ctx, slices.Collect(maps.Keys(b.Units(systemd.MountUnit, guard.GrantUnit)))...)
	last := make(map[string]string)
	for {
		unit, err := changes.Next(ctx)
		if err != nil {
			return nil
		}
		if err := look(ctx, b, m, unit, last); err != nil && ctx.Err() == nil {
			// systemd closed the connection. With the next one, all are told of.
			log.Warn("will look again", "unit", unit, "error", err)
		}
	}
}

// look tells the boot of a unit whose state is another than at the last look.
func look(ctx context.Context, b *boot.Boot, m *systemd.Manager, unit string, last map[string]string) error {
	state, err := m.State(ctx, unit)
	if err != nil || last[unit] == state.Active {
		return err
	}
	err = b.Changed(ctx, boot.Change{Unit: unit, Active: state.Active}, systemd.MountUnit, guard.GrantUnit)
	if err == nil {
		last[unit] = state.Active
	}
	return err
}

// onDisks tries again what failed when a disk comes, goes or changes. A burst
// of events is one reason to look.
func onDisks(ctx context.Context, b *boot.Boot) error {
	events, err := block.Listen(ctx)
	if err != nil {
		return err
	}
	const burst = time.Second
	for e := range events {
		if e.Udev && e.Type == "disk" || e.Lost {
			b.Retry()
			select {
			case <-time.After(burst):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// takeLock makes this the only agent of the machine, until it ends.
func takeLock() (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(runDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another agent runs on this machine: it holds %s", lock.Name())
	}
	return lock, nil
}

// keepRoles copies the role files that can be read, so that the generator
// guards what is in force even when a file is deleted or broken meanwhile. A
// copy is never replaced by a file that is broken.
func keepRoles(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	roles, _ := role.Load(from) // makePlan has told what it could not read
	for _, r := range roles {
		src, err := os.ReadFile(r.File)
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(filepath.Join(to, filepath.Base(r.File)), src, 0o644); err != nil {
			return err
		}
	}
	return nil
}
