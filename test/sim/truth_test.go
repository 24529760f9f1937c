package sim

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/block"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role/ready"
	volume "bootagent/pkg/storage/ebs"
	"bootagent/pkg/storage/health"
)

// checkMake is asked before a filesystem is made.
func (w *World) checkMake(v *ebs) {
	switch {
	case !v.blank():
		w.breaks("a filesystem is made on %s, which %s", v.ID, v.report(block.Disk{}))
	case v.Snapshot != "" || v.Source != "":
		w.breaks("a filesystem is made on %s, which was made from %s%s", v.ID, v.Snapshot, v.Source)
	case w.acked[v.ID] > 0:
		w.breaks("a filesystem is made on %s, which holds acknowledged rows", v.ID)
	case w.role.Volumes[0].Find.Store != "" && !v.store:
		w.breaks("a filesystem is made on %s, which is no instance store", v.ID)
	case v.MultiAttach:
		w.breaks("a filesystem is made on %s, which several instances can attach", v.ID)
	}
}

// checkGrant is asked before a service is granted.
func (w *World) checkGrant(m *machine, mounts []string) {
	if m.unproven() {
		return
	}
	on := map[string]bool{}
	for _, where := range mounts {
		on[where] = m.mounts[where] != nil && !m.mounts[where].stopping
	}
	if !on[volumeAt] || !on[m.serves] {
		// A mount may go at any time, and the grant then fails; but one that
		// names too few mounts would hold without them.
		if len(mounts) < 2 {
			w.breaks("%s grants its service for the mounts %v", m.id, mounts)
		}
	}
	if w.hasSpool() && !slices.Contains(mounts, spoolAt) {
		w.breaks("%s grants its service without a part of its data, for the mounts %v", m.id, mounts)
	}
	w.checkFiles(m)
	w.checkLabels(m)
	if mt := m.mounts[volumeAt]; mt != nil && mt.vol.mayStillSayStopped() {
		w.breaks("%s grants its service, and a power cut may leave a ledger that says that it has stopped", m.id)
	}
	if m.staged["root-sql"] != plaintext && !m.mayRunWithout() {
		w.breaks("%s grants its service with the secret %q", m.id, m.staged["root-sql"])
	}
}

// checkLabels is asked with checkGrant: SELinux takes what the agent made for what is
// at the path where the service sees it.
func (w *World) checkLabels(m *machine) {
	for where, mt := range m.mounts {
		if mt.vol == nil || mt.vol.live == nil {
			continue
		}
		label := mt.vol.live.label
		if mt.dir != "" {
			label = mt.vol.live.dirs[mt.dir].label
		}
		if label != "" && label != labelLike(where) {
			w.breaks("%s grants its service, and what is at %s has the SELinux type %s", m.id, where, label)
		}
	}
}

// checkFiles is asked with checkGrant.
func (w *World) checkFiles(m *machine) {
	w.mu.Lock()
	told := m.told
	w.mu.Unlock()
	switch {
	case !m.hasFiles() && !m.mayRunWithout():
		w.breaks("%s grants its service with the file %q", m.id, m.files[serverIDFile])
	case told.ID != m.id || told.PrivateIPv4 == "":
		w.breaks("%s grants its service, which is told to be on %+v", m.id, told)
	}
}

// look holds the world against what must always be so.
func (w *World) look() {
	w.lookAtPool()
	w.lookAtLaunched()
	using := map[*ebs]string{}
	for _, m := range w.machines {
		if !m.up {
			continue
		}
		w.lookAtService(m, m.services[database])
		w.lookAtBinds(m)
		for _, where := range sortedKeys(m.mounts) {
			mt := m.mounts[where]
			if mt.dead || mt.dir != "" {
				continue
			}
			if by := using[mt.vol]; by != "" && by != m.id {
				w.breaks("%s is mounted on %s and on %s", mt.vol.ID, by, m.id)
			}
			using[mt.vol] = m.id
			if !mt.byPerson && !w.cloud.fits(mt.vol) {
				w.breaks("%s mounts %s, which is not its volume", m.id, mt.vol.ID)
			}
		}
		if m.agent != nil {
			w.lookAtWaits(m.agent)
			w.lookAtReady(m)
			w.lookAtHealth(m)
			w.lookAtStop(m)
		}
	}
	w.lookAtDisks()
	w.lookAtSizes()
	for _, v := range w.cloud.volumes {
		if acked := w.acked[v.ID]; acked > 0 {
			at := v.log
			if at == nil || at.dirs["mysql"].rows < acked {
				w.breaks("rows that were acknowledged are gone from %s: %d of them were there", v.ID, acked)
			}
		}
	}
}

