package systemd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// privateSocket is where PID 1 listens, without a bus daemon in between.
const privateSocket = "/run/systemd/private"

// A bus is a connection to PID 1.
type bus struct {
	*dbus.Conn
	closed context.Context // done when the connection is, by whichever side
}

// dial reaches PID 1.
func dial() (net.Conn, error) { return net.Dial("unix", privateSocket) }

// connect makes a connection. What heard says of a signal is whether to decode
// it, and what rest says is how long signals may go unheard from now on.
func connect(socket net.Conn, heard func(signal []byte) bool, rest func() time.Duration) (*bus, error) {
	conn, err := godbus.NewConn(newIncoming(socket, heard, rest))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		conn.Close()
		return nil, err
	}
	// It asks for one connection for calls, and one for signals. Each would be
	// sent all signals.
	calls, err := dbus.NewConnection(func() (*godbus.Conn, error) { return conn, nil })
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &bus{calls, conn.Context()}, nil
}

// incoming is the socket of PID 1 without the signals that nobody waits for.
// On its private socket systemd sends every change of every unit to everybody,
// whatever they match for and without Subscribe (systemd issue 32381). To
// decode them all was four fifths of the agent's CPU time on a first boot. To be
// woken by each costs much, too: so it rests between signals, unless a call
// waits for its answer.
type incoming struct {
	net.Conn
	in    *bufio.Reader
	heard func(signal []byte) bool
	rest  func() time.Duration

	calls  atomic.Int32  // that are not answered yet
	called chan struct{} // has room for one

	buf  []byte
	left []byte // of what is handed on
}

func newIncoming(socket net.Conn, heard func([]byte) bool, rest func() time.Duration) *incoming {
	return &incoming{Conn: socket, in: bufio.NewReaderSize(socket, 16<<10), heard: heard, rest: rest, called: make(chan struct{}, 1)}
}

// Write writes a line of the authentication, or one message.
func (i *incoming) Write(p []byte) (int, error) {
	if len(p) >= fixedHead && p[1] == byte(godbus.TypeMethodCall) && godbus.Flags(p[2])&godbus.FlagNoReplyExpected == 0 {
		i.calls.Add(1) // before it can be answered
		select {
		case i.called <- struct{}{}:
		default:
		}
	}
	return i.Conn.Write(p)
}

func (i *incoming) Read(p []byte) (int, error) {
	for len(i.left) == 0 {
		if err := i.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, i.left)
	i.left = i.left[n:]
	return n, nil
}

const (
	fixedHead  = 16      // length of what every message begins with
	messageMax = 1 << 27 // length of the longest message
)

// next hands on a line of the authentication, or a message, if it is wanted.
// D-Bus Specification, "Authentication Protocol" and "Message Format": a
// message begins with a letter for its byte order, which no line begins with;
// its type, two bytes, the length of its body, a serial, and the length of its
// fields, which are padded to eight bytes.
func (i *incoming) next() error {
	first, err := i.in.Peek(1)
	if err != nil {
		return err
	}
	var order binary.ByteOrder
	switch first[0] {
	case 'l':
		order = binary.LittleEndian
	case 'B':
		order = binary.BigEndian
	default:
		i.left, err = i.in.ReadSlice('\n')
		return err
	}
	head, err := i.in.Peek(fixedHead)
	if err != nil {
		return err
	}
	signal := head[1] == byte(godbus.TypeSignal)
	body, fields := order.Uint32(head[4:]), order.Uint32(head[12:])
	length := fixedHead + (int64(fields)+7)&^7 + int64(body)
	if length > messageMax {
		return fmt.Errorf("systemd sends a message of %d bytes", length)
	}
	if int64(cap(i.buf)) < length {
		i.buf = make([]byte, length)
	}
	message := i.buf[:length]
	if _, err := io.ReadFull(i.in, message); err != nil {
		return err
	}
	switch {
	case !signal:
		i.calls.Add(-1)
		i.left = message
	case i.heard(message):
		i.left = message
	case i.in.Buffered() == 0 && i.calls.Load() == 0:
		select {
		case <-time.After(i.rest()):
		case <-i.called:
		}
	}
	return nil
}

// rest is how long signals may go unheard: a moment where one of them is
// waited for, and otherwise as long as nobody minds that a unit has changed.
func (m *Manager) rest() time.Duration {
	if m.jobs.Load() > 0 {
		return 2 * time.Millisecond
	}
	return 50 * time.Millisecond
}

// heard tells those that watch the unit that a signal is of, for which it need
// not be decoded. The end of a job is, while one is waited for.
func (m *Manager) heard(signal []byte) (decode bool) {
	_, unit, isUnit := bytes.Cut(signal, []byte("/org/freedesktop/systemd1/unit/"))
	if !isUnit {
		return m.jobs.Load() > 0 && bytes.Contains(signal, []byte("JobRemoved\x00"))
	}
	name, body, _ := bytes.Cut(unit, []byte{0})
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watches {
		// Each change is signalled twice, the second time for what any unit has.
		if unit, watched := w.units[string(name)]; watched && bytes.Contains(body, []byte("org.freedesktop.systemd1.Unit\x00")) {
			w.tell(unit)
		}
	}
	return false
}

// lost tells all that watch that changes may have gone by unseen.
func (m *Manager) lost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watches {
		for _, unit := range w.units {
			w.tell(unit)
		}
	}
}

// A Watch is units whose changes somebody follows.
type Watch struct {
	units map[string]string // by their names on the bus
	wake  chan struct{}     // has room for one

	mu      sync.Mutex
	changed []string // since they were last asked for, each once
}

// Watch follows units until ctx ends.
func (m *Manager) Watch(ctx context.Context, units ...string) *Watch {
	w := &Watch{units: make(map[string]string, len(units)), wake: make(chan struct{}, 1)}
	for _, unit := range units {
		w.units[dbus.PathBusEscape(unit)] = unit
	}
	m.mu.Lock()
	m.watches[w] = true
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		delete(m.watches, w)
		m.mu.Unlock()
	})
	return w
}

// Next returns a unit whose state may have changed, as soon as there is one,
// or the error of ctx.
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
	default: // it is about to look
	}
}
