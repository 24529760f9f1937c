package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/unit"
	"golang.org/x/sys/unix"

	"bootagent/pkg/mountinfo"
)

// A Mount is a transient mount unit.
type Mount struct {
	What    string // device, or directory to bind
	Where   string // absolute, clean path
	Type    string // of the filesystem, "" for a bind
	Options []string
	On      string // mount point that this mount goes with, or ""
	Inspect bool   // only to look at: forgotten when it is unmounted
}

// mountTimeout bounds one mount or unmount. Replaying the log of a large XFS
// takes minutes on a slow volume.
const mountTimeout = 10 * time.Minute

// agentUnit is the unit that the agent runs in.
const agentUnit = "bootagent.service"

// MountUnit returns the name of the mount unit of a path.
func MountUnit(where string) string { return unit.UnitNamePathEscape(where) + ".mount" }

// permit is the file that a mount unit of the agent's asserts. It exists only
// while the agent itself mounts.
func (m *Manager) permit(where string) string {
	return filepath.Join(m.run, "permit", MountUnit(where))
}

// Mount mounts by PID 1, and returns when that is done.
func (m *Manager) Mount(ctx context.Context, mt Mount) error {
	permit := m.permit(mt.Where)
	if err := privateDir(filepath.Dir(permit)); err != nil {
		return err
	}
	if mt.Inspect {
		// What is only looked at is nobody's to enter: a working directory in it
		// would keep it from being unmounted.
		if err := privateDir(filepath.Dir(mt.Where)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(permit, nil, 0o600); err != nil {
		return err
	}
	defer os.Remove(permit)

	start := m.startTransient
	if mt.Inspect {
		start = m.startAnew
	}
	if err := start(ctx, MountUnit(mt.Where), mt.properties(permit)); err != nil {
		return fmt.Errorf("cannot mount %s at %s: %w", mt.What, mt.Where, err)
	}
	return nil
}

// startAnew makes a transient unit as startTransient does, but never starts one
// as it was loaded for an earlier look, which may have been to read or to write.
// Such a one stays loaded only for units that require it, as xfs_healer@.service
// does each mount, and that run although it is not there, or have failed. They
// are stopped with it, and nobody misses their failures.
func (m *Manager) startAnew(ctx context.Context, unit string, props []dbus.Property) error {
	for try := 1; ; try++ {
		err := m.job(ctx, unit, "start", func(conn *dbus.Conn, ended chan<- string) (int, error) {
			return conn.StartTransientUnitContext(ctx, unit, "fail", props, ended)
		})
		if try == unmountTries || !isBusError(err, "UnitExists") && !isBusError(err, "TransactionIsDestructive") {
			return err
		}
		if err := m.stopMount(ctx, unit); err != nil && !gaveWay(err) {
			return err
		}
		if err := m.resetRequiring(ctx, unit); err != nil {
			return err
		}
		select {
		case <-time.After(time.Duration(try) * m.unmountRest):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *Manager) resetRequiring(ctx context.Context, unit string) error {
	for _, property := range []string{"RequiredBy", "BoundBy"} {
		units, err := m.names(ctx, unit, property)
		if err != nil {
			return err
		}
		for _, requiring := range units {
			if err := m.ResetFailed(ctx, requiring); err != nil {
				return err
			}
		}
	}
	return nil
}

func (mt Mount) properties(permit string) []dbus.Property {
	props := []dbus.Property{
		dbus.PropDescription(mt.What + " at " + mt.Where + " for bootagent"),
		property("What", mt.What),
		property("Options", strings.Join(mt.Options, ",")),
		property("TimeoutUSec", uint64(mountTimeout.Microseconds())),
		property("DirectoryMode", uint32(0o755)),
		property("Asserts", []condition{{Type: "AssertPathExists", Parameter: permit}}),
		// At shutdown the agent stops before the mounts, and what releases the
		// volumes after them, while there is a network. The default dependencies
		// would put the mounts before local-fs.target, which outlives the network:
		// a cycle at shutdown, that systemd breaks by leaving a mount behind.
		property("DefaultDependencies", false),
		dbus.PropConflicts("umount.target"),
		dbus.PropBefore("umount.target", agentUnit),
		dbus.PropAfter("bootagent-release.service"),
	}
	if mt.Type != "" {
		props = append(props, property("Type", mt.Type))
	}
	if mt.On != "" {
		props = append(props, dbus.PropBindsTo(MountUnit(mt.On)), dbus.PropAfter(MountUnit(mt.On)))
	}
	if mt.Inspect {
		props = append(props, property("CollectMode", "inactive-or-failed"))
	}
	return props
}

// condition is an element of Conditions and Asserts on the bus, a(sbbs).
type condition struct {
	Type      string
	Trigger   bool
	Negate    bool
	Parameter string
}

// procMountinfo tells what is mounted, as this process sees it, proc(5).
const procMountinfo = "/proc/self/mountinfo"

// MountedAt returns the number of the device that is mounted at a path, and
// whether one is.
func MountedAt(where string) (dev uint64, mounted bool, err error) {
	text, err := os.ReadFile(procMountinfo)
	if err != nil {
		return 0, false, err
	}
	return mountedAt(string(text), where)
}

// mountedAt looks a mount point up in the text of a mountinfo file. Lines of
// other mount points that cannot be parsed are no error.
func mountedAt(text, where string) (dev uint64, mounted bool, err error) {
	for m, err := range mountinfo.Parse(text) {
		if m.Point != where {
			continue
		}
		if err != nil {
			return 0, false, err
		}
		dev, mounted = unix.Mkdev(m.Major, m.Minor), true // the last mount at a path is the visible one
	}
	return dev, mounted, nil
}

// cgroupPopulated tells whether a process is left in a cgroup, "" being none.
func cgroupPopulated(cgroup string) bool {
	if cgroup == "" {
		return false
	}
	events, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", cgroup, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || strings.Contains(string(events), "populated 1")
}
