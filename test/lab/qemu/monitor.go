package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A Monitor speaks QMP, the control protocol of QEMU: one JSON object per line. A reply has the ID of
// its command; an event has none. https://www.qemu.org/docs/master/interop/qmp-spec.html
type Monitor struct {
	conn net.Conn
	done chan struct{} // closed when QEMU has closed the connection

	mu       sync.Mutex
	last     int
	pending  map[int]chan message
	watchers map[*watcher]bool
}

type message struct {
	ID     int             `json:"id"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// A watcher waits for the first event that it matches.
type watcher struct {
	match func(message) bool
	seen  chan struct{}
}

var errClosed = errors.New("QEMU has closed the connection")

// newMonitor reads conn until QEMU closes it.
func newMonitor(ctx context.Context, conn net.Conn) (*Monitor, error) {
	m := &Monitor{
		conn:     conn,
		done:     make(chan struct{}),
		pending:  map[int]chan message{},
		watchers: map[*watcher]bool{},
	}
	go m.read()
	return m, m.Do(ctx, "qmp_capabilities", nil, nil) // QEMU accepts no other command before this one
}

func (m *Monitor) read() {
	defer close(m.done)
	in := json.NewDecoder(m.conn)
	for {
		var msg message
		if err := in.Decode(&msg); err != nil {
			return
		}
		m.mu.Lock()
		if msg.Event != "" {
			for w := range m.watchers {
				if w.match(msg) {
					close(w.seen)
					delete(m.watchers, w)
				}
			}
		} else if reply, ok := m.pending[msg.ID]; ok { // false for the greeting
			reply <- msg
			delete(m.pending, msg.ID)
		}
		m.mu.Unlock()
	}
}

// Do executes a command, and decodes its result if result is not nil. If QEMU refuses the command, the
// error contains QEMU's message.
func (m *Monitor) Do(ctx context.Context, command string, args, result any) error {
	reply := make(chan message, 1)
	m.mu.Lock()
	m.last++
	id := m.last
	m.pending[id] = reply
	request := map[string]any{"execute": command, "id": id}
	if args != nil {
		request["arguments"] = args
	}
	err := json.NewEncoder(m.conn).Encode(request)
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("QEMU's %s: %w", command, err)
	}

	select {
	case msg := <-reply:
		if msg.Error != nil {
			return fmt.Errorf("QEMU's %s: %s", command, msg.Error.Desc)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(msg.Return, result)
	case <-m.done:
		return fmt.Errorf("QEMU's %s: %w", command, errClosed)
	case <-ctx.Done():
		return fmt.Errorf("QEMU's %s: %w", command, context.Cause(ctx))
	}
}

// watch starts to watch for an event. Call it before the command that causes the event.
func (m *Monitor) watch(match func(message) bool) *watcher {
	w := &watcher{match: match, seen: make(chan struct{})}
	m.mu.Lock()
	m.watchers[w] = true
	m.mu.Unlock()
	return w
}

// wait waits for the event, and stops watching.
func (m *Monitor) wait(ctx context.Context, w *watcher) error {
	defer func() {
		m.mu.Lock()
		delete(m.watchers, w)
		m.mu.Unlock()
	}()
	select {
	case <-w.seen:
		return nil
	case <-m.done:
		return errClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