// lookAtDisks breaks where the secret is anywhere but on the ramfs: on a volume, in its
// tags, or on the machine's own disk.
func (w *World) lookAtDisks() {
	has := func(what string, texts ...string) {
		if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, plaintext) }) {
			w.breaks("the secret is on a disk: %s", what)
		}
	}
	for _, v := range w.cloud.volumes {
		has("in the tags of "+string(v.ID), slices.Collect(maps.Values(v.Tags))...)
		if v.log != nil {
			has("in the ledger of "+string(v.ID), v.log.ledger)
		}
		if v.live != nil {
			has("in the ledger of "+string(v.ID), v.live.ledger)
		}
	}
	for _, m := range w.machines {
		has("in the records of "+m.id, slices.Collect(maps.Values(m.tags.now))...)
	}
}

// fits tells whether a volume is the one that the role means.
func (c *cloud) fits(v *ebs) bool { return v.Tags["holds"] == "mysql" && !v.MultiAttach }

func (w *World) lookAtService(m *machine, s *service) {
	if s.active != "active" && s.active != "activating" {
		return
	}
	mt, on := m.mounts[m.serves], m.mounts[volumeAt]
	wrong := ""
	if m.unproven() {
		return
	}
	switch {
	case mt == nil || on == nil:
		wrong = "without its volume"
	case mt.dead:
		wrong = "on a disk that is gone"
	case mt.vol != s.vol || mt.vol != on.vol:
		wrong = "on another volume than what is mounted"
	case mt.vol.live == nil || mt.dir != "mysql":
		wrong = "on another directory than its own"
	case mt.vol.live.dirs[mt.dir].state != host.Ready:
		wrong = fmt.Sprintf("on a data directory that is %s", mt.vol.live.dirs[mt.dir].state)
	case !strings.Contains(mt.vol.live.ledger, `"role":"mysql-ec2"`) || !strings.Contains(mt.vol.live.ledger, string(mt.vol.ID)):
		wrong = "on a volume whose ledger does not say that it is its own"
	case m.grants[s.unit] == nil || !m.grants[s.unit].active:
		wrong = "without its grant"
	case mt.vol.live.dirs[mt.dir].owner != "mysql":
		wrong = "on a data directory of another user's"
	case mt.vol.live.dirs[mt.dir].newer:
		wrong = "on a data directory that a newer engine used"
	case mt.vol.live.dirs[mt.dir].lost:
		wrong = "on an empty directory, whose data somebody removed"
	case mt.vol.live.dirs[mt.dir].half:
		wrong = "on half of a copy"
	case !m.spoolThere():
		wrong = "without a part of its data"
	case w.hasSpool() && mt.vol.live.dirs["spool"].state != host.Ready:
		wrong = "without what was in a part of its data"
	case mt.vol.live.dirs[mt.dir].engine != string(m.world.role.Data[0].Engine):
		wrong = "on a data directory of another engine"
	case mt.vol.live.dirs[mt.dir].older:
		wrong = "on a data directory whose version the engine does not open"
	case m.staged["root-sql"] != plaintext && !m.mayRunWithout():
		wrong = "without its secret"
	case !m.hasFiles() && !m.mayRunWithout():
		wrong = "without its files"
	case saysStopped(mt.vol.log) || saysStopped(mt.vol.live):
		wrong = "and its volume's ledger, as a power cut leaves it, says that it has stopped"
	}
	if wrong != "" {
		w.breaks("%s runs on %s %s", s.unit, m.id, wrong)
	}
}

// answersWithin is after how long a probe has an answer, or none in its time.
const answersWithin = ready.TryTimeout + 5*time.Second

// waitSlack is how long after its deadline a wait may still be told.
const waitSlack = 15 * time.Second

func (w *World) lookAtWaits(a *agent) {
	w.mu.Lock()
	progress := a.progress
	w.mu.Unlock()
	for _, p := range progress {
		switch {
		case p.State == graph.Waiting && p.Wait.For == "":
			w.breaks("%s: step %s waits and does not say for what", a.name, p.Step)
		case p.State == graph.Waiting && time.Since(p.Wait.Until) > waitSlack:
			w.breaks("%s: step %s waits for %s past its deadline", a.name, p.Step, p.Wait.For)
		case p.State == graph.Waiting && p.Answer == "" && probed(p.Wait.For) && time.Since(p.Since) > answersWithin:
			w.breaks("%s: step %s does not tell what its probe answered last", a.name, p.Step)
		case p.State == graph.Running && time.Since(p.Since) > 20*time.Minute:
			w.breaks("%s: step %s has run for 20 minutes without a word", a.name, p.Step)
		case p.State == graph.Failed && (p.Err == nil || p.Err.Error() == ""):
			w.breaks("%s: step %s failed and does not say why", a.name, p.Step)
		}
	}
}

