package systemd

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// A pid1 is PID 1 as its private bus shows it to the agent: units, and jobs
// that end at once, as the test wants. It keeps to what systemd does with
// assertions, with transient units and with those that failed.
type pid1 struct {
	environment []string // of all services

	mu     sync.Mutex
	units  map[string]*unitOfPID1
	jobs   []string                             // "start srv-data.mount fail"
	ends   func(verb, unit string) string       // how a job ends, "done" if nil; "" for not at all
	refuse func(verb, unit, mode string) string // what a job is refused with, "" where it is not
	kills  []string                             // units that were killed
	agents []net.Conn
	asked  int    // for properties of units
	state  string // of the system
}

type unitOfPID1 struct {
	active    string
	sub       string
	entered   int // how often it became active
	transient bool
	props     map[string]godbus.Variant
	requires  string // another unit, or ""
}

// newPID1 starts a machine, and connects an agent that keeps its files in run.
func newPID1(t *testing.T) (p *pid1, m *Manager, run string) {
	t.Helper()
	p = &pid1{units: make(map[string]*unitOfPID1), state: "running"}
	run = t.TempDir()
	m = newManager(run, slog.New(slog.DiscardHandler))
	m.dial = p.dial
	t.Cleanup(p.hangUp)
	return p, m, run
}

func (p *pid1) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	go p.serve(theirs)
	return ours, nil
}

// hangUp is what happens when PID 1 executes itself anew.
func (p *pid1) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, agent := range p.agents {
		agent.Close()
	}
}

// serve speaks the server's part of the D-Bus specification.
func (p *pid1) serve(agent net.Conn) {
	in := bufio.NewReader(agent)
	answers := map[string]string{"\x00AUTH": "REJECTED EXTERNAL", "AUTH EXTERNAL": "DATA", "DATA": "OK 1234deadbeef"}
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == "BEGIN\r\n" {
			break
		}
		for said, answer := range answers {
			if words := strings.TrimRight(line, "\r\n"); words == said || strings.HasPrefix(words, said+" ") {
				fmt.Fprintf(agent, "%s\r\n", answer)
				break
			}
		}
	}
	p.mu.Lock()
	p.agents = append(p.agents, agent)
	p.mu.Unlock()
	for {
		msg, err := godbus.DecodeMessage(in)
		if err != nil {
			return
		}
		p.mu.Lock()
		body, after, err := p.call(msg)
		reply := &godbus.Message{Type: godbus.TypeMethodReply, Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldReplySerial: godbus.MakeVariant(msg.Serial()),
		}, Body: body}
		if err != nil {
			reply.Type = godbus.TypeError
			reply.Headers[godbus.FieldErrorName] = godbus.MakeVariant("org.freedesktop.systemd1." + err.Error())
		}
		send(agent, reply)
		for _, signal := range after {
			for _, agent := range p.agents {
				send(agent, signal)
			}
		}
		p.mu.Unlock()
	}
}

func send(agent net.Conn, msg *godbus.Message) {
	if len(msg.Body) > 0 {
		msg.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(msg.Body...))
	}
	msg.EncodeTo(agent, binary.LittleEndian)
}

func signal(path godbus.ObjectPath, iface, member string, body ...any) *godbus.Message {
	return &godbus.Message{Type: godbus.TypeSignal, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldPath:      godbus.MakeVariant(path),
		godbus.FieldInterface: godbus.MakeVariant(iface),
		godbus.FieldMember:    godbus.MakeVariant(member),
	}, Body: body}
}

