package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bootagent/test/lab/image"
	"bootagent/test/lab/qemu"
)

var errOff = errors.New("the machine is off")

// A Result is the output of a command in the guest, and how the command ended.
type Result struct {
	Stdout, Stderr string
	Exit           int
	Signal         int // the signal that killed the command, or 0
}

// WaitGuest waits until the guest can run commands: after sysinit.target and before multi-user.target.
func (m *Machine) WaitGuest(ctx context.Context) error {
	p := m.running()
	if p == nil {
		return errOff
	}
	if err := p.Guest.Do(ctx, "guest-ping", nil, nil); err != nil {
		return m.explain(err)
	}
	return nil
}

// Run runs a command in the guest, as root. A command that fails is not an error: see the Result. If ctx
// ends first, the command is killed. More than 16 MiB of output is an error.
func (m *Machine) Run(ctx context.Context, argv ...string) (Result, error) {
	return m.exec(ctx, nil, argv)
}

// Input runs a command in the guest as Run does, with stdin as its standard input.
func (m *Machine) Input(ctx context.Context, stdin []byte, argv ...string) (Result, error) {
	return m.exec(ctx, stdin, argv)
}

// Output runs a command in the guest, and returns its standard output without the white space at both
// ends. A command that fails is an error.
func (m *Machine) Output(ctx context.Context, argv ...string) (string, error) {
	r, err := m.succeed(ctx, nil, argv)
	return strings.TrimSpace(r.Stdout), err
}

// Until runs a command every half second until it succeeds. If ctx ends first, the error contains what,
// and the error of the command.
func (m *Machine) Until(ctx context.Context, what string, argv ...string) error {
	for {
		_, err := m.succeed(ctx, nil, argv)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w: %w", what, context.Cause(ctx), err)
		case <-m.gone():
			return fmt.Errorf("waited for %s: %w", what, errOff)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// ReadFile reads a file of the guest.
func (m *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	r, err := m.succeed(ctx, nil, []string{"cat", "--", path})
	return []byte(r.Stdout), err
}

// WriteFile writes a file of the guest, and makes the folders above it if necessary.
func (m *Machine) WriteFile(ctx context.Context, path string, file image.File) error {
	_, err := m.succeed(ctx, file.Data, []string{
		"install", "-D", fmt.Sprintf("--mode=%04o", file.Perm()), "--", "/dev/stdin", path,
	})
	return err
}

func (m *Machine) succeed(ctx context.Context, stdin []byte, argv []string) (Result, error) {
	r, err := m.exec(ctx, stdin, argv)
	switch {
	case err != nil:
		return r, err
	case r.Signal != 0:
		return r, fmt.Errorf("%s: killed by signal %d", strings.Join(argv, " "), r.Signal)
	case r.Exit != 0:
		return r, fmt.Errorf("%s: exit %d: %s", strings.Join(argv, " "), r.Exit, strings.TrimSpace(r.Stderr+r.Stdout))
	}
	return r, nil
}

// firstPoll and lastPoll are the shortest and the longest time between two questions whether a command
// has ended. An answer costs emulated time, and so slows the command down.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 320 * time.Millisecond
)

func (m *Machine) exec(ctx context.Context, stdin []byte, argv []string) (Result, error) {
	p := m.running()
	if p == nil {
		return Result{}, fmt.Errorf("cannot run %s: %w", argv[0], errOff)
	}
	var started struct {
		PID int `json:"pid"`
	}
	request := map[string]any{"path": argv[0], "arg": argv[1:], "capture-output": true}
	if stdin != nil {
		request["input-data"] = stdin // JSON has a []byte as base64, which the agent expects
	}
	if err := p.Guest.Do(ctx, "guest-exec", request, &started); err != nil {
		return Result{}, fmt.Errorf("cannot run %s: %w", argv[0], err)
	}

	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		var status struct {
			Exited bool   `json:"exited"`
			Exit   int    `json:"exitcode"`
			Signal int    `json:"signal"`
			Out    []byte `json:"out-data"`
			Err    []byte `json:"err-data"`
			OutCut bool   `json:"out-truncated"`
			ErrCut bool   `json:"err-truncated"`
		}
		err := p.Guest.Do(ctx, "guest-exec-status", map[string]any{"pid": started.PID}, &status)
		if err == nil && status.Exited {
			r := Result{Stdout: string(status.Out), Stderr: string(status.Err), Exit: status.Exit, Signal: status.Signal}
			if status.OutCut || status.ErrCut {
				return r, fmt.Errorf("%s: the output is longer than the guest agent allows, 16 MiB", argv[0])
			}
			return r, nil
		}
		if err == nil {
			select {
			case <-time.After(poll):
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		if ctx.Err() != nil {
			kill(context.WithoutCancel(ctx), p, started.PID)
		}
		return Result{}, fmt.Errorf("%s has not ended: %w", strings.Join(argv, " "), err)
	}
}

// kill kills a command in the guest. It returns no error, because its caller has one already.
func kill(ctx context.Context, p *qemu.Process, pid int) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = p.Guest.Do(ctx, "guest-exec", map[string]any{"path": "kill", "arg": []string{"-KILL", strconv.Itoa(pid)}}, nil)
}
