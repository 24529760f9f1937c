package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"bootagent/cmd/bootagent/asstatus"
	"bootagent/pkg/block"
	"bootagent/pkg/boot"
	"bootagent/pkg/fault"
	"bootagent/pkg/grammar"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
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
	log, flush := newLog(os.Stderr)
	defer flush()
	slog.SetDefault(log)
	lock, err := takeLock(runDir)
	if err != nil {
		return err
	}

	manager, err := systemd.NewManager(runDir, log)
	if err != nil {
		return err
	}
	a := &agent{
		log: log, teller: newTeller(log), keys: new(secret.Keys), manager: manager,
		children: &children{log: log, leave: manager.Leave}, lock: lock, files: files{agentFile, rolesDir},
	}
	a.boots = a.bootBy
	defer func() { a.lock.Close() }()
	defer a.children.close()
	if granted() {
		a.teller.ready() // a role that was granted before waits for nothing
	}
	ctx, stop := context.WithCancel(ctx)
	background := a.background(ctx)
	background.Go(func() { a.teller.holdStart(ctx, startAtMost) })
	defer func() {
		stop()
		background.Wait()
	}()
	// It waits for the agent's own start to be over. Only if its job is queued
	// before that is the machine not told to have started before the role is.
	if err := manager.Start(ctx, roleUnit); err != nil {
		log.Error("cannot start the role's unit", "error", err)
	}
	err = a.live(ctx)
	daemon.SdNotify(false, daemon.SdNotifyStopping)
	return err
}

// An agent is the one of this machine. It learns what it has to make true, and
// then it boots; and it begins anew where a person has mended what it learns
// from.
type agent struct {
	log      *slog.Logger
	teller   *teller
	keys     *secret.Keys
	manager  *systemd.Manager
	children *children
	files    files
	lock     *os.File                             // that makes it the only one
	late     *time.Timer                          // when the boot need not wait any more
	boots    func(context.Context, *lesson) error // bootBy

	retrying sync.Mutex // one retry at a time

	mu       sync.Mutex
	story    *graph.Graph   // that is being told, the launch's and then the boot's; nil where there is none
	boot     *boot.Boot     // nil where there is no plan
	facts    *host.Identity // that the machine was told last; nil before
	lesson   *lesson        // that the boot goes by
	next     *lesson        // to begin anew with; nil is to learn all of it
	again    context.CancelCauseFunc
	launched []graph.Progress
}

// errAgain ends what the agent does, so that it begins anew.
var errAgain = errors.New("everything is read again")

// live learns and boots, and begins anew when it is told to, until ctx ends.
func (a *agent) live(ctx context.Context) error {
	for ctx.Err() == nil {
		now, again := context.WithCancelCause(ctx)
		a.mu.Lock()
		next := a.next
		a.next, a.again = nil, again
		a.story, a.boot, a.lesson = nil, nil, nil
		a.mu.Unlock()
		err := a.once(now, next)
		again(nil)
		if err != nil && ctx.Err() == nil && !errors.Is(context.Cause(now), errAgain) {
			return err
		}
	}
	return nil
}

// once learns, unless that was done, and boots, until ctx ends.
func (a *agent) once(ctx context.Context, learnt *lesson) error {
	if learnt == nil {
		var err error
		if learnt, err = a.learn(ctx); ctx.Err() != nil {
			return nil
		} else if err != nil {
			a.begin(nil, nil, nil)
			a.withoutPlan(err)
			<-ctx.Done()
			return nil
		}
	}
	return a.boots(ctx, learnt)
}

// bootBy makes the plan true and keeps it so until ctx ends.
func (a *agent) bootBy(ctx context.Context, learnt *lesson) error {
	if err := keep(learnt.plan); err != nil {
		return err
	}
	warnOfGuards(ctx, learnt.plan, a.manager, a.log)
	world, err := a.world(learnt)
	if err != nil {
		return err
	}
	return a.serve(ctx, boot.New(learnt.plan, world, a.log), learnt)
}

