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
	"bootagent/pkg/unit"
)

// Grant lets a unit start, by starting the grant that its guard is bound to.
// The grant holds for as long as all of the mounts are there, whether the
// agent lives or not. Grant only queues its start: it comes after the agent's
// own, which may not be over.
func (m *Manager) Grant(ctx context.Context, service string, mounts []string) error {
	conn, err := m.connection()
	if err != nil {
		return err
	}
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
		// A grant that never began has left the mark of a start that came to
		// nothing: its own end, which removes that, was none.
		if err := os.Remove(m.started(service)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err = conn.StartTransientUnitContext(ctx, grant, "fail", m.grantProperties(service, mounts), nil)
	if isBusError(err, "UnitExists") {
		_, err = conn.StartUnitContext(ctx, grant, "fail", nil)
	}
	if err != nil {
		return fmt.Errorf("cannot grant %s: %w", service, err)
	}
	return nil
}

// A StaleGrantError is a grant that was made earlier in this boot for another
// plan. systemd keeps it until the next one.
type StaleGrantError struct {
	Grant string
	Mount string // that it is not bound to
}

func (e *StaleGrantError) Error() string {
	return fmt.Sprintf("%s was made in this boot without %s, before the role file was changed; the change counts after a reboot", e.Grant, e.Mount)
}

// standsOn refuses a grant that would outlive one of the mounts.
func (m *Manager) standsOn(ctx context.Context, grant string, mounts []string) error {
	to, err := m.bindsTo(ctx, grant)
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

// Held tells whether a unit, as systemd has it loaded, can't start without its
// grant.
func (m *Manager) Held(ctx context.Context, service string) (bool, error) {
	to, err := m.bindsTo(ctx, service)
	return slices.Contains(to, unit.GrantOf(service)), err
}

func (m *Manager) bindsTo(ctx context.Context, name string) ([]string, error) {
	return m.names(ctx, name, "BindsTo")
}

// names returns the units that a property of a unit names.
func (m *Manager) names(ctx context.Context, name, property string) ([]string, error) {
	conn, err := m.connection()
	if err != nil {
		return nil, err
	}
	named, err := conn.GetUnitPropertyContext(ctx, name, property)
	if err != nil {
		return nil, fmt.Errorf("cannot ask systemd about %s: %w", name, err)
	}
	units, _ := named.Value.Value().([]string)
	return units, nil
}

func (m *Manager) grantProperties(service string, mounts []string) []dbus.Property {
	token := guard.Token(service)
	props := []dbus.Property{
		dbus.PropDescription("Leave for " + service + " to start, from bootagent"),
		dbus.PropType("oneshot"),
		dbus.PropRemainAfterExit(true),
		property("ExecStart", []execCommand{{"/bin/touch", []string{"touch", "--", token}, false}}),
		property("ExecStopPost", []execCommand{{"/bin/rm", []string{"rm", "-f", "--", token, m.started(service)}, false}}),
		dbus.PropAfter(unit.Agent),
	}
	for _, where := range mounts {
		props = append(props, dbus.PropBindsTo(unit.MountAt(where)), dbus.PropAfter(unit.MountAt(where)))
	}
	return props
}

// execCommand is an element of ExecStart and its like on the bus, a(sasb).
type execCommand struct {
	Path             string
	Args             []string
	UncleanIsFailure bool
}

// Granted tells whether the grant of a unit holds and is not about to end.
func (m *Manager) Granted(ctx context.Context, service string) (bool, error) {
	state, err := m.State(ctx, unit.GrantOf(service))
	return err == nil && state.Active == "active" && state.Job != "stop" && state.Job != "restart", err
}

// KeepGrant makes the token of a grant that holds and has lost it, as somebody
// has deleted it. The end of the grant removes it again; where that comes
// meanwhile, KeepGrant does.
func (m *Manager) KeepGrant(ctx context.Context, service string) (lost bool, err error) {
	token := m.token(service)
	if there, err := exists(token); there || err != nil {
		return false, err
	}
	if granted, err := m.Granted(ctx, service); !granted || err != nil {
		return false, err
	}
	if err := touch(token); err != nil {
		return false, err
	}
	granted, err := m.Granted(ctx, service)
	if err != nil || !granted {
		return false, errors.Join(err, os.Remove(token))
	}
	return true, nil
}

// token is the file that the guard of a unit asserts, see guard.Token.
func (m *Manager) token(service string) string { return filepath.Join(m.run, "granted", service) }

// StartOnce starts a unit, unless that was done since its grant began.
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

// StoppedByHand tells whether a unit was noted as stopped by a person.
func (m *Manager) StoppedByHand(service string) (bool, error) { return exists(m.byHand(service)) }

// SetStoppedByHand notes that a person stopped a unit, or no longer did.
func (m *Manager) SetStoppedByHand(service string, stopped bool) error {
	if stopped {
		return touch(m.byHand(service))
	}
	if err := os.Remove(m.byHand(service)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// started is the file that says that the unit was started since its grant.
func (m *Manager) started(service string) string { return filepath.Join(m.run, "started", service) }

// byHand is the file that says that a person stopped the unit.
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
