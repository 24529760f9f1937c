package systemd

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"

	"bootagent/pkg/systemd/holder"
	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// findHolders has PID 1 run "bootagent holders", because the agent itself may not
// look into the processes of other users. If that fails, it returns one line
// that says so.
func (m *Manager) findHolders(ctx context.Context, where string) []string {
	out := filepath.Join(m.run, "holders", unit.MountAt(where))
	names, err := m.askHolders(ctx, where, out)
	if err != nil {
		m.log.Warn("cannot find out which processes hold a mount", "at", where, "error", err)
	}
	if len(names) == 0 {
		names = []string{"a process that could not be found"}
	}
	return names
}

func (m *Manager) askHolders(ctx context.Context, where, out string) ([]string, error) {
	if err := privateDir(filepath.Dir(out)); err != nil {
		return nil, err
	}
	defer os.Remove(out)
	if err := m.startTransient(ctx, unit.CommandAt("holders", where), holdersProperties(where, out)); err != nil {
		return nil, err
	}
	src, err := os.ReadFile(out)
	return slices.DeleteFunc(strings.Split(string(src), "\n"), func(line string) bool { return line == "" }), err
}

// Agent is the path of the agent's program, which its transient units run, too.
const Agent = "/usr/bin/bootagent"

func holdersProperties(where, out string) []dbus.Property {
	return []dbus.Property{
		dbus.PropDescription("Search for what holds " + where),
		dbus.PropType("oneshot"),
		pid1.Property("ExecStart", []execCommand{{Agent, []string{"bootagent", "holders", "--", where}, false}}),
		pid1.Property("StandardOutputFileToTruncate", out),
		pid1.Property("TimeoutStartUSec", uint64((2 * holder.Within).Microseconds())),
		pid1.Property("CollectMode", "inactive-or-failed"),
		pid1.Property("NoNewPrivileges", true),
		pid1.Property("PrivateNetwork", true),
	}
}

// privateDir makes a directory that only root can enter.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, 0o700) // an earlier version or systemd may have made it
}
