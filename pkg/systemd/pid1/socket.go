package pid1

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// privateSocket is the socket on which PID 1 itself speaks D-Bus, without a bus
// daemon.
const privateSocket = "/run/systemd/private"

// A bus is one connection to PID 1.
type bus struct {
	*dbus.Conn
	closed context.Context // done when either side has closed the connection
}

// dial connects to the private socket.
func dial() (net.Conn, error) { return net.Dial("unix", privateSocket) }

// connect authenticates on a socket. heard reports whether a signal has to be
// decoded, and rest returns how long the next signals may stay unread.
func connect(socket net.Conn, heard func(signal []byte) bool, rest func() time.Duration) (*bus, error) {
	conn, err := godbus.NewConn(newIncoming(socket, heard, rest))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		conn.Close()
		return nil, err
	}
	// NewConnection wants one connection for calls and one for signals. systemd
	// sends all signals to both, so both are the same connection here.
	calls, err := dbus.NewConnection(func() (*godbus.Conn, error) { return conn, nil })
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &bus{calls, conn.Context()}, nil
}

// incoming is the socket of PID 1 without the signals that nobody waits for. On
// its private socket systemd sends every change of every unit to every client,
// without Subscribe and whatever the client matches for (systemd issue 32381).
// Decoding all of them took four fifths of the agent's CPU time on a first boot.
// Waking up for each signal is expensive, too, so incoming pauses between
// signals unless a call waits for its answer.
type incoming struct {
	net.Conn
	in    *bufio.Reader
	heard func(signal []byte) bool
	rest  func() time.Duration

	calls  atomic.Int32  // calls without an answer yet
	called chan struct{} // receives when a call is sent; has room for one

	buf  []byte
	left []byte // what Read returns next
}

func newIncoming(socket net.Conn, heard func([]byte) bool, rest func() time.Duration) *incoming {
	return &incoming{Conn: socket, in: bufio.NewReaderSize(socket, 16<<10), heard: heard, rest: rest, called: make(chan struct{}, 1)}
}

// Write writes a line of the authentication protocol, or one message.
func (i *incoming) Write(p []byte) (int, error) {
	if len(p) >= fixedHead && p[1] == byte(godbus.TypeMethodCall) && godbus.Flags(p[2])&godbus.FlagNoReplyExpected == 0 {
		i.calls.Add(1) // before systemd can answer
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
	fixedHead  = 16      // bytes of the fixed part of a message's header
	messageMax = 1 << 27 // bytes of the longest message that D-Bus allows
)

// next reads a line of the authentication protocol or a message, and keeps it
// for Read if it is wanted. In a message (D-Bus Specification, "Message
// Format"), the first byte is a letter for the byte order, which no line of the
// authentication begins with. Then come the type, two more bytes, the length of
// the body, a serial number, and the length of the header's fields, which are
// padded to eight bytes.
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
		return fmt.Errorf("systemd sent a message of %d bytes, and D-Bus allows %d", length, messageMax)
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
