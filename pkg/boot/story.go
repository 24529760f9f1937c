package boot

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Story is what one boot has to make true, told as steps. A step can need
// only steps that were told before it, so a story has no cycle, and a step
// that does not exist can't be needed.
//
// A story is told once, by Tell, and then run once, by Run. While it runs,
// the other methods may be called from any goroutine.
type Story struct {
	// Jitter is what is added to a rest, below so much. nil is at random.
	Jitter func(below time.Duration) time.Duration

	// RetryWithin is how long a step that has no deadline of its own may go
	// wrong until it has failed. 0 is DefaultRetryWithin.
	RetryWithin time.Duration

	base   time.Time // by which a clock that was set is told
	steps  []*Step
	events chan func() // what happened, told to the goroutine of Run
	over   chan struct{}
}

// A Step is one thing to make true. Its function is idempotent: it looks
// first, and does nothing where nothing is to be done, so that it can run
// again after a crash at any point.
type Step struct {
	name  string
	run   func(context.Context) error
	needs []*Step

	serves bool          // it is done when a service serves
	from   *Step         // where the story starts over when this step failed
	within time.Duration // how long it may go wrong until it has failed; 0 is the story's

	// What follows belongs to the goroutine of Run.
	state    State
	since    time.Time
	began    time.Time // when its function was last started
	wait     Wait
	remark   string    // what is to be known of it, see Remark
	err      error     // why it failed last, until it is done
	first    error     // why it failed at first
	blocked  error     // why it is Skipped
	attempts int       // failures in a row
	troubled time.Time // since when it waits or fails; zero while it does neither
	gaveUp   bool      // it has done so for longer than it may, or failed for good
	retryAt  time.Time // zero where only an event makes it run again
	cancel   context.CancelCauseFunc
	stale    bool     // what its function is doing now counts no more
	kept     []func() // what happened while its function ran
	log      *slog.Logger
}

// State is what a step is doing.
type State string

// The states of a step. Only Waiting, Done, Failed and Skipped can last.
const (
	Pending State = "pending" // its needs are not done yet
	Running State = "running"
	Waiting State = "waiting" // for something outside, see Wait
	Done    State = "done"
	Failed  State = "failed"
	Skipped State = "skipped" // something that it needs failed
)

// A Wait says what a step waits for, in words that complete "waiting for".
type Wait struct {
	For   string
	Until time.Time // when the step gives up
	Hint  string    // what a person can do
}

// Progress is what a story tells of one step.
type Progress struct {
	Step    string
	State   State
	Since   time.Time
	Began   time.Time // when it was last started; zero where it never was
	Wait    Wait      // while Waiting
	Err     error     // why it Failed, also while it is tried again, or was Skipped
	RetryAt time.Time
	Serves  bool   // it is Done when a service serves
	Remark  string // what is to be known of it although it is Done

	// Of a step that fails again and again:
	Tries   int       // failures in a row
	Failing time.Time // since when it waits or fails
	First   error     // why it failed at first
	Due     time.Time // when it has failed, if it goes on so; zero where it has no such time
	GaveUp  bool      // it has failed, whatever it does now, until it is Done
}

// DefaultRetryWithin is how long what goes wrong is tried again until it has
// failed, where nobody has set another time. A bucket that asks to slow down,
// a service of the cloud that is away for some minutes, or a reboot of what is
// needed, is over by then.
const DefaultRetryWithin = 15 * time.Minute

// NewStory returns a story without steps.
func NewStory() *Story {
	return &Story{events: make(chan func()), over: make(chan struct{})}
}

// Tell adds a step that runs once all that it needs is done.
func (s *Story) Tell(name string, run func(context.Context) error, needs ...*Step) *Step {
	step := &Step{name: name, run: run, needs: needs, state: Pending}
	step.from = step
	s.steps = append(s.steps, step)
	return step
}

