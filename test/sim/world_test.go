package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
)

// A World is all that there is beside the agents. But for what mu guards,
// nobody touches it but the goroutine that drives it, while all others wait.
type World struct {
	seed   uint64
	chance *rand.Rand
	began  time.Time
	wake   chan struct{} // something has arrived

	cloud    *cloud
	machines []*machine
	events   []event // of the world's own, to come
	waiting  []*call
	story    []line
	wrong    error // the first promise that was broken

	minute time.Time // the last in which something happened
	busy   int       // how much has happened in it

	faults faults
	quiet  time.Time // since when nothing goes wrong any more; zero before
	boots  int
	acked  map[name.VolumeID]int // rows that were acknowledged, by volume

	serverIDs map[name.VolumeID][]string // that its tag ever said, of those that fit

	sealed []byte                  // the secret, as it lies in S3
	role   *role.Role              // that the image has
	keys   []secret.ProviderConfig // that the agent is set to use
	mute   bool                    // no probe comes to an end
	lies   bool                    // probes succeed, whatever the service does
	counts map[string]int          // of what changed something, by machine and what it was
	mutant *mutant                 // that the agents are; nil is none

	mu      sync.Mutex
	arrived []*call
	drawn   map[string]uint64 // how often each actor has drawn a number
	leaked  string            // a text that tells a secret
	early   string            // what an agent told before it was so
}

// A line is one thing that happened.
type line struct {
	at   time.Duration
	who  string
	what string
}

// An event is something that the world does by itself at its time.
type event struct {
	at   time.Time
	who  string
	what string // "" where it is not worth a line
	do   func()
}

// A call is what an agent asks of the world, until it has the answer.
type call struct {
	agent    *agent
	actor    string // step, or another part of the agent
	op       string
	about    string
	effect   effect
	after    time.Time // not before
	answer   func() error
	underWay bool // it was done, and its end is waited for
	slowed   bool
	last     bool // the agent dies with the answer

	err      error
	answered chan struct{}
	gone     bool // nobody waits for the answer any more; mu guards it
}

// An effect is how a call is carried out. All of it is done by the world's
// goroutine.
type effect struct {
	do     func() error
	until  func() bool  // where set, the answer comes when it holds
	result func() error // of what took its time
	half   func()       // what is done when it is cut off in the middle
	fails  []error      // how it can fail without having been done
	bound  time.Duration
}

// errDead is the answer to the calls of an agent that is no more.
var errDead = errors.New("the agent is dead")

func newWorld(seed uint64) *World {
	w := &World{
		seed: seed, chance: rand.New(rand.NewPCG(seed, 0x5eed)), began: time.Now(),
		wake: make(chan struct{}, 1), acked: make(map[name.VolumeID]int), drawn: make(map[string]uint64), counts: make(map[string]int),
		serverIDs: make(map[name.VolumeID][]string),
		sealed:    sealedSecret(), keys: secret.DefaultProviders(),
	}
	w.role = hastyRoles()[seed%uint64(len(hastyRoles()))]
	w.lies = seed%7 == 3
	if seed%3 == 1 {
		w.edit(mayGrow)
	}
	w.cloud = newCloud(w)
	return w
}

// call parks what an agent asks until the world answers.
func (a *agent) call(ctx context.Context, op, about string, e effect) error {
	w := a.machine.world
	c := &call{agent: a, op: op, about: about, effect: e, answered: make(chan struct{})}
	w.mu.Lock()
	if a.dead {
		w.mu.Unlock()
		return errDead
	}
	c.actor = a.actors[goroutine()]
	w.arrived = append(w.arrived, c)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	select {
	case <-c.answered:
		return c.err
	case <-ctx.Done():
		w.mu.Lock()
		c.gone = true
		w.mu.Unlock()
		return context.Cause(ctx)
	case <-a.died:
		return errDead
	}
}

// goroutine is the number of the calling goroutine. A step runs in one of its
// own, and says which it is when it starts: that is how a call is told to be
// of a step, although not every call has the step's context.
func goroutine() string {
	var buf [32]byte
	stack := buf[:runtime.Stack(buf[:], false)]
	stack = stack[len("goroutine "):]
	for i, c := range stack {
		if c == ' ' {
			return string(stack[:i])
		}
	}
	return string(stack)
}

// drawFor gives a number that depends on who draws it and how often it did,
// and not on who else draws meanwhile.
func (w *World) drawFor(who string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drawn[who]++
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %d", w.seed, who, w.drawn[who])
	return rand.New(rand.NewPCG(h.Sum64(), 1)).Uint64()
}

// tell adds a line to the story.
func (w *World) tell(who, format string, args ...any) {
	w.story = append(w.story, line{time.Since(w.began), who, fmt.Sprintf(format, args...)})
}

// breaks notes a promise that was broken.
func (w *World) breaks(format string, args ...any) {
	if w.wrong == nil {
		w.wrong = fmt.Errorf(format, args...)
		w.tell("the world", "BROKEN: %v", w.wrong)
	}
}

// in has something happen after a while.
func (w *World) in(d time.Duration, who, what string, do func()) {
	w.events = append(w.events, event{time.Now().Add(d), who, what, do})
}

// count counts what changed something.
func (w *World) count(machine, what string) { w.counts[machine+" "+what]++ }

// between is a time span by chance.
func (w *World) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.chance.Int64N(int64(most-least)))
}

// oneIn is true once in n times.
func (w *World) oneIn(n int) bool { return w.chance.IntN(n) == 0 }

// run lets things happen until done says so, a promise is broken, or it has
// lasted for as long as within. It tells whether done said so.
func (w *World) run(within time.Duration, done func() bool) bool {
	until := time.Now().Add(within)
	for {
		w.settle()
		if w.wrong != nil {
			return false
		}
		if done() {
			return true
		}
		if !time.Now().Before(until) {
			return false
		}
		w.happen(until)
	}
}

