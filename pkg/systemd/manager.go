// Package systemd asks PID 1, over its private D-Bus socket, for what the
// agent needs of it: transient mounts and grants, jobs, and the states of
// units. It keeps permits and tokens in /run/bootagent. It never reloads the
// manager and never calls mount(2).
package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A Manager is a connection to PID 1, made again when PID 1 executes itself
// anew and drops it.
type Manager struct {
	log  *slog.Logger
	run  string // /run/bootagent
	dial func() (net.Conn, error)

	sys         string // /sys
	mountinfo   string // /proc/self/mountinfo
	unmountRest time.Duration

	connecting sync.Mutex
	conn       *bus

	jobs atomic.Int32 // how many ends of jobs are waited for

	mu      sync.Mutex
	watches map[*Watch]bool
}

// NewManager connects to PID 1. Files for units to look at are kept in run. A
// permit that is there was left by an agent that died while it mounted.
func NewManager(run string, log *slog.Logger) (*Manager, error) {
	m := newManager(run, log)
	if err := os.RemoveAll(filepath.Join(run, "permit")); err != nil {
		return nil, err
	}
	if _, err := m.connection(); err != nil {
		return nil, err
	}
	return m, nil
}

func newManager(run string, log *slog.Logger) *Manager {
	return &Manager{
		log: log, run: run, dial: dial, watches: make(map[*Watch]bool),
		sys: "/sys", mountinfo: procMountinfo, unmountRest: unmountRest,
	}
}