// withoutPlan tells why there is nothing to make true. The boot goes on, and
// what is held stays held.
func (a *agent) withoutPlan(err error) {
	s := status.Status{State: status.Failed, Reason: err.Error(), Hint: fault.HintOf(err)}
	if errors.Is(err, errNoRole) {
		s.State = status.Idle
	}
	why := graph.Progress{Step: "plan", State: graph.Failed, Since: time.Now(), Err: err}
	held := make(map[string]graph.Progress)
	for _, unit := range heldUnits("/") {
		held[unit] = why
		s.Held = append(s.Held, status.Held{Unit: unit, Why: "there is no plan: " + err.Error()})
	}
	a.teller.tell(s)
	a.teller.tellHeld(held)
	a.teller.ready()
}

// heldUnits are the services below a root directory that have a guard and no
// grant.
func heldUnits(root string) (units []string) {
	guards, _ := guard.Show(root) // guard check tells what is wrong with them
	for _, g := range guards {
		_, rest, asserts := strings.Cut(g.Text, "AssertPathExists=")
		token, _, _ := strings.Cut(rest, "\n")
		if !asserts || filepath.Ext(g.Unit) != ".service" {
			continue
		}
		if _, err := os.Lstat(filepath.Join(root, token)); err != nil {
			units = append(units, g.Unit)
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

// begin says which story is told from now on.
func (a *agent) begin(story *graph.Graph, b *boot.Boot, by *lesson) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.story, a.boot, a.lesson = story, b, by
}

func (a *agent) told() (*graph.Graph, *boot.Boot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.story, a.boot
}

// beginAnew ends what the agent does now, and has it begin anew with what was
// learnt; nil is to learn all of it.
func (a *agent) beginAnew(learnt *lesson) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = learnt
	if a.again != nil { // else it has yet to begin
		a.again(errAgain)
	}
}

// retry reads everything again, and goes on by what it says now: a person has
// mended something. The answer says what is done.
func (a *agent) retry(ctx context.Context) (answer string, err error) {
	a.retrying.Lock()
	defer a.retrying.Unlock()
	a.mu.Lock()
	story, b, by, known := a.story, a.boot, a.lesson, a.facts
	a.mu.Unlock()
	if story != nil && b == nil { // it is learning
		a.beginAnew(nil)
		return "everything is read again", nil
	}
	learnt, err := a.files.relearn(ctx, known, a.log)
	switch notYet := (*fault.Pending)(nil); {
	case b == nil && errors.As(err, &notYet):
		a.beginAnew(nil) // that waits for an answer
		return "everything is read again, as soon as the metadata service answers", nil
	case b == nil && err != nil:
		a.withoutPlan(err)
		return "", err
	case b == nil:
		a.beginAnew(learnt)
		return "everything was read again, and there is a plan now", nil
	case err != nil:
		return "", errors.Join(fault.WithHint(fmt.Errorf("tries again by the plan that is in force, as there is no other: %w", err), fault.HintOf(err)), b.RetryNow(ctx))
	case by.same(learnt):
		return "nothing else was read than before; what failed is tried again", b.RetryNow(ctx)
	}
	if err := b.Takes(ctx, learnt.plan); err != nil {
		return "", err
	}
	if err := b.StartAgain(ctx); err != nil {
		return "", err
	}
	a.beginAnew(learnt)
	return "what was read again is in force now", nil
}

// startAtMost bounds how long systemd is asked to wait for the agent's start: by
// then ready-within is over, whatever it is set to.
const startAtMost = time.Hour

// background starts what the agent does from its beginning to its end.
func (a *agent) background(ctx context.Context) *sync.WaitGroup {
	var running sync.WaitGroup
	for part, run := range map[string]func(context.Context) error{
		"role unit": func(ctx context.Context) error { return a.teller.keepRoleUnit(ctx, a.manager) },
		"orders":    a.keepRun,
		"watchdog": func(ctx context.Context) error {
			return a.teller.watchdog(ctx, func() {
				if story, _ := a.told(); story != nil {
					story.Ping()
				}
			})
		},
	} {
		running.Go(func() { keepRunning(ctx, run, func(why string) { a.teller.ails(part, why) }, a.log.With("part", part)) })
	}
	return &running
}

// lookEvery is how often the agent looks whether what nobody tells it of is
// still so.
const lookEvery = 10 * time.Second

// keepRun takes orders, and sees to it that what the agent has in /run/bootagent
// is there, whoever deletes it.
func (a *agent) keepRun(ctx context.Context) error {
	orders := newControl(a.log, controlSocket, orders(a.retry, a.unlock))
	defer orders.close()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		orders.keep()
		select {
		case <-tick.C:
			a.look(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *agent) look(ctx context.Context) {
	a.mu.Lock()
	b, by := a.boot, a.lesson
	a.mu.Unlock()
	_, err := os.Lstat(filepath.Join(runDir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		var lock *os.File
		if lock, err = takeLock(runDir); err == nil {
			a.lock.Close()
			a.lock = lock
		}
	}
	a.teller.keepFile()
	if b != nil {
		if _, missing := os.Lstat(planFile); missing != nil {
			err = errors.Join(err, keep(by.plan))
		}
		err = errors.Join(err, b.Inspect(ctx))
	}
	if err != nil && ctx.Err() == nil {
		a.log.Error("cannot keep what is in "+runDir, "error", err)
	}
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
func (a *agent) serve(ctx context.Context, b *boot.Boot, by *lesson) error {
	a.begin(b.Graph, b, by)
	log, plan := a.log, by.plan
	var background sync.WaitGroup
	for part, run := range map[string]func(context.Context) error{
		"systemd": a.manager.Follow,
		"units":   func(ctx context.Context) error { heal(ctx, b, a.manager); return nil },
		"disks": func(ctx context.Context) error {
			followDisks(ctx, block.Listen, b.DiskChanged, func(why string) { a.teller.ails("disks", why) }, log)
			return nil
		},
		"metadata": func(ctx context.Context) error { return a.confirmLaunch(ctx, by) },
	} {
		background.Go(func() { keepRunning(ctx, run, func(why string) { a.teller.ails(part, why) }, log.With("part", part)) })
	}
	b.Run(ctx, func(progress []graph.Progress) {
		held := b.Held(progress)
		maps.DeleteFunc(held, func(unit string, _ graph.Progress) bool { return hasToken(unit) })
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
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := b.StoppedServices(end); err != nil {
		log.Error("cannot note how the services stopped", "error", err)
	}
	return nil
}

// keepRunning runs a part of the agent until it has no more to do. One that
// ends with an error is started again after a rest, and said until then.
func keepRunning(ctx context.Context, run func(context.Context) error, ails func(why string), log *slog.Logger) {
	for rest := time.Second; ; rest = min(2*rest, time.Minute) {
		err := run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Error("a part of the agent stopped, and is started again", "error", err, "rest", rest)
		ails("this part of the agent stopped, and is started again: " + err.Error())
		select {
		case <-time.After(rest):
			ails("")
		case <-ctx.Done():
			return
		}
	}
}

// granted tells whether a service was granted already in this boot.
func granted() bool {
	tokens, err := os.ReadDir(filepath.Dir(guard.Token("any.service")))
	return err == nil && len(tokens) > 0
}

// hasToken tells whether a service was granted in this boot of the machine, and
// so may start, also before an agent that was started again has looked at all
// that it stands on.
func hasToken(unit string) bool {
	_, err := os.Lstat(guard.Token(unit))
	return err == nil
}

// heal has steps run again that a change of a unit undoes.
func heal(ctx context.Context, b *boot.Boot, m *systemd.Manager) {
	changes := m.Watch(ctx, slices.Collect(maps.Keys(b.Units(systemd.MountUnit, guard.GrantUnit)))...)
	b.Follow(ctx, changes.Next, systemd.MountUnit, guard.GrantUnit)
}

// takeLock makes this the only agent of the machine, until it ends.
func takeLock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
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
	roles, _ := grammar.All().Load(from) // makePlan has told what it could not read
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