// call answers a method call, and says what is signalled after the answer. An
// error is a name of org.freedesktop.systemd1(5).
func (p *pid1) call(msg *godbus.Message) (body []any, after []*godbus.Message, err error) {
	word := func(i int) string { s, _ := msg.Body[i].(string); return s }
	member, _ := msg.Headers[godbus.FieldMember].Value().(string)
	switch member {
	case "StartTransientUnit":
		if u := p.units[word(0)]; u != nil {
			return nil, nil, fmt.Errorf("UnitExists")
		}
		u := &unitOfPID1{active: "inactive", transient: true, props: make(map[string]godbus.Variant)}
		for _, prop := range msg.Body[2].([][]any) {
			u.props[prop[0].(string)] = prop[1].(godbus.Variant)
		}
		p.units[word(0)] = u
		return p.job("start", word(0), word(1))
	case "StartUnit", "RestartUnit", "StopUnit":
		return p.job(strings.ToLower(strings.TrimSuffix(member, "Unit")), word(0), word(1))
	case "ResetFailedUnit":
		if p.units[word(0)] == nil {
			return nil, nil, fmt.Errorf("NoSuchUnit")
		}
		if u := p.units[word(0)]; u.active == "failed" {
			u.active = "inactive"
			p.let(word(0))
		}
	case "KillUnit":
		p.kills = append(p.kills, word(0))
	case "ListUnitsByNames":
		var listed []unitStatus
		for _, name := range msg.Body[0].([]string) {
			listed = append(listed, p.status(name))
		}
		return []any{listed}, nil, nil
	case "Get":
		if word(1) == "SystemState" {
			return []any{godbus.MakeVariant(p.state)}, nil, nil
		}
		path, _ := msg.Headers[godbus.FieldPath].Value().(godbus.ObjectPath)
		return []any{p.property(path, word(1))}, nil, nil
	}
	return nil, nil, nil
}

// job runs a job to its end.
func (p *pid1) job(verb, unit, mode string) ([]any, []*godbus.Message, error) {
	u := p.units[unit]
	if u == nil {
		return nil, nil, fmt.Errorf("NoSuchUnit")
	}
	p.jobs = append(p.jobs, verb+" "+unit+" "+mode)
	if p.refuse != nil {
		if why := p.refuse(verb, unit, mode); why != "" {
			return nil, nil, fmt.Errorf("%s", why)
		}
	}
	id := uint32(len(p.jobs))
	path := godbus.ObjectPath(fmt.Sprintf("/org/freedesktop/systemd1/job/%d", id))
	result := "done"
	if p.ends != nil {
		result = p.ends(verb, unit)
	}
	if verb != "stop" && !u.asserts() {
		result = "assert"
	}
	switch {
	case verb == "stop" && result == "done":
		u.active = "inactive"
		for _, name := range p.requiring(unit) { // what requires it is stopped with it
			if p.units[name].active == "active" {
				delete(p.units, name)
			}
		}
	case verb == "stop":
	case result == "done" || result == "":
		u.active = "active"
		u.entered++
	case result == "failed":
		u.active = "failed"
	}
	p.collect(unit)
	if result == "" {
		u.active = "activating"
		return []any{path}, nil, nil
	}
	removed := signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved", id, path, unit, result)
	return []any{path}, []*godbus.Message{removed}, nil
}

// collect forgets a unit that systemd would forget.
func (p *pid1) collect(unit string) {
	u := p.units[unit]
	forgets := u.active == "inactive" || u.active == "failed" && u.props["CollectMode"].Value() == "inactive-or-failed"
	if u.transient && forgets && p.requiring(unit) == nil {
		delete(p.units, unit)
	}
}

