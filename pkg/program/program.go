// Package program runs programs: with a list of arguments and no shell, with a
// deadline, and with a limit on what they print. It waits for each program's end.
// A program that the kernel does not let go of, because a disk does not answer, is
// not its concern: only the agent runs such programs, as its children.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Command is a program to run. It runs in the directory /, without standard
// input.
type Command struct {
	Path   string        // absolute
	Args   []string      // without the program's name; a -- comes before operands
	Env    []string      // the whole environment
	Files  []*os.File    // the program has them open as 3, 4, ...
	Within time.Duration // after which it is killed
	Output int           // how much it may print to each of stdout and stderr, in bytes
}

// A Result says how a program exited and what it printed.
type Result struct {
	Name           string // without its directory
	Exit           int    // exit status
	Stdout, Stderr string
}

// Failure returns an error with the exit status and what the program printed to
// stderr.
func (r Result) Failure() error {
	said := strings.TrimSpace(r.Stderr)
	if said == "" {
		said = "it printed no error message"
	}
	return fmt.Errorf("%s failed with exit status %d: %s", r.Name, r.Exit, said)
}

// Find returns the path of a program in the first of the directories that has it,
// or "".
func Find(name string, dirs []string) string {
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// Run runs the program. An exit status other than 0 is no error, see
// Result.Failure. It is an error if the program can't be started, is killed by a
// signal, takes too long, prints too much, or if ctx ends, whose cause the error
// wraps. With an error, the result has what was printed until then.
func (c Command) Run(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Within, fmt.Errorf("it did not end within %s", c.Within))
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env, cmd.ExtraFiles = c.Env, c.Files
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	stdout, stderr := bounded{max: c.Output}, bounded{max: c.Output}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := Result{Name: filepath.Base(c.Path), Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.buf.String(), Stderr: stderr.buf.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return r, fmt.Errorf("%s: %w", r.Name, context.Cause(ctx))
	case stdout.full || stderr.full:
		return r, fmt.Errorf("%s printed more than %d bytes", r.Name, c.Output)
	case err != nil && (!errors.As(err, &exit) || !exit.Exited()):
		return r, fmt.Errorf("%s: %w", r.Name, err)
	}
	return r, nil
}

// bounded keeps what is written to it, up to max bytes. If there is more, the pipe
// of the program breaks, which ends the program.
type bounded struct {
	max  int
	buf  bytes.Buffer // not embedded: its ReadFrom has no limit
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.full = len(p) > b.max-b.buf.Len(); b.full {
		return 0, io.ErrShortWrite
	}
	return b.buf.Write(p)
}
