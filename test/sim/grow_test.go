package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	volume "bootagent/pkg/storage/ebs"
)

// A size is how large a volume is, in bytes, by those who may not agree.
type size struct {
	kernel   int64                // as the machine sees its disk; 0 is as EC2 says
	modified *volume.Modification // the last, or nil
	told     *volume.Modification // what EC2 tells of it, which may be late
	ordered  bool                 // a person has asked for its filesystem to be grown
	early    bool                 // DescribeVolumes tells the size that a modification may come to, before EC2 is sure
	unasked  bool                 // EC2 did not allow the question for its modification
}

// sizeOf is the size of the disk that a volume is.
func (v *ebs) sizeOf() int64 {
	if v.kernel != 0 {
		return v.kernel
	}
	return v.Size
}

// resize has the kernel see a size.
func (w *World) resize(v *ebs, to int64) {
	v.kernel = to
	for _, m := range w.machines {
		if d := m.plugged[v.ID.Serial()]; d != nil {
			m.diskEvent(d.event())
		}
	}
}

// modify has EC2 make a volume larger, in its time: the kernel may see the new size
// before EC2 is sure of it, and it may come to nothing.
func (c *cloud) modify(v *ebs) {
	if v.modified != nil && v.modified.State == volume.Modifying {
		return
	}
	w := c.world
	from := v.Size
	to := from + 2<<30
	v.becomesModified(w, volume.Modification{State: volume.Modifying, From: from, To: to})
	if w.oneIn(2) {
		w.in(w.between(time.Second, 20*time.Second), "the kernel", fmt.Sprintf("sees that %s is larger, before EC2 says so", v.ID), func() { w.resize(v, to) })
	}
	v.early = w.oneIn(2)
	if w.oneIn(4) {
		w.in(w.between(20*time.Second, time.Minute), "EC2", fmt.Sprintf("the modification of %s fails", v.ID), func() {
			v.becomesModified(w, volume.Modification{State: volume.ModifyFailed, From: from, To: to, Message: "a fault"})
			w.resize(v, from)
		})
		return
	}
	w.in(w.between(20*time.Second, 3*time.Minute), "EC2", fmt.Sprintf("%s is optimizing", v.ID), func() {
		v.becomes(func(v *volume.Volume) { v.Size = to })
		v.becomesModified(w, volume.Modification{State: volume.Optimizing, From: from, To: to})
		w.resize(v, to)
		w.in(w.between(time.Second, 3*time.Minute), "EC2", fmt.Sprintf("the modification of %s is completed", v.ID), func() {
			if v.modified.State == volume.Optimizing {
				v.becomesModified(w, volume.Modification{State: volume.Completed, From: from, To: to})
			}
		})
	})
}

// becomesModified changes what EC2 knows of the last modification, and some seconds
// later what it tells.
func (v *ebs) becomesModified(w *World, m volume.Modification) {
	v.modified = &m
	w.in(w.between(1, w.cloud.lag), "", "", func() { v.told = v.modified })
}

func (e ec2) Modification(ctx context.Context, id name.VolumeID) (got volume.Modification, err error) {
	c := e.machine.world.cloud
	notFound := refusal(volume.DescribeVolumesModifications, 400, "InvalidVolumeModification.NotFound", "Modification for volume '%s' does not exist.", id)
	fails := trouble(volume.DescribeVolumesModifications)
	err = e.call(ctx, "asks", "EC2 for the modification of "+string(id), effect{fails: fails, bound: apiWithin, do: func() error {
		v := c.volume(id)
		if v == nil || v.told == nil {
			return notFound
		}
		got = *v.told
		return nil
	}})
	if v := c.volume(id); v != nil && errors.As(err, new(*diagnose.Error)) && strings.Contains(err.Error(), "UnauthorizedOperation") {
		v.unasked = true
	}
	return got, err
}

type growths struct{ *agent }

func growUnit(d host.Disk) string { return "bootagent-grow-" + d.Serial }

