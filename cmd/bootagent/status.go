package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

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
	s, err := status.Read(statusFile)
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
		if !alive(s.Agent.PID) {
			fmt.Fprintln(out, "\nThe agent does not run: this is what it knew last. systemctl status bootagent tells more.")
		}
	}
	if code := s.State.ExitCode(); code != 0 {
		return exitCode(code)
	}
	return nil
}

// alive tells whether the process is still this program.
func alive(pid int) bool {
	theirs, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return err == nil && string(theirs) == "bootagent\n"
}

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
	changed := status.Watch(ctx, statusFile)
	for {
		s, err := status.Read(statusFile)
		if err == nil && s.State.Final() {
			fmt.Fprintln(out, s.Line())
			if code := s.State.ExitCode(); code != 0 {
				return exitCode(code)
			}
			return nil
		}
		if err != nil && !errors.Is(err, status.ErrNone) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err == nil {
				fmt.Fprintln(out, s.Line())
			} else {
				fmt.Fprintln(out, err)
			}
			return exitCode(status.Starting.ExitCode())
		}
	}
}
