// Package pid1test has a PID 1 for tests, which speaks D-Bus on a pipe. It touches
// no other part of the machine, except that it looks for the paths that a unit
// asserts.
package pid1test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// A PID1 is PID 1 as its private D-Bus socket shows it: units, and jobs that end
// at once, with the result that the test wants. It does what systemd does with
// assertions, with transient units, and with units that failed. A test may set
// its fields while no call is under way.
type PID1 struct {
	Environment []string                             // of all services
	Units       map[string]*Unit                     // by name
	Ends        func(verb, unit string) string       // the result of a job, "done" if nil; "" for a job that does not end
	Refuse      func(verb, unit, mode string) string // the name of the error of a job, "" for none
	Kills       []string                             // units that were killed
	Asked       int                                  // how often properties of units were asked for

	mu     sync.Mutex
	jobs   []string // "start srv-data.mount fail"
	agents []net.Conn
	state  string // of the system
}

// A Unit is a unit that systemd has loaded.
type Unit struct {
	Active   string // ActiveState
	Sub      string // SubState
	Props    map[string]godbus.Variant
	Requires string // another unit, or ""

	entered   int // how often it became active
	transient bool
}

// New returns a PID 1 without units, which hangs up when the test ends.
func New(t testing.TB) *PID1 {
	p := &PID1{Units: make(map[string]*Unit), state: "running"}
	t.Cleanup(p.HangUp)
	return p
}

// Dial connects to it.
func (p *PID1) Dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	go p.serve(theirs)
	return ours, nil
}

// HangUp closes all connections, as PID 1 does when it re-executes itself.
func (p *PID1) HangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, agent := range p.agents {
		agent.Close()
	}
}

// serve speaks the server's side of the D-Bus specification.
func (p *PID1) serve(agent net.Conn) {
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

// Signal returns a signal.
func Signal(path godbus.ObjectPath, iface, member string, body ...any) *godbus.Message {
	return &godbus.Message{Type: godbus.TypeSignal, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldPath:      godbus.MakeVariant(path),
		godbus.FieldInterface: godbus.MakeVariant(iface),
		godbus.FieldMember:    godbus.MakeVariant(member),
	}, Body: body}
}

