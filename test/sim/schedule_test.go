package sim

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	declared "bootagent/pkg/role/directory"
	volume "bootagent/pkg/storage/ebs"
	"bootagent/pkg/storage/ledger"
)

// A Schedule is a boot of one or more instances, with all that goes wrong. The
// seed says what that is.
type Schedule struct {
	Seed  uint64
	Limit int   // of what goes wrong and what people do; negative is no limit
	Force *cell // is struck in any case; nil leaves it to the seed

	begins *beginning // how the volume is; nil leaves it to the seed
	mutant *mutant    // that the agents are; nil is none
}

// A Result is what became of a schedule.
type Result struct {
	Schedule
	Begins string // how the volume was
	Wrong  error  // the promise that was broken, or nil
	Hash   uint64
	Story  string
	Acts   int // that went wrong, and that people did
	Boots  int // of agents and of the database
	Struck map[cell]int
}

// Run lets a schedule happen. It has to be called in a bubble of synctest.
func Run(s Schedule) Result {
	w := newWorld(s.Seed)
	w.mutant = s.mutant
	limit := s.Limit
	if limit < 0 {
		limit = math.MaxInt
	}
	w.faults = faults{on: true, limit: limit, force: s.Force, struck: make(map[cell]int)}
	b := w.begin(s.Force != nil, s.begins)
	w.live(b)
	w.end()
	return Result{
		Schedule: s, Begins: b.name, Wrong: w.wrong, Hash: w.hash(), Story: w.Story(),
		Acts: w.faults.acts, Boots: w.boots, Struck: w.faults.struck,
	}
}

// begin sets the world up.
func (w *World) begin(forced bool, so *beginning) beginning {
	var all []beginning
	for _, b := range beginnings {
		all = append(all, slices.Repeat([]beginning{b}, b.weight)...)
	}
	b := all[w.chance.IntN(len(all))]
	often := []int{0, 30, 60, 120, 250}
	w.faults.oneIn = often[w.chance.IntN(len(often))]
	if forced {
		b, w.faults.oneIn = beginnings[0], 0
	}
	if so != nil {
		b = *so
	}
	w.tell("the world", "begins with %s", b.name)
	if !forced && w.oneIn(4) {
		w.role = withSpool(w.role)
		w.tell("the world", "has a role that keeps a part of its database in data of its own")
	}
	if made := w.chance.IntN(6); !forced && b.name == beginnings[0].name && !w.hasSpool() { // a part would have to be copied, too
		switch made {
		case 0:
			w.absent(declared.Wait)
			w.tell("the world", "has a role that waits for a copy by hand")
			w.copyByHand()
		case 1:
			w.absent(declared.Copy)
			w.tell("the world", "has a role that copies a directory of its image")
		}
	}
	v := w.cloud.add()
	if b.set(w, v); w.hasSpool() && v.place != nil && v.place.dirs["spool"].state == "" {
		v.spool()
	}
	data := goodUserData
	if !forced && w.oneIn(30) {
		data = badUserData
	}
	w.cloud.launch(data)
	if !forced && w.oneIn(5) {
		w.in(w.between(0, time.Minute), "EC2", "a second instance is launched", func() { w.cloud.launch(goodUserData) })
	}
	return b
}

// live has it happen: first with all that goes wrong, then without, and then
// people mend what only they can.
func (w *World) live(b beginning) {
	w.unlockLater()
	w.peopleAct()
	lasts := w.between(30*time.Second, 6*time.Minute)
	if w.faults.force != nil {
		lasts = 10 * time.Minute // until its step has come for sure
	}
	w.pass(lasts)

	w.faults.on = false
	for _, m := range w.machines {
		m.services[database].crashes = 0
	}
	w.quiet = time.Now()
	w.tell("the world", "nothing goes wrong any more")
	w.run(restWithin, w.settled)
	w.mustBeExplained()

	if w.wrong == nil {
		w.mend()
		if b.never != "" {
			w.mustRefuse(b.never)
			return
		}
		if !w.run(25*time.Minute, w.oneIsUp) && w.wrong == nil {
			w.breaks("nothing is up 25 minutes after all was mended: %s", w.whyNot())
		}
	}
	if w.wrong == nil {
		w.mustGrow()
	}
	if w.wrong == nil {
		w.secondRun()
	}
	if w.wrong == nil {
		w.lastShutdown()
	}
}

// restWithin is how long it may take until every machine is up, or waits for a
// person, after all faults have stopped. What hangs ends within 15 minutes.
const restWithin = 20 * time.Minute

