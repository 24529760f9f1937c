package systemd

import (
	"context"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// A Command is a program that runs in a transient unit. So it is neither killed
// nor started twice if the agent dies while it runs.
type Command struct {
	Unit        string // bootagent-....service
	Description string
	Argv        []string
	User        string   // "" for root
	Writable    []string // the paths that it may write to
	Binds       []Bind   // directories that it sees at other paths, too
	Devices     []string // the block devices that it may use
	Success     []int    // exit codes other than 0 that mean success
	Timeout     time.Duration
	Mounts      []string // the mount points that it uses
}

// A Bind is a directory that a command sees at another path, too.
type Bind struct{ From, To string }

// Run runs a command and returns when it has succeeded. If it already runs, Run
// waits for its end. If it has succeeded before, Run does nothing until Forget is
// called. If the command failed, the error is a *pid1.JobError.
func (m *Manager) Run(ctx context.Context, c Command) error {
	going, err := m.Going(ctx, c)
	if err != nil {
		return err
	}
	if going {
		state, err := m.settled(ctx, c.Unit)
		if err == nil && state.Active != "active" {
			err = &pid1.JobError{Unit: c.Unit, Verb: "start", Result: "failed"}
		}
		return err
	}
	if err := m.Forget(ctx, c.Unit); err != nil {
		return err
	}
	return m.startTransient(ctx, c.Unit, c.properties())
}

// Going reports whether this command, with the same arguments and description,
// runs or has succeeded and is not forgotten.
func (m *Manager) Going(ctx context.Context, c Command) (bool, error) {
	state, err := m.State(ctx, c.Unit)
	if err != nil || state.Active != "active" && state.Active != "activating" {
		return false, err
	}
	argv, err := m.ExecStart(ctx, c.Unit)
	if err != nil || !slices.Equal(argv, c.Argv) {
		return false, err
	}
	description, err := m.Description(ctx, c.Unit)
	return err == nil && description == c.Description, err
}

// Settle waits until the unit of a command does not run any more, however it
// ended. The unit may be unknown.
func (m *Manager) Settle(ctx context.Context, name string) error {
	_, err := m.settled(ctx, name)
	return err
}

// settled waits for the end of a command and returns the state of its unit. It is
// "active" if the command succeeded. systemd forgets a command that failed, so
// its unit is "inactive".
func (m *Manager) settled(ctx context.Context, name string) (pid1.UnitState, error) {
	return m.Await(ctx, name, func(s pid1.UnitState) bool {
		return s.Active != "activating" && s.Active != "deactivating" && s.Job == ""
	})
}

// Forget ends a command and makes systemd forget its unit.
func (m *Manager) Forget(ctx context.Context, name string) error {
	if known, err := m.Stop(ctx, name, "fail"); err != nil || !known {
		return err
	}
	return m.ResetFailed(ctx, name)
}

// finishWithin limits how long a command may go on when its unit is stopped.
// Together with the unmounts that follow, it is less than the 30 min after which
// systemd forces a shutdown (JobTimeoutSec= of reboot.target).
const finishWithin = 20 * time.Minute

func (c Command) properties() []dbus.Property {
	props := []dbus.Property{
		dbus.PropDescription(c.Description),
		dbus.PropType("oneshot"),
		dbus.PropRemainAfterExit(true),
		pid1.Property("ExecStart", []execCommand{{c.Argv[0], c.Argv, false}}),
		pid1.Property("TimeoutStartUSec", uint64(c.Timeout.Microseconds())),
		// When its unit stops, above all at shutdown, the command may finish. If
		// mkfs is killed, nobody can tell any more what was on the disk. systemd
		// always sends a signal first (systemd.kill(5)), so it sends one that does
		// nothing. Then it waits, and shows the description on the console.
		pid1.Property("KillSignal", int32(unix.SIGCONT)),
		pid1.Property("TimeoutStartFailureMode", "kill"),
		pid1.Property("TimeoutStopUSec", uint64(min(c.Timeout, finishWithin).Microseconds())),
		dbus.PropAfter(unit.Release),
		pid1.Property("CollectMode", "inactive-or-failed"),
		pid1.Property("ProtectSystem", "strict"),
		pid1.Property("ReadWritePaths", c.Writable),
		pid1.Property("PrivateTmp", true),
		pid1.Property("PrivateNetwork", true),
		pid1.Property("ProtectHome", "yes"),
		pid1.Property("NoNewPrivileges", true),
		pid1.Property("LimitCORE", uint64(0)),
		pid1.Property("StandardOutput", "journal"),
		pid1.Property("StandardError", "journal"),
	}
	if c.User != "" {
		props = append(props, pid1.Property("User", c.User))
	}
	if len(c.Binds) > 0 {
		binds := make([]bindPath, len(c.Binds))
		for i, b := range c.Binds {
			binds[i] = bindPath{Source: b.From, Destination: b.To}
		}
		props = append(props, pid1.Property("BindPaths", binds))
	}
	if len(c.Devices) > 0 {
		allow := make([]deviceAllow, len(c.Devices))
		for i, d := range c.Devices {
			allow[i] = deviceAllow{d, "rw"}
		}
		props = append(props, pid1.Property("DevicePolicy", "closed"), pid1.Property("DeviceAllow", allow))
	}
	if len(c.Success) > 0 {
		codes := make([]int32, len(c.Success))
		for i, code := range c.Success {
			codes[i] = int32(code)
		}
		props = append(props, pid1.Property("SuccessExitStatus", exitStatusSet{Codes: codes, Signals: []int32{}}))
	}
	for _, where := range c.Mounts {
		props = append(props, dbus.PropBindsTo(unit.MountAt(where)), dbus.PropAfter(unit.MountAt(where)))
	}
	return props
}

// deviceAllow is an element of DeviceAllow on the bus, (ss).
type deviceAllow struct{ Path, Access string }

// bindPath is an element of BindPaths on the bus, (ssbt).
type bindPath struct {
	Source, Destination string
	IgnoreMissing       bool
	Flags               uint64 // MS_REC, or nothing
}

// exitStatusSet is SuccessExitStatus on the bus, (aiai).
type exitStatusSet struct{ Codes, Signals []int32 }
