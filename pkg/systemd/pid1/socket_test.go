package pid1

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"bootagent/pkg/systemd/pid1/pid1test"
)

// wire is a message as PID 1 sends it.
func wire(t *testing.T, msg *godbus.Message) []byte {
	t.Helper()
	if len(msg.Body) > 0 {
		msg.Headers[godbus.FieldSignature] = godbus.MakeVariant(godbus.SignatureOf(msg.Body...))
	}
	var b bytes.Buffer
	ok(t, msg.EncodeTo(&b, binary.LittleEndian))
	return b.Bytes()
}

func changed(unit, iface string) *godbus.Message {
	return pid1test.Signal(pid1test.PathOf(unit), "org.freedesktop.DBus.Properties", "PropertiesChanged",
		iface, map[string]godbus.Variant{"ActiveState": godbus.MakeVariant("active")}, []string{})
}

func removed(unit string) *godbus.Message {
	return pid1test.Signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved",
		uint32(1), godbus.ObjectPath("/org/freedesktop/systemd1/job/1"), unit, "done")
}

// What is decoded is what the reader hands on, byte for byte.
func TestOnlyWantedSignalsAreHandedOn(t *testing.T) {
	reply := wire(t, &godbus.Message{Type: godbus.TypeMethodReply, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldReplySerial: godbus.MakeVariant(uint32(7)),
	}, Body: []any{"a signal is not what it speaks of: JobRemoved"}})
	failed := wire(t, &godbus.Message{Type: godbus.TypeError, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldReplySerial: godbus.MakeVariant(uint32(8)),
		godbus.FieldErrorName:   godbus.MakeVariant("org.freedesktop.systemd1.NoSuchUnit"),
	}})
	wanted := wire(t, removed("srv-data.mount"))
	large := wire(t, &godbus.Message{Type: godbus.TypeMethodReply, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldReplySerial: godbus.MakeVariant(uint32(9)),
	}, Body: []any{make([]byte, 100<<10)}})
	unwanted := wire(t, changed("ssh.service", "org.freedesktop.systemd1.Unit"))
	lines := []byte("REJECTED EXTERNAL\r\nOK 1234\r\n")
	bigEndian := slices.Clone(unwanted)
	bigEndian[0] = 'B'
	slices.Reverse(bigEndian[4:8])
	slices.Reverse(bigEndian[12:16])

	said := slices.Concat(lines, unwanted, reply, unwanted, unwanted, wanted, failed, large, bigEndian, unwanted)
	want := slices.Concat(lines, reply, wanted, failed, large)
	for name, from := range map[string]io.Reader{"at once": bytes.NewReader(said), "byte by byte": iotest.OneByteReader(bytes.NewReader(said))} {
		heard := 0
		in := &incoming{in: bufio.NewReader(from), rest: atOnce, heard: func(signal []byte) bool {
			heard++
			return bytes.Equal(signal, wanted)
		}}
		got, err := io.ReadAll(in)
		if err != nil || !bytes.Equal(got, want) || heard != 6 {
			t.Errorf("%s: it hands on %q of %d signals, and %v", name, got, heard, err)
		}
	}
}

func TestAMessageThatIsCutOffOrTooLongIsAnError(t *testing.T) {
	message := wire(t, removed("srv-data.mount"))
	long := slices.Clone(message)
	binary.LittleEndian.PutUint32(long[4:], messageMax)
	for name, c := range map[string]struct {
		said []byte
		want string
	}{
		"in its head": {message[:fixedHead-1], "EOF"},
		"in its body": {message[:len(message)-1], "unexpected EOF"},
		"too long":    {long, "systemd sent a message of 134217872 bytes, and D-Bus allows 134217728"},
	} {
		in := &incoming{in: bufio.NewReader(bytes.NewReader(c.said)), rest: atOnce, heard: func([]byte) bool { return false }}
		if _, err := in.Read(make([]byte, 1)); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func TestChangesOfAWatchedUnitAreToldOnce(t *testing.T) {
	c := New(nil)
	ctx, cancel := context.WithCancel(t.Context())
	watch := c.Watch(ctx, "mariadb.service", "srv-data.mount")
	other := c.Watch(ctx, "ssh.service")
	for _, s := range []*godbus.Message{
		changed("mariadb.service", "org.freedesktop.systemd1.Service"), // comes before the one that counts
		changed("ssh.service", "org.freedesktop.systemd1.Unit"),
		changed("srv-data.mount", "org.freedesktop.systemd1.Unit"),
		changed("mariadb.service", "org.freedesktop.systemd1.Unit"),
		changed("srv-data.mount", "org.freedesktop.systemd1.Unit"),
	} {
		if c.heard(wire(t, s)) {
			t.Errorf("%v is decoded", s)
		}
	}
	next := func(w *Watch, want string) {
		t.Helper()
		short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer stop()
		unit, err := w.Next(short)
		if unit != want || (want == "") != errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %q, %v, want %q", unit, err, want)
		}
	}
	next(watch, "srv-data.mount")
	next(watch, "mariadb.service")
	next(watch, "")
	next(other, "ssh.service")

	c.heard(wire(t, changed("mariadb.service", "org.freedesktop.systemd1.Service")))
	next(watch, "")
	cancel()
	for len(c.watching()) > 0 {
		time.Sleep(time.Millisecond)
	}
}

// watching are those that watch.
func (c *Conn) watching() (all []*Watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watches {
		all = append(all, w)
	}
	return all
}

func TestTheEndOfAJobIsDecodedWhileOneIsWaitedFor(t *testing.T) {
	c := New(nil)
	if c.heard(wire(t, removed("srv-data.mount"))) {
		t.Error("nobody waits, and it is decoded")
	}
	c.jobs.Add(1)
	if !c.heard(wire(t, removed("srv-data.mount"))) {
		t.Error("it is not decoded")
	}
	started := pid1test.Signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobNew",
		uint32(1), godbus.ObjectPath("/org/freedesktop/systemd1/job/1"), "srv-data.mount")
	if c.heard(wire(t, started)) {
		t.Error("the beginning of a job is decoded")
	}
}

