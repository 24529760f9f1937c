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
	"golang.org/x/sys/unix"

	"bootagent/pkg/systemd/pid1"
	"bootagent/pkg/unit"
)

// An unmount is tried again if another job cancels it, or if it fails because a
// program looks into every new mount. The pause between two tries grows by
// unmountRest each time.
const (
	unmountTries = 6
	unmountRest  = 250 * time.Millisecond
)

// Unmount unmounts what Mount mounted, and returns when that is done. If a
// process holds the mount, the error is a *HeldError. But if the disk is gone,
// no data can be lost any more: then Unmount detaches the mount, and held names
// the processes that still hold it.
func (m *Manager) Unmount(ctx context.Context, where string) (held []string, err error) {
	gone, err := m.Stale(where)
	if err != nil {
		return nil, err
	}
	if gone {
		// When its unit stops, a command may finish, but without the disk it can't.
		if err := m.killCommandsOn(ctx, where); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		err := m.stopMount(ctx, unit.MountAt(where))
		if err == nil || ctx.Err() != nil {
			return nil, err
		}
		failed := jobResult(err) == "failed"
		again := failed || gaveWay(err)
		if again && try < unmountTries {
			select {
			case <-time.After(time.Duration(try) * m.unmountRest):
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		err = fmt.Errorf("cannot unmount %s: %w", where, err)
		if _, mounted, mountErr := m.mountedAt(where); mountErr != nil || !failed || !mounted {
			return nil, errors.Join(err, mountErr)
		}
		holders := m.findHolders(ctx, where)
		if !gone {
			return nil, &HeldError{Where: where, Holders: holders, err: err}
		}
		err = m.detach(ctx, where)
		if err == nil {
			m.log.Warn("detached the mount at "+where, "why", "its disk is gone, and processes hold it", "by", strings.Join(holders, "; "))
		}
		return holders, err
	}
}

// stopMount stops a mount unit in the mode "replace-irreversibly". A unit that
// starts for each new mount, such as xfs_healer@.service, requires the mount. A
// stop in the mode "fail" fails while such a start is queued, and a start that is
// queued later cancels a stop in the mode "replace".
func (m *Manager) stopMount(ctx context.Context, name string) error {
	_, err := m.Stop(ctx, name, "replace-irreversibly")
	return err
}

// gaveWay reports whether a job was not done because of another job.
func gaveWay(err error) bool {
	return jobResult(err) == "canceled" || pid1.IsError(err, "TransactionIsDestructive")
}

// A HeldError says that a mount can't be unmounted because processes hold it.
type HeldError struct {
	Where   string
	Holders []string
	err     error
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("cannot unmount %s: it is held by %s", e.Where, strings.Join(e.Holders, "; "))
}

// Hint says what a person can do about it.
func (e *HeldError) Hint() string {
	return "stop these processes, or make them leave " + e.Where + "; bootagent tries again. To see which processes still hold it: bootagent holders " + e.Where
}

func (e *HeldError) Unwrap() error { return e.err }

// Stale reports whether the disk of what is mounted at a path is gone. The kernel
// does not reuse the number of a device while it is mounted, so a disk that has
// come back has another number.
func (m *Manager) Stale(where string) (bool, error) {
	dev, mounted, err := m.mountedAt(where)
	if err != nil || !mounted || unix.Major(dev) == 0 { // a filesystem without a device
		return false, err
	}
	_, err = os.Lstat(m.sysDevice(dev))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// sysDevice returns the path of a block device in sysfs(5), which exists as long
// as the device does.
func (m *Manager) sysDevice(dev uint64) string {
	return filepath.Join(m.sys, "dev/block", fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)))
}

func (m *Manager) mountedAt(where string) (dev uint64, mounted bool, err error) {
	text, err := os.ReadFile(m.mountinfo)
	if err != nil {
		return 0, false, err
	}
	return mountedAt(string(text), where)
}

// killCommandsOn kills the commands that use a mount, see Command.Mounts.
func (m *Manager) killCommandsOn(ctx context.Context, where string) error {
	units, err := m.Units(ctx, unit.MountAt(where), "BoundBy")
	if err != nil {
		return err
	}
	for _, name := range units {
		if !unit.IsCommand(name) {
			continue
		}
		m.log.Warn("killing "+name, "why", "the disk that is mounted at "+where+" is gone")
		if err := m.Kill(ctx, name); err != nil && !pid1.IsError(err, "NoSuchUnit") && !pid1.IsError(err, "NoSuchProcess") {
			return err
		}
	}
	return nil
}

// detach detaches a mount whose disk is gone, even if processes hold it. The unit
// checks again that the disk is gone.
func (m *Manager) detach(ctx context.Context, where string) error {
	dev, mounted, err := m.mountedAt(where)
	if err != nil || !mounted {
		return err
	}
	name := unit.CommandAt("detach", where)
	if err := m.startTransient(ctx, name, detachProperties(where, m.sysDevice(dev))); err != nil {
		return fmt.Errorf("cannot detach %s: %w", where, err)
	}
	if now, mounted, err := m.mountedAt(where); err != nil || mounted && now == dev {
		return errors.Join(fmt.Errorf("cannot detach %s: it is still mounted; journalctl -u %s tells more", where, name), err)
	}
	return nil
}

// detachProperties returns the properties of a unit that has the same mounts as
// PID 1. A setting that gives a unit its own mounts would limit the unmount to
// that unit.
func detachProperties(where, device string) []dbus.Property {
	return []dbus.Property{
		dbus.PropDescription("Detach " + where + ", whose disk is gone"),
		dbus.PropType("oneshot"),
		pid1.Property("ExecCondition", []execCommand{{"/usr/bin/test", []string{"test", "!", "-e", device}, false}}),
		pid1.Property("ExecStart", []execCommand{{"/bin/umount", []string{"umount", "--lazy", "--no-canonicalize", "--", where}, false}}),
		pid1.Property("TimeoutStartUSec", uint64(time.Minute.Microseconds())),
		pid1.Property("CollectMode", "inactive-or-failed"),
		pid1.Property("NoNewPrivileges", true),
	}
}

func jobResult(err error) string {
	if job := (*pid1.JobError)(nil); errors.As(err, &job) {
		return job.Result
	}
	return ""
}
