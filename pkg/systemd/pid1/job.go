package pid1

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Start queues a start job. Like all jobs here, it has the mode "fail": it does
// not replace a job that is already queued, above all the stop of a shutdown.
func (c *Conn) Start(ctx context.Context, unit string) error {
	conn, err := c.connection()
	if err != nil {
		return err
	}
	if _, err := conn.StartUnitContext(ctx, unit, "fail", nil); err != nil {
		return fmt.Errorf("cannot start %s: %w", unit, err)
	}
	return nil
}

// BeginStop queues a stop job. A unit that systemd does not know is no error.
func (c *Conn) BeginStop(ctx context.Context, unit string) error {
	conn, err := c.connection()
	if err != nil {
		return err
	}
	if _, err := conn.StopUnitContext(ctx, unit, "replace", nil); err != nil && !IsError(err, "NoSuchUnit") {
		return fmt.Errorf("cannot stop %s: %w", unit, err)
	}
	return nil
}

// Restart queues a restart job. A unit that does not run is started.
func (c *Conn) Restart(ctx context.Context, unit string) error {
	conn, err := c.connection()
	if err != nil {
		return err
	}
	if _, err := conn.RestartUnitContext(ctx, unit, "fail", nil); err != nil {
		return fmt.Errorf("cannot restart %s: %w", unit, err)
	}
	return nil
}

// StartAndWait starts a unit and returns when its job has ended.
func (c *Conn) StartAndWait(ctx context.Context, unit string) error {
	return c.job(ctx, unit, "start", func(conn *dbus.Conn, ended chan<- string) (int, error) {
		return conn.StartUnitContext(ctx, unit, "fail", ended)
	})
}

// Stop stops a unit in a mode of systemd, such as "fail", and returns when its
// job has ended. known is false if systemd has no such unit.
func (c *Conn) Stop(ctx context.Context, unit, mode string) (known bool, err error) {
	err = c.job(ctx, unit, "stop", func(conn *dbus.Conn, ended chan<- string) (int, error) {
		return conn.StopUnitContext(ctx, unit, mode, ended)
	})
	if IsError(err, "NoSuchUnit") {
		return false, nil
	}
	return true, err
}

// StartTransient makes a transient unit and queues its start, without waiting.
// If systemd has loaded a unit of that name, the error is UnitExists.
func (c *Conn) StartTransient(ctx context.Context, unit string, props []dbus.Property) error {
	conn, err := c.connection()
	if err != nil {
		return err
	}
	if _, err := conn.StartTransientUnitContext(ctx, unit, "fail", props, nil); err != nil {
		return fmt.Errorf("cannot start %s: %w", unit, err)
	}
	return nil
}

// StartTransientAndWait makes a transient unit, starts it, and returns when its
// job has ended. If systemd has loaded a unit of that name, the error is
// UnitExists.
func (c *Conn) StartTransientAndWait(ctx context.Context, unit string, props []dbus.Property) error {
	return c.job(ctx, unit, "start", func(conn *dbus.Conn, ended chan<- string) (int, error) {
		return conn.StartTransientUnitContext(ctx, unit, "fail", props, ended)
	})
}

// Kill sends SIGKILL to all processes of a unit.
func (c *Conn) Kill(ctx context.Context, unit string) error {
	conn, err := c.connection()
	if err != nil {
		return err
	}
	if err := conn.KillUnitWithTarget(ctx, unit, dbus.All, int32(unix.SIGKILL)); err != nil {
		return fmt.Errorf("cannot kill %s: %w", unit, err)
	}
	return nil
}

// ResetFailed makes systemd forget that a unit failed. A unit that systemd does
// not know is no error.
func (c *Conn) ResetFailed(ctx context.Context, unit string) error {
	conn, err := c.connection()
	if err != nil {
		return err
	}
	if err := conn.ResetFailedUnitContext(ctx, unit); err != nil && !IsError(err, "NoSuchUnit") {
		return fmt.Errorf("cannot reset %s: %w", unit, err)
	}
	return nil
}

// job queues a job and waits for its end. If its result is not "done", the error
// is a *JobError.
func (c *Conn) job(ctx context.Context, unit, verb string, queue func(*dbus.Conn, chan<- string) (int, error)) error {
	conn, err := c.connection()
	if err != nil {
		return err
	}
	c.jobs.Add(1) // before the job is queued, because it may end at once
	defer c.jobs.Add(-1)
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

// A JobError says that systemd could not do a job. Result is the job's result
// (org.freedesktop.systemd1(5), JobRemoved).
type JobError struct {
	Unit   string
	Verb   string // "start" or "stop"
	Result string // "failed", "timeout", "canceled", "dependency", "assert", ...
}

func (e *JobError) Error() string {
	return fmt.Sprintf("the %s of %s ended as %q; journalctl -u %s tells more", e.Verb, e.Unit, e.Result, e.Unit)
}

// IsError reports whether an error is one of systemd's D-Bus errors, by its name
// without "org.freedesktop.systemd1.", such as NoSuchUnit or UnitExists.
func IsError(err error, name string) bool {
	var e godbus.Error
	return errors.As(err, &e) && e.Name == "org.freedesktop.systemd1."+name
}
