package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/status"
)

func showStatus(_ context.Context, args []string, out io.Writer) error {
	var asJSON *bool
	err := parse("status", args, func(f *flag.FlagSet) func([]string) {
		asJSON = f.Bool("json", false, "")
		return func([]string) {}
	}, 0, 0)
	if err != nil {
		return err
	}
	s, err := readStatus(statusFile)
	if errors.Is(err, status.ErrNone) {
		fmt.Fprintf(os.Stderr, "bootagent: %v; systemctl status bootagent tells more\n", err)
		return exitCode(status.Starting.ExitCode())
	}
	if err != nil {
		return err
	}
	if *asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(s); err != nil {
			return err
		}
	} else {
		s.Print(out)
	}
	if code := s.State.ExitCode(); code != 0 {
		return exitCode(code)
	}
	return nil
}

// readStatus reads a status, and says so where the agent that wrote it does
// not run any more. The errors are those of status.Read.
func readStatus(path string) (status.Status, error) {
	s, err := status.Read(path)
	if err == nil && !runs(s.Agent) {
		s = s.Left()
	}
	return s, err
}

// runs tells whether the agent that wrote a status still runs.
func runs(a status.Agent) bool {
	if a.PID <= 0 {
		return false
	}
	ticks, err := startTicks(a.PID)
	switch {
	case err == nil && a.Ticks != 0:
		return ticks == a.Ticks
	case err == nil: // an older version does not write it
		theirs, err := os.ReadFile("/proc/" + strconv.Itoa(a.PID) + "/comm")
		return err == nil && string(theirs) == "bootagent\n"
	}
	// Where /proc hides the processes of others (hidepid= of proc(5)), the
	// kernel still tells whether there is one.
	return !errors.Is(unix.Kill(a.PID, 0), unix.ESRCH)
}

// startTicks is when a process was started, in ticks of the clock since the
// kernel was.
func startTicks(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// proc_pid_stat(5): the second field is a name in parentheses, which may hold
	// what it likes; starttime is the 22nd.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const starttime = 22 - 3
	if len(fields) <= starttime {
		return 0, fmt.Errorf("cannot understand the stat of process %d", pid)
	}
	return strconv.ParseUint(string(fields[starttime]), 10, 64)
}

// goneFor is how long bootagent wait bears that no agent runs, or that the
// status can't be read: one that is started again or upgraded is back by then,
// and writes it anew.
const goneFor = 30 * time.Second

// wait returns when the role is ready, or can't become so by itself.
func wait(ctx context.Context, args []string, out io.Writer) error {
	var limit *time.Duration
	err := parse("wait", args, func(f *flag.FlagSet) func([]string) {
		limit = f.Duration("timeout", 0, "")
		return func([]string) {}
	}, 0, 0)
	if err != nil {
		return err
	}
	if *limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *limit)
		defer cancel()
	}
	return waitFor(ctx, statusFile, goneFor, out)
}

func waitFor(ctx context.Context, file string, bear time.Duration, out io.Writer) error {
	changed := status.Watch(ctx, file)
	var since time.Time // when there was no word of an agent that runs; zero while there is
	for {
		s, err := readStatus(file)
		none := errors.Is(err, status.ErrNone)
		if err == nil && s.State.Final() {
			fmt.Fprintln(out, s.Line())
			if code := s.State.ExitCode(); code != 0 {
				return exitCode(code)
			}
			return nil
		}
		late := make(<-chan time.Time)
		if unknown := err != nil && !none || err == nil && s.State == status.Gone; unknown {
			if since.IsZero() {
				since = time.Now()
			}
			late = time.After(bear - time.Since(since))
		} else {
			since = time.Time{}
		}
		select {
		case <-changed:
			continue
		case <-late:
		case <-ctx.Done():
		}
		switch {
		case none:
			fmt.Fprintln(out, err)
		case err != nil:
			return err
		default:
			fmt.Fprintln(out, s.Line())
			return exitCode(s.State.ExitCode())
		}
		return exitCode(status.Starting.ExitCode())
	}
}
