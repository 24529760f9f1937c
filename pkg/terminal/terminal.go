// Package terminal reads what a person types at a terminal, also what it does not show,
// such as a key; and says who that person is.
package terminal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadHidden reads a file to its end, but at most one byte more than most. On a
// terminal, it asks for input and does not show it.
func ReadHidden(ctx context.Context, in *os.File, most int, ask string) ([]byte, error) {
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
	go func() { // a read from a terminal does not end with ctx
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

// hideTyping asks for input on a terminal and turns its echo off, until restore.
// For other files, it does nothing.
func hideTyping(in *os.File, ask string) (restore func(), err error) {
	fd := int(in.Fd())
	shown, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}, nil
	}
	hidden := *shown
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, fmt.Errorf("cannot turn the echo of the terminal off: %w", err)
	}
	fmt.Fprintln(os.Stderr, ask)
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, shown) }, nil
}

// ReadLine reads one line that a person types, without its end.
func ReadLine(ctx context.Context, in *os.File) (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() { // a read from a terminal does not end with ctx
		line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		done <- read{strings.TrimSpace(line), err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// Is reports whether a file is a terminal.
func Is(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// User is the person that runs this command: who used sudo, or else who has logged in.
func User() string {
	if by := os.Getenv("SUDO_USER"); by != "" {
		return by
	}
	src, err := os.ReadFile("/proc/self/loginuid")
	if uid := strings.TrimSpace(string(src)); err == nil && uid != "4294967295" { // unset
		if u, err := user.LookupId(uid); err == nil {
			return u.Username
		}
		return "user " + uid
	}
	return "root"
}
