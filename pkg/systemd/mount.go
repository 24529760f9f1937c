package systemd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"bootagent/pkg/mountinfo"
	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// A Mount is a transient mount unit.
type Mount struct {
	What    string // device, or directory to bind
	Where   string // absolute, clean path
	Type    string // of the filesystem, "" for a bind mount
	Options []string
	On      string // mount point that this mount is bound to, or ""
}

// mountTimeout limits one mount or unmount. Replaying the log of a large XFS
// filesystem takes minutes on a slow volume.
const mountTimeout = 10 * time.Minute

// permit returns the path of the file that a mount unit of the agent asserts. The
// file exists only while the agent itself mounts.
func (m *Manager) permit(where string) string {
	return filepath.Join(m.run, "permit", unit.MountAt(where))
}

// Mount has PID 1 mount something, and returns when that is done.
func (m *Manager) Mount(ctx context.Context, mt Mount) error {
	permit := m.permit(mt.Where)
	if err := privateDir(filepath.Dir(permit)); err != nil {
		return err
	}
	if err := os.WriteFile(permit, nil, 0o600); err != nil {
		return err
	}
	defer os.Remove(permit)

	if err := m.unloadOther(ctx, mt); err != nil {
		return fmt.Errorf("cannot mount %s at %s: %w", mt.What, mt.Where, err)
	}
	if err := m.startTransient(ctx, unit.MountAt(mt.Where), mt.properties(permit)); err != nil {
		return fmt.Errorf("cannot mount %s at %s: %w", mt.What, mt.Where, err)
	}
	return nil
}

// transientUnits is where PID 1 keeps the files of transient units.
const transientUnits = "/run/systemd/transient"

// unloadOther has PID 1 forget the unit of an earlier mount at the same path, if that was
// of something else, or had other options. PID 1 keeps the unit of an unmounted volume
// for as long as others name it, such as those of services, and would start it as it was.
func (m *Manager) unloadOther(ctx context.Context, mt Mount) error {
	name := unit.MountAt(mt.Where)
	file := filepath.Join(transientUnits, name)
	if there, err := exists(file); !there || err != nil {
		return err
	}
	if _, mounted, err := MountedAt(mt.Where); mounted || err != nil {
		return err
	}
	what, options, err := m.MountOf(ctx, name)
	if err != nil || what == mt.What && options == strings.Join(mt.Options, ",") {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	return m.Reload(ctx)
}

func (mt Mount) properties(permit string) []dbus.Property {
	props := []dbus.Property{
		dbus.PropDescription(mt.What + " at " + mt.Where + " for bootagent"),
		pid1.Property("What", mt.What),
		pid1.Property("Options", strings.Join(mt.Options, ",")),
		pid1.Property("TimeoutUSec", uint64(mountTimeout.Microseconds())),
		pid1.Property("DirectoryMode", uint32(0o755)),
		pid1.Property("Asserts", []condition{{Type: "AssertPathExists", Parameter: permit}}),
		// At shutdown, the agent stops first, then the mounts, then the unit that
		// releases the volumes, which needs the network. With the default
		// dependencies, the mounts would be ordered before local-fs.target, which
		// stops after the network. That is an ordering cycle, which systemd breaks by
		// not unmounting one of them.
		pid1.Property("DefaultDependencies", false),
		dbus.PropConflicts("umount.target"),
		dbus.PropBefore("umount.target", unit.Agent),
		dbus.PropAfter(unit.Release),
	}
	if mt.Type != "" {
		props = append(props, pid1.Property("Type", mt.Type))
	}
	if mt.On != "" {
		props = append(props, dbus.PropBindsTo(unit.MountAt(mt.On)), dbus.PropAfter(unit.MountAt(mt.On)))
	}
	return props
}

// condition is an element of Conditions and Asserts on the bus, (sbbs).
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
