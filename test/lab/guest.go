package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var errOff = errors.New("the machine is off")

// A Result is what a command in the guest left.
type Result struct {
	Stdout, Stderr string
	Exit           int
	Signal         int // what ended the command, or 0
}

// WaitGuest waits until commands can be run in the guest, which is after sysinit.target and before
// multi-user.target.
func (m *Machine) WaitGuest(ctx context.Context) error {
	q := m.running()
	if q == nil {
		return errOff
	}
	if err := q.agent.do(ctx, "guest-ping", nil, nil); err != nil {
		return m.explain(err)
	}
	return nil
}

// Run runs a command in the guest, as root. How the command ended is no error: the Result says it.
// If ctx ends first, the command is killed. Output beyond 16 MiB is an error.
func (m *Machine) Run(ctx context.Context, argv ...string) (Result, error) {
	return m.exec(ctx, nil, argv)
}

// Input runs a command in the guest as Run does, and gives it stdin.
func (m *Machine) Input(ctx context.Context, stdin []byte, argv ...string) (Result, error) {
	return m.exec(ctx, stdin, argv)
}

// Output is what a command writes to its standard output, without the white space around it. It is
// an error if the command fails.
func (m *Machine) Output(ctx context.Context, argv ...string) (string, error) {
	r, err := m.succeed(ctx, nil, argv)
	return strings.TrimSpace(r.Stdout), err
}

// Until runs a command twice a second until it succeeds. What is waited for stands in the error,
// with the command's last words.
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

// WriteFile writes a file of the guest, and makes the folders above it.
func (m *Machine) WriteFile(ctx context.Context, path string, file File) error {
	_, err := m.succeed(ctx, file.Data, []string{
		"install", "-D", fmt.Sprintf("--mode=%04o", file.perm()), "--", "/dev/stdin", path,
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

// How often the guest is asked whether a command has ended. The answers cost emulated time, which
// is what the command itself needs.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 320 * time.Millisecond
)

func (m *Machine) exec(ctx context.Context, stdin []byte, argv []string) (Result, error) {
	q := m.running()
	if q == nil {
		return Result{}, fmt.Errorf("cannot run %s: %w", argv[0], errOff)
	}
	var started struct {
		PID int `json:"pid"`
	}
	request := map[string]any{"path": argv[0], "arg": argv[1:], "capture-output": true}
	if stdin != nil {
		request["input-data"] = stdin // []byte is base64 in JSON, which is what the agent wants
	}
	if err := q.agent.do(ctx, "guest-exec", request, &started); err != nil {
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
		err := q.agent.do(ctx, "guest-exec-status", map[string]any{"pid": started.PID}, &status)
		if err == nil && status.Exited {
			r := Result{Stdout: string(status.Out), Stderr: string(status.Err), Exit: status.Exit, Signal: status.Signal}
			if status.OutCut || status.ErrCut {
				return r, fmt.Errorf("%s: the guest agent has cut its output", argv[0])
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
			q.kill(context.WithoutCancel(ctx), started.PID)
		}
		return Result{}, fmt.Errorf("%s has not ended: %w", strings.Join(argv, " "), err)
	}
}

// kill is for a command that nobody waits for any more. That it could not be killed changes nothing
// for the caller, who has an error already.
func (q *qemu) kill(ctx context.Context, pid int) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = q.agent.do(ctx, "guest-exec", map[string]any{"path": "kill", "arg": []string{"-KILL", strconv.Itoa(pid)}}, nil)
}