func (g growths) Size(ctx context.Context, d host.Disk, _, where string) (size int64, err error) {
	err = g.call(ctx, "asks", "for the size of the filesystem at "+where, effect{bound: 2 * time.Minute, do: func() error {
		mt := g.machine.mounts[where]
		if mt == nil || mt.dead || mt.dev != d.Dev {
			return errStorage
		}
		size = mt.vol.live.size
		return nil
	}})
	return size, err
}

// Grow has a unit grow a filesystem, which looks itself whether it is the one that is
// meant.
func (g growths) Grow(ctx context.Context, of host.Growth) error {
	m := g.machine
	w := m.world
	name := growUnit(of.Disk)
	return g.call(ctx, "grow", "the filesystem on "+of.Disk.Serial, effect{
		bound: 10 * time.Minute,
		do: func() error {
			about := fmt.Sprintf("the growth of %s to %d", of.Disk.Serial, of.Disk.Size)
			if c := m.commands[name]; c != nil && c.running && c.about == about {
				return nil
			}
			disk, err := g.same(of.Disk)
			if err != nil {
				return err
			}
			v := disk.vol
			mt := m.mounts[of.Where]
			if mt == nil || mt.dead || !mt.stopped.IsZero() || mt.stopping || mt.vol != v || !strings.Contains(v.live.ledger, of.UUID) {
				return errStorage
			}
			w.checkGrow(m, v)
			grow := func() {
				v.change(func(f *filesystem) { f.size = max(f.size, of.Disk.Size) })
				v.sync("")
			}
			c := &command{about: about, dev: disk.dev(), on: of.Where, cut: func() {
				if v.live != nil && w.oneIn(2) {
					v.change(func(f *filesystem) { f.size += (max(f.size, of.Disk.Size) - f.size) / 2 }) // as ext4 does
				}
			}}
			m.runCommand(name, c, w.between(10*time.Millisecond, 20*time.Second), func() error {
				if v.sizeOf() < of.Disk.Size || v.live == nil {
					return errStorage // the kernel reads the last block
				}
				grow()
				w.count(m.id, "grow")
				return nil
			})
			return nil
		},
		until:  m.ended(name),
		result: m.outcome(name),
	})
}

// checkGrow is asked before a filesystem is grown.
func (w *World) checkGrow(m *machine, v *ebs) {
	switch {
	case !w.role.Volumes[0].Grow && !v.ordered:
		w.breaks("the filesystem of %s is grown on %s, which nobody asked for", v.ID, m.id)
	case !w.cloud.fits(v):
		w.breaks("the filesystem of %s is grown on %s, which is not its volume", v.ID, m.id)
	case !strings.Contains(v.live.ledger, `"role":"mysql-ec2"`) || !strings.Contains(v.live.ledger, string(v.ID)):
		w.breaks("the filesystem of %s is grown on %s, and its ledger is not that of the role", v.ID, m.id)
	case v.kernel > v.Size:
		w.breaks("the filesystem of %s is grown on %s, and EC2 has yet to be sure of its size", v.ID, m.id)
	}
	for _, unit := range sortedKeys(m.commands) {
		if c := m.commands[unit]; c.running && (c.on == volumeAt || c.dev != 0 && m.mounts[volumeAt] != nil && c.dev == m.mounts[volumeAt].dev) && unit != "bootagent-grow-"+v.ID.Serial() {
			w.breaks("the filesystem of %s is grown on %s, while %s uses it", v.ID, m.id, unit)
		}
	}
}

// lookAtSizes breaks where a filesystem is larger than its volume.
func (w *World) lookAtSizes() {
	for _, v := range w.cloud.volumes {
		for _, f := range []*filesystem{v.live, v.log} {
			if f != nil && f.size > v.sizeOf() && !v.shrunk && !v.unasked {
				w.breaks("the filesystem of %s has %d bytes, and the volume %d", v.ID, f.size, v.sizeOf())
			}
		}
	}
}

