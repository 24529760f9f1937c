package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/secret"
)

// What is kept of a child's output, in bytes: of what it answers, and of what
// it complains, which goes into the status.
const (
	outputMax    = 1 << 20
	complaintMax = 2 << 10
)

// runChild runs a program that may hang, and returns what it prints. It comes
// back when ctx ends, also where the kernel does not let go of the program.
func runChild(ctx context.Context, as *syscall.Credential, program string, args ...string) ([]byte, error) {
	return runChildIn(ctx, nil, as, program, args...)
}

// runChildIn is runChild with more in the environment of the program.
func runChildIn(ctx context.Context, env []string, as *syscall.Credential, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, append(slices.Clip(env), "LC_ALL=C")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, errs := limited{max: outputMax}, limited{max: complaintMax}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	err := promptly(cmd.Start)
	if as != nil { // it changed its user while it shared our memory: see Harden
		err = errors.Join(err, secret.Harden())
	}
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
			if complaint := strings.TrimSpace(string(errs.kept)); complaint != "" {
				err = fmt.Errorf("%w: %s", err, complaint)
			}
			return nil, err
		}
		return out.kept, context.Cause(ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// slack is Linux's own for the timers of a program (PR_SET_TIMERSLACK(2const)).
const slack = 50 * time.Microsecond

// promptly starts a child that does not inherit the agent's slack
// (TimerSlackNSec= of its unit): one that reads much at a time would wait for it.
func promptly(start func() error) error {
	runtime.LockOSThread() // slack is a thread's, and a child has that of the thread that starts it
	defer runtime.UnlockOSThread()
	ours, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(ours), 0, 0, 0) // as the one before, it can't fail
	return start()
}

// limited keeps the first max bytes that are written to it.
type limited struct {
	max  int
	kept []byte
}

func (l *limited) Write(p []byte) (int, error) {
	l.kept = append(l.kept, p[:min(len(p), l.max-len(l.kept))]...)
	return len(p), nil
}

// credential is what a program runs as that belongs to a user.
func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, errU := strconv.ParseUint(u.Uid, 10, 32)
	gid, errG := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(errU, errG)
}
