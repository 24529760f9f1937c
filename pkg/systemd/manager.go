// Package systemd has PID 1 do what the agent must not do itself: mount and
// unmount, grant services, and run commands, all in transient units that
// outlive the agent. It keeps permits and marks in /run/bootagent, and reads
// mountinfo and sysfs. It never calls mount(2).
package systemd

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"bootagent/pkg/systemd/pid1"
)

// A Manager makes the agent's transient units, by a connection to PID 1.
type Manager struct {
	*pid1.Conn
	log *slog.Logger
	run string // /run/bootagent

	sys         string // /sys
	mountinfo   string // /proc/self/mountinfo
	unmountRest time.Duration
}

// NewManager connects to PID 1. It keeps files for its units in run, and removes
// permits there: an agent that died while it mounted has left them.
func NewManager(run string, log *slog.Logger) (*Manager, error) {
	m := newManager(pid1.New(log), run, log)
	if err := os.RemoveAll(filepath.Join(run, "permit")); err != nil {
		return nil, err
	}
	if err := m.Connect(); err != nil {
		return nil, err
	}
	return m, nil
}

// Beside returns a Manager for another program than the agent, such as a command of a
// person. It leaves what the agent keeps in run as it is.
func Beside(run string, log *slog.Logger) *Manager { return newManager(pid1.New(log), run, log) }

func newManager(conn *pid1.Conn, run string, log *slog.Logger) *Manager {
	return &Manager{
		Conn: conn, log: log, run: run,
		sys: "/sys", mountinfo: procMountinfo, unmountRest: unmountRest,
	}
}

// startTransient makes a transient unit and returns when its start job has
// ended. A unit of that name that systemd has loaded is started as it is.
func (m *Manager) startTransient(ctx context.Context, name string, props []dbus.Property) error {
	err := m.StartTransientAndWait(ctx, name, props)
	if pid1.IsError(err, "UnitExists") {
		return m.StartAndWait(ctx, name)
	}
	return err
}

// execCommand is an element of ExecStart and similar properties on the bus,
// (sasb).
type execCommand struct {
	Path             string
	Args             []string
	UncleanIsFailure bool
}
