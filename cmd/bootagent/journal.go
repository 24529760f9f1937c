package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"

	"bootagent/pkg/status"
)

// newLog returns a logger to the journal, with attributes as fields, when the
// program's standard error is the journal, and to w as text otherwise.
func newLog(w io.Writer) *slog.Logger {
	if ok, err := journal.StderrIsJournalStream(); ok && err == nil {
		return slog.New(journalHandler{})
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// journalHandler writes records to journald. An attribute "step" becomes the
// field STEP= and begins the message; the other attributes follow it, and are
// fields as well.
type journalHandler struct{ attrs []slog.Attr }

func (h journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journalHandler{append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h journalHandler) WithGroup(string) slog.Handler { return h }

func (h journalHandler) Handle(_ context.Context, r slog.Record) error {
	message, fields := h.entry(r)
	return journal.Send(message, priority(r.Level), fields)
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
		case fieldUnit:
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

// fieldUnit makes systemctl status of another unit show a message of ours, as
// journald lets root do (systemd.journal-fields(7)).
const fieldUnit = "OBJECT_SYSTEMD_UNIT"

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	}
	return journal.PriInfo
}
