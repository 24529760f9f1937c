package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	life "bootagent/pkg/agent"
	"bootagent/pkg/boot"
	"bootagent/pkg/grammar"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	declared "bootagent/pkg/role/directory"
	"bootagent/pkg/secret"
	"bootagent/pkg/settings"
	"bootagent/pkg/status"
	volume "bootagent/pkg/storage/ebs"
)

// An agent is one run of the program on a machine: the real pkg/agent, with the
// world as its host.
type agent struct {
	machine *machine
	name    string
	life    *life.Agent
	seams   *seams // of the boot that is under way; World.mu guards it
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
	actors   map[string]string // by goroutine
	told     status.Status     // as it was reported last, without what follows from progress; it has no role before there is a plan
	progress []graph.Progress  // as it was reported last
	held     map[string]graph.Progress
	noPlan   error // why there is no plan, as it was reported; nil where it learns or boots
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
// asks whether the service is ready, and has a file.
var (
	exampleRole = sync.OnceValue(func() *role.Role { return decode(example()) })
	hastyRole   = sync.OnceValue(func() *role.Role { return hasty("unit: " + probe) })
	hastyRoles  = sync.OnceValue(func() (all []*role.Role) {
		for _, way := range []string{
			"unit: " + probe, "tcp: 127.0.0.1:3306", "unix: /run/mysqld/mysqld.sock", "http: http://127.0.0.1:8080/health", "command: [/usr/bin/mysqladmin, ping]",
		} {
			all = append(all, hasty(way))
		}
		return all
	})
)

// withSpool has a part of the database in data of its own.
func withSpool(r *role.Role) *role.Role {
	with := *r
	spool := r.Data[0]
	spool.Name, spool.Dir, spool.Bind, spool.Engine, spool.Plain, spool.Auto = "spool", "spool", spoolAt, "none", true, false
	with.Data = append(slices.Clone(r.Data), spool)
	with.Services = slices.Clone(r.Services)
	with.Services[0].Needs = append(slices.Clone(r.Services[0].Needs), role.Need{Kind: role.KindData, Name: "spool"})
	return &with
}

// ofEngine is a role whose only data is of another engine.
func ofEngine(r *role.Role, name string) *role.Role {
	with := *r
	with.Data = slices.Clone(r.Data[:1])
	with.Data[0].Engine = declared.Engine(name)
	with.Services = slices.Clone(r.Services)
	with.Services[0].Needs = slices.DeleteFunc(slices.Clone(r.Services[0].Needs), func(n role.Need) bool { return n.Name == "spool" })
	return &with
}

// hasty is the hasty role that asks in a way.
func hasty(way string) *role.Role {
	text := strings.Replace(example(), "timeout: 20m", "timeout: 5m", 1)
	text = strings.Replace(text, "mariadb.service: {}", "mariadb.service: {ready: {"+way+", timeout: 2m}}", 1)
	return decode(strings.Replace(text, "services:\n  mariadb", filesOfRole+"services:\n  mariadb", 1))
}

func decode(text string) *role.Role {
	r, err := grammar.All().Decode("mysql-ec2.yaml", []byte(text))
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
	a.life = life.New(a.config())
	m.agent = a
	m.all()
	w.tell(m.id, "the agent %s starts", a.name)
	go a.run(ctx)
}

func short(id string) string { return "i-" + strings.TrimLeft(id[2:], "0") }

// run is the agent's life, from its beginning to its end.
func (a *agent) run(ctx context.Context) {
	defer a.wake()
	defer close(a.done)
	defer a.working.Wait()
	a.is("agent")
	_ = a.life.Run(ctx) // it ends with the agent's death
}

// config is what the agent works with: all of it is the world's.
func (a *agent) config() life.Config {
	return life.Config{
		Log:    slog.New(&handler{agent: a}),
		Inputs: inputs{a},
		Host:   a.host,
		Report: reporter{a},
		Keep:   keeper{a},
		Watch: func(context.Context, []string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				a.is("units")
				return a.nextChange(ctx)
			}
		},
		AddKeys: func([]byte) (string, error) { return "taken", nil }, // see takes
		Jitter:  a.jitter,
		Wrap:    a.wrap,
	}
}

// boot is the boot that is under way, or nil.
func (a *agent) boot() *boot.Boot { return a.life.Boot() }

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

// inputs are what the world's people wrote, and its metadata service.
type inputs struct{ *agent }

func (in inputs) Settings() (settings.Settings, error) { return settings.Default(), nil }

func (in inputs) Metadata(settings.Settings) (host.Metadata, error) { return metadata(in), nil }

func (in inputs) UserData(string) ([]byte, error) { return nil, errors.New("it is no local machine") }

func (in inputs) Roles() (roles []*role.Role, err error) {
	err = in.call(context.Background(), "asks", "for the role files", effect{do: func() error {
		roles = []*role.Role{in.machine.world.mutant.read(in.machine.world.role)}
		return nil
	}})
	return roles, err
}

// A keeper keeps nothing but what Plan notes: the world has no other file of an
// agent's that others read.
type keeper struct{ *agent }

func (keeper) Check(*role.Plan, host.Instance) error { return nil }

func (keeper) Granted(string) bool { return false }

func (keeper) Held() []string { return []string{database} }

func (k keeper) Bypassed() (map[string]host.Bypass, error) { return bypasses(k).Bypassed() }

func (keeper) WarnOfGuards(context.Context, role.Plan) {}

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
	for _, where := range places {
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
