package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// Leave moves a process out of its unit into a scope of its own. A process that
// waits in the kernel for a disk that does not answer can't be killed, and its
// unit can't stop before the process ends, but the process can be moved.
func (m *Manager) Leave(ctx context.Context, pid int) error {
	err := m.StartTransient(ctx, unit.ScopeOf(pid), []dbus.Property{
		dbus.PropDescription("Process of bootagent that hangs in the kernel"),
		dbus.PropPids(uint32(pid)),
		pid1.Property("CollectMode", "inactive-or-failed"),
		// The process can do nothing useful at shutdown, so systemd does not wait for
		// it.
		pid1.Property("TimeoutStopUSec", uint64(time.Second.Microseconds())),
	})
	if err != nil {
		return fmt.Errorf("cannot give process %d to systemd: %w", pid, err)
	}
	return nil
}
