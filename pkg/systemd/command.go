package systemd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"bootagent/pkg/unit"
)

// A Command is a program that runs to its end in a unit of its own, so that it
// is neither killed nor run twice when the agent dies meanwhile.
type Command struct {
	Unit        string // bootagent-....service
	Description string
	Argv        []string
	User        string   // "" for root
	Writable    []string // what it may write; all else is read-only to it
	Devices     []string // block devices that it may use
	Success     []int    // exit codes beside 0 that are no failure
	Timeout     time.Duration
	Mounts      []string // mount points that it stands on
}

// Run runs a command, or waits for the end of one that runs already, and
// returns when it has succeeded. Until Forget, running it again does nothing.
func (m *Manager) Run(ctx context.Context, c Command) error {
	going, err := m.Going(ctx, c)
	if err != nil {
		return err
	}
	if going {
		state, err := m.settled(ctx, c.Unit)
		if err == nil && state.Active != "active" {
			err = &JobError{Unit: c.Unit, Verb: "start", Result: "failed"}
		}
		return err
	}
	if err := m.Forget(ctx, c.Unit); err != nil {
		return err
	}
	return m.startTransient(ctx, c.Unit, c.properties())
}

// Going tells whether this very command runs, or has succeeded and is not
// forgotten.
func (m *Manager) Going(ctx context.Context, c Command) (bool, error) {
	state, err := m.State(ctx, c.Unit)
	if err != nil || state.Active != "active" && state.Active != "activating" {
		return false, err
	}
	conn, err := m.connection()
	if err != nil {
		return false, err
	}
	p, err := conn.GetServicePropertyContext(ctx, c.Unit, "ExecStart")
	if err != nil {
		return false, fmt.Errorf("cannot ask systemd about %s: %w", c.Unit, err)
	}
	return slices.Equal(execArgv(p.Value.Value()), c.Argv), nil
}

// Settle waits until a command, which may be unknown, does not run any more,
// however it ended.
func (m *Manager) Settle(ctx context.Context, unit string) error {
	_, err := m.settled(ctx, unit)
	return err
}

// settled returns what a command has come to: "active" when it succeeded. One
// that failed, systemd forgets by itself, and then it is "inactive".
func (m *Manager) settled(ctx context.Context, unit string) (UnitState, error) {
	return m.Await(ctx, unit, func(s UnitState) bool {
		return s.Active != "activating" && s.Active != "deactivating" && s.Job == ""
	})
}

// Forget ends a command and has systemd forget it.
func (m *Manager) Forget(ctx context.Context, unit string) error {
	if known, err := m.stop(ctx, unit); err != nil || !known {
		return err
	}
	return m.ResetFailed(ctx, unit)
}

// finishWithin bounds how long a command is let finish when its unit is stopped.
// With the unmounts that come after it, it is less than the 30 min after which
// systemd forces a shutdown (JobTimeoutSec= of reboot.target).
const finishWithin = 20 * time.Minute

func (c Command) properties() []dbus.Property {
	props := []dbus.Property{
		dbus.PropDescription(c.Description),
		dbus.PropType("oneshot"),
		dbus.PropRemainAfterExit(true),
		property("ExecStart", []execCommand{{c.Argv[0], c.Argv, false}}),
		property("TimeoutStartUSec", uint64(c.Timeout.Microseconds())),
		// A stop, a shutdown's above all, lets it finish: what is cut in the middle
		// of mkfs is a disk of which nobody can tell any more what it held. systemd
		// sends its signal at once (systemd.kill(5)), so it is one that does nothing,
		// and then waits, and says so on the console by the description.
		property("KillSignal", int32(unix.SIGCONT)),
		property("TimeoutStartFailureMode", "kill"),
		property("TimeoutStopUSec", uint64(min(c.Timeout, finishWithin).Microseconds())),
		dbus.PropAfter(unit.Release),
		property("CollectMode", "inactive-or-failed"),
		property("ProtectSystem", "strict"),
		property("ReadWritePaths", c.Writable),
		property("PrivateTmp", true),
		property("PrivateNetwork", true),
		property("ProtectHome", "yes"),
		property("NoNewPrivileges", true),
		property("LimitCORE", uint64(0)),
		property("StandardOutput", "journal"),
		property("StandardError", "journal"),
	}
	if c.User != "" {
		props = append(props, property("User", c.User))
	}
	if len(c.Devices) > 0 {
		allow := make([]deviceAllow, len(c.Devices))
		for i, d := range c.Devices {
			allow[i] = deviceAllow{d, "rw"}
		}
		props = append(props, property("DevicePolicy", "closed"), property("DeviceAllow", allow))
	}
	if len(c.Success) > 0 {
		codes := make([]int32, len(c.Success))
		for i, code := range c.Success {
			codes[i] = int32(code)
		}
		props = append(props, property("SuccessExitStatus", exitStatusSet{Codes: codes, Signals: []int32{}}))
	}
	for _, where := range c.Mounts {
		props = append(props, dbus.PropBindsTo(unit.MountAt(where)), dbus.PropAfter(unit.MountAt(where)))
	}
	return props
}

// deviceAllow is an element of DeviceAllow on the bus, a(ss).
type deviceAllow struct{ Path, Access string }

// exitStatusSet is SuccessExitStatus on the bus, (aiai).
type exitStatusSet struct{ Codes, Signals []int32 }

// execArgv returns the arguments of the first ExecStart as the bus tells it,
// a(sasbttttuii).
func execArgv(v any) []string {
	commands, _ := v.([][]any)
	if len(commands) == 0 || len(commands[0]) < 2 {
		return nil
	}
	argv, _ := commands[0][1].([]string)
	return argv
}
