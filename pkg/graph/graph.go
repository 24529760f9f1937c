// Package graph runs steps: each is a function, the steps that it needs, a
// deadline, and what is retried when it fails. It knows no plan, and reads and
// changes nothing itself.
package graph

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// A Graph is a set of steps and what each of them needs. A step can need only
// steps that were added before it, so a graph has no cycle, and a step that does
// not exist can't be needed.
//
// Add builds a graph, then Run runs it, once. While it runs, the other methods
// may be called from any goroutine.
type Graph struct {
	// Jitter returns what is added to a rest, which is less than below. nil is a
	// random function.
	Jitter func(below time.Duration) time.Duration

	// RetryWithin is how long a step without a deadline of its own may fail or
	// wait until it counts as failed. 0 is DefaultRetryWithin.
	RetryWithin time.Duration

	// Wrap returns the function that runs when a step starts, in place of the
	// step's own, which it calls. nil is Logged.
	Wrap func(step string, log *slog.Logger, run Func) Func

	base   time.Time // the clock when it was last compared, see followClock
	steps  []*Step
	events chan func() // run by the goroutine of Run
	over   chan struct{}
}

// A Func is what a step does. Its context ends when the step is to run again, or
// when the graph's Run is to end.
type Func func(context.Context) error

// A Step is one thing to do. Its function is idempotent: it first looks whether
// there is anything to do, so it can run again after a crash at any point.
type Step struct {
	name  string
	run   Func
	needs []*Step

	serves bool          // it is Done when a service is ready, see Serving
	aside  bool          // see Aside
	from   *Step         // the step that runs again first when this one failed
	within time.Duration // how long it may fail or wait; 0 is the graph's RetryWithin

	// The rest belongs to the goroutine of Run.
	state          State
	since          time.Time
	started        time.Time // when its function was last started
	wait           Wait
	warning        string    // see Warn
	answer         string    // see Answer
	err            error     // why it failed last, until it is Done
	first          error     // the first of these failures
	blocked        error     // why it is Skipped
	failures       int       // failures in a row
	failingSince   time.Time // since when it waits or fails; zero if it does neither
	countsAsFailed bool      // its deadline has passed, or its error is permanent
	retryAt        time.Time // zero if only an event makes it run again
	cancel         context.CancelCauseFunc
	outdated       bool     // its function was cancelled, and what it does now is ignored
	queued         []func() // events that came while its function ran
	log            *slog.Logger
}

// DefaultRetryWithin is how long a step may fail until it counts as failed, if
// nobody has set another time. A throttled bucket, an outage of some minutes or a
// reboot of another machine is over by then.
const DefaultRetryWithin = 15 * time.Minute

// New returns a graph without steps.
func New() *Graph {
	return &Graph{events: make(chan func()), over: make(chan struct{})}
}

// Add adds a step that runs when all steps that it needs are Done.
func (g *Graph) Add(name string, run Func, needs ...*Step) *Step {
	step := &Step{name: name, run: run, needs: needs, state: Pending}
	step.from = step
	g.steps = append(g.steps, step)
	return step
}

// From makes a retry of this step begin at an earlier step, because what the
// steps between found may have changed.
func (s *Step) From(step *Step) *Step {
	s.from = step
	return s
}

// Serving marks a step that is Done when a service is ready.
func (s *Step) Serving() *Step {
	s.serves = true
	return s
}

// Aside marks a step that the graph is as good as Done without: what it waits for,
// and what it fails of, is only to be known.
func (s *Step) Aside() *Step {
	s.aside = true
	return s
}

// Name returns the name of the step.
func (s *Step) Name() string { return s.name }

// Within sets how long a step may fail or wait until it counts as failed. It is
// retried after that, too.
func (s *Step) Within(within time.Duration) *Step {
	s.within = within
	return s
}

// String returns the graph as text: a line for each step, with what it needs.
func (g *Graph) String() string {
	var b strings.Builder
	for _, step := range g.steps {
		b.WriteString(step.name)
		for i, need := range step.needs {
			b.WriteString([]string{"\n    after ", ", "}[min(i, 1)])
			b.WriteString(need.name)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
