package sim

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"bootagent/pkg/host"
)

type mounts struct{ *agent }

func (ms mounts) At(where string) (dev uint64, mounted bool, err error) {
	err = ms.call(context.Background(), "asks", "what is mounted at "+where, effect{do: func() error {
		if mt := ms.machine.mounts[where]; mt != nil {
			dev, mounted = mt.dev, true
		}
		return nil
	}})
	return dev, mounted && err == nil, err
}

func (ms mounts) Mount(ctx context.Context, mt host.Mount) error {
	m := ms.machine
	w := m.world
	about := fmt.Sprintf("%s at %s (%s)", mt.What, mt.Where, strings.Join(mt.Options, ","))
	failed := func(why string) error { return fmt.Errorf("the start of %s ended as %q", mountUnit(mt.Where), why) }
	ready := time.Time{}
	return ms.call(ctx, "mount", about, effect{
		bound: 2 * time.Minute,
		do: func() error {
			at := m.mounts[mt.Where]
			if at != nil && at.stopping || m.stopping {
				return failed("canceled")
			}
			ready = time.Now().Add(w.between(50*time.Millisecond, time.Second))
			w.in(time.Until(ready), m.id, "", func() {})
			if at != nil {
				return nil // it is active, and that is what was wanted
			}
			mounted := &mount{where: mt.Where, on: mt.On, since: time.Now()}
			if mt.Type == "" {
				on := m.mounts[mt.On]
				dir := path.Base(mt.What)
				if on == nil || on.dead || on.stopping || on.vol.live == nil {
					return failed("dependency")
				}
				if _, ok := on.vol.live.dirs[dir]; !ok {
					return failed("failed")
				}
				mounted.vol, mounted.dev, mounted.dir = on.vol, on.dev, dir
			} else {
				var d *disk
				for _, serial := range sortedKeys(m.plugged) {
					if m.plugged[serial].block().Link == mt.What {
						d = m.plugged[serial]
					}
				}
				if d == nil || d.vol.place == nil || d.vol.place.kind != mt.Type || d.vol.unmountable {
					return failed("failed")
				}
				if !d.read {
					w.breaks("%s is mounted at %s, and was not read before", d.vol.ID, mt.Where)
				}
				mounted.vol, mounted.dev, mounted.clean = d.vol, d.dev(), d.vol.clean
				if d.vol.live == nil {
					d.vol.open()
				}
			}
			w.checkMount(m, mt.Where)
			m.mounts[mt.Where] = mounted
			m.changed(mountUnit(mt.Where))
			w.count(m.id, "mount")
			return nil
		},
		until: func() bool { return !time.Now().Before(ready) },
		result: func() error {
			if m.mounts[mt.Where] == nil {
				return failed("failed")
			}
			return nil
		},
	})
}

func (ms mounts) Stale(where string) (stale bool, err error) {
	err = ms.call(context.Background(), "asks", "whether the disk is gone at "+where, effect{do: func() error {
		mt := ms.machine.mounts[where]
		stale = mt != nil && mt.dead
		return nil
	}})
	return stale && err == nil, err
}

func (ms mounts) Stopped(ctx context.Context, where string) (why string, err error) {
	if ms.actor() == "" {
		ms.is("health")
	}
	err = ms.call(ctx, "asks", "whether "+where+" can be written", effect{bound: 2 * time.Minute, do: func() error {
		if mt := ms.machine.mounts[where]; mt != nil && !mt.stopped.IsZero() {
			why = "it has shut itself down after an error"
		}
		return nil
	}})
	return why, err
}

func (ms mounts) Unmount(ctx context.Context, where string) error {
	m := ms.machine
	return ms.call(ctx, "unmount", where, effect{
		bound: 2 * time.Minute,
		do: func() error {
			if mt := m.mounts[where]; mt != nil {
				mt.stopping, mt.pinned = true, mt.pinned && !mt.dead // what has no disk is detached
			}
			return nil
		},
		until: func() bool { return m.mounts[where] == nil },
	})
}
