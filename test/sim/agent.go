package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"bootagent/cmd/bootagent/asstatus"
	"bootagent/pkg/boot"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
	"bootagent/pkg/status"
	volume "bootagent/pkg/storage/ebs"
	"bootagent/pkg/userdata"
)

// An agent is one run of the program on a machine.
type agent struct {
	machine *machine
	name    string
	volumes *volume.Volumes
	cancel  context.CancelFunc
	died    chan struct{}
	done    chan struct{}
	doomed  bool     // it dies as soon as it has had its answer
	keys    []string // in its memory
	opener  secret.Keys
	changes []string // units that it was not told of yet
	started time.Time
	onEnd   func()
	people  int
	working sync.WaitGroup // those that talk to it

	// World.mu guards these.
	dead     bool
	boot     *boot.Boot     // nil where there is no plan
	plan     role.Plan      // that the boot goes by
	facts    *host.Identity // that it was told last
	config   error          // why there is no plan
	next     *role.Plan     // to begin anew with; nil is to learn it
	again    context.CancelCauseFunc
	actors   map[string]string // by goroutine
	launched []graph.Progress  // of the launch
	progress []graph.Progress  // of the story that is being told
	held     map[string]graph.Progress
}

const (
	goodUserData = "#bootagent\nversion: 1\nrole: mysql-ec2\nparams: {cluster: orders}\n"
	badUserData  = "#bootagent\nversion: 1\nrole: mysqll\nparams: {cluster: orders}\n"
)

// example is the role that the package comes with, as it is.
var example = sync.OnceValue(func() string {
	text, err := os.ReadFile("../../packaging/roles/mysql-ec2.yaml")
	if err != nil {
		panic(err)
	}
	return string(text)
})

// exampleRole is that of the example, and hastyRole one of little patience that
// asks whether the service is ready.
var (
	exampleRole = sync.OnceValue(func() *role.Role { return decode(example()) })
	hastyRole   = sync.OnceValue(func() *role.Role {
		text := strings.Replace(example(), "wait: 20m", "wait: 5m", 1)
		return decode(strings.Replace(text, "mariadb.service: {}", "mariadb.service: {ready: {unit: "+probe+", timeout: 2m}}", 1))
	})
)

func decode(text string) *role.Role {
	r, err := role.Decode("mysql-ec2.yaml", []byte(text))
	if err != nil {
		panic(err)
	}
	return r
}

// startAgent starts the program, as systemd does.
func (m *machine) startAgent() {
	if !m.up || m.agent != nil || m.stopping {
		return
	}
	m.agents++
	w := m.world
	w.boots++
	ctx, cancel := context.WithCancel(context.Background())
	a := &agent{
		machine: m, name: fmt.Sprintf("%s/%d.%d", short(m.id), m.booted, m.agents), cancel: cancel, started: time.Now(),
		died: make(chan struct{}), done: make(chan struct{}), actors: make(map[string]string),
	}
	a.volumes = volume.New(ec2{a}, volume.Instance{ID: m.id, Zone: zone, Region: region, Role: "mysql-ec2"})
	m.agent = a
	m.all()
	w.tell(m.id, "the agent %s starts", a.name)
	go a.run(ctx)
}

func short(id string) string { return "i-" + strings.TrimLeft(id[2:], "0") }

