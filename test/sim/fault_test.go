package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A fault is what can go wrong with a call.
type mishap string

// The faults.
const (
	failed      mishap = "error"        // it is not done, and says so
	slow        mishap = "slow"         // it takes long
	hung        mishap = "hung"         // it does not come back, until it is cancelled or its own limit ends it
	partial     mishap = "partial"      // it is done, or half, and says that it failed
	crashBefore mishap = "crash before" // the agent dies before it asks
	crashWithin mishap = "crash within" // the agent dies while it is done
	crashAfter  mishap = "crash after"  // the agent dies when it has the answer
	powerCut    mishap = "power cut"    // the machine goes off meanwhile, and comes back
	replaced    mishap = "replaced"     // the instance ends, and another takes its place
)

var allFaults = []mishap{failed, slow, hung, partial, crashBefore, crashWithin, crashAfter, powerCut, replaced}

// allSteps are the steps of the story, without the names of what they are about.
var allSteps = []string{
	"instance: metadata", "instance: plan", "instance: paths",
	"volume: find", "volume: claim", "volume: attach", "volume: device", "volume: prove", "volume: prepare", "volume: mount", "volume: ledger", "volume: intent", "volume: grow", "volume: health",
	"data: engine", "data: directory", "data: bind",
	"key", "secret: fetch", "secret: decrypt", "file: write",
	"service: grant", "service: up",
}

// kindOf is a step without the name of what it is about.
func kindOf(step string) string {
	what, rest, ok := strings.Cut(step, ": ")
	if kind, _, named := strings.Cut(what, " "); ok && named {
		return kind + ": " + rest
	}
	return step
}

// A cell is a fault in a step.
type cell struct {
	step   string
	mishap mishap
}

// cells are all there are.
func cells() (all []cell) {
	for _, step := range allSteps {
		for _, f := range allFaults {
			all = append(all, cell{step, f})
		}
	}
	return all
}

// faults is how a schedule lets things go wrong: a cell that is struck for
// sure, and others by chance, until the limit.
type faults struct {
	on     bool // they have not stopped
	oneIn  int  // calls
	force  *cell
	skip   int // calls of the forced step before it is struck
	limit  int // of all that goes wrong and all that people do
	acts   int
	struck map[cell]int
	last   []lasting
	at     []moment
}

// A moment is the first call of a kind in a step, and what happens then.
type moment struct {
	step, op string
	do       func(*World, *machine)
	lasts    time.Duration // until the call goes on
}

// comes has happen what is to at this moment.
func (f *faults) comes(w *World, c *call) {
	for i, at := range f.at {
		if c.actor == at.step && c.op == at.op {
			f.at = slices.Delete(slices.Clone(f.at), i, i+1)
			c.after = time.Now().Add(at.lasts)
			at.do(w, c.agent.machine)
			return
		}
	}
}

// A lasting fault is one of all calls that do something of a kind.
type lasting struct {
	op, about string // as a call has them; the beginning is enough
	after     time.Duration
	err       error
}

// lasts lets a call go wrong that goes wrong for as long as the fault lasts.
func (f *faults) lasts(w *World, c *call) bool {
	for _, l := range f.last {
		if c.op != l.op || !strings.HasPrefix(c.about, l.about) {
			continue
		}
		c.after = time.Now().Add(l.after)
		c.answer = func() error { return l.err }
		return true
	}
	return false
}

// act tells whether one thing more may go wrong.
func (f *faults) act() bool {
	if !f.on || f.acts >= f.limit {
		return false
	}
	f.acts++
	return true
}

// strike lets a call go wrong, if it is to.
func (f *faults) strike(w *World, c *call) bool {
	step := kindOf(c.actor)
	known := slices.Contains(allSteps, step)
	// What is drawn does not depend on the limit, so that a schedule that is
	// cut short is the same as far as it goes.
	by, chosen := w.chance.IntN(max(f.oneIn, 1)), allFaults[w.chance.IntN(len(allFaults))]
	if !f.on || c.slowed {
		return false
	}
	hit := f.oneIn > 0 && by == 0
	if f.force != nil && step == f.force.step && f.force.mishap.fits(c) {
		if f.skip == 0 {
			chosen, hit, f.force = f.force.mishap, true, nil
		} else {
			f.skip--
		}
	}
	if !hit || !chosen.fits(c) || !f.act() {
		return false
	}
	if known {
		f.struck[cell{step, chosen}]++
	}
	w.apply(chosen, c)
	return true
}

// fits tells whether a fault can be of a call: what a step does in memory only
// dies with the agent and does not fail.
func (f mishap) fits(c *call) bool {
	switch f {
	case failed, slow, hung, partial:
		return c.op != "started" && c.op != "finished" && c.op != "cancelled"
	}
	return true
}

// errStorage is how a call fails that has no other way.
var errStorage = errors.New("input/output error")

func (w *World) apply(f mishap, c *call) {
	m := c.agent.machine
	fails := errStorage
	if all := c.effect.fails; len(all) > 0 {
		fails = all[w.chance.IntN(len(all))]
	}
	bound := c.effect.bound
	if bound == 0 {
		bound = 30 * time.Second
	}
	about := fmt.Sprintf("%s %s, in [%s]", c.op, c.about, c.actor)
	w.tell("FAULT", "%s: %s: %s", c.agent.name, f, about)
	switch f {
	case failed:
		w.hand(c, fails)
	case slow:
		c.slowed, c.after = true, time.Now().Add(w.between(time.Second, bound))
	case hung:
		c.after = time.Now().Add(bound)
		c.answer = func() error { return fmt.Errorf("no answer within %s: %w", bound, fails) }
	case partial:
		w.half(c)
		w.hand(c, fails)
	case crashBefore:
		m.crash("before it asked")
	case crashWithin:
		w.half(c)
		m.crash("while it waited for that")
	case crashAfter:
		c.last, c.slowed = true, true
		w.carryOut(c)
	case powerCut:
		if w.oneIn(2) {
			w.half(c)
		}
		m.powerCut()
	case replaced:
		if w.oneIn(2) {
			w.half(c)
		}
		w.cloud.replace(m)
	}
}

// half does what is done of a call that is cut off.
func (w *World) half(c *call) {
	switch {
	case c.effect.half != nil:
		c.effect.half()
	default:
		_ = c.effect.do()
	}
}

// table counts what was struck.
func table(struck map[cell]int) (text string, empty []cell) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-20s", "")
	for _, f := range allFaults {
		fmt.Fprintf(&b, " %12s", f)
	}
	b.WriteByte('\n')
	for _, step := range allSteps {
		fmt.Fprintf(&b, "%-20s", step)
		for _, f := range allFaults {
			n := struck[cell{step, f}]
			fmt.Fprintf(&b, " %12d", n)
			if n == 0 {
				empty = append(empty, cell{step, f})
			}
		}
		b.WriteByte('\n')
	}
	return b.String(), empty
}
