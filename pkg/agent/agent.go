// Package agent is the life of the agent: it learns which role the machine has,
// boots it, keeps it so, and starts over when a person has changed what it learnt
// from. It touches nothing itself: a Config says what it works with, so that the
// simulated world runs the same agent.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"bootagent/pkg/boot"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/status"
)

// A Config says what an agent works with.
type Config struct {
	Log    *slog.Logger
	Inputs Inputs
	Host   func(*Lesson) (host.Host, error)
	Report Reporter
	Keep   Keeper

	// AddKeys takes keys that a person brings, and says which they are.
	AddKeys func(text []byte) (answer string, err error)

	// Watch returns what waits for the next unit, of those that it is given,
	// that may have changed.
	Watch func(ctx context.Context, units []string) (next func(context.Context) (unit string, err error))

	// Parts are what else runs beside each boot, by name. A part that ends with an
	// error is started again after a rest.
	Parts map[string]func(context.Context, *boot.Boot) error

	// Jitter returns what is added to a rest, less than below. nil is a random
	// function.
	Jitter func(below time.Duration) time.Duration

	// Wrap is the Wrap of each graph. nil is graph.Logged.
	Wrap func(step string, log *slog.Logger, run graph.Func) graph.Func
}

// A Reporter tells people and systemd what the agent is doing.
type Reporter interface {
	// Identifying says how the agent learns which plan the machine has.
	Identifying(progress []graph.Progress)

	// Booting says how a role comes up, after how the agent learnt of it, and
	// by unit what holds the services that may not start yet. Told has the role,
	// and what is told of it beside its steps.
	Booting(told status.Status, held map[string]graph.Progress, progress []graph.Progress)

	// NoPlan says why there is no plan, which services are held for that, and which
	// a person has started all the same.
	NoPlan(why error, held []string, bypassed []status.Bypass)

	// Ready says that the boot of the machine need not wait for the agent any
	// more.
	Ready()

	// SetProblem says why a part of the agent does not work; "" is that it works.
	SetProblem(part, why string)
}

// A Keeper keeps what others read of the agent, and tells what they did.
type Keeper interface {
	// Plan keeps the plan and the role files that are in force, and tells services
	// which instance this is.
	Plan(role.Plan, host.Instance) error

	// InForce returns the plan that Plan kept last in this boot of the machine, by
	// this agent or an earlier one, or nil.
	InForce() (*role.Plan, error)

	// Check makes again what somebody deleted, a plan that is in force among it.
	// nil is that no plan is in force.
	Check(*role.Plan, host.Instance) error

	// Granted reports whether a unit has the file of a grant, and so may start,
	// even before an agent that was restarted has checked what it stands on.
	Granted(unit string) bool

	// Held returns the services that have a guard and no grant.
	Held() []string

	// Bypassed returns the bypasses that are in force, by unit.
	Bypassed() (map[string]host.Bypass, error)

	// WarnOfGuards says which services of a plan are not held.
	WarnOfGuards(context.Context, role.Plan)
}

// An Agent is the one of its machine.
type Agent struct {
	Config
	late  *time.Timer                          // when the boot of the machine need not wait any more
	boots func(context.Context, *Lesson) error // bootBy, or that of a test

	// One retry at a time. This is a lock that a simulated world sees somebody wait
	// for.
	retrying chan struct{}

	mu         sync.Mutex
	graph      *graph.Graph   // that runs: the one of Identify, and then the boot's; nil if none does
	boot       *boot.Boot     // nil if there is no plan
	host       host.Host      // of the boot that was made last
	identity   *host.Identity // the last that the machine was told; nil before
	lesson     *Lesson        // that the boot goes by
	next       *Lesson        // to start over with; nil is to learn everything
	again      context.CancelCauseFunc
	identified []graph.Progress
	noPlan     error // why there is no plan; nil if there is one, or it is being made
}