// connection returns a live connection.
func (m *Manager) connection() (*bus, error) {
	m.connecting.Lock()
	defer m.connecting.Unlock()
	if m.conn != nil && m.conn.Connected() {
		return m.conn, nil
	}
	socket, err := m.dial()
	if err == nil {
		m.conn, err = connect(socket, m.heard, m.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach systemd at %s: %w", privateSocket, err)
	}
	return m.conn, nil
}

// Follow keeps a connection, so that changes of units are told to those that
// Watch, until ctx ends.
func (m *Manager) Follow(ctx context.Context) error {
	for {
		conn, err := m.connection()
		if err != nil {
			m.log.Warn("cannot follow systemd", "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		m.lost()
		select {
		case <-conn.closed.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// UnitState is what systemd says of a unit, in the words of its D-Bus
// interface (org.freedesktop.systemd1(5)).
type UnitState struct {
	Load   string // LoadState
	Active string // ActiveState
	Sub    string // SubState
	Job    string // type of the job that is queued, or ""
}

// State returns what a unit is doing, by one call: this is asked often.
func (m *Manager) State(ctx context.Context, unit string) (UnitState, error) {
	s, err := m.state(ctx, unit)
	if err != nil {
		return s, fmt.Errorf("cannot ask systemd about %s: %w", unit, err)
	}
	return s, nil
}

func (m *Manager) state(ctx context.Context, unit string) (UnitState, error) {
	conn, err := m.connection()
	if err != nil {
		return UnitState{}, err
	}
	listed, err := conn.ListUnitsByNamesContext(ctx, []string{unit})
	if err != nil {
		return UnitState{}, err
	}
	if len(listed) != 1 {
		return UnitState{}, fmt.Errorf("it knows %d units of that name", len(listed))
	}
	u := listed[0]
	s := UnitState{Load: u.LoadState, Active: u.ActiveState, Sub: u.SubState}
	if u.JobId != 0 {
		s.Job = u.JobType
	}
	return s, nil
}

// Ended is how a service came to be inactive or failed.
type Ended struct {
	Result    string // in the words of systemd, "success" or a cause
	Died      string // how its main process ended: "it exited with status 1"; "" where that is not known
	Ran       bool   // it was active in this boot
	ByItself  bool   // its main process ended, and no stop had been asked for
	Processes bool   // its cgroup is not empty
}

// Ended returns how a service ended.
func (m *Manager) Ended(ctx context.Context, unit string) (Ended, error) {
	e, err := m.ended(ctx, unit)
	if err != nil {
		return e, fmt.Errorf("cannot ask systemd how %s ended: %w", unit, err)
	}
	return e, nil
}

func (m *Manager) ended(ctx context.Context, unit string) (Ended, error) {
	p, err := m.properties(ctx, unit, "Result", "ControlGroup", "ExecMainCode", "ExecMainStatus",
		"ExecMainExitTimestampMonotonic", "ActiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic", "InactiveExitTimestampMonotonic")
	if err != nil {
		return Ended{}, err
	}
	entered, left, exited := p.time("ActiveEnterTimestampMonotonic"), p.time("ActiveExitTimestampMonotonic"), p.time("ExecMainExitTimestampMonotonic")
	return Ended{
		Result: text(p["Result"]),
		Died:   p.died(),
		Ran:    entered != 0,
		// A stop that is asked for has the unit leave "active" before its main
		// process ends; a process that ends has it leave afterwards. That of a
		// oneshot unit has ended before the unit became active. One that waited for
		// its restart has left "inactive" once more, and was stopped then.
		ByItself:  entered != 0 && exited >= entered && exited <= left && p.time("InactiveExitTimestampMonotonic") <= entered,
		Processes: cgroupPopulated(text(p["ControlGroup"])),
	}, nil
}

// Restarts is how systemd has started a service again by itself.
type Restarts struct {
	Count  int           // NRestarts: since the service was last started by anybody else
	Active time.Duration // since it became active; 0 where it is not, or was not restarted
	Died   string        // how its main process ended, while the restart is waited for
}

// Restarts returns how often a service was restarted by its own unit, by few
// calls where that was never.
func (m *Manager) Restarts(ctx context.Context, unit string) (Restarts, error) {
	r, err := m.restarts(ctx, unit)
	if err != nil {
		return r, fmt.Errorf("cannot ask systemd how often %s was restarted: %w", unit, err)
	}
	return r, nil
}

func (m *Manager) restarts(ctx context.Context, unit string) (Restarts, error) {
	p, err := m.properties(ctx, unit, "NRestarts")
	if err != nil {
		return Restarts{}, err
	}
	count, _ := p["NRestarts"].(uint32)
	state, err := m.state(ctx, unit)
	if err != nil || count == 0 && !strings.HasPrefix(state.Sub, "auto-restart") {
		return Restarts{Count: int(count)}, err
	}
	p, err = m.properties(ctx, unit, "ExecMainCode", "ExecMainStatus", "ActiveEnterTimestampMonotonic")
	if err != nil {
		return Restarts{}, err
	}
	r := Restarts{Count: int(count), Died: p.died()}
	if state.Active == "active" {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			return Restarts{}, err
		}
		r.Active = time.Duration(now.Nano()) - p.time("ActiveEnterTimestampMonotonic")
	}
	return r, nil
}

// properties are some of what systemd tells of a service.
type properties map[string]any

func (m *Manager) properties(ctx context.Context, unit string, names ...string) (properties, error) {
	conn, err := m.connection()
	if err != nil {
		return nil, err
	}
	p := make(properties, len(names))
	for _, name := range names {
		ask := conn.GetServicePropertyContext
		if strings.HasPrefix(name, "Active") || strings.HasPrefix(name, "Inactive") {
			ask = conn.GetUnitPropertyContext
		}
		got, err := ask(ctx, unit, name)
		if err != nil {
			return nil, err
		}
		p[name] = got.Value.Value()
	}
	return p, nil
}

// time is a time of CLOCK_MONOTONIC, which systemd tells in microseconds; 0 is
// never.
func (p properties) time(name string) time.Duration {
	usec, _ := p[name].(uint64)
	return time.Duration(usec) * time.Microsecond
}

// died says how the main process of a service ended, by the numbers of waitid(2).
func (p properties) died() string {
	code, _ := p["ExecMainCode"].(int32)
	status, _ := p["ExecMainStatus"].(int32)
	const exited, killed, dumped = 1, 2, 3 // CLD_EXITED and its like
	switch code {
	case exited:
		return fmt.Sprintf("it exited with status %d", status)
	case killed:
		return "it was killed by " + signalName(status)
	case dumped:
		return "it was killed by " + signalName(status) + " and dumped core"
	}
	return ""
}

func signalName(number int32) string {
	return cmp.Or(unix.SignalName(unix.Signal(number)), fmt.Sprintf("signal %d", number))
}

// Await returns what a unit is doing as soon as until holds of it, or the
// error of ctx.
func (m *Manager) Await(ctx context.Context, unit string, until func(UnitState) bool) (UnitState, error) {
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := m.Watch(watch, unit)
	for {
		state, err := m.State(ctx, unit)
		if err == nil && until(state) {
			return state, nil
		}
		if err != nil && ctx.Err() == nil {
			m.log.Warn("asking again", "unit", unit, "error", err)
		}
		// The limit is the net below, should a signal be lost.
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, _ = changes.Next(short)
		cancel()
		if ctx.Err() != nil {
			return state, ctx.Err()
		}
	}
}

// Start queues a start job in mode "fail", which changes no job that is
// queued already, a shutdown's stop above all.
func (m *Manager) Start(ctx context.Context, unit string) error {
	conn, err := m.connection()
	if err != nil {
		return err
	}
	if _, err := conn.StartUnitContext(ctx, unit, "fail", nil); err != nil {
		return fmt.Errorf("cannot start %s: %w", unit, err)
	}
	return nil
}

// Restart queues a restart job in mode "fail", without waiting for it; a unit
// that does not run is started.
func (m *Manager) Restart(ctx context.Context, unit string) error {
	conn, err := m.connection()
	if err != nil {
		return err
	}
	if _, err := conn.RestartUnitContext(ctx, unit, "fail", nil); err != nil {
		return fmt.Errorf("cannot restart %s: %w", unit, err)
	}
	return nil
}

// StartAndWait starts a unit and returns when its job has ended.
func (m *Manager) StartAndWait(ctx context.Context, unit string) error {
	return m.job(ctx, unit, "start", func(conn *dbus.Conn, ended chan<- string) (int, error) {
		return conn.StartUnitContext(ctx, unit, "fail", ended)
	})
}

// StopAndWait stops a unit, which may be unknown, and returns when its job
// has ended.
func (m *Manager) StopAndWait(ctx context.Context, unit string) error {
	_, err := m.stop(ctx, unit)
	return err
}

func (m *Manager) stop(ctx context.Context, unit string) (known bool, err error) {
	err = m.job(ctx, unit, "stop", func(conn *dbus.Conn, ended chan<- string) (int, error) {
		return conn.StopUnitContext(ctx, unit, "fail", ended)
	})
	if isBusError(err, "NoSuchUnit") {
		return false, nil
	}
	return true, err
}

// Kill sends SIGKILL to all processes of a unit.
func (m *Manager) Kill(ctx context.Context, unit string) error {
	conn, err := m.connection()
	if err != nil {
		return err
	}
	if err := conn.KillUnitWithTarget(ctx, unit, dbus.All, int32(unix.SIGKILL)); err != nil {
		return fmt.Errorf("cannot kill %s: %w", unit, err)
	}
	return nil
}

// ResetFailed has systemd forget that a unit failed.
func (m *Manager) ResetFailed(ctx context.Context, unit string) error {
	conn, err := m.connection()
	if err != nil {
		return err
	}
	if err := conn.ResetFailedUnitContext(ctx, unit); err != nil && !isBusError(err, "NoSuchUnit") {
		return fmt.Errorf("cannot reset %s: %w", unit, err)
	}
	return nil
}

// Stopping tells whether the machine is shutting down, to who is no Manager.
func Stopping(ctx context.Context) (bool, error) {
	return newManager("", slog.New(slog.DiscardHandler)).Stopping(ctx)
}

// Stopping tells whether the machine is shutting down.
func (m *Manager) Stopping(ctx context.Context) (bool, error) {
	conn, err := m.connection()
	if err != nil {
		return false, err
	}
	state, err := conn.SystemStateContext(ctx)
	if err != nil {
		return false, fmt.Errorf("cannot ask systemd for its state: %w", err)
	}
	return state.Value.Value() == "stopping", nil
}

// startTransient makes a transient unit and returns when its start job has
// ended; one that is loaded already is started as it is.
func (m *Manager) startTransient(ctx context.Context, unit string, props []dbus.Property) error {
	err := m.job(ctx, unit, "start", func(conn *dbus.Conn, ended chan<- string) (int, error) {
		return conn.StartTransientUnitContext(ctx, unit, "fail", props, ended)
	})
	if isBusError(err, "UnitExists") {
		return m.StartAndWait(ctx, unit)
	}
	return err
}

// job queues a job and waits for its end. A job that ended otherwise than
// "done" is a *JobError.
func (m *Manager) job(ctx context.Context, unit, verb string, queue func(*dbus.Conn, chan<- string) (int, error)) error {
	conn, err := m.connection()
	if err != nil {
		return err
	}
	m.jobs.Add(1) // before the job is queued, as it may end at once
	defer m.jobs.Add(-1)
	ended := make(chan string, 1)
	if _, err := queue(conn.Conn, ended); err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, unit, err)
	}
	select {
	case result := <-ended:
		if result != "done" {
			return &JobError{Unit: unit, Verb: verb, Result: result}
		}
		return nil
	case <-conn.closed.Done():
		return fmt.Errorf("cannot tell how the %s of %s ended: systemd closed the connection", verb, unit)
	case <-ctx.Done():
		return fmt.Errorf("the %s of %s has not ended: %w", verb, unit, context.Cause(ctx))
	}
}

// A JobError is a job that did not do what it was queued for.
type JobError struct {
	Unit   string
	Verb   string // "start" or "stop"
	Result string // "failed", "timeout", "canceled", "dependency", "assert", ...
}

func (e *JobError) Error() string {
	return fmt.Sprintf("the %s of %s ended as %q; journalctl -u %s tells more", e.Verb, e.Unit, e.Result, e.Unit)
}

// isBusError tells whether an error is one of systemd's own, by its name.
func isBusError(err error, name string) bool {
	var e godbus.Error
	return errors.As(err, &e) && e.Name == "org.freedesktop.systemd1."+name
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func property(name string, value any) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
}
