package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/command"
	"bootagent/pkg/status"
)

func timelineCommand() command.Command {
	return command.Command{
		Name:     "timeline",
		Summary:  "show when each step of this boot started, and how long it took",
		About:    "Print when each step of this boot started, counted from the start of the kernel, and how long it\ntook. If a step ran several times, the last run is printed.",
		Examples: []string{"bootagent timeline"},
		Setup: func(*flag.FlagSet) command.Action {
			return func(_ context.Context, _ []string, out io.Writer) error {
				s, err := status.Current(statusFile)
				if err != nil {
					return err
				}
				booted, err := bootTime()
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "%s\nstarted     took, after the machine was started at %s\n", s.Line(), booted.Local().Format(time.DateTime))
				s.Timeline(out, booted)
				return nil
			}
		},
	}
}

// bootTime returns when the kernel was started.
func bootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
