package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// readQuietly reads all of a file, and one byte more than most at the most. On
// a terminal it asks for it and shows nothing of what is typed.
func readQuietly(ctx context.Context, in *os.File, most int, ask string) ([]byte, error) {
	restore, err := hideTyping(in, ask)
	if err != nil {
		return nil, err
	}
	defer restore()
	type read struct {
		text []byte
		err  error
	}
	done := make(chan read, 1)
	go func() { // a read of a terminal ends with what is typed, not with ctx
		text, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
		done <- read{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// hideTyping asks for something at a terminal and has it show nothing, until
// restore. What is no terminal shows nothing anyway.
func hideTyping(in *os.File, ask string) (restore func(), err error) {
	fd := int(in.Fd())
	shown, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}, nil
	}
	hidden := *shown
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, fmt.Errorf("cannot have the terminal hide what is typed: %w", err)
	}
	fmt.Fprintln(os.Stderr, ask)
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, shown) }, nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
