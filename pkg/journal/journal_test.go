package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdjournal "github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"bootagent/pkg/unit"
)

// kept is a handler that keeps what journalHandler would send.
type kept struct {
	journalHandler
	message *string
	fields  *map[string]string
}

func (k kept) WithAttrs(attrs []slog.Attr) slog.Handler {
	k.journalHandler = k.journalHandler.WithAttrs(attrs).(journalHandler)
	return k
}

func (k kept) Handle(_ context.Context, r slog.Record) error {
	*k.message, *k.fields = k.entry(r)
	return nil
}

func TestEntriesOfTheJournal(t *testing.T) {
	var message string
	var fields map[string]string
	log := slog.New(kept{message: &message, fields: &fields})
	step := log.With("step", "volume data: mount")
	for name, c := range map[string]struct {
		log     func()
		message string
		fields  map[string]string
	}{
		"no attribute": {
			func() { log.Info("the agent starts") },
			"the agent starts", nil,
		},
		"of a step": {
			func() { step.Info("started") },
			"volume data: mount: started",
			map[string]string{"STEP": "volume data: mount"},
		},
		"with attributes": {
			func() {
				step.Error("failed", "took", 1500*time.Millisecond, "error", errors.New("no disk"), "hint", "attach it")
			},
			"volume data: mount: failed; took: 1.5s; error: no disk; hint: attach it",
			map[string]string{"STEP": "volume data: mount", "TOOK": "1.5s", "ERROR": "no disk", "HINT": "attach it"},
		},
		"what EC2 or a ledger says": {
			func() { step.Error("failed\x1b[2J", "error", errors.New("tag \u202ex\x1b]0;\x07")) },
			`volume data: mount: failed\u001b[2J; error: tag \u202ex\u001b]0;\u0007`,
			map[string]string{"STEP": "volume data: mount", "ERROR": `tag \u202ex\u001b]0;\u0007`},
		},
		"with an attribute that is empty": {
			func() { step.Error("failed", "error", errors.New("no disk"), "hint", "") },
			"volume data: mount: failed; error: no disk",
			map[string]string{"STEP": "volume data: mount", "ERROR": "no disk"},
		},
		"for the page of another unit": {
			func() { log.Info("mariadb.service may not start yet", unit.JournalField, "mariadb.service") },
			"mariadb.service may not start yet",
			map[string]string{"OBJECT_SYSTEMD_UNIT": "mariadb.service"},
		},
		"a number": {
			func() { log.Warn("tried", "attempts", 3) },
			"tried; attempts: 3",
			map[string]string{"ATTEMPTS": "3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.log()
			if message != c.message || !maps.Equal(fields, c.fields) {
				t.Errorf("got %q %q, want %q %q", message, fields, c.message, c.fields)
			}
		})
	}
}

func TestLoggersOfSeveralStepsShareNothing(t *testing.T) {
	var message string
	var fields map[string]string
	log := slog.New(kept{message: &message, fields: &fields}).With("role", "mysql").With("x", 1).With("y", 2) // a slice of three has room for a fourth
	a, b := log.With("step", "a"), log.With("step", "b")
	a.Info("done")
	if fields["STEP"] != "a" {
		t.Errorf("a tells step %q", fields["STEP"])
	}
	b.Info("done")
	if fields["STEP"] != "b" || fields["ROLE"] != "mysql" {
		t.Errorf("b tells %q", fields)
	}
}

// journald is a journal that takes entries when it is read.
func journald(t *testing.T) (socket string, read func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bootagent") // a socket's path has room for 107 bytes, unix(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return socket, func() string {
		buf := make([]byte, 256<<10)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
}

func TestAnEntryIsSentInTheWordsOfTheJournal(t *testing.T) {
	socket, read := journald(t)
	s := newSender(socket)
	log := slog.New(journalHandler{to: s})
	log.With("step", "key").Error("failed", "error", errors.New("a\nb"))
	s.flush()
	entry := read()
	for _, field := range []string{
		"PRIORITY=3\n", "STEP=key\n", "ERROR\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n",
		"MESSAGE\n\x17\x00\x00\x00\x00\x00\x00\x00key: failed; error: a\nb\n",
	} {
		if !strings.Contains(entry, field) {
			t.Errorf("it has no %q, but: %q", field, entry)
		}
	}
}

// A journal that takes nothing holds up nobody, costs no CPU time, and is told
// how much it missed as soon as it takes something again.
func TestAStalledJournalHoldsUpNothing(t *testing.T) {
	cpu := func() time.Duration {
		var used unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
			t.Fatal(err)
		}
		return time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	socket, read := journald(t)
	s := newSender(socket)
	log := slog.New(journalHandler{to: s})
	began := time.Now()
	const entries = 3 * queueMax
	for range entries {
		log.Info("something happened")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("to log took %s", took)
	}
	before := cpu()
	time.Sleep(2 * time.Second)
	if used := cpu() - before; used > 200*time.Millisecond {
		t.Errorf("it used %s of CPU time in 2 s", used)
	}
	got, lost := 0, 0
	for got+lost < entries {
		entry := read()
		_, message, _ := strings.Cut(entry, "MESSAGE=")
		var more int
		switch n, err := fmt.Sscanf(message, "%d entries were lost while journald took none", &more); {
		case n == 1 && err == nil:
			lost += more
		case strings.HasPrefix(message, "something happened"):
			got++
		default:
			t.Fatalf("after %d entries and %d that were lost: %q", got, lost, entry)
		}
	}
	if lost == 0 {
		t.Error("none was lost")
	}
	s.flush()
}

func TestTheEndOfTheProgramDoesNotWaitForAStalledJournal(t *testing.T) {
	socket, _ := journald(t)
	for name, socket := range map[string]string{"it takes nothing": socket, "there is none": socket + ".absent"} {
		s := newSender(socket)
		log := slog.New(journalHandler{to: s})
		for range 2 * queueMax {
			log.Info("something happened")
		}
		began := time.Now()
		s.flush()
		if took := time.Since(began); took > 2*flushWithin {
			t.Errorf("%s: the end took %s", name, took)
		}
	}
}

func TestPrioritiesAreThoseOfSyslog(t *testing.T) {
	for level, want := range map[slog.Level]sdjournal.Priority{
		slog.LevelInfo:      sdjournal.PriInfo,
		slog.LevelWarn:      sdjournal.PriWarning,
		slog.LevelError:     sdjournal.PriErr,
		slog.LevelError + 4: sdjournal.PriErr,
	} {
		if got := priority(level); got != want {
			t.Errorf("%s: %d, want %d", level, got, want)
		}
	}
	if (journalHandler{}).Enabled(context.Background(), slog.LevelDebug) {
		t.Error("it tells what is for debugging")
	}
}
