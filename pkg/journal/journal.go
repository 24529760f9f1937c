// Package journal logs to systemd's journal by its native protocol, and never waits
// for it.
package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdjournal "github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"bootagent/pkg/status"
	"bootagent/pkg/unit"
)

// New returns a logger to the journal, with attributes as fields, when the
// program's standard error is the journal, and to w as text otherwise. What was
// logged is told when flush returns, if the journal takes it soon.
func New(w io.Writer) (log *slog.Logger, flush func()) {
	if ok, err := sdjournal.StderrIsJournalStream(); ok && err == nil {
		s := newSender(journalSocket)
		return slog.New(journalHandler{to: s}), s.flush
	}
	return slog.New(slog.NewTextHandler(w, nil)), func() {}
}

// journalHandler writes records to journald. An attribute "step" becomes the
// field STEP= and begins the message; the other attributes follow it, and are
// fields as well.
type journalHandler struct {
	to    *sender
	attrs []slog.Attr
}

func (h journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journalHandler{h.to, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h journalHandler) WithGroup(string) slog.Handler { return h }

func (h journalHandler) Handle(_ context.Context, r slog.Record) error {
	message, fields := h.entry(r)
	h.to.send(datagram(message, priority(r.Level), fields))
	return nil
}

// journalSocket is where journald takes entries.
const journalSocket = "/run/systemd/journal/socket"

// datagram is an entry in the words of the journal's native protocol
// (systemd.io/JOURNAL_NATIVE_PROTOCOL).
func datagram(message string, p sdjournal.Priority, fields map[string]string) []byte {
	var b []byte
	field := func(name, value string) {
		value = value[:min(len(value), fieldMax)]
		if strings.Contains(value, "\n") {
			b = append(append(b, name...), '\n')
			b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
		} else {
			b = append(append(b, name...), '=')
		}
		b = append(append(b, value...), '\n')
	}
	field("PRIORITY", strconv.Itoa(int(p)))
	field("MESSAGE", message)
	for name, value := range fields {
		field(name, value)
	}
	return b
}

const (
	// fieldMax bounds a field of an entry, in bytes. All of them have to fit
	// into a datagram, for which Linux has room for 208 KiB (socket(7)).
	fieldMax = 32 << 10

	// queueMax is how many entries wait for a journal that takes none. A boot
	// has some hundred.
	queueMax = 1000

	// flushWithin is how long the program's end waits for the journal.
	flushWithin = time.Second
)

// A sender sends entries to journald, which may be stalled: it never waits for
// that, and counts what it could not keep.
type sender struct {
	socket string
	queue  chan []byte
	lost   atomic.Int64
	ended  chan struct{}
	hurry  context.Context // ends when what is left is given up
	cancel context.CancelFunc
	once   sync.Once
}

func newSender(socket string) *sender {
	s := &sender{socket: socket, queue: make(chan []byte, queueMax), ended: make(chan struct{})}
	s.hurry, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s
}

func (s *sender) send(entry []byte) {
	select {
	case s.queue <- entry:
	default:
		s.lost.Add(1)
	}
}

// flush returns when all is sent, or the journal takes none of it.
func (s *sender) flush() {
	s.once.Do(func() {
		late := time.After(flushWithin)
		select {
		case s.queue <- nil: // there is nothing more
			select {
			case <-s.ended:
			case <-late:
			}
		case <-late:
		}
		s.cancel()
	})
}

func (s *sender) run() {
	defer close(s.ended)
	var conn *net.UnixConn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for entry := range s.queue {
		if entry == nil {
			return
		}
		for !s.write(&conn, entry) {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-s.hurry.Done():
				return
			}
		}
		if lost := s.lost.Swap(0); lost > 0 {
			told := datagram(fmt.Sprintf("%d entries were lost while journald took none", lost), sdjournal.PriWarning, nil)
			if !s.write(&conn, told) {
				s.lost.Add(lost)
			}
		}
	}
}

// write tells whether an entry was sent, or never can be. The socket is
// connected: of one that is not, the kernel can't say when there is room, and
// who waits for that spins (unix_dgram_poll).
func (s *sender) write(conn **net.UnixConn, entry []byte) bool {
	if *conn == nil {
		dialled, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: s.socket})
		if err != nil {
			return false
		}
		*conn = dialled
	}
	(*conn).SetWriteDeadline(time.Now().Add(flushWithin))
	_, err := (*conn).Write(entry)
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		return err == nil
	case errors.Is(err, unix.EMSGSIZE):
		s.lost.Add(1)
		return true
	}
	(*conn).Close() // journald was started anew
	*conn = nil
	return false
}

// entry is what a record becomes in the journal.
func (h journalHandler) entry(r slog.Record) (message string, fields map[string]string) {
	fields = make(map[string]string)
	var prefix, suffix strings.Builder
	add := func(a slog.Attr) bool {
		value := status.Plain(a.Value.Resolve().String())
		if value == "" {
			return true
		}
		fields[strings.ToUpper(a.Key)] = value
		switch a.Key {
		case "step":
			prefix.WriteString(value + ": ")
		case unit.JournalField:
		default:
			fmt.Fprintf(&suffix, "; %s: %s", a.Key, value)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	return prefix.String() + status.Plain(r.Message) + suffix.String(), fields
}

func priority(l slog.Level) sdjournal.Priority {
	switch {
	case l >= slog.LevelError:
		return sdjournal.PriErr
	case l >= slog.LevelWarn:
		return sdjournal.PriWarning
	}
	return sdjournal.PriInfo
}