// New returns an agent.
func New(c Config) *Agent {
	a := &Agent{Config: c, retrying: make(chan struct{}, 1)}
	a.boots = a.bootBy
	return a
}

// errAgain ends what the agent does, so that it starts over.
var errAgain = errors.New("everything is read again")

// Run learns and boots, and starts over when it is told to, until ctx ends. After
// that it notes how the services stopped.
func (a *Agent) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		now, again := context.WithCancelCause(ctx)
		a.mu.Lock()
		next := a.next
		a.next, a.again = nil, again
		a.graph, a.boot, a.lesson, a.noPlan = nil, nil, nil, nil
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
func (a *Agent) once(ctx context.Context, learnt *Lesson) error {
	if learnt == nil {
		var err error
		if learnt, err = a.learn(ctx); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return a.rest(ctx, err)
		}
	}
	return a.boots(ctx, learnt)
}

// rest says why there is no plan, until ctx ends.
func (a *Agent) rest(ctx context.Context, why error) error {
	a.begin(nil, nil, nil)
	a.withoutPlan(why)
	<-ctx.Done()
	return nil
}

// bootBy makes the plan true and keeps it so until ctx ends.
func (a *Agent) bootBy(ctx context.Context, learnt *Lesson) error {
	h, err := a.Host(learnt)
	if err != nil {
		return err
	}
	if err := a.bind(ctx, learnt, h); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return a.rest(ctx, err)
	}
	if err := a.Keep.Plan(learnt.Plan, learnt.Identity.Instance); err != nil {
		return err
	}
	a.Keep.WarnOfGuards(ctx, learnt.Plan)
	b := boot.New(learnt.Plan, h, a.Log)
	b.Jitter, b.Wrap = a.Jitter, a.Wrap
	return a.serve(ctx, b, learnt)
}

// withoutPlan says why there is no plan. The boot of the machine goes on, and
// what is held stays held.
func (a *Agent) withoutPlan(err error) {
	a.mu.Lock()
	a.noPlan = err
	a.mu.Unlock()
	a.reportNoPlan(err)
	a.Report.Ready()
}

// reportNoPlan says why there is no plan. Which services are held changes without the
// agent: a person may bypass what holds them.
func (a *Agent) reportNoPlan(err error) {
	inForce, readErr := a.Keep.Bypassed()
	if readErr != nil {
		a.Log.Error("cannot tell of all bypasses", "error", readErr)
	}
	var bypassed []status.Bypass
	for _, unit := range slices.Sorted(maps.Keys(inForce)) {
		bypassed = append(bypassed, bypassOf(inForce[unit], []string{"there is no plan"}))
	}
	a.Report.NoPlan(err, a.Keep.Held(), bypassed)
}

// begin says which graph runs from now on.
func (a *Agent) begin(g *graph.Graph, b *boot.Boot, by *Lesson) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.graph, a.boot, a.lesson = g, b, by
}

// Boot returns the boot that is under way, or nil.
func (a *Agent) Boot() *boot.Boot {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boot
}

// Ping returns when the graph that runs has answered, which shows that it is not
// stuck.
func (a *Agent) Ping() {
	a.mu.Lock()
	g := a.graph
	a.mu.Unlock()
	if g != nil {
		g.Ping()
	}
}

// Inspect makes again what the agent keeps for others and somebody deleted. The
// caller repeats it, because nobody tells of that.
func (a *Agent) Inspect(ctx context.Context) {
	a.mu.Lock()
	b, by, noPlan := a.boot, a.lesson, a.noPlan
	a.mu.Unlock()
	if noPlan != nil {
		a.reportNoPlan(noPlan)
	}
	var inForce *role.Plan
	var of host.Instance
	if b != nil {
		inForce, of = &by.Plan, by.Identity.Instance
	}
	err := a.Keep.Check(inForce, of)
	if b != nil {
		err = errors.Join(err, b.Inspect(ctx))
	}
	if err != nil && ctx.Err() == nil {
		a.Log.Error("cannot keep what others read of the agent", "error", err)
	}
}

