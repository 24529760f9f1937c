package boot

import (
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

	serves bool  // it is done when a service serves
	from   *Step // where the story starts over when this step failed

	// What follows belongs to the goroutine of Run.
	state    State
	since    time.Time
	began    time.Time // when its function was last started
	wait     Wait
	remark   string // what is to be known of it, see Remark
	err      error
	attempts int       // failures in a row
	retryAt  time.Time // zero where only an event makes it run again
	cancel   context.CancelCauseFunc
	stale    bool // what its function is doing now counts no more
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
}

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
	for _, step := range s.steps {
		step.become(Pending)
	}
	for {
		s.advance(ctx, log)
		report(s.progress())
		timer := time.NewTimer(s.untilRetry())
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
// A function of theirs that is running is cancelled first.
func (s *Story) Undone(step *Step, why string, from ...*Step) {
	s.tell(func() {
		if step.state != Done {
			return
		}
		s.startOver(why, from...)
	})
}

// startOver has steps, and all that needs them, run again.
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

// Recheck runs a step again that is in one of these states.
func (s *Story) Recheck(step *Step, why string, in ...State) {
	s.tell(func() {
		if slices.Contains(in, step.state) {
			step.reset(fmt.Errorf("looking again: %s", why))
		}
	})
}

// Retry runs every failed step again at once, Final or not.
func (s *Story) Retry() {
	s.tell(func() {
		for _, step := range s.steps {
			if step.state == Failed {
				s.startOver("trying again", step.from)
			}
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
		})
	}
	become(Waiting, w)
	return func() { become(Running, Wait{}) }
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
		step.become(Failed)
		step.err = err
		step.log.Error("failed", "error", err, "hint", HintOf(err))
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
			step.err = fmt.Errorf("needs %q", blocked.name)
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
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, runningKey{}, running{s, step}))
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
		s.tell(func() { step.finished(err, s.jitter) })
	}()
}

func (s *Step) finished(err error, jitter func(time.Duration) time.Duration) {
	s.cancel = nil
	switch {
	case s.stale:
		s.stale = false
		s.become(Pending)
	case err == nil:
		s.attempts = 0
		s.become(Done)
	default:
		s.attempts++
		s.become(Failed)
		s.err = err
		if !isFinal(err) {
			rest := backoff(s.attempts)
			s.retryAt = time.Now().Add(rest + jitter(rest/4))
		}
	}
}

// reset makes a step run again, for a cause that its running function is told.
func (s *Step) reset(cause error) {
	s.attempts = 0
	s.become(Pending)
	if s.cancel != nil {
		s.stale = true
		s.cancel(cause)
	}
}

// become changes the state. Why the step failed before is remembered until it
// is done or starts over.
func (s *Step) become(state State) {
	if s.state != state || s.since.IsZero() {
		s.since = time.Now()
	}
	s.state = state
	s.wait, s.retryAt = Wait{}, time.Time{}
	if s.attempts == 0 {
		s.err = nil
	}
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

func (s *Story) untilRetry() time.Duration {
	next := time.Hour
	for _, step := range s.steps {
		if !step.retryAt.IsZero() {
			next = min(next, max(time.Until(step.retryAt), 0))
		}
	}
	return next
}

func (s *Story) retryDue() {
	for _, step := range s.steps {
		if step.retryAt.IsZero() || time.Until(step.retryAt) > 0 {
			continue
		}
		failed, err := step.attempts, step.err
		s.startOver("trying again", step.from)
		step.attempts, step.err = failed, err // it is no better yet
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
		all[i] = Progress{st.name, st.state, st.since, st.began, st.wait, st.err, st.retryAt, st.serves, st.remark}
	}
	return all
}
