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

	"bootagent/pkg/systemd/guard"
)

// How often an unmount is tried that somebody else's job cancels, or that a
// program makes fail which looks into every new mount, and the rest between
// two tries, which grows by as much each time.
const (
	unmountTries = 6
	unmountRest  = 250 * time.Millisecond
)

// Unmount unmounts what Mount mounted, and returns when that is done. Where a
// process holds it, it is a *HeldError; but where its disk is gone, so that
// nothing can be lost any more, it is detached, and held names who goes on
// holding what was there.
func (m *Manager) Unmount(ctx context.Context, where string) (held []string, err error) {
	gone, err := m.Stale(where)
	if err != nil {
		return nil, err
	}
	if gone {
		// A command of ours is let finish when its unit is stopped. It can't.
		if err := m.killCommandsOn(ctx, where); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		err := m.stopMount(ctx, MountUnit(where))
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
		holders := m.holders(ctx, where)
		if !gone {
			return nil, &HeldError{Where: where, Holders: holders, err: err}
		}
		err = m.detach(ctx, where)
		if err == nil {
			m.log.Warn("detached what was mounted at "+where, "why", "its disk is gone, and it is held", "by", strings.Join(holders, "; "))
		}
		return holders, err
	}
}

// stopMount stops a mount unit in mode "replace-irreversibly": whatever is
// started for each new mount, as xfs_healer@.service is, requires it. Mode "fail"
// gives way to such a start while it is queued, and a start that is queued later
// cancels a stop in mode "replace".
func (m *Manager) stopMount(ctx context.Context, unit string) error {
	err := m.job(ctx, unit, "stop", func(conn *dbus.Conn, ended chan<- string) (int, error) {
		return conn.StopUnitContext(ctx, unit, "replace-irreversibly", ended)
	})
	if isBusError(err, "NoSuchUnit") {
		return nil
	}
	return err
}

// gaveWay tells a job that somebody else's has kept from being done.
func gaveWay(err error) bool {
	return jobResult(err) == "canceled" || isBusError(err, "TransactionIsDestructive")
}

// A HeldError is a mount that can't be unmounted, as processes hold it.
type HeldError struct {
	Where   string
	Holders []string
	err     error
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("cannot unmount %s: it is held by %s", e.Where, strings.Join(e.Holders, "; "))
}

// Hint says what a person can do.
func (e *HeldError) Hint() string {
	return "end what holds it, or have it leave " + e.Where + "; it is tried again. bootagent holders " + e.Where + " names who still does"
}

func (e *HeldError) Unwrap() error { return e.err }

// Stale tells whether something is mounted at a path whose disk is gone. The
// number of a device is not used again while it is mounted, so a disk that has
// come back has another.
func (m *Manager) Stale(where string) (bool, error) {
	dev, mounted, err := m.mountedAt(where)
	if err != nil || !mounted || unix.Major(dev) == 0 { // 0 are filesystems without a device
		return false, err
	}
	_, err = os.Lstat(m.sysDevice(dev))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// sysDevice is where sysfs(5) shows a block device for as long as it is there.
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

// killCommandsOn kills the commands that stand on a mount, see Command.Mounts.
func (m *Manager) killCommandsOn(ctx context.Context, where string) error {
	units, err := m.names(ctx, MountUnit(where), "BoundBy")
	if err != nil {
		return err
	}
	for _, unit := range units {
		if !isCommand(unit) {
			continue
		}
		m.log.Warn("killing "+unit, "why", "the disk is gone that is mounted at "+where)
		if err := m.Kill(ctx, unit); err != nil && !isBusError(err, "NoSuchUnit") && !isBusError(err, "NoSuchProcess") {
			return err
		}
	}
	return nil
}

// isCommand tells the units of commands from grants and services of a role.
func isCommand(unit string) bool {
	return strings.HasPrefix(unit, "bootagent-") && strings.HasSuffix(unit, ".service") && !strings.HasPrefix(unit, guard.GrantUnit(""))
}

// detach takes a mount whose disk is gone out of sight, at once and although
// processes hold it. The unit looks once more whether the disk is gone.
func (m *Manager) detach(ctx context.Context, where string) error {
	dev, mounted, err := m.mountedAt(where)
	if err != nil || !mounted {
		return err
	}
	name := "bootagent-detach-" + strings.TrimSuffix(MountUnit(where), ".mount") + ".service"
	if err := m.startTransient(ctx, name, detachProperties(where, m.sysDevice(dev))); err != nil {
		return fmt.Errorf("cannot detach %s: %w", where, err)
	}
	if now, mounted, err := m.mountedAt(where); err != nil || mounted && now == dev {
		return errors.Join(fmt.Errorf("cannot detach %s: it is still mounted; journalctl -u %s tells more", where, name), err)
	}
	return nil
}

// detachProperties are those of a unit that sees the mounts as PID 1 does: what
// gives a unit mounts of its own would keep the unmount from being one for all.
func detachProperties(where, device string) []dbus.Property {
	return []dbus.Property{
		dbus.PropDescription("Detaching of " + where + ", whose disk is gone"),
		dbus.PropType("oneshot"),
		property("ExecCondition", []execCommand{{"/usr/bin/test", []string{"test", "!", "-e", device}, false}}),
		property("ExecStart", []execCommand{{"/bin/umount", []string{"umount", "--lazy", "--no-canonicalize", "--", where}, false}}),
		property("TimeoutStartUSec", uint64(time.Minute.Microseconds())),
		property("CollectMode", "inactive-or-failed"),
		property("NoNewPrivileges", true),
	}
}

func jobResult(err error) string {
	if job := (*JobError)(nil); errors.As(err, &job) {
		return job.Result
	}
	return ""
}
