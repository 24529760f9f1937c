package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/role"
	volume "bootagent/pkg/storage/ebs"
)

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
		s := m.services[database]
		s.stopped, s.sure, s.limited = false, false, false // as systemctl reset-failed has it
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
	{"gives the volume another tag, not only for", func(w *World, _ *machine) {
		if v := w.theVolume(); v != nil && v.Tags[serverIDTag] != unfitID {
			v.becomes(func(*volume.Volume) { w.giveID(v, fmt.Sprint(100+len(w.serverIDs[v.ID]))) })
		}
	}},
	{"says pvcreate, of the wrong disk, on", func(_ *World, m *machine) {
		for _, serial := range sortedKeys(m.plugged) {
			if v := m.plugged[serial].vol; v.blank() && strings.HasPrefix(v.Tags[volume.TagFilesystem], "making ") {
				v.lvm, v.scribbled = true, true
			}
		}
	}},
	{"makes the volume larger, not only for", func(w *World, _ *machine) {
		if v := w.theVolume(); v != nil && !v.shrunk {
			w.cloud.modify(v)
		}
	}},
	{"says bootagent grow on", func(_ *World, m *machine) { m.order() }},
	{"upgrades the engine, to one that looks elsewhere, on", func(_ *World, m *machine) { m.upgrade() }},
	{"has an error of the disk end all writing to the volume of", func(_ *World, m *machine) {
		if mt := m.mounts[volumeAt]; mt != nil && !mt.dead && !mt.byPerson && m.services[database].active == "active" && m.isUp() {
			mt.stopped = time.Now()
		}
	}},
	{"stops the mount of the volume, where the agent says so, on", func(_ *World, m *machine) {
		if m.saysStopMount() {
			m.mounts[volumeAt].stopping = true
		}
	}},
	{"bypasses what holds the database on", func(_ *World, m *machine) { m.bypass(false) }},
	{"ends the bypass on", func(_ *World, m *machine) { m.endBypass() }},
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

// mend does what only people can, as the hints say.
func (w *World) mend() {
	w.tell("a person", "mends what only people can")
	for _, v := range w.cloud.volumes[1:] {
		v.Volume.Tags = map[string]string{}
	}
	v := w.cloud.volumes[0]
	v.mend()
	w.sealed = sealedSecret()
	if a := v.holder(); a != nil && (w.machine(a.Instance) == nil && a.Instance == "i-0000000000000beef" || a.State == volume.Attaching || a.State == volume.Detaching) {
		w.cloud.detach(v)
	}
	v.stuck = false
	for _, m := range w.machines {
		m.userData = goodUserData
		if m.gone {
			continue
		}
		s := m.services[database]
		s.stopped, s.sure, s.limited = false, false, false // as systemctl reset-failed has it
		w.bring(goodKey)
		if mt := m.mounts[volumeAt]; mt != nil && !mt.stopped.IsZero() {
			mt.stopping = true // as the agent says
		}
		switch {
		case m.up && m.looks != m.serves: // an upgrade is in force with the next boot
			m.shutDown(m.boot)
		case m.up && m.mayRunWithout(): // one after the other: at once, their order would be by chance
			a := m.agent
			if a == nil {
				continue
			}
			a.person(func() error {
				_, err := a.life.EndBypass(context.Background(), database)
				_, again := a.life.Retry(context.Background())
				return errors.Join(err, again)
			})
		case m.up:
			m.retry()
		}
	}
	var again func()
	again = func() {
		w.bring(goodKey)
		for _, m := range w.machines {
			if words, _ := m.explained(); m.up && !m.isUp() && strings.Contains(words, "to bind it to "+m.looks+": systemctl reboot") {
				w.tell("a person", "reboots %s, as it says", m.id)
				m.shutDown(m.boot)
			} else if m.up && !m.isUp() && strings.Contains(words, "bootagent retry") {
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

// mend takes off a volume what was left of something that was cut off.
func (b *blocks) mend() {
	b.half = false // wipefs and blkdiscard
	if b.scribbled {
		b.lvm, b.scribbled = false, false
	}
	if b.log != nil && b.live == nil {
		for name := range b.log.dirs {
			if strings.Contains(name, ".initializing-") && len(b.log.dirs) >= 3 {
				delete(b.log.dirs, name)
			}
		}
	}
	if b.live != nil {
		maps.DeleteFunc(b.live.dirs, func(name string, d directory) bool {
			return strings.Contains(name, ".initializing-") && d.state != host.Ready && len(b.live.dirs) >= 3
		})
	}
}

// waitsForDisk tells whether the agent says that a person has to attach it.
func (m *machine) waitsForDisk() bool {
	words, _ := m.explained()
	return strings.Contains(words, "disk with serial")
}
