package main

import (
	"context"
	"encoding/json"
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

	"bootagent/cmd/bootagent/asstatus"
	"bootagent/pkg/block"
	"bootagent/pkg/boot"
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
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
	if err := secret.Harden(); err != nil {
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

	a := &agent{log: log, teller: newTeller(log), keys: new(secret.Keys)}
	if a.set, err = settings.Load(agentFile); err != nil {
		return a.fail(err)
	}
	if granted() {
		a.teller.ready() // a role that was granted before waits for nothing
	}
	late := time.AfterFunc(a.set.ReadyWithin, a.teller.ready)
	defer late.Stop()
	ctx, stop := context.WithCancel(ctx)
	background := a.background(ctx)
	defer func() {
		stop()
		background.Wait()
	}()

	plan, facts, err := a.launch(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, errNoRole):
		a.begin(nil, nil)
		a.teller.tell(status.Status{State: status.Idle, Reason: err.Error(), Hint: boot.HintOf(err)})
		a.teller.ready()
		<-ctx.Done()
		return nil
	case err != nil:
		return a.fail(err)
	}
	if err := keep(plan); err != nil {
		return err
	}
	manager, err := systemd.NewManager(runDir, log)
	if err != nil {
		return err
	}
	warnOfGuards(ctx, plan, manager, log)
	world, err := a.world(manager, plan, facts)
	if err != nil {
		return err
	}
	return a.serve(ctx, boot.New(plan, world, log), plan, manager)
}

// An agent is the one of this machine. It launches, and then it boots.
type agent struct {
	log      *slog.Logger
	set      settings.Settings
	teller   *teller
	keys     *secret.Keys
	metadata *metadata                             // nil on a local machine
	confirm  func(context.Context) (string, error) // whether what the launch relied on still holds

	mu       sync.Mutex
	story    *boot.Story // that is being told, the launch's and then the boot's; nil before
	boot     *boot.Boot  // nil before it began
	launched []boot.Progress
}

// fail tells what a person has to mend in a file.
func (a *agent) fail(err error) error {
	a.teller.tell(status.Status{State: status.Failed, Reason: err.Error(), Hint: boot.HintOf(err)})
	return configError{err}
}

// begin says which story is told from now on.
func (a *agent) begin(story *boot.Story, b *boot.Boot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.story, a.boot = story, b
}

func (a *agent) told() (*boot.Story, *boot.Boot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.story, a.boot
}

// retry has the story try again what failed.
func (a *agent) retry(ctx context.Context) error {
	story, b := a.told()
	switch {
	case b != nil:
		return b.RetryNow(ctx)
	case story != nil:
		story.Retry()
		return nil
	}
	return errNoRole
}

// background starts what the agent does from its beginning to its end.
func (a *agent) background(ctx context.Context) *sync.WaitGroup {
	var running sync.WaitGroup
	running.Go(func() { serveControl(ctx, a.log, a.retry, a.unlock) })
	running.Go(func() {
		err := a.teller.watchdog(ctx, func() {
			if story, _ := a.told(); story != nil {
				story.Turn()
			}
		})
		if err != nil {
			a.log.Error("cannot tell systemd that the agent lives", "error", err)
		}
	})
	return &running
}

// keep keeps what is in force from now on: the role files, where the generator
// finds them, and the plan, by which the volumes are released.
func keep(plan role.Plan) error {
	if err := keepRoles(rolesDir, filepath.Join(runDir, "roles.d")); err != nil {
		return err
	}
	src, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	return renameio.WriteFile(planFile, src, 0o600)
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
func (a *agent) serve(ctx context.Context, b *boot.Boot, plan role.Plan, m *systemd.Manager) error {
	a.begin(b.Story, b)
	log := a.log
	var background sync.WaitGroup
	for _, run := range []func(context.Context) error{
		m.Follow,
		func(ctx context.Context) error { heal(ctx, b, m); return nil },
		func(ctx context.Context) error { return onDisks(ctx, b) },
		func(ctx context.Context) error { return a.teller.keepRoleUnit(ctx, m) },
		a.confirmLaunch,
	} {
		background.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				log.Error("a part of the agent stopped", "error", err)
			}
		})
	}
	b.Run(ctx, func(progress []boot.Progress) {
		held := b.Held(progress)
		a.mu.Lock()
		progress = slices.Concat(a.launched, progress)
		a.mu.Unlock()
		a.teller.tell(asstatus.Of(plan.Role, held, progress))
		a.teller.tellHeld(held)
		if asstatus.Settled(progress) {
			a.teller.ready()
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

// granted tells whether a service was granted already in this boot.
func granted() bool {
	tokens, err := os.ReadDir(filepath.Dir(guard.Token("any.service")))
	return err == nil && len(tokens) > 0
}

// heal has steps run again that a change of a unit undoes.
func heal(ctx context.Context, b *boot.Boot, m *systemd.Manager) {
	changes := m.Watch(ctx, slices.Collect(maps.Keys(b.Units(systemd.MountUnit, guard.GrantUnit)))...)
	b.Follow(ctx, changes.Next, systemd.MountUnit, guard.GrantUnit)
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