// From has the story start over from an earlier step when this one failed and
// is tried again: what the steps between found out may not hold any more.
func (s *Step) From(step *Step) *Step {
	s.from = step
	return s
}

// Within sets for how long a step may go wrong until it has failed. It is tried
// again all the same.
func (s *Step) Within(within time.Duration) *Step {
	s.within = within
	return s
}

// String tells the story as text: a line for each step, with what it needs.
func (s *Story) String() string {
	var b strings.Builder
	for _, step := range s.steps {
		b.WriteString(step.name)
		for i, need := range step.needs {
			b.WriteString([]string{"\n    after ", ", "}[min(i, 1)])
			b.WriteString(need.name)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Run runs the story until ctx ends, and returns when no step's function runs
// any more. A step that failed runs again after a while, unless its error is
// Final; one that is done runs again when Undone or Recheck says so. After every change,
// report gets the progress of all steps, in the order they were told; it must
// not call the story.
func (s *Story) Run(ctx context.Context, log *slog.Logger, report func([]Progress)) {
	defer close(s.over)
	s.base = time.Now()
	for _, step := range s.steps {
		step.become(Pending)
	}
	for {
		s.followClock(time.Now())
		s.giveUp(log)
		s.advance(ctx, log)
		report(s.progress())
		timer := time.NewTimer(s.untilDue())
		select {
		case happened := <-s.events:
			happened()
		case <-timer.C:
			s.retryDue()
		case <-ctx.Done():
			timer.Stop()
			s.end()
			return
		}
		timer.Stop()
	}
}

// Undone says that what a step made true is true no more: if it is done, the
// story starts over from other steps, which and all that needs them run again.
// A function of theirs that is running is cancelled first. What is said of a
// step whose function runs is kept until that has ended.
func (s *Story) Undone(step *Step, why string, from ...*Step) {
	s.tell(func() {
		s.unlessAtWork(step, func() {
			if step.state == Done {
				s.startOver(why, from...)
			}
		})
	})
}

// startOver has steps, and all that needs them, run again. What they are known
// to have failed of stays known: how long they rest, and when they have failed.
func (s *Story) startOver(why string, from ...*Step) {
	affected := make(map[*Step]bool)
	for _, st := range from {
		affected[st] = true
	}
	for _, st := range s.steps {
		for _, need := range st.needs {
			affected[st] = affected[st] || affected[need]
		}
		if affected[st] {
			st.reset(fmt.Errorf("starting over: %s", why))
		}
	}
}

// Recheck runs a step again that is in one of these states, at once. If its
// function runs, and that is none of them, this is kept until it has ended.
func (s *Story) Recheck(step *Step, why string, in ...State) {
	again := func() {
		if slices.Contains(in, step.state) {
			step.reset(fmt.Errorf("looking again: %s", why))
		}
	}
	s.tell(func() {
		if slices.Contains(in, step.state) {
			again()
			return
		}
		s.unlessAtWork(step, again)
	})
}

// Anew is Recheck for what a person did: what is known of how the step failed
// is forgotten.
func (s *Story) Anew(step *Step, why string, in ...State) {
	again := func() {
		if slices.Contains(in, step.state) {
			step.forget()
			step.reset(fmt.Errorf("looking again: %s", why))
		}
	}
	s.tell(func() { s.unlessAtWork(step, again) })
}

// Again has each of these steps that has failed run again at once, from where
// it starts over; one whose function runs, when that has failed.
func (s *Story) Again(why string, steps ...*Step) {
	s.tell(func() {
		for _, step := range steps {
			s.unlessAtWork(step, func() {
				if step.state == Failed {
					// What was final is about what was there before. How long it may
					// take goes on.
					step.gaveUp = s.late(step)
					s.startOver(why, step.from)
				}
			})
		}
	})
}

// unlessAtWork lets something happen to a step, but not while its function
// runs, whose end would undo it: it is kept until then. A function that is
// cancelled is about to run anew, and sees for itself; one that gave up and
// asks on is at rest.
func (s *Story) unlessAtWork(step *Step, happen func()) {
	switch {
	case step.cancel == nil || step.state == Failed:
		happen()
	case !step.stale:
		step.kept = append(step.kept, happen)
	}
}

// LooksAnew tells that what was said until now of the step whose function got
// ctx is seen by what that function does from here on, and need not be kept.
func LooksAnew(ctx context.Context) {
	tellOf(ctx, func(step *Step) { step.kept = nil })
}

// Retry runs every failed step again at once, Final or not. It is a person's
// word: what is tried again has all its time again.
func (s *Story) Retry() {
	s.tell(func() {
		var failed []*Step
		for _, step := range s.steps {
			if step.state == Failed {
				failed = append(failed, step)
			}
			if step.state != Done {
				step.forget()
			}
		}
		for _, step := range failed {
			s.startOver("trying again", step.from)
		}
	})
}

// IsDone tells whether a step is done.
func (s *Story) IsDone(step *Step) bool {
	is := make(chan bool, 1)
	s.tell(func() { is <- step.state == Done })
	select {
	case done := <-is:
		return done
	case <-s.over:
		return false
	}
}

// Turn returns when the story has taken a turn, and so is not stuck.
func (s *Story) Turn() { s.tell(func() {}) }

// Waits tells that the step whose function got ctx waits for something
// outside, until the function that is returned is called.
func Waits(ctx context.Context, w Wait) (done func()) {
	become := func(state State, w Wait) {
		tellOf(ctx, func(step *Step) {
			step.become(state)
			step.wait = w
			if step.troubled.IsZero() && state == Waiting {
				step.troubled = step.since
			}
		})
	}
	become(Waiting, w)
	return func() { become(Running, Wait{}) }
}

// since is when the step whose function got ctx began to wait or to fail: what
// it waits for is waited for since then, however often the step was started. It
// is now where there is no such step, or nothing went wrong.
func since(ctx context.Context) time.Time {
	if running, ok := ctx.Value(runningKey{}).(running); ok && !running.since.IsZero() {
		return running.since
	}
	return time.Now()
}

// Remark tells something that is to be known of the step whose function got
// ctx, until it runs again: that it did what it does in another way.
func Remark(ctx context.Context, remark string) {
	tellOf(ctx, func(step *Step) { step.remark = remark })
}

// GaveUp tells that the step whose function got ctx has failed for all that is
// known, while that function goes on looking whether the cause has gone away: a
// person is called, and the step heals where none comes.
func GaveUp(ctx context.Context, err error) {
	tellOf(ctx, func(step *Step) {
		if step.state == Failed && step.err.Error() == err.Error() {
			return
		}
		news := step.state != Failed
		step.gaveUp = true
		step.become(Failed)
		step.err = err
		if news {
			step.log.Error("failed", "error", err, "hint", HintOf(err))
		}
		step.happen() // its function may not end for long
	})
}

// tellOf tells something of the step whose function got ctx, unless what that
// function is doing counts no more.
func tellOf(ctx context.Context, happened func(*Step)) {
	running, ok := ctx.Value(runningKey{}).(running)
	if !ok {
		return
	}
	running.story.tell(func() {
		if !running.step.stale {
			happened(running.step)
		}
	})
}

type (
	runningKey struct{}
	running    struct {
		story *Story
		step  *Step
		since time.Time // when the step began to wait or to fail, or zero
	}
)

// tell hands an event to the goroutine of Run, or drops it if that is over.
func (s *Story) tell(happened func()) {
	select {
	case s.events <- happened:
	case <-s.over:
	}
}

// advance starts every step whose needs are done, and skips those that need
// one that failed. Needs stand before the steps that need them, so one pass
// is enough.
func (s *Story) advance(ctx context.Context, log *slog.Logger) {
	for _, step := range s.steps {
		if step.state != Pending && step.state != Skipped || step.cancel != nil {
			continue
		}
		switch blocked, ready := step.needsMet(); {
		case ready:
			s.start(ctx, log, step)
		case blocked != nil && step.state == Pending:
			step.become(Skipped)
			step.blocked = fmt.Errorf("needs %q", blocked.name)
		case blocked == nil && step.state == Skipped:
			step.become(Pending)
		}
	}
}

// needsMet tells whether all needs are done, and if not, which of them keeps
// the step from ever running as things are.
func (s *Step) needsMet() (blocked *Step, ready bool) {
	ready = true
	for _, need := range s.needs {
		ready = ready && need.state == Done
		if need.state == Failed || need.state == Skipped {
			blocked = need
		}
	}
	return blocked, ready
}

func (s *Story) start(ctx context.Context, log *slog.Logger, step *Step) {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, runningKey{}, running{s, step, step.troubled}))
	step.become(Running)
	step.began = step.since
	step.cancel, step.remark = cancel, ""
	log = log.With("step", step.name)
	step.log = log
	go func() {
		began := time.Now()
		log.Info("started")
		err := step.run(ctx)
		took := slog.Duration("took", time.Since(began).Round(time.Millisecond))
		switch {
		case err == nil:
			log.Info("finished", took)
		case ctx.Err() != nil:
			log.Info("cancelled", took, "why", context.Cause(ctx))
		default:
			log.Error("failed", took, "error", err, "hint", HintOf(err))
		}
		cancel(nil)
		s.tell(func() { s.finished(step, err) })
	}()
}

// finished takes note of how a step's function ended, and then of what
// happened meanwhile.
func (s *Story) finished(step *Step, err error) {
	step.cancel = nil
	if step.stale {
		step.stale = false
		step.become(Pending)
		return
	}
	if err == nil {
		step.forget()
		step.become(Done)
	} else {
		s.failed(step, err)
	}
	step.happen()
}

// happen lets happen what was kept.
func (s *Step) happen() {
	kept := s.kept
	s.kept = nil
	for _, happen := range kept {
		happen()
	}
}

func (s *Story) failed(step *Step, err error) {
	now := time.Now()
	if step.troubled.IsZero() {
		step.troubled = now
	}
	if step.attempts == 0 {
		step.first = err
	}
	step.attempts++
	step.become(Failed)
	step.err = err
	step.gaveUp = IsPermanent(err) || s.late(step)
	if !IsPermanent(err) {
		rest := backoff(step.attempts)
		step.retryAt = now.Add(rest + s.jitter(rest/4))
	}
}

// late tells whether a step goes wrong for longer than it may.
func (s *Story) late(step *Step) bool {
	return !step.troubled.IsZero() && time.Since(step.troubled) >= s.withinOf(step)
}

// withinOf is how long a step may go wrong until it has failed.
func (s *Story) withinOf(step *Step) time.Duration {
	return cmp.Or(step.within, s.RetryWithin, DefaultRetryWithin)
}

// due is when a step that fails has failed, or zero. One that waits has an end
// of its own for that, and one that what it needs keeps from running has none.
func (s *Story) due(step *Step) time.Time {
	if step.attempts == 0 || step.gaveUp || step.state != Failed && step.state != Running {
		return time.Time{}
	}
	return step.troubled.Add(s.withinOf(step))
}

// giveUp tells of steps that have gone wrong for longer than they may. They are
// tried again all the same.
func (s *Story) giveUp(log *slog.Logger) {
	for _, step := range s.steps {
		if due := s.due(step); !due.IsZero() && time.Until(due) <= 0 {
			step.gaveUp = true
			log.Error("has failed for too long, and is tried again", "step", step.name,
				"tries", step.attempts, "within", s.withinOf(step), "error", step.err, "hint", HintOf(step.err))
		}
	}
}

// forget forgets that a step waited or failed.
func (s *Step) forget() {
	s.attempts, s.err, s.first, s.troubled, s.gaveUp = 0, nil, nil, time.Time{}, false
}

// reset makes a step run again, for a cause that its running function is told.
func (s *Step) reset(cause error) {
	s.become(Pending)
	if s.cancel != nil {
		s.stale, s.kept = true, nil
		s.cancel(cause)
	}
}

// become changes the state. Why the step failed before is remembered until it
// is done.
func (s *Step) become(state State) {
	if s.state != state || s.since.IsZero() {
		s.since = time.Now()
	}
	s.state = state
	s.wait, s.retryAt, s.blocked = Wait{}, time.Time{}, nil
}

// backoff is how long a step rests after so many failures in a row: 1 s,
// doubled up to a minute. Up to a quarter more is added to it, so that
// instances that failed together don't come back together.
func backoff(failures int) time.Duration {
	return min(time.Second<<min(failures-1, 6), time.Minute)
}

func (s *Story) jitter(below time.Duration) time.Duration {
	if s.Jitter != nil {
		return s.Jitter(below)
	}
	return rand.N(below)
}

// untilDue is how long nothing need be done, if nothing happens.
func (s *Story) untilDue() time.Duration {
	next := time.Hour
	for _, step := range s.steps {
		for _, at := range []time.Time{step.retryAt, s.due(step)} {
			if !at.IsZero() {
				next = min(next, max(time.Until(at), 0))
			}
		}
	}
	return next
}

func (s *Story) retryDue() {
	for _, step := range s.steps {
		if !step.retryAt.IsZero() && time.Until(step.retryAt) <= 0 {
			s.startOver("trying again", step.from)
		}
	}
}

// end waits until no step's function runs any more; the end of the context
// that they were given has cancelled them.
func (s *Story) end() {
	for _, step := range s.steps {
		for step.cancel != nil {
			(<-s.events)()
		}
	}
}

func (s *Story) progress() []Progress {
	all := make([]Progress, len(s.steps))
	for i, st := range s.steps {
		all[i] = Progress{
			Step: st.name, State: st.state, Since: st.since, Began: st.began, Wait: st.wait, Err: st.err,
			RetryAt: st.retryAt, Serves: st.serves, Remark: st.remark,
			Tries: st.attempts, Failing: st.troubled, First: st.first, Due: s.due(st), GaveUp: st.gaveUp,
		}
		switch {
		case st.state == Skipped:
			all[i].Err = st.blocked
		case st.heldUp():
			all[i].Err, all[i].First, all[i].GaveUp = nil, nil, false
		}
	}
	return all
}

// heldUp tells whether a step that is to run again can't, as something that it
// needs waits. How that goes is then the more telling, and why the step failed
// before is not told: a database that died with its disk fails of no more.
func (s *Step) heldUp() bool {
	return s.state == Pending && slices.ContainsFunc(s.needs, func(need *Step) bool {
		return need.state == Waiting || need.heldUp()
	})
}

// followClock has the times that are told be those of the clock as it is now,
// after it was set. What is waited for is not concerned: Go measures that by
// the kernel's monotonic clock, which nobody sets.
func (s *Story) followClock(now time.Time) {
	if by := setBy(s.base, now); by.Abs() < leastSet {
		return
	}
	for _, st := range s.steps {
		for _, t := range []*time.Time{&st.since, &st.began, &st.troubled, &st.retryAt, &st.wait.Until} {
			*t = AsOf(now, *t)
		}
	}
	s.base = now
}

// leastSet is the least that a clock has to be set by for it to matter to who
// reads a time: less comes of the clock being kept right, all the time.
const leastSet = time.Second

// setBy is by how much the clock was set between two readings of it.
func setBy(before, now time.Time) time.Duration {
	return now.Round(0).Sub(before.Round(0)) - now.Sub(before)
}

// AsOf is a time that was read from the clock of this machine as the clock
// would give it, had it always been as it is now.
func AsOf(now, t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(t.Sub(now))
}
