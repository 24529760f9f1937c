package sim

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
	volume "bootagent/pkg/storage/ebs"
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

// A beginning is how the volume is before the first boot.
type beginning struct {
	name   string
	weight int
	set    func(w *World, v *ebs)
	never  string // what the agent says, as it can't ever come up; "" where it has to
}

var beginnings = []beginning{
	{name: "a new volume", weight: 14, set: func(*World, *ebs) {}},
	{name: "a volume with a database", weight: 10, set: func(w *World, v *ebs) { w.withRows(v) }},
	{name: "a volume that another instance holds", weight: 3, set: func(w *World, v *ebs) {
		w.withRows(v)
		w.cloud.hold(v)
	}},
	{name: "a volume that is being made", weight: 1, set: func(w *World, v *ebs) {
		v.State = volume.Creating
		w.in(w.between(5*time.Second, time.Minute), "EC2", fmt.Sprintf("%s is available", v.ID), func() {
			v.Volume.State = volume.Available
		})
	}},
	{name: "two volumes with the tags", weight: 1, set: func(w *World, v *ebs) {
		w.withRows(v)
		w.cloud.add()
	}},
	{name: "a volume with the remains of LVM", weight: 1, never: "LVM2", set: func(_ *World, v *ebs) {
		v.lvm = true
	}},
	{name: "a filesystem of somebody's", weight: 1, never: "without a ledger", set: func(_ *World, v *ebs) {
		v.format("xfs", "11111111-1111-4111-8111-111111111111")
		v.place.made, v.log.made = false, false
	}},
	{name: "a filesystem of ours that was repaired", weight: 1, never: "which bootagent made, and its ledger is gone", set: func(w *World, v *ebs) {
		const uuid = "22222222-2222-4222-8222-222222222222"
		w.withRows(v)
		v.place.ledger = ""
		v.place.dirs["lost+found"] = v.place.dirs["mysql"]
		delete(v.place.dirs, "mysql")
		v.log = v.place.clone()
		v.Tags[volume.TagFilesystem] = "made " + uuid
		w.acked[v.ID] = 0
	}},
	{name: "a filesystem of somebody's that a tag calls ours", weight: 1, never: "which mkfs does not leave", set: func(_ *World, v *ebs) {
		const uuid = "11111111-1111-4111-8111-111111111111"
		v.format("xfs", uuid)
		v.place.made = false
		v.place.dirs["home"] = directory{state: host.Damaged, engine: "mariadb", owner: "somebody", synced: true}
		v.log = v.place.clone()
		v.Tags[volume.TagFilesystem] = "making " + uuid
	}},
	{name: "a database under another name", weight: 1, never: "which the role does not name", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.place.ledger = strings.Replace(v.place.ledger, `"data":{"mysql":`, `"made":"2026-01-01T00:00:00Z","closed":true,"data":{"orders":`, 1)
		v.place.dirs["orders"] = v.place.dirs["mysql"]
		delete(v.place.dirs, "mysql")
		v.log = v.place.clone()
		w.acked[v.ID] = 0
	}},
	{name: "a blank volume made from a snapshot", weight: 1, never: "was made from snapshot", set: func(_ *World, v *ebs) {
		v.Snapshot = "snap-1"
	}},
	{name: "a copy of a volume", weight: 1, never: "is a copy of volume", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.Tags[volume.TagSelf] = "vol-0000000000000beef"
	}},
	{name: "a copy of a volume without its tags", weight: 1, never: ", as its ledger says", set: func(_ *World, v *ebs) {
		v.ours("vol-0000000000000beef", "22222222-2222-4222-8222-222222222222", 9)
	}},
	{name: "a volume of another role", weight: 1, never: "is a volume of role", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.place.ledger = strings.Replace(v.place.ledger, `"role":"mysql-ec2"`, `"role":"queue"`, 1)
		v.log = v.place.clone()
	}},
	{name: "a volume with multi-attach", weight: 1, never: "multi-attach enabled", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.MultiAttach = true
		w.cloud.hold(v)
	}},
	{name: "a volume in another zone", weight: 1, never: "is in zone", set: func(w *World, v *ebs) {
		w.withRows(v)
		v.Zone = "eu-central-1b"
	}},
	{name: "a database whose directory is gone", weight: 1, never: "is absent, but the volume's ledger says that it was there", set: func(w *World, v *ebs) {
		w.withRows(v)
		delete(v.place.dirs, "mysql")
		v.log = v.place.clone()
		w.acked[v.ID] = 0
	}},
	{name: "a database that is damaged", weight: 1, never: "is not a data directory that mariadb can start on", set: func(w *World, v *ebs) {
		w.withRows(v)
		d := v.place.dirs["mysql"]
		d.state = host.Damaged
		v.place.dirs["mysql"] = d
		v.log = v.place.clone()
	}},
	{name: "a database of another user's", weight: 1, never: "it belongs to user number 1000", set: func(w *World, v *ebs) {
		w.withRows(v)
		d := v.place.dirs["mysql"]
		d.owner = "somebody"
		v.place.dirs["mysql"] = d
		v.log = v.place.clone()
	}},
	{name: "a database that a newer engine used", weight: 1, never: "MariaDB " + models["mariadb"].newer + " used it", set: func(w *World, v *ebs) {
		w.withRows(v)
		d := v.place.dirs["mysql"]
		d.newer = true
		v.place.dirs["mysql"] = d
		v.log = v.place.clone()
	}},
	{name: "a volume that says it was formatted, and is blank", weight: 1, never: "was made on it before", set: func(_ *World, v *ebs) {
		v.Tags[volume.TagFilesystem] = "made 33333333-3333-4333-8333-333333333333"
	}},
}

