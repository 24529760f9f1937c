package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
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
			func() { log.Info("mariadb.service may not start yet", fieldUnit, "mariadb.service") },
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

func TestPrioritiesAreThoseOfSyslog(t *testing.T) {
	for level, want := range map[slog.Level]journal.Priority{
		slog.LevelInfo:      journal.PriInfo,
		slog.LevelWarn:      journal.PriWarning,
		slog.LevelError:     journal.PriErr,
		slog.LevelError + 4: journal.PriErr,
	} {
		if got := priority(level); got != want {
			t.Errorf("%s: %d, want %d", level, got, want)
		}
	}
	if (journalHandler{}).Enabled(context.Background(), slog.LevelDebug) {
		t.Error("it tells what is for debugging")
	}
}
