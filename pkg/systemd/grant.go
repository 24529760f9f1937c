package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/coreos/go-systemd/v22/dbus"

	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// Grant lets a service start: it starts the unit that the guard binds the service
// to. That unit stays active as long as all of the mounts are there, even if the
// agent dies. Grant only queues the start, because systemd does it after the
// start of the agent, which may not be complete.
func (m *Manager) Grant(ctx context.Context, service string, mounts []string) error {
	grant := unit.GrantOf(service)
	state, err := m.State(ctx, grant)
	if err != nil {
		return err
	}
	if state.Load == "loaded" {
		if err := m.standsOn(ctx, grant, mounts); err != nil {
			return err
		}
	}
	if state.Active == "active" && state.Job == "" {
		_, err := m.KeepGrant(ctx, service)
		return err
	}
	if err := os.MkdirAll(filepath.Join(m.run, "granted"), 0o755); err != nil {
		return err
	}
	if state.Job == "" {
		// A grant removes the mark when it ends. A grant that never started has not
		// removed the mark of a start that had no effect.
		if err := os.Remove(m.started(service)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err = m.StartTransient(ctx, grant, m.grantProperties(service, mounts))
	if pid1.IsError(err, "UnitExists") {
		err = m.Start(ctx, grant)
	}
	if err != nil {
		return fmt.Errorf("cannot grant %s: %w", service, err)
	}
	return nil
}

// A StaleGrantError says that systemd has a grant that was made earlier in this
// boot for another plan. systemd keeps it until the next boot.
type StaleGrantError struct {
	Grant string
	Mount string // the mount unit that it is not bound to
}

func (e *StaleGrantError) Error() string {
	return fmt.Sprintf("%s was made earlier in this boot, before the role file was changed, and is not bound to %s; the change takes effect after a reboot", e.Grant, e.Mount)
}

// standsOn returns a *StaleGrantError if a grant is not bound to one of the
// mounts.
func (m *Manager) standsOn(ctx context.Context, grant string, mounts []string) error {
	to, err := m.Units(ctx, grant, "BindsTo")
	if err != nil {
		return err
	}
	for _, where := range mounts {
		if !slices.Contains(to, unit.MountAt(where)) {
			return &StaleGrantError{Grant: grant, Mount: unit.MountAt(where)}
		}
	}
	return nil
}

// Held reports whether a service can't start without its grant, as systemd has
// loaded it.
func (m *Manager) Held(ctx context.Context, service string) (bool, error) {
	to, err := m.Units(ctx, service, "BindsTo")
	return slices.Contains(to, unit.GrantOf(service)), err
}

func (m *Manager) grantProperties(service string, mounts []string) []dbus.Property {
	file := guard.GrantFile(service)
	props := []dbus.Property{
		dbus.PropDescription("Grant of bootagent for " + service),
		dbus.PropType("oneshot"),
		dbus.PropRemainAfterExit(true),
		pid1.Property("ExecStart", []execCommand{{"/bin/touch", []string{"touch", "--", file}, false}}),
		pid1.Property("ExecStopPost", []execCommand{{"/bin/rm", []string{"rm", "-f", "--", file, m.started(service)}, false}}),
		dbus.PropAfter(unit.Agent),
	}
	for _, where := range mounts {
		props = append(props, dbus.PropBindsTo(unit.MountAt(where)), dbus.PropAfter(unit.MountAt(where)))
	}
	return props
}

// Granted reports whether the grant of a service is active and not about to end.
func (m *Manager) Granted(ctx context.Context, service string) (bool, error) {
	state, err := m.State(ctx, unit.GrantOf(service))
	return err == nil && state.Active == "active" && state.Job != "stop" && state.Job != "restart", err
}

// Revoke stops the grant of a service, and with it the service. It does not wait for
// the end of that.
func (m *Manager) Revoke(ctx context.Context, service string) error {
	return m.BeginStop(ctx, unit.GrantOf(service))
}

// KeepGrant makes the file of an active grant again if somebody has deleted it,
// and reports whether it did. The grant removes the file when it ends. If it
// ends meanwhile, KeepGrant removes the file.
func (m *Manager) KeepGrant(ctx context.Context, service string) (lost bool, err error) {
	file := m.grantFile(service)
	if there, err := exists(file); there || err != nil {
		return false, err
	}
	if granted, err := m.Granted(ctx, service); !granted || err != nil {
		return false, err
	}
	if err := touch(file); err != nil {
		return false, err
	}
	granted, err := m.Granted(ctx, service)
	if err != nil || !granted {
		return false, errors.Join(err, os.Remove(file))
	}
	return true, nil
}

// grantFile returns the path of the file that the guard of a service asserts, see
// guard.GrantFile.
func (m *Manager) grantFile(service string) string { return filepath.Join(m.run, "granted", service) }

// StartOnce starts a service, unless it has done so since the grant started.
func (m *Manager) StartOnce(ctx context.Context, service string) error {
	mark := m.started(service)
	if there, err := exists(mark); there || err != nil {
		return err
	}
	if err := m.Start(ctx, service); err != nil {
		return err
	}
	return touch(mark)
}

// StoppedByHand reports whether SetStoppedByHand noted that a person stopped the
// service.
func (m *Manager) StoppedByHand(service string) (bool, error) { return exists(m.byHand(service)) }

// SetStoppedByHand notes that a person stopped a service, or forgets that.
func (m *Manager) SetStoppedByHand(service string, stopped bool) error {
	if stopped {
		return touch(m.byHand(service))
	}
	if err := os.Remove(m.byHand(service)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// started returns the path of the file that says that the service was started
// since its grant started.
func (m *Manager) started(service string) string { return filepath.Join(m.run, "started", service) }

// byHand returns the path of the file that says that a person stopped the service.
func (m *Manager) byHand(service string) string { return filepath.Join(m.run, "stopped", service) }

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func touch(path string) error {
	if err := privateDir(filepath.Dir(path)); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o600)
}