// grown tells whether the volume of each machine that is up is as large as it can be,
// where the role lets it grow.
func (w *World) grown() bool {
	for _, m := range w.machines {
		mt := m.mounts[volumeAt]
		if !w.role.Volumes[0].Grow || m.gone || mt == nil {
			continue
		}
		if a := mt.vol.holder(); mt.dead && a != nil && a.Instance != m.id { // another machine has taken its disk
			continue
		}
		if v := mt.vol; !m.isUp() || v.modified != nil && v.modified.State == volume.Modifying || v.live.size != v.sizeOf() {
			return false
		}
	}
	return true
}

// mustGrow breaks where a volume that may grow does not.
func (w *World) mustGrow() {
	if !w.run(25*time.Minute, w.grown) && w.wrong == nil {
		w.breaks("the volume is larger than its filesystem, and the filesystem is not grown: %s", w.whyNot())
	}
}

// order is bootagent grow.
func (m *machine) order() {
	if a := m.agent; a != nil {
		if v := m.world.theVolume(); v != nil {
			v.ordered = true
		}
		a.person(func() error { _, err := a.life.Grow(context.Background(), "data", false); return err })
	}
}

// mayGrow lets the volume of a role grow.
func mayGrow(v *role.Volume) { v.Grow = true }

// growing are the scenarios of a volume that becomes larger.
var growing = []scenario{
	{
		name: "the kernel sees that the volume is larger before EC2 is sure, and then it fails, and then it does not",
		set:  func(w *World, _ *ebs) { w.edit(mayGrow) },
		then: []func(*World, *machine){
			func(w *World, _ *machine) { w.theVolume().isModified(w, volume.Modifying, 10<<30) },
			func(w *World, _ *machine) { w.theVolume().isModified(w, volume.ModifyFailed, 8<<30) },
			all(mustHave(8<<30), func(w *World, _ *machine) { w.theVolume().isModified(w, volume.Modifying, 10<<30) }),
			func(w *World, _ *machine) { w.theVolume().isModified(w, volume.Optimizing, 10<<30) },
			mustHave(10 << 30),
		},
	},
	{
		name: "the kernel and EC2 tell that the volume is larger, and EC2 tells late that it is being modified, which fails",
		set:  func(w *World, _ *ebs) { w.edit(mayGrow) },
		then: []func(*World, *machine){
			func(w *World, _ *machine) {
				v := w.theVolume()
				v.early = true
				v.isModified(w, volume.Modifying, 10<<30)
				v.told = nil
				w.in(w.cloud.lag, "EC2", "tells of the modification", func() { v.told = v.modified })
			},
			func(w *World, _ *machine) { w.theVolume().isModified(w, volume.ModifyFailed, 8<<30) },
			mustHave(8 << 30),
		},
	},
	{
		name: "nobody asks for a filesystem to be grown, and then a person does",
		then: []func(*World, *machine){
			func(w *World, _ *machine) { w.theVolume().isModified(w, volume.Completed, 10<<30) },
			all(mustHave(8<<30), func(w *World, m *machine) { m.order() }),
			mustHave(10 << 30),
		},
	},
	{
		name: "a growth fails for some minutes",
		set:  func(w *World, _ *ebs) { w.edit(mayGrow) },
		at: []moment{{step: "volume data: grow", op: "grow", do: func(w *World, _ *machine) {
			w.faults.last = []lasting{{op: "grow", after: time.Second, err: errStorage}}
			w.in(3*time.Minute, "the kernel", "grows filesystems again", func() { w.faults.last = nil })
		}}},
		then: []func(*World, *machine){
			func(w *World, _ *machine) { w.theVolume().isModified(w, volume.Optimizing, 10<<30) },
			func(w *World, _ *machine) { w.pass(4 * time.Minute) },
			mustHave(10 << 30),
		},
	},
	{
		name: "the agent dies while a filesystem grows",
		set:  func(w *World, _ *ebs) { w.edit(mayGrow) },
		then: []func(*World, *machine){
			func(w *World, m *machine) {
				w.theVolume().isModified(w, volume.Optimizing, 10<<30)
				w.run(time.Minute, func() bool { return m.commands["bootagent-grow-"+w.theVolume().ID.Serial()] != nil })
				m.crash("while a filesystem grows")
			},
			mustHave(10 << 30),
		},
	},
}

