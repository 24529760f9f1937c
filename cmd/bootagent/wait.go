package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"bootagent/pkg/command"
	"bootagent/pkg/status"
)

// goneFor is how long bootagent wait accepts that no agent runs, or that the
// status cannot be read: an agent that is restarted or upgraded is back by then,
// and writes it again.
const goneFor = 30 * time.Second

func waitCommand() command.Command {
	return command.Command{
		Name:    "wait",
		Args:    "[--timeout DURATION]",
		Summary: "wait until the role is ready",
		About: "Wait until the role is ready, or cannot become ready without a person, and print its state.\n" +
			"If the agent does not run, wait 30 seconds for it.",
		Examples: []string{"bootagent wait --timeout 15m && mysqladmin ping"},
		Exits:    stateExits,
		Setup: func(f *flag.FlagSet) command.Action {
			var limit time.Duration
			f.Func("timeout", "wait no longer than this `DURATION`, such as 90s or 1h30m, then exit with 4 (default: no limit)", func(text string) (err error) {
				if limit, err = time.ParseDuration(text); err != nil || limit <= 0 {
					return errors.New("a duration is a number with a unit, such as 90s, 20m or 1h30m")
				}
				return nil
			})
			return func(ctx context.Context, _ []string, out io.Writer) error {
				if limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, limit)
					defer cancel()
				}
				return waitFor(ctx, statusFile, goneFor, out)
			}
		},
	}
}

// waitFor waits until the status in a file is final, and returns its exit code.
// It accepts for absent that no agent runs.
func waitFor(ctx context.Context, file string, absent time.Duration, out io.Writer) error {
	s, err := status.Await(ctx, file, absent)
	switch {
	case errors.Is(err, status.ErrNone):
		fmt.Fprintln(out, err)
		return command.Ends(status.Starting.ExitCode())
	case err != nil:
		return err
	}
	fmt.Fprintln(out, s.Line())
	if code := s.State.ExitCode(); code != 0 {
		return command.Ends(code)
	}
	return nil
}
