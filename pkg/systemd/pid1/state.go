package pid1

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A UnitState is the state of a unit, in the words of systemd's D-Bus interface
// (org.freedesktop.systemd1(5)).
type UnitState struct {
	Load   string // LoadState
	Active string // ActiveState
	Sub    string // SubState
	Job    string // type of the queued job, or ""
}

// State returns the state of a unit. It makes one call, because the agent asks
// often.
func (c *Conn) State(ctx context.Context, unit string) (UnitState, error) {
	s, err := c.state(ctx, unit)
	if err != nil {
		return s, fmt.Errorf("cannot ask systemd about %s: %w", unit, err)
	}
	return s, nil
}

func (c *Conn) state(ctx context.Context, unit string) (UnitState, error) {
	conn, err := c.connection()
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

// Ended says how a service became inactive or failed.
type Ended struct {
	Result    string // in the words of systemd: "success" or a cause
	Died      string // how its main process ended, such as "it exited with status 1"; "" if unknown
	Ran       bool   // it was active in this boot
	ByItself  bool   // its main process ended, and nobody had asked for a stop
	Processes bool   // its cgroup is not empty
}

// Ended returns how a service ended.
func (c *Conn) Ended(ctx context.Context, unit string) (Ended, error) {
	e, err := c.ended(ctx, unit)
	if err != nil {
		return e, fmt.Errorf("cannot ask systemd how %s ended: %w", unit, err)
	}
	return e, nil
}

func (c *Conn) ended(ctx context.Context, unit string) (Ended, error) {
	p, err := c.properties(ctx, unit, "Result", "ControlGroup", "ExecMainCode", "ExecMainStatus",
		"ExecMainExitTimestampMonotonic", "ActiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic", "InactiveExitTimestampMonotonic")
	if err != nil {
		return Ended{}, err
	}
	entered, left, exited := p.time("ActiveEnterTimestampMonotonic"), p.time("ActiveExitTimestampMonotonic"), p.time("ExecMainExitTimestampMonotonic")
	return Ended{
		Result: text(p["Result"]),
		Died:   p.died(),
		Ran:    entered != 0,
		// If somebody stops a unit, it leaves "active" before its main process ends;
		// if the process ends by itself, the unit leaves "active" afterwards. The
		// process of a oneshot unit ends before the unit becomes active. A unit that
		// was stopped while it waited for its restart has left "inactive" since.
		ByItself:  entered != 0 && exited >= entered && exited <= left && p.time("InactiveExitTimestampMonotonic") <= entered,
		Processes: cgroupPopulated(text(p["ControlGroup"])),
	}, nil
}

// Began returns when a unit last ceased to be inactive, as CLOCK_MONOTONIC counts.
// It is 0 if the unit was inactive in all of this boot.
func (c *Conn) Began(ctx context.Context, unit string) (time.Duration, error) {
	p, err := c.properties(ctx, unit, "InactiveExitTimestampMonotonic")
	if err != nil {
		return 0, fmt.Errorf("cannot ask systemd when %s was started: %w", unit, err)
	}
	return p.time("InactiveExitTimestampMonotonic"), nil
}

// Restarts says how often systemd has restarted a service by itself.
type Restarts struct {
	Count  int           // NRestarts: restarts since anybody else started the service
	Active time.Duration // since it became active; 0 if it is not active, or was not restarted
	Died   string        // how its main process ended, while the service waits for its restart
}

// Restarts returns how often systemd has restarted a service by itself. It makes
// few calls if that was never.
func (c *Conn) Restarts(ctx context.Context, unit string) (Restarts, error) {
	r, err := c.restarts(ctx, unit)
	if err != nil {
		return r, fmt.Errorf("cannot ask systemd how often %s was restarted: %w", unit, err)
	}
	return r, nil
}

func (c *Conn) restarts(ctx context.Context, unit string) (Restarts, error) {
	p, err := c.properties(ctx, unit, "NRestarts")
	if err != nil {
		return Restarts{}, err
	}
	count, _ := p["NRestarts"].(uint32)
	state, err := c.state(ctx, unit)
	if err != nil || count == 0 && !strings.HasPrefix(state.Sub, "auto-restart") {
		return Restarts{Count: int(count)}, err
	}
	p, err = c.properties(ctx, unit, "ExecMainCode", "ExecMainStatus", "ActiveEnterTimestampMonotonic")
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

// properties are some properties of a service, by name.
type properties map[string]any

func (c *Conn) properties(ctx context.Context, unit string, names ...string) (properties, error) {
	conn, err := c.connection()
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

// time returns a property that is a time of CLOCK_MONOTONIC, in microseconds on
// the bus. 0 means never.
func (p properties) time(name string) time.Duration {
	usec, _ := p[name].(uint64)
	return time.Duration(usec) * time.Microsecond
}

// died says how the main process of a service ended. On the bus this is the
// si_code and si_status of waitid(2).
func (p properties) died() string {
	code, _ := p["ExecMainCode"].(int32)
	status, _ := p["ExecMainStatus"].(int32)
	const exited, killed, dumped = 1, 2, 3 // CLD_EXITED, CLD_KILLED, CLD_DUMPED
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

// Await waits until the function until returns true for the state of a unit, and
// returns that state, or the error of ctx.
func (c *Conn) Await(ctx context.Context, unit string, until func(UnitState) bool) (UnitState, error) {
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := c.Watch(watch, unit)
	for {
		state, err := c.State(ctx, unit)
		if err == nil && until(state) {
			return state, nil
		}
		if err != nil && ctx.Err() == nil {
			c.log.Warn("asking again", "unit", unit, "error", err)
		}
		// If a signal is lost, the state is read again after 5 s.
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, _ = changes.Next(short)
		cancel()
		if ctx.Err() != nil {
			return state, ctx.Err()
		}
	}
}

// Stopping reports whether the machine is shutting down.
func (c *Conn) Stopping(ctx context.Context) (bool, error) {
	conn, err := c.connection()
	if err != nil {
		return false, err
	}
	state, err := conn.SystemStateContext(ctx)
	if err != nil {
		return false, fmt.Errorf("cannot ask systemd for its state: %w", err)
	}
	return state.Value.Value() == "stopping", nil
}

// cgroupPopulated reports whether a cgroup contains a process, or can't be read.
// A service without a cgroup has "".
func cgroupPopulated(cgroup string) bool {
	if cgroup == "" {
		return false
	}
	events, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", cgroup, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || strings.Contains(string(events), "populated 1")
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
