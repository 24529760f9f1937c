package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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

// Children are the processes in which the agent does what may hang: reading a
// disk, calls into a filesystem, programs of the image. Whatever hangs, the
// agent goes on, says what it waits for, and can be stopped. Of each thing at
// most one child hangs: who wants the same again waits for its end first.
type children struct {
	log      *slog.Logger
	sayAfter time.Duration // see the constant

	// leave takes a child that can't be killed out of the agent's unit, which
	// could not end before it. nil: it stays in it.
	leave func(ctx context.Context, pid int) error

	mu   sync.Mutex
	left map[string]*child // that were killed and have not ended, by what they are about
	idle []*hand
}

// A child is a process that was started.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended and err is set
	err   error
	left  sync.Once // given to PID 1
}

// begin starts a process. Its output goes to where cmd says, and in its
// environment is little but what cmd says.
func begin(ctx context.Context, cmd *exec.Cmd) (*child, error) {
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
	c := &child{cmd: cmd, ended: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// An about says what a child does, for as long as it takes.
type about struct {
	key    string        // what hangs if the child does
	doing  string        // in words that complete "waiting for"
	hint   string        // what a person can do where it hangs
	within time.Duration // 0 is as long as the caller's context
	late   error         // the error when that is over
	env    []string      // of the program, besides its path and language
}

// run runs a program that may hang, and returns what it prints. It comes back
// when ctx ends, also where the kernel does not let go of the program.
func (c *children) run(ctx context.Context, a about, as *syscall.Credential, program string, args ...string) ([]byte, error) {
	ctx, done := c.bound(ctx, a)
	defer done()
	if err := c.free(ctx, a); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Env = a.env
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
		c.abandon(a, ch)
		return nil, context.Cause(ctx)
	}
}

// bound bounds the time that a child may take, and has the status say what is
// waited for once that is more than a moment.
func (c *children) bound(ctx context.Context, a about) (_ context.Context, done func()) {
	wait := graph.Wait{For: a.doing, Hint: a.hint}
	step, cancel := ctx, func() {}
	if a.within > 0 {
		wait.Until = time.Now().Add(a.within)
		ctx, cancel = context.WithDeadlineCause(ctx, wait.Until, a.late)
	}
	if a.doing == "" {
		return ctx, cancel
	}
	said := says(step, cmp.Or(c.sayAfter, sayAfter), wait)
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
func (c *children) free(ctx context.Context, a about) error {
	for {
		c.mu.Lock()
		former := c.left[a.key]
		c.mu.Unlock()
		if former == nil {
			return nil
		}
		select {
		case <-former.ended:
			c.forget(a.key, former)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// abandon kills a child that nobody waits for any more. Where it does not end,
// PID 1 takes it.
func (c *children) abandon(a about, ch *child) {
	if ch.over() {
		return // and its number may be another's by now
	}
	if err := unix.Kill(-ch.cmd.Process.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		c.log.Error("cannot end a child", "pid", ch.cmd.Process.Pid, "error", err)
	}
	c.mu.Lock()
	if c.left == nil {
		c.left = make(map[string]*child)
	}
	c.left[a.key] = ch
	c.mu.Unlock()
	go func() {
		select {
		case <-ch.ended:
		case <-time.After(leaveAfter):
			c.letGo(ch)
			<-ch.ended
		}
		c.forget(a.key, ch)
	}()
}

func (c *children) letGo(ch *child) {
	if c.leave == nil {
		return
	}
	ch.left.Do(func() {
		const within = 5 * time.Second
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		if err := c.leave(ctx, ch.cmd.Process.Pid); err != nil && !ch.over() {
			c.log.Warn("a child that hangs stays in the unit of the agent, whose stop it may hold up", "pid", ch.cmd.Process.Pid, "error", err)
		}
	})
}

func (ch *child) over() bool {
	select {
	case <-ch.ended:
		return true
	default:
		return false
	}
}

func (c *children) forget(key string, ch *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left[key] == ch {
		delete(c.left, key)
	}
}

// close ends all children, and returns when each has ended or is no part of
// the agent's unit any more.
func (c *children) close() {
	c.mu.Lock()
	idle := c.idle
	c.idle = nil
	var left []*child
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

// A hand is a child that does one task after another, as starting a process
// takes longer than what most of them do.
type hand struct {
	*child
	in   io.WriteCloser
	out  *json.Decoder
	rest *time.Timer // ends it while it is idle
}

// do has a hand do a task, and takes its answer.
func (c *children) do(ctx context.Context, a about, t task, answer any) error {
	ctx, done := c.bound(ctx, a)
	defer done()
	if err := c.free(ctx, a); err != nil {
		return err
	}
	h, err := c.hand(ctx)
	if err != nil {
		return err
	}
	var reply reply
	ended := make(chan error, 1)
	go func() {
		err := json.NewEncoder(h.in).Encode(t)
		if err == nil {
			err = h.out.Decode(&reply)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			c.abandon(a, h.child)
			return fmt.Errorf("the process that was to do it has ended: %w", err)
		}
		c.keep(h)
	case <-ctx.Done():
		c.abandon(a, h.child)
		return context.Cause(ctx)
	}
	if reply.Error != nil {
		return reply.Error
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(reply.Answer, answer)
}

// hand gives one that has nothing to do, or a new one.
func (c *children) hand(ctx context.Context) (*hand, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.idle) > 0 {
		h := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if h.rest.Stop() && !h.over() {
			return h, nil
		}
	}
	return newHand(ctx)
}

// handCommand is the command of this program that a hand runs.
const handCommand = "hand"

func newHand(ctx context.Context) (*hand, error) {
	cmd := exec.Command("/proc/self/exe", handCommand)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// Not StdoutPipe: Wait would close it while an answer is read.
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	cmd.Stdout = theirs
	ch, err := begin(ctx, cmd)
	theirs.Close()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	go func() {
		<-ch.ended
		out.Close()
	}()
	return &hand{child: ch, in: in, out: json.NewDecoder(bufio.NewReader(out))}, nil
}

// keep keeps a hand for the next task, for a while.
func (c *children) keep(h *hand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.rest = time.AfterFunc(idleFor, func() {
		c.mu.Lock()
		c.idle = slices.DeleteFunc(c.idle, func(o *hand) bool { return o == h })
		c.mu.Unlock()
		h.end()
	})
	c.idle = append(c.idle, h)
}

// end has a hand end, by itself.
func (h *hand) end() {
	h.rest.Stop()
	h.in.Close()
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

// credential is what a program runs as that belongs to a user, whose home
// directory is home.
func credential(name string) (as *syscall.Credential, home string, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, "", err
	}
	uid, errU := strconv.ParseUint(u.Uid, 10, 32)
	gid, errG := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, u.HomeDir, errors.Join(errU, errG)
}