// making are the scenarios of a volume that is modified while its filesystem is made.
var making = []scenario{
	{
		name: "a new volume is made larger, which the kernel and EC2 tell at once, and then it fails",
		set: func(w *World, v *ebs) {
			v.early = true
			v.isModified(w, volume.Modifying, 10<<30)
		},
		then: []func(*World, *machine){
			func(w *World, _ *machine) { w.theVolume().isModified(w, volume.ModifyFailed, 8<<30) },
			mustHave(8 << 30),
		},
	},
	{
		name: "a new volume is made larger, and what is waited for is told",
		set: func(w *World, v *ebs) {
			v.early = true
			v.isModified(w, volume.Modifying, 10<<30)
		},
		then: []func(*World, *machine){
			all(mustSay("EC2 to have modified volume"), func(w *World, _ *machine) { w.theVolume().isModified(w, volume.Optimizing, 10<<30) }),
			mustHave(10 << 30),
		},
	},
	{
		name: "the kernel sees that a volume is larger once mkfs runs, and then the modification fails",
		at: []moment{{step: "volume data: prepare", op: "make", do: func(w *World, _ *machine) {
			w.in(time.Second/2, "the kernel", "sees that the volume is larger", func() { w.theVolume().isModified(w, volume.Modifying, 10<<30) })
		}}},
		then: []func(*World, *machine){
			func(w *World, _ *machine) { w.theVolume().isModified(w, volume.ModifyFailed, 8<<30) },
			mustHave(8 << 30),
		},
	},
	{
		name: "an instance makes a filesystem that may not ask EC2 for modifications",
		set: func(w *World, _ *ebs) {
			w.faults.last = []lasting{{op: "asks", about: "EC2 for the modification", err: refusal(volume.DescribeVolumesModifications, 403, "UnauthorizedOperation", "You are not authorized to perform this operation.")}}
		},
		then: []func(*World, *machine){all(mustHave(8<<30), mustWarn("does not allow ec2:DescribeVolumesModifications"))},
	},
}

// isModified has a modification of a volume be in a state, and the kernel see a size.
func (v *ebs) isModified(w *World, state string, kernel int64) {
	if state == volume.Optimizing || state == volume.Completed {
		v.becomes(func(v *volume.Volume) { v.Size = kernel })
	}
	v.modified = &volume.Modification{State: state, From: 8 << 30, To: 10 << 30}
	v.told = v.modified
	w.resize(v, kernel)
}

// mustHave breaks unless the filesystem of the volume has a size.
func mustHave(size int64) func(*World, *machine) {
	return func(w *World, m *machine) {
		if v := w.theVolume(); v.live == nil || v.live.size != size {
			w.breaks("the filesystem of %s is not grown as it should be: it is to have %d bytes: %+v", v.ID, size, v.live)
		}
	}
}

// mustSay breaks unless some step waits or has failed with these words.
func mustSay(words string) func(*World, *machine) {
	return func(w *World, m *machine) {
		if line := m.status().Line(); !strings.Contains(line, words) {
			w.breaks("it does not say %q, but %s", words, line)
		}
	}
}

// mustWarn breaks unless a warning has these words.
func mustWarn(words string) func(*World, *machine) {
	return func(w *World, m *machine) {
		if all := strings.Join(m.status().Warnings, "; "); !strings.Contains(all, words) {
			w.breaks("it does not warn of %q, but of %q", words, all)
		}
	}
}