// requiring are the units that are loaded and require another.
func (p *pid1) requiring(unit string) (names []string) {
	for name, u := range p.units {
		if u.requires == unit {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// let forgets a unit that failed no more, and one that it has required.
func (p *pid1) let(unit string) {
	requires := p.units[unit].requires
	delete(p.units, unit)
	if required := p.units[requires]; required != nil {
		p.collect(requires)
	}
}

// asserts tells whether all that a unit asserts to be there is there.
func (u *unitOfPID1) asserts() bool {
	asserted, _ := u.props["Asserts"].Value().([][]any)
	for _, a := range asserted {
		if _, err := os.Stat(a[3].(string)); err != nil || a[0] != "AssertPathExists" {
			return false
		}
	}
	return true
}

// becomes changes the state of a unit, and signals that.
func (p *pid1) becomes(unit, active string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.units[unit].active = active
	p.collect(unit)
	changed := signal(pathOf(unit), "org.freedesktop.DBus.Properties", "PropertiesChanged",
		"org.freedesktop.systemd1.Unit", map[string]godbus.Variant{"ActiveState": godbus.MakeVariant(active)}, []string{})
	for _, agent := range p.agents {
		send(agent, changed)
	}
}

func pathOf(unit string) godbus.ObjectPath {
	return godbus.ObjectPath("/org/freedesktop/systemd1/unit/" + dbus.PathBusEscape(unit))
}

// unitStatus is what ListUnitsByNames tells of a unit, a(ssssssouso).
type unitStatus struct {
	Name, Description, Load, Active, Sub, Follows string
	Path                                          godbus.ObjectPath
	Job                                           uint32
	JobType                                       string
	JobPath                                       godbus.ObjectPath
}

func (p *pid1) status(name string) unitStatus {
	s := unitStatus{Name: name, Load: "not-found", Active: "inactive", Path: pathOf(name), JobPath: "/"}
	if u := p.units[name]; u != nil {
		s.Load, s.Active, s.Sub = "loaded", u.active, u.sub
	}
	return s
}

func (p *pid1) property(path godbus.ObjectPath, property string) godbus.Variant {
	u := new(unitOfPID1)
	for name, known := range p.units {
		if pathOf(name) == path {
			u = known
		}
	}
	p.asked++
	if v, told := u.props[property]; told && (!u.transient || property != "ExecStart") {
		return v // as it was given
	}
	switch property {
	case "Environment":
		return godbus.MakeVariant(append([]string{}, p.environment...))
	case "NRestarts":
		return godbus.MakeVariant(uint32(0))
	case "ExecMainCode", "ExecMainStatus":
		return godbus.MakeVariant(int32(0))
	case "ExecMainExitTimestampMonotonic", "ActiveExitTimestampMonotonic", "InactiveExitTimestampMonotonic":
		return godbus.MakeVariant(uint64(0))
	case "ActiveEnterTimestampMonotonic":
		return godbus.MakeVariant(uint64(u.entered))
	case "ExecStart":
		exec, _ := u.props["ExecStart"].Value().([][]any)
		return godbus.MakeVariant(asTold(exec))
	case "BindsTo":
		bound, _ := u.props["BindsTo"].Value().([]string)
		return godbus.MakeVariant(append([]string{}, bound...))
	case "BoundBy", "RequiredBy":
		for name := range p.units {
			if pathOf(name) == path {
				return godbus.MakeVariant(append([]string{}, p.requiring(name)...))
			}
		}
		return godbus.MakeVariant([]string{})
	case "Result":
		return godbus.MakeVariant("success")
	}
	return godbus.MakeVariant("")
}

// told is how the bus tells an ExecStart that it was given as execCommand.
type told struct {
	Path             string
	Argv             []string
	UncleanIsFailure bool
	Start, MonoStart uint64
	Exit, MonoExit   uint64
	PID              uint32
	Code, Status     int32
}

func asTold(given [][]any) (all []told) {
	for _, c := range given {
		all = append(all, told{Path: c[0].(string), Argv: c[1].([]string)})
	}
	return all
}

// add has the machine know a unit file, or a unit be in another state.
func (p *pid1) add(unit, active string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.units[unit]; u != nil {
		u.active = active
		return
	}
	p.units[unit] = &unitOfPID1{active: active}
}

// took returns the jobs since the last call.
func (p *pid1) took() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.jobs = nil }()
	return p.jobs
}

// active are the units that are active, sorted.
func (p *pid1) active() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, u := range p.units {
		if u.active == "active" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// files lists what the agent keeps in its folders, but for the folders.
func files(t *testing.T, run string) (all []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(run, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		all = append(all, strings.TrimPrefix(f, run+"/"))
	}
	return all
}