const (
	// sees is how long the agent may take to see that a service went down.
	sees = 15 * time.Second

	// seesLate is the same where answers come late, or not at all.
	seesLate = 2 * time.Minute

	// holds is how long a service that was restarted by itself has to have run
	// until the role may be told to be ready: a little less than the agent's.
	holds = 25 * time.Second
)

// lookAtReady breaks where the role is told to be ready and its service does
// not run, or has only just been restarted.
func (w *World) lookAtReady(m *machine) {
	s := m.services[database]
	if s.active == "active" {
		m.down = time.Time{}
	} else if m.down.IsZero() {
		m.down = time.Now()
	}
	if !m.saysReady() {
		m.early = time.Time{}
		return
	}
	if m.early.IsZero() {
		m.early = time.Now()
	}
	sees := sees
	if w.faults.on || time.Since(w.quiet) < seesLate { // a call may still hang that went wrong before
		sees = seesLate
	}
	switch {
	case m.stopping: // what stops is meant to stop
	case !m.down.IsZero() && time.Since(m.down) > sees && time.Since(m.early) > sees:
		w.breaks("%s is told to be ready, and its service is %s (%s)", m.id, s.active, s.sub)
	case s.active == "active" && s.restarts > 0 && time.Since(s.since) > sees && time.Since(s.since) < holds:
		w.breaks("%s is told to be ready %s after restart %d of its service", m.id, time.Since(s.since), s.restarts)
	}
}

// lookAtHealth breaks where nothing can be written to the volume, and the agent does not
// say so.
func (w *World) lookAtHealth(m *machine) {
	if !m.mutelyStopped() {
		m.mute = time.Time{}
		return
	}
	if _, done := m.progressOf("volume data: device"); !done {
		m.mute = time.Time{} // it has yet to find out which volume it is
	} else if m.mute.IsZero() {
		m.mute = time.Now()
	}
	if !m.mute.IsZero() && time.Since(m.mute) > 2*seesLate+health.Every {
		w.breaks("nothing can be written to the volume of %s for %s, and the agent does not say so", m.id, time.Since(m.mounts[volumeAt].stopped))
	}
}

// mutelyStopped tells whether nothing can be written to the volume, and the agent does not
// say so.
func (m *machine) mutelyStopped() bool {
	mt := m.mounts[volumeAt]
	return mt != nil && !mt.stopped.IsZero() && !mt.stopping && !m.stopping && !m.saysStopMount()
}

// saysStopMount tells whether the agent says that nothing can be written to the volume,
// and what a person can do.
func (m *machine) saysStopMount() bool {
	p, _ := m.progressOf("volume data: health")
	return p.State == graph.Failed && strings.Contains(fault.HintOf(p.Err), "systemctl stop --no-block srv-data.mount")
}

// progressOf returns what the agent tells of a step, and whether it is done.
func (m *machine) progressOf(step string) (p graph.Progress, done bool) {
	if m.agent == nil {
		return p, false
	}
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range m.agent.progress {
		if p.Step == step {
			return p, p.State == graph.Done
		}
	}
	return p, false
}

// saysReady tells whether the agent tells that the role is ready.
func (m *machine) saysReady() bool {
	w, booting := m.world, m.agent.boot() != nil
	w.mu.Lock()
	defer w.mu.Unlock()
	if !booting || m.agent.told.Role == "" || m.agent.dead {
		return false
	}
	for _, p := range m.agent.progress {
		if p.State != graph.Done && !p.Aside {
			return false
		}
	}
	return true
}

// isUp tells whether the role is up on a machine.
func (m *machine) isUp() bool {
	return m.up && m.agent != nil && m.services[database].active == "active" && m.saysReady()
}

// A reason is what the agent may give for not being up, and when it is true.
type reason struct {
	words *regexp.Regexp
	true  func(*machine) bool
}

// theVolume is the one that the role means, or nil where that is none, or more
// than one.
func (w *World) theVolume() (the *ebs) {
	for _, v := range w.cloud.volumes {
		if v.Tags["holds"] != "mysql" || v.State == volume.Deleting {
			continue
		}
		if the != nil {
			return nil
		}
		the = v
	}
	return the
}

func because(words string, is func(*machine) bool) reason {
	return reason{regexp.MustCompile(words), is}
}