// pass lets things happen for a while.
func (w *World) pass(d time.Duration) { w.run(d, func() bool { return false }) }

// settle waits until nothing moves by itself, and takes in what arrived.
func (w *World) settle() {
	for {
		synctest.Wait()
		w.mu.Lock()
		arrived := w.arrived
		w.arrived = nil
		slices.SortFunc(arrived, func(a, b *call) int { return strings.Compare(a.key(), b.key()) })
		w.waiting = slices.DeleteFunc(append(w.waiting, arrived...), func(c *call) bool { return c.gone || c.agent.dead })
		leaked, early := w.leaked, w.early
		w.mu.Unlock()
		select {
		case <-w.wake:
		default:
		}
		if leaked != "" {
			w.breaks("a text tells the secret: %s", leaked)
		}
		if early != "" {
			w.breaks("%s", early)
		}
		var doomed *agent
		for _, m := range w.machines {
			m.progress()
			if m.agent != nil && m.agent.doomed {
				doomed = m.agent
			}
		}
		if doomed == nil {
			w.look()
			return
		}
		doomed.machine.crash("right after that")
	}
}

func (c *call) key() string { return c.agent.name + "/" + c.actor + "/" + c.op + "/" + c.about }

// happen lets one thing happen, or time go by until one can.
func (w *World) happen(until time.Time) {
	now := time.Now()
	var can []func()
	next := until
	for _, c := range w.waiting {
		switch {
		case c.after.After(now):
			if c.after.Before(next) {
				next = c.after
			}
		case c.underWay && c.effect.until != nil && !c.effect.until():
		default:
			can = append(can, func() { w.proceed(c) })
		}
	}
	for i, e := range w.events {
		if e.at.After(now) {
			if e.at.Before(next) {
				next = e.at
			}
			continue
		}
		can = append(can, func() {
			w.events = slices.Delete(w.events, i, i+1)
			if e.what != "" {
				w.tell(e.who, "%s", e.what)
			}
			e.do()
		})
	}
	if len(can) == 0 {
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
		case <-w.wake:
		}
		timer.Stop()
		return
	}
	if w.spins(now) {
		return
	}
	do := can[w.chance.IntN(len(can))]
	time.Sleep(w.between(1, time.Microsecond)) // no two things happen at one instant
	do()
}

// mostInAMinute is how much happens in a minute at most. The busiest minute of
// 10,000 schedules has about 1,200 calls and events; an agent that does something
// again and again without a rest has no end of them.
const mostInAMinute = 10_000

// spins counts one more thing that happens, and breaks where it is one too many.
func (w *World) spins(now time.Time) bool {
	if minute := now.Truncate(time.Minute); minute != w.minute {
		w.minute, w.busy = minute, 0
	}
	if w.busy++; w.busy > mostInAMinute {
		w.breaks("an agent does not rest: more than %d calls and events within a minute", mostInAMinute)
		return true
	}
	return false
}

// proceed carries out a call, or hands over its answer.
func (w *World) proceed(c *call) {
	w.mu.Lock()
	gone := c.gone || c.agent.dead // in the instant that has passed meanwhile
	w.mu.Unlock()
	if gone {
		return
	}
	if !c.underWay && c.answer == nil {
		if w.faults.comes(w, c); c.agent.dead || c.after.After(time.Now()) {
			return
		}
	}
	switch {
	case c.answer != nil:
		w.hand(c, c.answer())
	case c.underWay:
		var err error
		if c.effect.result != nil {
			err = c.effect.result()
		}
		w.hand(c, err)
	case w.faults.lasts(w, c):
	case !w.faults.strike(w, c):
		w.carryOut(c)
	}
}

// carryOut does what a call asks for, and answers unless that takes time.
func (w *World) carryOut(c *call) {
	err := c.effect.do()
	if err == nil && c.effect.until != nil {
		c.underWay = true
		return
	}
	w.hand(c, err)
}

// hand hands over the answer to a call.
func (w *World) hand(c *call, err error) {
	w.waiting = slices.DeleteFunc(w.waiting, func(other *call) bool { return other == c })
	if quiet[c.op] && err == nil {
		w.story = append(w.story, line{at: time.Since(w.began), who: c.agent.name, what: "\x00" + c.actor + " " + c.op + " " + c.about})
	} else if err == nil {
		w.tell(c.agent.name, "[%s] %s %s", c.actor, c.op, c.about)
	} else {
		w.tell(c.agent.name, "[%s] %s %s: %v", c.actor, c.op, c.about, err)
	}
	if c.actor == "units" && err != nil {
		c.agent.machine.all() // with the next connection, all are told of
	}
	c.err = err
	if c.last {
		c.agent.doomed = true
	}
	close(c.answered)
}

// quiet are the questions that change nothing: they are part of what a seed
// repeats, and not worth a line in its story.
var quiet = map[string]bool{
	"started": true, "finished": true, "cancelled": true, "asks": true, "looks": true,
}

// hash is a number that tells two stories apart.
func (w *World) hash() uint64 {
	h := fnv.New64a()
	for _, l := range w.story {
		fmt.Fprintln(h, int64(l.at), l.who, l.what)
	}
	return h.Sum64()
}

// Story tells what happened, in words.
func (w *World) Story() string {
	var b strings.Builder
	for _, l := range w.story {
		if !strings.HasPrefix(l.what, "\x00") {
			fmt.Fprintf(&b, "%10.3f s  %-9s %s\n", l.at.Seconds(), l.who, l.what)
		}
	}
	return b.String()
}