// settled tells whether every machine is up, or waits for somebody.
func (w *World) settled() bool {
	for _, m := range w.machines {
		if m.gone || m.isUp() && !m.mutelyStopped() {
			continue
		}
		if !m.up || m.agent == nil || m.isUp() || !m.rests() {
			return false
		}
	}
	return len(w.machines) > 0
}

// rests tells whether the agent waits for a person, or has given up.
func (m *machine) rests() bool {
	if m.agent.said().noPlan != nil {
		return true
	}
	_, truly := m.explained()
	return truly
}

// mustBeExplained breaks where a machine is not up and does not say truly why.
func (w *World) mustBeExplained() {
	for _, m := range w.machines {
		if w.wrong != nil || m.gone || !m.up || m.agent == nil || m.isUp() || m.agent.said().noPlan != nil {
			continue
		}
		if words, truly := m.explained(); !truly {
			w.breaks("%s is not up %s after all faults have stopped, and says no true reason: %s", m.id, restWithin, words)
		}
	}
}

// whyNot is what the machines say.
func (w *World) whyNot() string {
	var all []string
	for _, m := range w.machines {
		if !m.gone {
			words, _ := m.explained()
			all = append(all, fmt.Sprintf("%s: %s (the database is %s)", m.id, words, m.services[database].active))
		}
	}
	return strings.Join(all, "; ")
}

// oneIsUp tells whether the role is up on one machine, and all others say truly
// that they wait for it.
func (w *World) oneIsUp() bool {
	up := 0
	for _, m := range w.machines {
		if m.isUp() {
			up++
		}
	}
	return up == 1 && w.settled()
}

// mustRefuse breaks unless the agent gives up on a volume that it may not use,
// and says why.
func (w *World) mustRefuse(words string) {
	said := func() bool {
		for _, m := range w.machines {
			if m.gone {
				continue
			}
			if text, _ := m.explained(); strings.Contains(text, words) {
				return true
			}
		}
		return false
	}
	if !w.run(15*time.Minute, said) && w.wrong == nil {
		w.breaks("the agent does not refuse the volume with the words %q: %s", words, w.whyNot())
	}
	w.pass(3 * time.Minute)
	if !w.run(time.Minute, said) && w.wrong == nil { // somebody may just have had it try again
		w.breaks("the agent does not stay with its refusal %q: %s", words, w.whyNot())
	}
}

// secondRun restarts the agents, which must change nothing.
func (w *World) secondRun() {
	w.tell("a person", "restarts the agents, which must change nothing")
	w.pass(time.Minute)
	counted := func() map[string]int {
		counts := maps.Clone(w.counts)
		maps.DeleteFunc(counts, func(of string, _ int) bool {
			id, _, _ := strings.Cut(of, " ")
			m := w.machine(id)
			return m == nil || !m.isUp()
		})
		return counts
	}
	restart := func() {
		for _, m := range w.machines {
			if !m.gone && m.isUp() {
				m.restart()
				w.in(time.Second, "", "", func() { w.bring(goodKey) })
			}
		}
		w.pass(2 * time.Minute)
	}
	if takesEmpty(string(w.role.Data[0].Engine)) {
		restart() // notes that the directory is not empty any more
	}
	before := counted()
	restart()
	if w.wrong == nil && !w.oneIsUp() {
		w.breaks("nothing is up after a restart of the agent: %s", w.whyNot())
	}
	if w.wrong == nil && !maps.Equal(before, counted()) {
		w.breaks("a second run changed something: %v, and before %v", counted(), before)
	}
	for _, v := range w.cloud.volumes {
		if is := v.Tags[volume.TagFilesystem]; v.blocks.made > 0 && is != "made "+v.now().uuid {
			w.breaks("the filesystem of %s was made, and its tag says %q", v.ID, is)
		}
	}
}

// lastShutdown turns the machines off, after which all rows are there and the
// ledger says that the stop was clean.
func (w *World) lastShutdown() {
	v := w.cloud.volumes[0]
	for _, m := range w.machines {
		if m.gone || !m.isUp() {
			continue
		}
		w.tell("a person", "shuts %s down", m.id)
		off := false
		m.shutDown(func() { off = true })
		if !w.run(3*time.Minute, func() bool { return off }) {
			w.breaks("%s does not shut down", m.id)
			return
		}
		l, err := ledger.Decode([]byte(v.place.ledger))
		switch {
		case err != nil:
			w.breaks("%v", err)
		case l.Stopped == nil || !l.Stopped.Clean:
			w.breaks("the ledger does not say that the database stopped cleanly: %s", v.place.ledger)
		}
		return
	}
}

// end ends all agents.
func (w *World) end() {
	for _, m := range w.machines {
		if m.agent != nil {
			m.agent.kill()
		}
	}
}
