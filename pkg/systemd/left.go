package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Leave takes a process out of the unit it is in, into a scope of its own. One
// that waits in the kernel for a disk that does not answer can't be killed, and
// its unit could not stop before it ends; but it can be moved.
func (m *Manager) Leave(ctx context.Context, pid int) error {
	conn, err := m.connection()
	if err != nil {
		return err
	}
	_, err = conn.StartTransientUnitContext(ctx, fmt.Sprintf("bootagent-left-%d.scope", pid), "fail", []dbus.Property{
		dbus.PropDescription("Process of bootagent that hangs in the kernel"),
		dbus.PropPids(uint32(pid)),
		property("CollectMode", "inactive-or-failed"),
		// Nothing that it could still do at shutdown is worth waiting for.
		property("TimeoutStopUSec", uint64(time.Second.Microseconds())),
	}, nil)
	if err != nil {
		return fmt.Errorf("cannot give process %d to systemd: %w", pid, err)
	}
	return nil
}
