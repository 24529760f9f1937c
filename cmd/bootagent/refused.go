package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/pid1"
)

// A refusal is the journal's account of something that PID 1 tried and that
// failed. The agent may not read the kernel's log itself.
type refusal struct {
	unit    string        // whose program failed
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
func try(c *children, unit, device string) refusal {
	if path, err := filepath.EvalSymlinks(device); err == nil {
		device = path
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it can't fail
	return refusal{unit: unit, device: filepath.Base(device), since: time.Duration(now.Nano()), journal: func(ctx context.Context, argv ...string) ([]byte, error) {
		return c.run(ctx, about{
			key: "journal", within: 10 * time.Second, late: errors.New("the journal did not answer within 10s"),
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
	out, err := r.journal(ctx, "--boot", "--quiet", "--no-pager", "--lines=300", "--output=json",
		"--output-fields=MESSAGE,_TRANSPORT", "_TRANSPORT=kernel", "+", "_SYSTEMD_UNIT="+r.unit)
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

// hasFailed tells a job whose program was run and failed from one that was
// cancelled, timed out or could not be asked for.
func hasFailed(err error) bool {
	job := (*pid1.JobError)(nil)
	return errors.As(err, &job) && job.Result == "failed"
}

// unmountable is what a mount failed with, what the kernel says of it, and what
// a person can do. Nothing that is hinted at changes the disk.
func unmountable(ctx context.Context, r refusal, mt host.Mount, err error) error {
	if mt.Type == "" || !hasFailed(err) {
		return err
	}
	err = r.quote(ctx, err)
	for _, newer := range []string{
		"unknown incompatible features", "unknown read-only compatible features", // fs/xfs/libxfs/xfs_sb.c
		"unsupported optional features", // fs/ext4/super.c
		"unknown filesystem type",       // mount(8)
	} {
		if strings.Contains(err.Error(), newer) {
			return fault.Permanent(fault.WithHint(err, "the kernel of this image does not know this kind of "+mt.Type+
				": give the instance an image whose kernel does; nothing was changed"))
		}
	}
	look := "e2fsck -fn "
	if mt.Type == "xfs" {
		look = "xfs_repair -n "
	}
	return fault.WithHint(err, "see what is wrong, which changes nothing: "+look+mt.What+"; before anything is mended, take a snapshot of the volume")
}

// unmade is what the making of a filesystem failed with.
func unmade(ctx context.Context, r refusal, err error) error {
	if !hasFailed(err) {
		return err
	}
	return r.quote(ctx, err)
}

// unmended is what a check of a filesystem failed with, which does not mend what
// a person has to decide.
func unmended(ctx context.Context, r refusal, link string, err error) error {
	if !hasFailed(err) {
		return err
	}
	return fault.WithHint(r.quote(ctx, err),
		fmt.Sprintf("see what it would mend, which changes nothing: e2fsck -fn %s; then take a snapshot of the volume, mend it by e2fsck -f %s, and: bootagent retry", link, link))
}

// inImage refuses a program that this image lacks.
func inImage(program string) error {
	_, err := os.Stat(program)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in := "e2fsprogs" // so on Debian and on Red Hat's family
	if strings.Contains(program, "xfs") {
		in = "xfsprogs"
	}
	return fault.Permanent(fault.WithHint(fmt.Errorf("%s is not in this image", program),
		fmt.Sprintf("put the package %s into the image; to go on here and now, install it, and: bootagent retry", in)))
}