// stopWithin is how long the agent may take to note how the services stopped.
const stopWithin = 10 * time.Second

// serve makes the plan true and keeps it so until ctx ends.
func (a *Agent) serve(ctx context.Context, b *boot.Boot, by *Lesson) error {
	a.begin(b.Graph, b, by)
	parts := map[string]func(context.Context) error{
		"units":    func(ctx context.Context) error { a.followUnits(ctx, b); return nil },
		"health":   func(ctx context.Context) error { b.WatchHealth(ctx); return nil },
		"metadata": func(ctx context.Context) error { return a.confirm(ctx, by) },
	}
	for name, run := range a.Parts {
		parts[name] = func(ctx context.Context) error { return run(ctx, b) }
	}
	var running sync.WaitGroup
	for name, run := range parts {
		running.Go(func() { KeepRunning(ctx, name, run, a.Report, a.Log) })
	}
	b.Run(ctx, func(progress []graph.Progress) { a.report(b, by, progress) })
	running.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := b.StoppedServices(end); err != nil {
		a.Log.Error("cannot note how the services stopped", "error", err)
	}
	return nil
}

// report tells how a boot goes on.
func (a *Agent) report(b *boot.Boot, by *Lesson, progress []graph.Progress) {
	held := b.Held(progress, a.Keep.Granted)
	told := status.Status{Role: by.Plan.Role, Volumes: volumesOf(b), Bypassed: bypassesOf(b, progress), LeftAlone: b.LeftAlone()}
	a.mu.Lock()
	progress = slices.Concat(a.identified, progress)
	a.mu.Unlock()
	a.Report.Booting(told, held, progress)
}

// volumesOf are the volumes of which it is known how their services had stopped.
func volumesOf(b *boot.Boot) (volumes []status.Volume) {
	last := b.LastStops()
	for _, name := range slices.Sorted(maps.Keys(last)) {
		stop := last[name]
		v := status.Volume{Name: name, LastStop: status.LastStop{At: stop.At, On: stop.On, Clean: stop.Clean, Why: stop.Why, Text: stop.String()}}
		for _, e := range stop.Engines {
			v.LastStop.Engines = append(v.LastStop.Engines, status.EngineStop{Data: e.Data, Engine: e.Name, Clean: e.Clean, Says: e.Says})
		}
		volumes = append(volumes, v)
	}
	return volumes
}

// bypassesOf are the bypasses that are in force, and what their services lack.
func bypassesOf(b *boot.Boot, progress []graph.Progress) (all []status.Bypass) {
	for _, lack := range b.Bypassed(progress) {
		all = append(all, bypassOf(lack.Bypass, lack.Steps))
	}
	return all
}

func bypassOf(b host.Bypass, lacks []string) status.Bypass {
	return status.Bypass{Unit: b.Unit, Reason: b.Reason, By: b.By, At: b.At, WithoutProof: b.WithoutProof, Lacks: lacks}
}

// followUnits runs steps again that a change of a unit invalidates.
func (a *Agent) followUnits(ctx context.Context, b *boot.Boot) {
	units := slices.Collect(maps.Keys(b.Units()))
	b.Follow(ctx, a.Watch(ctx, units))
}

// KeepRunning runs a part of the agent until it returns nil or ctx ends. A part
// that ends with an error is started again after a rest, and reported until then.
func KeepRunning(ctx context.Context, part string, run func(context.Context) error, report Reporter, log *slog.Logger) {
	for rest := time.Second; ; rest = min(2*rest, time.Minute) {
		err := run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Error("a part of the agent stopped, and is started again", "part", part, "error", err, "rest", rest)
		report.SetProblem(part, fmt.Sprintf("this part of the agent stopped, and is started again: %v", err))
		select {
		case <-time.After(rest):
			report.SetProblem(part, "")
		case <-ctx.Done():
			return
		}
	}
}
