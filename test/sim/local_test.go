package sim

import (
	"slices"
	"time"

	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
)

// onDisk has the role find its volume by the filesystem on it: somebody else attaches
// the disk, and nothing of EC2 is known of it.
func onDisk(by find.Find) func(*World, *ebs) {
	return func(w *World, v *ebs) {
		w.withRows(v)
		v.label = "orders"
		w.edit(func(vol *role.Volume) { vol.Find, vol.Format = by, role.FormatNever })
		w.withoutFiles()
	}
}

// withoutFiles takes the files from the role: they have what EC2 knows of the volume.
func (w *World) withoutFiles() {
	w.role.Files = nil
	w.role.Services = slices.Clone(w.role.Services)
	for i := range w.role.Services {
		s := &w.role.Services[i]
		s.Needs = slices.DeleteFunc(slices.Clone(s.Needs), func(n role.Need) bool { return n.Kind == role.KindFile })
	}
}

var (
	byUUID  = find.Find{UUID: "22222222-2222-4222-8222-222222222222"}
	byLabel = find.Find{Label: "orders"}
)

// withCopy has a volume beside the role's with the same blocks.
func withCopy(set func(*World, *ebs)) func(*World, *ebs) {
	return func(w *World, v *ebs) {
		set(w, v)
		c := w.cloud.add()
		c.Tags = map[string]string{}
		c.ours(v.ID, v.place.uuid, 3)
		c.label = v.label
	}
}

// plugs attaches the volume with a number, and takes another from the machine.
func plugs(n, off int) func(*World, *machine) {
	return func(w *World, m *machine) {
		if off > 0 {
			w.cloud.detach(w.cloud.volumes[off-1])
		}
		if n > 0 {
			_ = w.cloud.attach(w.cloud.volumes[n-1].ID, m.id, "/dev/sd"+string(rune('e'+n)))
		}
	}
}

// local are the scenarios of a disk that is found by the filesystem on it.
var local = []scenario{
	{
		name: "a disk that is found by the UUID of its filesystem comes late",
		set:  onDisk(byUUID),
		then: []func(*World, *machine){all(mustSay("a disk with the xfs filesystem 22222222"), plugs(1, 0))},
	},
	{
		name: "two disks have the UUID, and then one is taken away",
		set:  withCopy(onDisk(byUUID)),
		then: []func(*World, *machine){
			all(plugs(2, 0), plugs(1, 0), after(2*time.Minute)),
			all(mustSay("2 disks have the xfs filesystem 22222222"), plugs(0, 2)),
			after(5 * time.Minute),
		},
	},
	{
		name: "the only disk with the label is a copy, and then the volume takes its place",
		set:  withCopy(onDisk(byLabel)),
		then: []func(*World, *machine){
			plugs(2, 0),
			all(mustSay("is a copy of volume"), plugs(1, 2)),
			after(5 * time.Minute),
		},
	},
	{
		name: "a copy is plugged in while the role is up, and the agent is started again",
		set:  withCopy(onDisk(byLabel)),
		then: []func(*World, *machine){
			plugs(1, 0),
			plugs(2, 0),
			func(_ *World, m *machine) { m.restart() },
		},
	},
	{
		name: "a disk that is found by its label is pulled, and comes back",
		set:  onDisk(byLabel),
		then: []func(*World, *machine){
			plugs(1, 0),
			func(w *World, m *machine) {
				w.cloud.detach(w.theVolume())
				w.in(time.Minute, "a person", "attaches it again", func() { _ = w.cloud.attach(w.theVolume().ID, m.id, "/dev/sdf") })
			},
			after(5 * time.Minute),
		},
	},
	{
		name: "the disks can't be looked at for some minutes",
		set: func(w *World, v *ebs) {
			onDisk(byLabel)(w, v)
			w.faults.last = []lasting{{op: "asks", about: "for the disks with", err: errStorage}}
			w.in(3*time.Minute, "the kernel", "reads disks again", func() { w.faults.last = nil })
		},
		then: []func(*World, *machine){plugs(1, 0), after(5 * time.Minute)},
	},
}