// withRows puts a database on a volume that a former instance had.
func (w *World) withRows(v *ebs) {
	rows := 1 + w.chance.IntN(50)
	v.ours(v.ID, "22222222-2222-4222-8222-222222222222", rows)
	v.Tags[volume.TagSelf] = string(v.ID)
	w.acked[v.ID] = rows
}

// hold has an instance hold a volume that is no machine of the world.
func (c *cloud) hold(v *ebs) {
	const id = "i-0000000000000beef"
	c.instances[id] = &instance{id: id, state: "running", devices: devices{"/dev/sdf": v.ID}}
	v.State = volume.InUse
	v.Attachments = []volume.Attachment{{Instance: id, Device: "/dev/sdf", State: volume.Attached, Since: time.Now()}}
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
	b.set(w, w.cloud.add())
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
		w.secondRun()
	}
	if w.wrong == nil {
		w.lastShutdown()
	}
}

// restWithin is how long it may take until every machine is up, or waits for a
// person, after all faults have stopped. What hangs ends within 15 minutes.
const restWithin = 20 * time.Minute

// unlockLater has a person bring the key, at once or late or after a wrong one.
func (w *World) unlockLater() {
	if w.oneIn(8) {
		w.in(w.between(20*time.Second, 2*time.Minute), "a person", "brings a wrong key", func() { w.bring(wrongKey) })
	}
	var again func()
	again = func() {
		w.bring(goodKey)
		if w.faults.on {
			w.in(w.between(20*time.Second, 90*time.Second), "", "", again)
		}
	}
	w.in(w.between(10*time.Second, 3*time.Minute), "a person", "brings the key, now and then", again)
}

func (w *World) bring(key string) {
	for _, m := range w.machines {
		a := m.agent
		if a == nil || slices.Contains(a.keys, key) {
			continue
		}
		a.takes(key)
		if !w.mutant.deaf(a, keyEvent) {
			a.person(func() error { _, err := a.life.Unlock(context.Background(), nil); return err })
		}
	}
}

// peopleAct has people do what they do, at times of their own.
func (w *World) peopleAct() {
	often := []time.Duration{0, 15 * time.Second, time.Minute, 3 * time.Minute}
	every := often[w.chance.IntN(len(often))]
	if every == 0 || w.faults.force != nil {
		return
	}
	var again func()
	again = func() {
		act := acts[w.chance.IntN(len(acts))]
		on := w.machines[w.chance.IntN(len(w.machines))]
		if w.faults.on && w.faults.act() && on.up {
			w.tell("a person", "%s %s", act.words, on.id)
			act.do(w, on)
		}
		w.in(w.between(time.Second, 2*every), "", "", again)
	}
	w.in(w.between(time.Second, 2*every), "", "", again)
}

// An act is what a person does to a machine.
type act struct {
	words string
	do    func(*World, *machine)
}

var acts = []act{
	{"stops the database on", func(w *World, m *machine) {
		s := m.services[database]
		if s.active != "active" {
			return
		}
		s.stopped = true
		m.stopService(s, true)
		turn, agent := s.turn, m.agent
		w.in(20*time.Second, "", "", func() {
			// An agent that has lived through it has seen it.
			s.sure = s.stopped && s.turn == turn && m.agent == agent && agent != nil && !agent.ended() && m.byHand[database]
		})
	}},
	{"starts the database on", func(_ *World, m *machine) {
		m.services[database].stopped, m.services[database].sure = false, false
		m.startService(database)
	}},
	{"says bootagent retry on", func(w *World, m *machine) {
		if w.boots%2 == 0 { // with another time for the volume in the role file
			w.edit(func(v *role.Volume) {
				v.Timeout = v.Timeout.Truncate(time.Minute) + (v.Timeout+time.Second)%(2*time.Second)
			})
		}
		m.retry()
	}},
	{"says systemctl restart bootagent on", func(_ *World, m *machine) { m.restart() }},
	{"pulls the volume, by force, from", func(w *World, m *machine) {
		for _, v := range w.cloud.volumes {
			if a := v.holder(); a != nil && a.Instance == m.id {
				w.cloud.detach(v)
			}
		}
	}},
	{"reboots", func(_ *World, m *machine) { m.shutDown(m.boot) }},
	{"cuts the power of", func(_ *World, m *machine) { m.powerCut() }},
	{"has EC2 hang with the next attach to", func(w *World, _ *machine) {
		for _, v := range w.cloud.volumes {
			v.stuck = v.holder() == nil
		}
	}},
	{"uploads a secret that is wrong, not only for", func(w *World, _ *machine) {
		wrong := [][]byte{[]byte("nobody sealed this"), sealedSecret()[:len(sealedSecret())-9], sealedAs()[wrongKey], {}}
		w.sealed = wrong[w.chance.IntN(len(wrong))]
	}},
	{"uploads the right secret again, not only for", func(w *World, _ *machine) { w.sealed = sealedSecret() }},
	{"says pvcreate, of the wrong disk, on", func(_ *World, m *machine) {
		for _, serial := range sortedKeys(m.plugged) {
			if v := m.plugged[serial].vol; v.blank() && strings.HasPrefix(v.Tags[volume.TagFilesystem], "making ") {
				v.lvm, v.scribbled = true, true
			}
		}
	}},
	{"ends, in favour of another,", func(w *World, m *machine) { w.cloud.replace(m) }},
	{"attaches the volume, from the console, to", func(w *World, m *machine) {
		if v := w.theVolume(); v != nil && !v.MultiAttach {
			_ = w.cloud.attach(v.ID, m.id, "/dev/sdp")
		}
	}},
}