// run is what the program does from its beginning to its end.
func (a *agent) run(ctx context.Context) {
	defer a.wake()
	defer close(a.done)
	defer a.working.Wait()
	a.is("agent")
	log := slog.New(&handler{agent: a})
	w := a.machine.world
	var b *boot.Boot
	for ctx.Err() == nil {
		now, again := context.WithCancelCause(ctx)
		w.mu.Lock()
		next := a.next
		a.next, a.again, a.boot, a.config = nil, again, nil, nil
		w.mu.Unlock()
		b = a.once(now, next, log)
		again(nil)
	}
	if b == nil {
		return
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := b.StoppedServices(end); err != nil {
		log.Error("cannot note how the services stopped", "error", err)
	}
}

// once learns, unless that was done, and boots, until ctx ends.
func (a *agent) once(ctx context.Context, next *role.Plan, log *slog.Logger) *boot.Boot {
	w := a.machine.world
	confirm := func(context.Context) (string, error) { return "", nil }
	if next == nil {
		launch := boot.NewIdentify(metadata{a}, a.planOf)
		launch.Jitter = a.jitter
		plan, facts, err := launch.Run(ctx, log, func(p []graph.Progress) { a.report(nil, p) })
		if ctx.Err() != nil {
			return nil
		}
		w.mu.Lock()
		a.facts, a.config = &facts, err
		w.mu.Unlock()
		if err != nil {
			<-ctx.Done()
			return nil
		}
		next, confirm = &plan, launch.Confirm
	}
	b := boot.New(*next, a.world(), log)
	b.Jitter = a.jitter
	w.mu.Lock()
	a.boot, a.plan = b, *next
	w.mu.Unlock()
	var running sync.WaitGroup
	running.Go(func() {
		a.is("units")
		b.Follow(ctx, a.nextChange, mountUnit, grantUnit)
	})
	running.Go(func() {
		a.is("confirm")
		_, _ = confirm(ctx)
	})
	b.Run(ctx, func(p []graph.Progress) { a.report(b, p) })
	running.Wait()
	return b
}

// now is the boot that is under way, or nil.
func (a *agent) now() *boot.Boot {
	w := a.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return a.boot
}

var errAgain = errors.New("everything is read again")

func (a *agent) beginAnew(plan *role.Plan) {
	w := a.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	a.next = plan
	a.again(errAgain)
}

// retry is what the program does for bootagent retry.
func (a *agent) retry() error {
	w := a.machine.world
	w.mu.Lock()
	b, by, known, config := a.boot, a.plan, a.facts, a.config
	w.mu.Unlock()
	if b == nil && config == nil {
		a.beginAnew(nil)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	facts, err := metadata{a}.Ask(ctx)
	if err != nil {
		facts = *known
	}
	plan, err := a.planOf(facts)
	switch {
	case b == nil && err != nil:
		return err
	case b == nil:
		a.beginAnew(&plan)
		return nil
	case err != nil || reflect.DeepEqual(plan, by):
		return b.RetryNow(context.Background())
	}
	if err := b.Takes(context.Background(), plan); err != nil {
		return err
	}
	err = b.StartAgain(context.Background())
	a.beginAnew(&plan)
	return err
}

func (a *agent) wake() {
	select {
	case a.machine.world.wake <- struct{}{}:
	default:
	}
}

// is says which part of the agent the calling goroutine is.
func (a *agent) is(actor string) {
	w := a.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	a.actors[goroutine()] = actor
}

func (a *agent) jitter(below time.Duration) time.Duration {
	w := a.machine.world
	w.mu.Lock()
	actor := a.actors[goroutine()]
	w.mu.Unlock()
	return time.Duration(w.drawFor(a.name+" "+actor) % uint64(below))
}

func (a *agent) report(b *boot.Boot, p []graph.Progress) {
	w := a.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	a.progress = p
	if b != nil && w.early == "" {
		w.early = early(p)
	}
	if b == nil {
		a.launched = p
	} else {
		a.held = b.Held(p)
	}
	for _, s := range p {
		w.read(s.String() + s.Wait.Hint + s.Warning + fault.HintOf(s.Err))
	}
}

// early says what is told too early: that the role is ready between two steps,
// or that the boot need not wait while a step runs.
func early(p []graph.Progress) string {
	is := func(states ...graph.State) bool {
		return slices.ContainsFunc(p, func(s graph.Progress) bool { return slices.Contains(states, s.State) })
	}
	switch {
	case is(graph.Running) && asstatus.Settled(p):
		return "the boot is told not to wait, and a step runs"
	case is(graph.Running, graph.Waiting, graph.Failed) || !is(graph.Pending, graph.Skipped):
		return "" // a step is at work, which is what is told; or all is done
	}
	if s := asstatus.Of("", nil, p); s.State == status.Ready {
		return "the role is told to be ready, and not all is done"
	}
	return ""
}

// read looks at a text that the agent lets out.
func (w *World) read(text string) {
	if w.leaked == "" && strings.Contains(text, plaintext) {
		w.leaked = text
	}
}

// planOf makes the plan of the role that the user-data selects.
func (a *agent) planOf(facts host.Identity) (plan role.Plan, err error) {
	err = a.call(context.Background(), "asks", "for the role files", effect{do: func() error {
		sel, err := userdata.Parse(facts.UserData)
		if err != nil {
			return err
		}
		r, err := role.ByName([]*role.Role{a.machine.world.role}, sel.Role)
		if err != nil {
			return err
		}
		p, err := r.Plan(sel.Params, sel.Volumes, facts.Instance)
		if err == nil {
			plan = *p
		}
		return err
	}})
	return plan, err
}

// nextChange is the next unit that may have changed.
func (a *agent) nextChange(ctx context.Context) (unit string, err error) {
	err = a.call(ctx, "looks", "for changes of units", effect{
		do:    func() error { return nil },
		until: func() bool { return len(a.changes) > 0 },
		result: func() error {
			unit, a.changes = a.changes[0], a.changes[1:]
			return nil
		},
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, errDead) {
		return a.nextChange(ctx)
	}
	return unit, err
}

// all has the agent told of all units, as after a new connection.
func (m *machine) all() {
	for _, where := range []string{volumeAt, dataDir} {
		m.changed(mountUnit(where))
	}
	m.changed(database)
	m.changed(grantUnit(database))
}

// kill ends the program at once.
func (a *agent) kill() {
	w := a.machine.world
	w.mu.Lock()
	a.dead = true
	w.mu.Unlock()
	close(a.died)
	a.cancel()
	<-a.done
	if a.machine.agent == a {
		a.machine.agent = nil
	}
}

// stop asks the program to end.
func (a *agent) stop() { a.cancel() }

func (a *agent) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// crash kills the agent, which systemd starts again.
func (m *machine) crash(when string) {
	if m.agent == nil {
		return
	}
	m.world.tell(m.id, "the agent dies, %s", when)
	m.agent.kill()
	m.world.in(time.Second, m.id, "", m.startAgent)
}

// agentEnded sees to what comes after an agent that ended by itself.
func (m *machine) agentEnded() {
	a := m.agent
	if a == nil || !a.ended() || a.onEnd == nil {
		return
	}
	m.agent = nil
	a.onEnd()
}

// restart is systemctl restart bootagent.
func (m *machine) restart() {
	a := m.agent
	if a == nil || m.stopping {
		return
	}
	a.onEnd = func() { m.world.in(100*time.Millisecond, m.id, "", m.startAgent) }
	a.stop()
}

// person has somebody tell the agent something.
func (a *agent) person(do func() error) {
	if a.ended() {
		return
	}
	a.people++
	name := fmt.Sprintf("person %d", a.people)
	a.working.Go(func() {
		a.is(name)
		_ = do()
	})
}

// A handler takes the agent's log. A step says in it that it starts and ends.
type handler struct {
	agent *agent
	step  string
}

func (h *handler) Enabled(context.Context, slog.Level) bool { return true }
func (h *handler) WithGroup(string) slog.Handler            { return h }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, attr := range attrs {
		if attr.Key == "step" {
			with.step = attr.Value.String()
		}
	}
	return &with
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	a := h.agent
	w := a.machine.world
	text := r.Message
	r.Attrs(func(attr slog.Attr) bool { text += " " + attr.Value.String(); return true })
	w.mu.Lock()
	w.read(text)
	w.mu.Unlock()
	nothing := effect{do: func() error { return nil }}
	if h.step == "" {
		return nil
	}
	switch r.Message {
	case "started":
		a.is(h.step)
		return a.call(context.Background(), r.Message, h.step, nothing)
	case "finished", "cancelled":
		return a.call(context.Background(), r.Message, h.step, nothing)
	case "failed":
		return a.call(context.Background(), "fails", text, nothing)
	}
	return nil
}

// metadata is the instance metadata service, with its last answer kept.
type metadata struct{ *agent }

func (d metadata) Ask(ctx context.Context) (facts host.Identity, err error) {
	m := d.machine
	err = d.call(ctx, "asks", "IMDS who it is", effect{
		fails: []error{
			&fault.Pending{For: "an answer: no route to the metadata service", Hint: "look at the network"},
			&fault.Pending{For: "an answer: the metadata service says 503", Hint: ""},
			&fault.Pending{For: "an answer: the metadata service says 403", Hint: "turn it on"},
		},
		bound: 5 * time.Second,
		do: func() error {
			facts = host.Identity{
				Instance: role.Instance{ID: m.id, Zone: zone, Region: region, Type: "t3.micro"}, UserData: []byte(m.userData),
			}
			return nil
		},
	})
	if ctx.Err() != nil {
		err = imdsSilent
	}
	return facts, err
}

// imdsSilent is what the client says of a service that takes connections and
// no more, as one does to which the way back is closed.
var imdsSilent = &fault.Pending{
	For: "an answer: cannot get the identity of this instance from the instance metadata service at http://169.254.169.254: " +
		"it takes connections, but never answers the request for a token (PUT /latest/api/token): context deadline exceeded; " +
		"the hop limit of its answers is too low, or a firewall drops them",
	Hint: "raise the limit",
}

func (d metadata) Cache(f host.Identity) {
	// That it could not be kept is no error: only a later boot is the poorer for it.
	_ = d.call(context.Background(), "keeps", "what it was told", effect{do: func() error {
		d.machine.facts.write(&f)
		return nil
	}})
}

func (d metadata) Cached() (facts host.Identity, since time.Time, err error) {
	m := d.machine
	err = d.call(context.Background(), "asks", "what it was told before", effect{do: func() error {
		if m.facts.now == nil {
			return errors.New("nothing is kept")
		}
		facts, since = *m.facts.now, m.facts.at
		return nil
	}})
	return facts, since, err
}
