// Package child runs child processes for what may hang: reading a disk, calls
// into a filesystem, programs of the image. Whatever hangs, the caller goes on.
package child

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/account"
	"bootagent/pkg/graph"
	"bootagent/pkg/secret"
)

// What is kept of a child's output, in bytes: of what it answers, and of what
// it complains, which goes into the status.
const (
	outputMax    = 1 << 20
	complaintMax = 2 << 10
)

const (
	// sayAfter is how long a child may take until the status says what is
	// waited for, and the boot of the machine need not wait for it. What does
	// not hang is done by then, also while a slow machine boots.
	sayAfter = 10 * time.Second

	// leaveAfter is how long a child that was killed may take to end. One that
	// takes longer waits in the kernel, which does not let go of it.
	leaveAfter = time.Second

	// idleFor is how long a hand that has nothing to do is kept: a boot has the
	// next thing for it soon, and a machine that is up has none.
	idleFor = 10 * time.Second
)

// A Group is the children of one agent. While a child works, the step of the
// graph that its caller belongs to says what it waits for. Of children with the
// same Task.Key at most one hangs: the next caller first waits for its end.
type Group struct {
	Log *slog.Logger

	// SayAfter is how long a child may take until the step says what it waits
	// for; 0 is 10 s.
	SayAfter time.Duration

	// Sentinels are the errors that a caller of Do may ask for by errors.Is; the
	// same list is given to Serve.
	Sentinels []error

	// Leave moves a process that can't be killed out of the agent's unit, which
	// could not stop before it. nil: the process stays there.
	Leave func(ctx context.Context, pid int) error

	mu   sync.Mutex
	left map[string]*process // killed, but not ended yet; by Task.Key
	idle []*worker
}

// A process was started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended and err is set
	err   error
	left  sync.Once // given to PID 1
}

// begin starts a process. Its output goes to where cmd says, and in its
// environment is little but what cmd says.
func begin(ctx context.Context, cmd *exec.Cmd) (*process, error) {
	cmd.Env = slices.Concat([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, cmd.Env, []string{"LC_ALL=C"})
	cmd.WaitDelay = time.Second
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true // so that it can be ended with all that it has started
	err := promptly(cmd.Start)
	if cmd.SysProcAttr.Credential != nil { // it changed its user while it shared our memory: see Harden
		err = errors.Join(err, secret.Harden())
	}
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	c := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// A Task says what a child does.
type Task struct {
	Key    string        // names the thing that hangs when the child hangs
	Doing  string        // completes "waiting for"
	Hint   string        // what a person can do if it hangs
	Within time.Duration // 0 is as long as the caller's context
	Late   error         // the error when Within is over
	Env    []string      // environment of the program, besides PATH and LC_ALL
}

// Run runs a program, with an argument list and no shell, and returns what it
// prints, up to 1 MiB. It returns when ctx ends, even if the kernel does not let the
// program end. as is the user that it runs as; nil is the agent's own.
func (c *Group) Run(ctx context.Context, t Task, as *syscall.Credential, program string, args ...string) ([]byte, error) {
	ctx, done := c.bound(ctx, t)
	defer done()
	if err := c.free(ctx, t); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Env = t.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, errs := limited{max: outputMax}, limited{max: complaintMax}
	cmd.Stdout, cmd.Stderr = &out, &errs
	ch, err := begin(ctx, cmd)
	if err != nil {
		return nil, err
	}
	select {
	case <-ch.ended:
		if err := ch.err; err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
			if complaint := strings.TrimSpace(string(errs.kept)); complaint != "" {
				err = fmt.Errorf("%w: %s", err, complaint)
			}
			return nil, err
		}
		return out.kept, context.Cause(ctx)
	case <-ctx.Done():
		c.abandon(t, ch)
		return nil, context.Cause(ctx)
	}
}

// bound bounds the time that a child may take, and has the status say what is
// waited for once that is more than a moment.
func (c *Group) bound(ctx context.Context, t Task) (_ context.Context, done func()) {
	wait := graph.Wait{For: t.Doing, Hint: t.Hint}
	step, cancel := ctx, func() {}
	if t.Within > 0 {
		wait.Until = time.Now().Add(t.Within)
		ctx, cancel = context.WithDeadlineCause(ctx, wait.Until, t.Late)
	}
	if t.Doing == "" {
		return ctx, cancel
	}
	said := says(step, cmp.Or(c.SayAfter, sayAfter), wait)
	return ctx, func() { said(); cancel() }
}

// says tells that the step of ctx waits, if that lasts longer than a while,
// until done is called.
func says(ctx context.Context, after time.Duration, w graph.Wait) (done func()) {
	over, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			back := graph.SetWaiting(ctx, w)
			<-over
			back()
		case <-over:
		}
	}()
	return func() { close(over); <-told }
}

// free waits until no former child hangs in the same.
func (c *Group) free(ctx context.Context, t Task) error {
	for {
		c.mu.Lock()
		former := c.left[t.Key]
		c.mu.Unlock()
		if former == nil {
			return nil
		}
		select {
		case <-former.ended:
			c.forget(t.Key, former)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// abandon kills a child that nobody waits for any more. Where it does not end,
// PID 1 takes it.
func (c *Group) abandon(t Task, ch *process) {
	if ch.over() {
		return // and its number may be another's by now
	}
	if err := unix.Kill(-ch.cmd.Process.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		c.Log.Error("cannot end a child", "pid", ch.cmd.Process.Pid, "error", err)
	}
	c.mu.Lock()
	if c.left == nil {
		c.left = make(map[string]*process)
	}
	c.left[t.Key] = ch
	c.mu.Unlock()
	go func() {
		select {
		case <-ch.ended:
		case <-time.After(leaveAfter):
			c.letGo(ch)
			<-ch.ended
		}
		c.forget(t.Key, ch)
	}()
}

func (c *Group) letGo(ch *process) {
	if c.Leave == nil {
		return
	}
	ch.left.Do(func() {
		const within = 5 * time.Second
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		if err := c.Leave(ctx, ch.cmd.Process.Pid); err != nil && !ch.over() {
			c.Log.Warn("a child that hangs stays in the unit of the agent, whose stop it may hold up", "pid", ch.cmd.Process.Pid, "error", err)
		}
	})
}

func (ch *process) over() bool {
	select {
	case <-ch.ended:
		return true
	default:
		return false
	}
}

func (c *Group) forget(key string, ch *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left[key] == ch {
		delete(c.left, key)
	}
}

// Close ends all children, and returns when each has ended or is no part of
// the agent's unit any more.
func (c *Group) Close() {
	c.mu.Lock()
	idle := c.idle
	c.idle = nil
	var left []*process
	for _, ch := range c.left {
		left = append(left, ch)
	}
	c.mu.Unlock()
	for _, h := range idle {
		h.end()
	}
	late := time.After(leaveAfter)
	for _, ch := range left {
		select {
		case <-ch.ended:
		case <-late:
			late = time.After(0)
			c.letGo(ch)
		}
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

// As returns what a program runs as for a user, and the home directory of that
// user.
func As(name string) (as *syscall.Credential, home string, err error) {
	u, err := account.ByName(name)
	if err != nil {
		return nil, "", err
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID}, u.Home, nil
}