// call answers a method call, and returns the signals that follow the answer. An
// error is one of org.freedesktop.systemd1(5).
func (p *PID1) call(msg *godbus.Message) (body []any, after []*godbus.Message, err error) {
	word := func(i int) string { s, _ := msg.Body[i].(string); return s }
	member, _ := msg.Headers[godbus.FieldMember].Value().(string)
	switch member {
	case "StartTransientUnit":
		if u := p.Units[word(0)]; u != nil {
			return nil, nil, fmt.Errorf("UnitExists")
		}
		u := &Unit{Active: "inactive", transient: true, Props: make(map[string]godbus.Variant)}
		for _, prop := range msg.Body[2].([][]any) {
			u.Props[prop[0].(string)] = prop[1].(godbus.Variant)
		}
		p.Units[word(0)] = u
		return p.job("start", word(0), word(1))
	case "StartUnit", "RestartUnit", "StopUnit":
		return p.job(strings.ToLower(strings.TrimSuffix(member, "Unit")), word(0), word(1))
	case "ResetFailedUnit":
		if p.Units[word(0)] == nil {
			return nil, nil, fmt.Errorf("NoSuchUnit")
		}
		if u := p.Units[word(0)]; u.Active == "failed" {
			u.Active = "inactive"
			p.let(word(0))
		}
	case "KillUnit":
		p.Kills = append(p.Kills, word(0))
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
func (p *PID1) job(verb, unit, mode string) ([]any, []*godbus.Message, error) {
	u := p.Units[unit]
	if u == nil {
		return nil, nil, fmt.Errorf("NoSuchUnit")
	}
	p.jobs = append(p.jobs, verb+" "+unit+" "+mode)
	if p.Refuse != nil {
		if why := p.Refuse(verb, unit, mode); why != "" {
			return nil, nil, fmt.Errorf("%s", why)
		}
	}
	id := uint32(len(p.jobs))
	path := godbus.ObjectPath(fmt.Sprintf("/org/freedesktop/systemd1/job/%d", id))
	result := "done"
	if p.Ends != nil {
		result = p.Ends(verb, unit)
	}
	if verb != "stop" && !u.asserts() {
		result = "assert"
	}
	switch {
	case verb == "stop" && result == "done":
		u.Active = "inactive"
		for _, name := range p.requiring(unit) { // systemd stops the units that require it, too
			if p.Units[name].Active == "active" {
				delete(p.Units, name)
			}
		}
	case verb == "stop":
	case result == "done" || result == "":
		u.Active = "active"
		u.entered++
	case result == "failed":
		u.Active = "failed"
	}
	p.collect(unit)
	if result == "" {
		u.Active = "activating"
		return []any{path}, nil, nil
	}
	removed := Signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved", id, path, unit, result)
	return []any{path}, []*godbus.Message{removed}, nil
}

// collect forgets a unit if systemd would.
func (p *PID1) collect(unit string) {
	u := p.Units[unit]
	forgets := u.Active == "inactive" || u.Active == "failed" && u.Props["CollectMode"].Value() == "inactive-or-failed"
	if u.transient && forgets && p.requiring(unit) == nil {
		delete(p.Units, unit)
	}
}

// requiring returns the loaded units that require another one, sorted.
func (p *PID1) requiring(unit string) (names []string) {
	for name, u := range p.Units {
		if u.Requires == unit {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// let forgets a unit that is no longer failed, and the unit that it required.
func (p *PID1) let(unit string) {
	requires := p.Units[unit].Requires
	delete(p.Units, unit)
	if required := p.Units[requires]; required != nil {
		p.collect(requires)
	}
}

// asserts reports whether all paths that a unit asserts exist.
func (u *Unit) asserts() bool {
	asserted, _ := u.Props["Asserts"].Value().([][]any)
	for _, a := range asserted {
		if _, err := os.Stat(a[3].(string)); err != nil || a[0] != "AssertPathExists" {
			return false
		}
	}
	return true
}

// Becomes changes the state of a unit, and sends the signal for it.
func (p *PID1) Becomes(unit, active string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Units[unit].Active = active
	p.collect(unit)
	changed := Signal(PathOf(unit), "org.freedesktop.DBus.Properties", "PropertiesChanged",
		"org.freedesktop.systemd1.Unit", map[string]godbus.Variant{"ActiveState": godbus.MakeVariant(active)}, []string{})
	for _, agent := range p.agents {
		send(agent, changed)
	}
}

// PathOf returns the object path of a unit.
func PathOf(unit string) godbus.ObjectPath {
	return godbus.ObjectPath("/org/freedesktop/systemd1/unit/" + dbus.PathBusEscape(unit))
}

// unitStatus is an element of the answer of ListUnitsByNames, a(ssssssouso).
type unitStatus struct {
	Name, Description, Load, Active, Sub, Follows string
	Path                                          godbus.ObjectPath
	Job                                           uint32
	JobType                                       string
	JobPath                                       godbus.ObjectPath
}

func (p *PID1) status(name string) unitStatus {
	s := unitStatus{Name: name, Load: "not-found", Active: "inactive", Path: PathOf(name), JobPath: "/"}
	if u := p.Units[name]; u != nil {
		s.Load, s.Active, s.Sub = "loaded", u.Active, u.Sub
	}
	return s
}

func (p *PID1) property(path godbus.ObjectPath, property string) godbus.Variant {
	u := new(Unit)
	for name, known := range p.Units {
		if PathOf(name) == path {
			u = known
		}
	}
	p.Asked++
	if v, told := u.Props[property]; told && (!u.transient || property != "ExecStart") {
		return v // as the test or StartTransientUnit set it
	}
	switch property {
	case "Environment":
		return godbus.MakeVariant(append([]string{}, p.Environment...))
	case "NRestarts":
		return godbus.MakeVariant(uint32(0))
	case "ExecMainCode", "ExecMainStatus":
		return godbus.MakeVariant(int32(0))
	case "ExecMainExitTimestampMonotonic", "ActiveExitTimestampMonotonic", "InactiveExitTimestampMonotonic":
		return godbus.MakeVariant(uint64(0))
	case "ActiveEnterTimestampMonotonic":
		return godbus.MakeVariant(uint64(u.entered))
	case "ExecStart":
		exec, _ := u.Props["ExecStart"].Value().([][]any)
		return godbus.MakeVariant(asTold(exec))
	case "BindsTo":
		bound, _ := u.Props["BindsTo"].Value().([]string)
		return godbus.MakeVariant(append([]string{}, bound...))
	case "BoundBy", "RequiredBy":
		for name := range p.Units {
			if PathOf(name) == path {
				return godbus.MakeVariant(append([]string{}, p.requiring(name)...))
			}
		}
		return godbus.MakeVariant([]string{})
	case "Result":
		return godbus.MakeVariant("success")
	}
	return godbus.MakeVariant("")
}

// Exec is an element of ExecStart as the bus returns it, (sasbttttuii).
type Exec struct {
	Path             string
	Argv             []string
	UncleanIsFailure bool
	Start, MonoStart uint64
	Exit, MonoExit   uint64
	PID              uint32
	Code, Status     int32
}

func asTold(given [][]any) (all []Exec) {
	for _, c := range given {
		all = append(all, Exec{Path: c[0].(string), Argv: c[1].([]string)})
	}
	return all
}

// Add adds a unit, or changes the state of one without a signal.
func (p *PID1) Add(unit, active string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.Units[unit]; u != nil {
		u.Active = active
		return
	}
	p.Units[unit] = &Unit{Active: active}
}

// Took returns the jobs since the last call, such as "start srv-data.mount fail".
func (p *PID1) Took() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.jobs = nil }()
	return p.jobs
}

// Active returns the units that are active, sorted.
func (p *PID1) Active() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, u := range p.Units {
		if u.Active == "active" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Told replaces a unit, and sets Asked to 0.
func (p *PID1) Told(unit, active, sub string, props map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := &Unit{Active: active, Sub: sub, Props: make(map[string]godbus.Variant)}
	for name, v := range props {
		u.Props[name] = godbus.MakeVariant(v)
	}
	p.Units[unit], p.Asked = u, 0
}

// SetState changes the state of the system, such as "running".
func (p *PID1) SetState(state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = state
}