// ofVolume is a reason that is to be seen on the volume.
func ofVolume(words string, is func(*machine, *ebs) bool) reason {
	return because(words, func(m *machine) bool {
		v := m.world.theVolume()
		return v != nil && is(m, v)
	})
}

// happened is a reason that is true if a fault of the kind was injected: the
// agent quotes it.
func happened(words string) reason {
	return because(words, func(m *machine) bool { return m.world.faults.acts > 0 })
}

// reasons are all that an agent may give when the faults have stopped.
var reasons = []reason{
	ofVolume("to be detached from (i-[0-9a-z]+)", func(m *machine, v *ebs) bool { return v.holder() != nil && v.holder().Instance != m.id }),
	because("volumes have the tags", func(m *machine) bool { return m.world.theVolume() == nil && len(m.world.cloud.volumes) > 1 }),
	ofVolume("multi-attach enabled", func(_ *machine, v *ebs) bool { return v.MultiAttach }),
	ofVolume("is in zone", func(_ *machine, v *ebs) bool { return v.Zone != zone }),
	ofVolume("is smaller than its xfs filesystem", func(_ *machine, v *ebs) bool { return v.shrunk }),
	ofVolume("is a copy of volume", func(_ *machine, v *ebs) bool { return v.Tags[volume.TagSelf] != string(v.ID) }),
	ofVolume("is a copy of volume vol-[0-9a-f]+, as its ledger says", func(_ *machine, v *ebs) bool { return v.log != nil && !strings.Contains(v.log.ledger, string(v.ID)) }),
	ofVolume("was made from snapshot", func(_ *machine, v *ebs) bool { return v.Snapshot != "" && v.blank() }),
	ofVolume("is a volume of role", func(_ *machine, v *ebs) bool {
		return v.log != nil && !strings.Contains(v.log.ledger, `"role":"mysql-ec2"`)
	}),
	ofVolume("without a ledger", func(_ *machine, v *ebs) bool { return v.place != nil && v.place.ledger == "" && !v.place.made }),
	ofVolume("which bootagent made, and its ledger, bootagent's record on it, is gone", func(_ *machine, v *ebs) bool {
		return v.place != nil && v.place.ledger == "" && v.place.dirs["lost+found"].state != ""
	}),
	ofVolume("which mkfs does not leave", func(_ *machine, v *ebs) bool { return v.place != nil && !v.place.made && len(v.place.dirs) > 0 }),
	ofVolume("which the role does not name", func(_ *machine, v *ebs) bool { return v.now() != nil && v.now().dirs["orders"].state != "" }),
	ofVolume("does not hold the xfs filesystem of the role", func(_ *machine, v *ebs) bool { return v.lvm || v.half }),
	ofVolume("was being made on it and was not finished", func(_ *machine, v *ebs) bool { return v.half || v.lvm }),
	ofVolume("was made on it before", func(_ *machine, v *ebs) bool {
		return v.blank() && strings.HasPrefix(v.Tags[volume.TagFilesystem], "made")
	}),
	ofVolume("is absent, but the volume's ledger says that it was there", func(_ *machine, v *ebs) bool {
		return v.now() != nil && v.now().dirs["mysql"].state == ""
	}),
	ofVolume("is empty, but the volume's ledger says that it was not", func(_ *machine, v *ebs) bool {
		return v.now() != nil && (v.now().dirs["spool"].state != host.Ready || v.now().dirs["mysql"].lost)
	}),
	because("no data of the role is bound that the same services need", func(m *machine) bool {
		return m.world.hasSpool() && len(m.world.role.Services[0].Needs) < len(withSpool(hastyRole()).Services[0].Needs)
	}),
	because("by its own settings, and used .* when bootagent asked it", func(m *machine) bool { return m.world.isAuto() && m.looks != m.serves }),
	ofVolume("has format 12, of Redis 8.0.6", func(_ *machine, v *ebs) bool { return v.now() != nil && v.now().dirs["mysql"].newer }),
	ofVolume("somebody to (copy data|finish the copy)", func(_ *machine, v *ebs) bool {
		return v.now() != nil && !v.now().hasDatabase()
	}),
	ofVolume("is not a whole copy of", func(_ *machine, v *ebs) bool {
		return v.now() != nil && slices.ContainsFunc(slices.Collect(maps.Values(v.now().dirs)), func(d directory) bool { return d.half })
	}),
	ofVolume("it is of PostgreSQL 1[37]", func(_ *machine, v *ebs) bool {
		return v.now() != nil && (v.now().dirs["mysql"].newer || v.now().dirs["mysql"].older)
	}),
	ofVolume("is not a data directory that (mariadb|mysql|postgres|redis) can start on", func(m *machine, v *ebs) bool {
		return v.now() != nil && (v.now().dirs["mysql"].state != host.Ready || v.now().dirs["mysql"].engine != m.world.engine())
	}),
	ofVolume("it belongs to user number 1000", func(_ *machine, v *ebs) bool {
		return v.now() != nil && v.now().dirs["mysql"].owner != "mysql"
	}),
	ofVolume("MySQL 9.8.0 used it", func(_ *machine, v *ebs) bool { return v.now() != nil && v.now().dirs["mysql"].newer }),
	ofVolume("MySQL 8.0.36 used it", func(_ *machine, v *ebs) bool { return v.now() != nil && v.now().dirs["mysql"].older }),
	ofVolume("it has data of MariaDB, which MySQL cannot read", func(m *machine, v *ebs) bool {
		return v.now() != nil && v.now().dirs["mysql"].engine == "mariadb" && m.world.role.Data[0].Engine == "mysql"
	}),
	ofVolume("MariaDB "+models["mariadb"].newer+" used it", func(_ *machine, v *ebs) bool { return v.now() != nil && v.now().dirs["mysql"].newer }),
	ofVolume("was begun 3 times, and never succeeded", func(_ *machine, v *ebs) bool { return v.now() != nil && len(v.now().dirs) >= 3 }),
	ofVolume("for the tag "+serverIDTag+" on volume", func(_ *machine, v *ebs) bool { return v.Tags[serverIDTag] == "" }),
	ofVolume("the tag "+serverIDTag+" of volume data .* may have only letters", func(_ *machine, v *ebs) bool { return v.Tags[serverIDTag] == unfitID }),
	because("(the|another) age identity", func(m *machine) bool {
		return m.agent != nil && len(m.agent.keys) == 0 || m.agent.keys[0] != goodKey
	}),
	because("is damaged|is not encrypted with age|has no content|is encrypted for other recipients", func(m *machine) bool {
		return !bytes.Equal(m.world.sealed, sealedSecret())
	}),
	because("no disk with serial|the disk with serial", func(m *machine) bool {
		v := m.world.theVolume()
		return v != nil && m.plugged[v.ID.Serial()] == nil
	}),
	because("was stopped by hand", func(m *machine) bool { s := m.services[database]; return s.active == "inactive" && !s.byItself }),
	because("ended by itself", func(m *machine) bool { s := m.services[database]; return s.active == "inactive" && s.byItself }),
	because("to stay up: this is restart|to start again: this is restart", func(m *machine) bool {
		return m.services[database].restarts > 0 || m.services[database].sub == "auto-restart"
	}),
	because("mariadb.service was started too often.*systemctl reset-failed mariadb.service", func(m *machine) bool { return m.services[database].limited }),
	because("mariadb.service failed", func(m *machine) bool { s := m.services[database]; return s.active == "failed" && !s.limited }),
	because("unknown role", func(m *machine) bool { return m.userData == badUserData }),
	ofVolume(`to be attached as`, func(m *machine, v *ebs) bool {
		return v.holder() != nil && v.holder().State == volume.Attaching && time.Since(v.holder().Since) > 2*time.Minute || m.world.cloud.instances[m.id].cutOff
	}),
	ofVolume(`its attach as /dev/[a-z]+ hung|to be detached from this instance \(detaching\)`, func(_ *machine, v *ebs) bool {
		return v.holder() != nil && v.holder().State == volume.Detaching
	}),
	happened("does not allow ec2:"),
	happened("is not a valid EBS device name"),
	happened("can't be attached to this instance"),
	happened("has as many tags as EC2 allows"),
	happened("input/output error"), // of the role files
}

// explained tells whether a machine that is not up says truly why, as far as
// the reasons know.
func (m *machine) explained() (words string, truly bool) {
	if !m.up || m.agent == nil {
		return "there is no agent", m.gone || !m.up
	}
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range m.agent.progress {
		text := p.String() + " " + p.Wait.Hint + " " + fault.HintOf(p.Err)
		if p.State != graph.Failed && p.State != graph.Waiting {
			continue
		}
		words += text + "\n"
		for _, r := range reasons {
			if r.words.MatchString(text) && r.true(m) {
				return text, true
			}
		}
	}
	if m.agent.noPlan != nil {
		words = m.agent.noPlan.Error()
	}
	return words, false
}

// probed tells whether a probe with a limit for each try is waited for.
func probed(what string) bool {
	return strings.Contains(what, " to serve, as ") && !strings.Contains(what, probe)
}
