// Package pid1 asks PID 1 about units and gives it jobs, over its private D-Bus
// socket /run/systemd/private. It reads and writes no other file except a
// cgroup's cgroup.events. It never reloads the manager's configuration.
package pid1

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// A Conn is a connection to PID 1. It connects again after PID 1 has closed the
// connection, as it does when it re-executes itself.
type Conn struct {
	log  *slog.Logger
	dial func() (net.Conn, error)

	connecting sync.Mutex
	conn       *bus

	jobs atomic.Int32 // jobs whose end is waited for

	mu      sync.Mutex
	watches map[*Watch]bool
}

// New returns a connection to the private socket. It connects with the first
// call.
func New(log *slog.Logger) *Conn { return Dialing(dial, log) }

// Dialing returns a connection to whatever dial connects to. A test hands in its
// own PID 1.
func Dialing(dial func() (net.Conn, error), log *slog.Logger) *Conn {
	return &Conn{log: log, dial: dial, watches: make(map[*Watch]bool)}
}

// Connect connects, if there is no connection.
func (c *Conn) Connect() error {
	_, err := c.connection()
	return err
}

// connection returns an open connection.
func (c *Conn) connection() (*bus, error) {
	c.connecting.Lock()
	defer c.connecting.Unlock()
	if c.conn != nil && c.conn.Connected() {
		return c.conn, nil
	}
	socket, err := c.dial()
	if err == nil {
		c.conn, err = connect(socket, c.heard, c.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach systemd at %s: %w", privateSocket, err)
	}
	return c.conn, nil
}

// Follow keeps a connection open until ctx ends, so that each Watch is told of
// changes. It returns the error of ctx.
func (c *Conn) Follow(ctx context.Context) error {
	for {
		conn, err := c.connection()
		if err != nil {
			c.log.Warn("cannot follow systemd", "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		c.lost()
		select {
		case <-conn.closed.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Units returns the units that a property of a unit names, such as BindsTo.
func (c *Conn) Units(ctx context.Context, unit, property string) ([]string, error) {
	conn, err := c.connection()
	if err != nil {
		return nil, err
	}
	named, err := conn.GetUnitPropertyContext(ctx, unit, property)
	if err != nil {
		return nil, fmt.Errorf("cannot ask systemd about %s: %w", unit, err)
	}
	units, _ := named.Value.Value().([]string)
	return units, nil
}

// ExecStart returns the arguments of the first ExecStart= of a service, or nil.
func (c *Conn) ExecStart(ctx context.Context, service string) ([]string, error) {
	conn, err := c.connection()
	if err != nil {
		return nil, err
	}
	p, err := conn.GetServicePropertyContext(ctx, service, "ExecStart")
	if err != nil {
		return nil, fmt.Errorf("cannot ask systemd about %s: %w", service, err)
	}
	return execArgv(p.Value.Value()), nil
}

// MountOf returns What= and Options= of a mount unit, as its file has them while it is
// inactive.
func (c *Conn) MountOf(ctx context.Context, unit string) (what, options string, err error) {
	conn, err := c.connection()
	if err != nil {
		return "", "", err
	}
	for name, into := range map[string]*string{"What": &what, "Options": &options} {
		p, err := conn.GetUnitTypePropertyContext(ctx, unit, "Mount", name)
		if err != nil {
			return "", "", fmt.Errorf("cannot ask systemd about %s: %w", unit, err)
		}
		*into, _ = p.Value.Value().(string)
	}
	return what, options, nil
}

// Reload is systemctl daemon-reload.
func (c *Conn) Reload(ctx context.Context) error {
	conn, err := c.connection()
	if err != nil {
		return err
	}
	return conn.ReloadContext(ctx)
}

// Description returns the description of a unit.
func (c *Conn) Description(ctx context.Context, unit string) (string, error) {
	conn, err := c.connection()
	if err != nil {
		return "", err
	}
	p, err := conn.GetUnitPropertyContext(ctx, unit, "Description")
	if err != nil {
		return "", fmt.Errorf("cannot ask systemd about %s: %w", unit, err)
	}
	text, _ := p.Value.Value().(string)
	return text, nil
}

// execArgv returns the arguments of the first command of an ExecStart, which is
// a(sasbttttuii) on the bus.
func execArgv(v any) []string {
	commands, _ := v.([][]any)
	if len(commands) == 0 || len(commands[0]) < 2 {
		return nil
	}
	argv, _ := commands[0][1].([]string)
	return argv
}

// Property returns a property for a transient unit.
func Property(name string, value any) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
}