// retry is bootagent retry.
func (m *machine) retry() {
	a := m.agent
	if a == nil {
		return
	}
	m.services[database].stopped, m.services[database].sure = false, false
	a.person(func() error { _, err := a.life.Retry(context.Background()); return err })
}

// settled tells whether every machine is up, or waits for somebody.
func (w *World) settled() bool {
	for _, m := range w.machines {
		if m.gone || m.isUp() {
			continue
		}
		if !m.up || m.agent == nil || !m.rests() {
			return false
		}
	}
	return len(w.machines) > 0
}

// rests tells whether the agent waits for a person, or has given up.
func (m *machine) rests() bool {
	if m.agent.life.NoPlan() != nil {
		return true
	}
	_, truly := m.explained()
	return truly
}

// mustBeExplained breaks where a machine is not up and does not say truly why.
func (w *World) mustBeExplained() {
	for _, m := range w.machines {
		if w.wrong != nil || m.gone || !m.up || m.agent == nil || m.isUp() || m.agent.life.NoPlan() != nil {
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

// mend does what only people can, as the hints say.
func (w *World) mend() {
	w.tell("a person", "mends what only people can")
	for _, v := range w.cloud.volumes[1:] {
		v.Volume.Tags = map[string]string{}
	}
	v := w.cloud.volumes[0]
	v.half = false // wipefs and blkdiscard
	if v.scribbled {
		v.lvm, v.scribbled = false, false
	}
	w.sealed = sealedSecret()
	if v.log != nil && v.live == nil {
		for name := range v.log.dirs {
			if strings.Contains(name, ".initializing-") && len(v.log.dirs) >= 3 {
				delete(v.log.dirs, name)
			}
		}
	}
	if v.live != nil {
		maps.DeleteFunc(v.live.dirs, func(name string, d directory) bool {
			return strings.Contains(name, ".initializing-") && d.state != host.Ready && len(v.live.dirs) >= 3
		})
	}
	if a := v.holder(); a != nil && (w.machine(a.Instance) == nil && a.Instance == "i-0000000000000beef" || a.State == volume.Attaching) {
		w.cloud.detach(v)
	}
	v.stuck = false
	for _, m := range w.machines {
		m.userData = goodUserData
		if m.gone {
			continue
		}
		m.services[database].stopped, m.services[database].sure = false, false
		w.bring(goodKey)
		if m.up {
			m.retry()
		}
	}
	var again func()
	again = func() {
		w.bring(goodKey)
		for _, m := range w.machines {
			if words, _ := m.explained(); m.up && !m.isUp() && strings.Contains(words, "bootagent retry") {
				w.tell("a person", "says bootagent retry on %s, as it says", m.id)
				m.retry()
			}
		}
		if v := w.cloud.volumes[0]; v.holder() == nil && v.State == volume.Available && v.Zone == zone {
			for _, m := range w.machines {
				if m.up && m.waitsForDisk() && v.holder() == nil {
					w.tell("a person", "attaches %s to %s", v.ID, m.id)
					_ = w.cloud.attach(v.ID, m.id, "/dev/sdp")
				}
			}
		}
		w.in(time.Minute, "", "", again)
	}
	w.in(time.Minute, "", "", again)
}

// waitsForDisk tells whether the agent says that a person has to attach it.
func (m *machine) waitsForDisk() bool {
	words, _ := m.explained()
	return strings.Contains(words, "disk with serial")
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
	before := counted()
	for _, m := range w.machines {
		if !m.gone && m.isUp() {
			m.restart()
			w.in(time.Second, "", "", func() { w.bring(goodKey) })
		}
	}
	w.pass(2 * time.Minute)
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
		l, err := storage.DecodeLedger([]byte(v.place.ledger))
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
