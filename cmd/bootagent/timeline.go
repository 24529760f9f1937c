package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// timeline says when each step of this boot was started, and how long it took.
func timeline(_ context.Context, args []string, out io.Writer) error {
	if err := parse("timeline", args, nil, 0, 0); err != nil {
		return err
	}
	s, err := readStatus(statusFile)
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

// bootTime is when the kernel was started.
func bootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