// PID 1 drops all connections when it executes itself anew. What changed until
// there is another went by unseen.
func TestAllIsLookedAtAgainAfterAConnectionIsLost(t *testing.T) {
	p, c := newConn(t)
	p.Add("mariadb.service", "active")
	p.Add("srv-data.mount", "active")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	watch := c.Watch(ctx, "mariadb.service", "srv-data.mount")
	go c.Follow(ctx)
	both := func(when string) {
		t.Helper()
		var units []string
		for range 2 {
			unit, err := watch.Next(ctx)
			ok(t, err)
			units = append(units, unit)
		}
		slices.Sort(units)
		equal(t, when, units, []string{"mariadb.service", "srv-data.mount"})
	}
	both("at first")
	p.HangUp()
	both("with another connection")
	p.Becomes("mariadb.service", "failed")
	unit, err := watch.Next(ctx)
	if unit != "mariadb.service" || err != nil {
		t.Errorf("after that, got %q, %v", unit, err)
	}
}

// While PID 1 executes itself anew, nobody listens.
func TestFollowingGoesOnWhenSystemdIsBack(t *testing.T) {
	p, c := newConn(t)
	p.Add("mariadb.service", "active")
	refuse := true
	c.dial = func() (net.Conn, error) {
		if refuse {
			refuse = false
			return nil, errors.New("connection refused")
		}
		return p.Dial()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	watch := c.Watch(ctx, "mariadb.service")
	go c.Follow(ctx)
	if unit, err := watch.Next(ctx); unit != "mariadb.service" || err != nil {
		t.Errorf("got %q, %v", unit, err)
	}
}

func atOnce() time.Duration { return 0 }

// memory is a socket that keeps what is said to it until it is read, as the
// kernel does.
type memory struct {
	net.Conn
	reads atomic.Int32
	more  chan struct{} // has room for one

	mu   sync.Mutex
	said []byte
	end  bool
}

// say says something, or nothing any more.
func (m *memory) say(what []byte) {
	m.mu.Lock()
	m.said, m.end = append(m.said, what...), what == nil
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default:
	}
}

func (m *memory) Write(p []byte) (int, error) { return len(p), nil }

func (m *memory) Read(p []byte) (int, error) {
	m.reads.Add(1)
	for {
		m.mu.Lock()
		n := copy(p, m.said)
		m.said = m.said[n:]
		end := m.end
		m.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case end:
			return 0, io.EOF
		}
		<-m.more
	}
}

// What nobody waits for is read in few goes, and never makes a call wait.
func TestSignalsAreReadTogetherUnlessACallWaits(t *testing.T) {
	unwanted := wire(t, changed("ssh.service", "org.freedesktop.systemd1.Unit"))
	answer := wire(t, &godbus.Message{Type: godbus.TypeMethodReply, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldReplySerial: godbus.MakeVariant(uint32(1)),
	}})
	call := &godbus.Message{Type: godbus.TypeMethodCall, Headers: map[godbus.HeaderField]godbus.Variant{
		godbus.FieldPath:   godbus.MakeVariant(godbus.ObjectPath("/org/freedesktop/systemd1")),
		godbus.FieldMember: godbus.MakeVariant("Subscribe"),
	}}
	const every = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		socket := &memory{more: make(chan struct{}, 1)}
		in := newIncoming(socket, func([]byte) bool { return false }, func() time.Duration { return 50 * time.Millisecond })
		answered := make(chan time.Time)
		go func() {
			for {
				if _, err := io.ReadFull(in, make([]byte, len(answer))); err != nil {
					close(answered)
					return
				}
				answered <- time.Now()
			}
		}()
		for range 1000 {
			socket.say(unwanted)
			time.Sleep(every)
		}
		if reads := socket.reads.Load(); reads > 25 {
			t.Errorf("1000 signals in a second were read in %d goes", reads)
		}

		socket.say(unwanted) // it rests after this one
		synctest.Wait()
		asked := time.Now()
		if _, err := in.Write(wire(t, call)); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			socket.say(unwanted)
			time.Sleep(every)
		}
		socket.say(answer)
		if took := (<-answered).Sub(asked); took != 5*every {
			t.Errorf("the answer to a call that came after %v was read after %v", 5*every, took)
		}
		socket.say(nil)
		<-answered
	})
}
