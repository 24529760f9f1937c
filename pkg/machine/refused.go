package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bootagent/pkg/child"

	"golang.org/x/sys/unix"
)

// A refusal is the journal's account of something that PID 1 tried and that
// failed. The agent may not read the kernel's log itself.
type refusal struct {
	unit    string        // whose program failed, or ""
	device  string        // the kernel's name of the disk, or ""
	since   time.Duration // of the monotonic clock, when it was tried
	journal func(ctx context.Context, argv ...string) ([]byte, error)
}

// What is quoted of the journal: so many lines, each of so many characters. It
// is looked at again after a while, as journald takes the kernel's lines late.
const (
	quotedLines  = 3
	quotedLength = 200
	looksAtLog   = 3
	logIsLate    = 300 * time.Millisecond
)

// try notes what is about to be tried.
func try(c *child.Group, unit, device string) refusal {
	if path, err := filepath.EvalSymlinks(device); err == nil {
		device = path
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it can't fail
	return refusal{unit: unit, device: filepath.Base(device), since: time.Duration(now.Nano()), journal: func(ctx context.Context, argv ...string) ([]byte, error) {
		return c.Run(ctx, child.Task{
			Key: "journal", Within: 10 * time.Second, Late: errors.New("the journal did not answer within 10s"),
		}, nil, "journalctl", argv...)
	}}
}

// quote adds to an error what the kernel said about the disk since, or else
// what the program itself said.
func (r refusal) quote(ctx context.Context, err error) error {
	for look := 1; ; look++ {
		kernel, program := r.lines(ctx)
		switch {
		case len(kernel) > 0:
			return fmt.Errorf("%w; the kernel says: %s", err, strings.Join(kernel, "; "))
		case look < looksAtLog && r.device != "":
			select {
			case <-time.After(logIsLate):
				continue
			case <-ctx.Done():
			}
		case len(program) > 0:
			return fmt.Errorf("%w; it says: %s", err, strings.Join(program, "; "))
		}
		return err
	}
}

// lines are those of the kernel about the disk, and those of the program.
func (r refusal) lines(ctx context.Context) (kernel, program []string) {
	argv := []string{
		"--boot", "--quiet", "--no-pager", "--lines=300", "--output=json",
		"--output-fields=MESSAGE,_TRANSPORT", "_TRANSPORT=kernel",
	}
	if r.unit != "" {
		argv = append(argv, "+", "_SYSTEMD_UNIT="+r.unit)
	}
	out, err := r.journal(ctx, argv...)
	if err != nil {
		return nil, nil
	}
	for line := range bytes.Lines(out) {
		var entry struct {
			Message   any    `json:"MESSAGE"`
			Transport string `json:"_TRANSPORT"`
			Monotonic string `json:"__MONOTONIC_TIMESTAMP"` // when journald took it, in µs
		}
		if json.Unmarshal(line, &entry) != nil {
			continue
		}
		at, err := strconv.ParseInt(entry.Monotonic, 10, 64)
		text, isText := entry.Message.(string) // an array of numbers where it is no UTF-8
		if err != nil || !isText || time.Duration(at)*time.Microsecond < r.since {
			continue
		}
		switch {
		case entry.Transport != "kernel":
			program = append(program, quoted(text))
		case mentions(text, r.device):
			kernel = append(kernel, quoted(text))
		}
	}
	return lastOf(kernel), lastOf(program)
}

func lastOf(lines []string) []string {
	lines = slices.Compact(lines)
	return lines[max(0, len(lines)-quotedLines):]
}

// quoted is a line of the journal as it may stand in an error: bounded, and
// without what a terminal obeys.
func quoted(text string) string {
	if cut := []rune(text); len(cut) > quotedLength {
		text = string(cut[:quotedLength]) + "..."
	}
	return strconv.QuoteToGraphic(text)
}

// mentions tells whether a line names a device: nvme1n1, not nvme1n10 and nvme11n1.
func mentions(line, device string) bool {
	within := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	for rest := line; device != ""; {
		before, after, found := strings.Cut(rest, device)
		if !found {
			return false
		}
		next := []rune(after + " ")[0]
		last := []rune(" " + before)
		if !within(next) && !within(last[len(last)-1]) {
			return true
		}
		rest = after
	}
	return false
}
