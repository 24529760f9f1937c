package pid1

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// rest returns how long signals may stay unread: a moment if a job's end is
// waited for, and otherwise a delay that does not matter to those who watch.
func (c *Conn) rest() time.Duration {
	if c.jobs.Load() > 0 {
		return 2 * time.Millisecond
	}
	return 50 * time.Millisecond
}

// heard wakes the watches of the unit that a signal is about, which needs no
// decoding. The signal for the end of a job is decoded while one is waited for.
func (c *Conn) heard(signal []byte) (decode bool) {
	_, unit, isUnit := bytes.Cut(signal, []byte("/org/freedesktop/systemd1/unit/"))
	if !isUnit {
		return c.jobs.Load() > 0 && bytes.Contains(signal, []byte("JobRemoved\x00"))
	}
	name, body, _ := bytes.Cut(unit, []byte{0})
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watches {
		// systemd sends two signals for each change; the second is for the interface
		// that every unit has.
		if unit, watched := w.units[string(name)]; watched && bytes.Contains(body, []byte("org.freedesktop.systemd1.Unit\x00")) {
			w.tell(unit)
		}
	}
	return false
}

// lost wakes all watches, because changes may have been missed.
func (c *Conn) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watches {
		for _, unit := range w.units {
			w.tell(unit)
		}
	}
}

// A Watch is a set of units whose changes somebody follows.
type Watch struct {
	units map[string]string // by their escaped names on the bus
	wake  chan struct{}     // receives when a unit has changed; has room for one

	mu      sync.Mutex
	changed []string // since the last call of Next, each unit once
}

// Watch follows units until ctx ends. While the connection is lost, Follow has
// to run, or changes are missed.
func (c *Conn) Watch(ctx context.Context, units ...string) *Watch {
	w := &Watch{units: make(map[string]string, len(units)), wake: make(chan struct{}, 1)}
	for _, unit := range units {
		w.units[dbus.PathBusEscape(unit)] = unit
	}
	c.mu.Lock()
	c.watches[w] = true
	c.mu.Unlock()
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		delete(c.watches, w)
		c.mu.Unlock()
	})
	return w
}

// Next waits for a unit whose state may have changed and returns its name, or
// the error of ctx.
func (w *Watch) Next(ctx context.Context) (unit string, err error) {
	for {
		if unit := w.take(); unit != "" {
			return unit, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (w *Watch) take() (unit string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changed) > 0 {
		unit, w.changed = w.changed[0], w.changed[1:]
	}
	return unit
}

func (w *Watch) tell(unit string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.changed, unit) {
		w.changed = append(w.changed, unit)
	}
	select {
	case w.wake <- struct{}{}:
	default: // Next has not yet read the previous one
	}
}
