package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"bootagent/pkg/boot"
	"bootagent/pkg/status"
)

// statusOf tells the state of a boot from the progress of its story.
func statusOf(plan string, held map[string]boot.Progress, progress []boot.Progress) status.Status {
	s := status.Status{Role: plan, State: status.Ready}
	var worst *boot.Progress
	up := false
	for i, p := range progress {
		step := status.Step{Name: p.Step, State: string(p.State), Since: p.Since, For: p.Wait.For, Hint: hintOf(p), Remark: p.Remark}
		if !p.Began.IsZero() {
			step.Began = &progress[i].Began
		}
		if !p.Wait.Until.IsZero() {
			step.Until = &progress[i].Wait.Until
		}
		if !p.RetryAt.IsZero() {
			step.RetryAt = &progress[i].RetryAt
		}
		if p.Err != nil {
			step.Error = p.Err.Error()
		}
		s.Steps = append(s.Steps, step)
		if p.Remark != "" {
			s.Remarks = append(s.Remarks, p.Step+": "+p.Remark)
		}
		up = up || p.Serves && p.State == boot.Done
		if rank(p) > 0 && (worst == nil || rank(p) > rank(*worst)) {
			worst = &progress[i]
		}
	}
	if worst == nil {
		return s
	}
	s.Reason, s.Hint = worst.String(), hintOf(*worst)
	switch {
	case rank(*worst) == 3 && up:
		s.State = status.Degraded
	case rank(*worst) == 3:
		s.State = status.Failed
	case rank(*worst) == 2:
		s.State = status.Waiting
	default:
		s.State = status.Starting
	}
	for _, unit := range slices.Sorted(maps.Keys(held)) {
		s.Held = append(s.Held, status.Held{Unit: unit, Why: held[unit].String()})
	}
	return s
}

// hintOf says what a person can do about a step: for what it waits for now, or
// else about why it failed.
func hintOf(p boot.Progress) string {
	if p.Wait.Hint != "" {
		return p.Wait.Hint
	}
	return boot.HintOf(p.Err)
}

// rank says how much a step keeps its role from being ready: 3 for good, 2
// until something outside happens, 1 for now, 0 not at all.
func rank(p boot.Progress) int {
	switch {
	case p.State == boot.Failed && p.RetryAt.IsZero():
		return 3
	case p.State == boot.Failed, p.State == boot.Waiting, p.Err != nil && p.State != boot.Skipped:
		return 2
	case p.State == boot.Running:
		return 1
	}
	return 0
}

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

// waitEvery is how often wait looks at the status file.
const waitEvery = 200 * time.Millisecond

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
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
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
		case <-tick.C:
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
