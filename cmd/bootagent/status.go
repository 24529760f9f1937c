package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"bootagent/pkg/command"
	"bootagent/pkg/status"
)

// stateExits are the exit codes of status and wait, see status.State.ExitCode.
var stateExits = []string{
	"0  the role is ready, or the instance has no role",
	"1  failed: no service of the role can run",
	"3  degraded: some services of the role run",
	"4  not yet: the role is starting, or waits for something outside",
	"5  the agent does not run",
}

func statusCommand() command.Command {
	return command.Command{
		Name:     "status",
		Args:     "[--json]",
		Summary:  "show what the agent is doing, and why",
		About:    "Print the state of the role and of each step: what it waits for and until when, what failed,\nand what a person can do.",
		Examples: []string{"bootagent status"},
		Exits:    stateExits,
		Setup: func(f *flag.FlagSet) command.Action {
			asJSON := f.Bool("json", false, "print the status as JSON, as in "+statusFile)
			return func(_ context.Context, _ []string, out io.Writer) error { return showStatus(*asJSON, out) }
		},
	}
}

func showStatus(asJSON bool, out io.Writer) error {
	s, err := status.Current(statusFile)
	if errors.Is(err, status.ErrNone) {
		fmt.Fprintf(os.Stderr, "bootagent: %v\nhint: systemctl status --no-pager bootagent shows why\n", err)
		return command.Ends(status.Starting.ExitCode())
	}
	if err != nil {
		return err
	}
	if s.State == status.Gone {
		s.Bypassed = bypasses.InForce()
	}
	if asJSON {
		err = printJSON(out, s)
	} else {
		s.Print(out)
	}
	if code := s.State.ExitCode(); err == nil && code != 0 {
		return command.Ends(code)
	}
	return err
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
