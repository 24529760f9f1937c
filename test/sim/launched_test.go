package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
)

const launchedAs = "/dev/sdf"

// launches has the instance launched with a volume as a device name, and with another
// one, which is blank and as good as the first but for its name.
func launches(as string) func(*World, *ebs) {
	return func(w *World, v *ebs) {
		w.edit(func(vol *role.Volume) { vol.Find = find.Find{Attached: launchedAs} })
		blank := w.cloud.add()
		blank.Tags = map[string]string{}
		w.cloud.mapping = devices{"/dev/sde": blank.ID}
		if as != "" {
			w.cloud.mapping[as] = v.ID
		}
	}
}

// lookAtLaunched breaks where an instance uses a volume that EC2 has under another
// device name.
func (w *World) lookAtLaunched() {
	as := w.role.Volumes[0].Find.Attached
	if as == "" {
		return
	}
	for _, m := range w.machines {
		mt := m.mounts[volumeAt]
		if mt == nil || mt.dead || mt.byPerson || mt.dir != "" {
			continue
		}
		if a := mt.vol.holder(); a != nil && name.Slot(a.Device) != name.Slot(as) {
			w.breaks("%s mounts %s, which is not the volume that is attached as %s, but as %s", m.id, mt.vol.ID, as, a.Device)
		}
	}
}

// attaches has a person attach a volume by its number under a device name.
func attaches(n int, as string) func(*World, *machine) {
	return func(w *World, m *machine) { _ = w.cloud.attach(w.cloud.volumes[n-1].ID, m.id, as) }
}

// launching are the scenarios of a volume that the launch of the instance attaches.
var launching = []scenario{
	{
		name: "the volume of the role is attached by the launch of the instance",
		set:  launches(launchedAs),
	},
	{
		name: "the instance has no volume under the device name, and then a person attaches one under the other name of the slot",
		set:  launches(""),
		then: []func(*World, *machine){
			all(mustSay("a volume of this instance as /dev/sdf (it has /dev/sde vol-00000000000000002, /dev/xvda vol-root-of-i-00000000000000001)"), attaches(1, "/dev/xvdf")),
			after(2 * time.Minute),
		},
	},
	{
		name: "the attach of the launch hangs, and a person attaches the volume again",
		set: func(w *World, v *ebs) {
			launches(launchedAs)(w, v)
			v.stuck = true
		},
		then: []func(*World, *machine){
			after(3 * time.Minute),
			all(mustSay("to be attached as /dev/sdf (attaching since"), func(w *World, m *machine) {
				w.cloud.detach(w.cloud.volumes[0])
				attaches(1, launchedAs)(w, m)
			}),
			after(15 * time.Minute),
		},
	},
	{
		name: "another volume gets the device name while the role is up, the instance starts again, and then has its own back",
		set: func(w *World, v *ebs) {
			launches(launchedAs)(w, v)
			c := w.cloud.add()
			c.Tags = map[string]string{}
			c.ours(v.ID, "33333333-3333-4333-8333-333333333333", 3)
		},
		then: []func(*World, *machine){
			func(w *World, m *machine) {
				m.shutDown(func() {
					w.cloud.detach(w.cloud.volumes[0])
					attaches(3, launchedAs)(w, m)
					m.boot()
				})
			},
			after(2 * time.Minute),
			all(mustSay("is a copy of volume"), func(w *World, m *machine) {
				w.cloud.detach(w.cloud.volumes[2])
				attaches(1, launchedAs)(w, m)
			}),
			after(15 * time.Minute),
			retried,
			after(2 * time.Minute),
		},
	},
	{
		name: "EC2 does not answer for some minutes while the instance starts",
		set: func(w *World, v *ebs) {
			launches(launchedAs)(w, v)
			away(w, "asks", "EC2 for instance")
			w.in(5*time.Minute, "EC2", "answers again", func() { w.faults.last = nil })
		},
		then: []func(*World, *machine){after(5 * time.Minute)},
	},
	{
		name: "the role is up without EC2 after a reboot",
		set:  launches(launchedAs),
		then: []func(*World, *machine){func(w *World, m *machine) { apisAway(w); m.shutDown(m.boot) }},
	},
}

// ofLaunches are mistakes about such volumes.
var ofLaunches = []mutant{
	{name: "the name of the slot is trusted without asking EC2", breaks: "which is not", change: func(s *seams) {
		findVolume := s.findVolume
		s.findVolume = func(ctx context.Context, of host.Find) (name.VolumeID, error) {
			if of.Device == "" {
				return findVolume(ctx, of)
			}
			disks := sortedKeys(s.agent.machine.plugged)
			if len(disks) == 0 {
				return "", errors.New("there is no disk")
			}
			id, _ := name.VolumeOfSerial(disks[len(disks)-1]) // the last one that Linux has
			return id, nil
		}
		s.held = func(context.Context, name.VolumeID, string) error { return nil }
	}},
	{name: "a volume under another device name is as good", breaks: "which is not", change: func(s *seams) {
		findVolume := s.findVolume
		s.findVolume = func(ctx context.Context, of host.Find) (name.VolumeID, error) {
			if of.Device != "" {
				of.Device = "/dev/sde"
			}
			return findVolume(ctx, of)
		}
		s.held = func(context.Context, name.VolumeID, string) error { return nil }
	}},
	{name: "what the launch has not attached, the agent attaches", breaks: "although the launch of the instance attaches its volume", change: func(s *seams) {
		s.held = func(ctx context.Context, id name.VolumeID, device string) error {
			return ec2{s.agent}.Attach(ctx, id, s.agent.machine.id, device)
		}
	}},
	{name: "the two names of a slot are two", change: func(s *seams) {
		findVolume := s.findVolume
		s.findVolume = func(ctx context.Context, of host.Find) (name.VolumeID, error) {
			id, err := findVolume(ctx, of)
			if of.Device != "" && s.agent.machine.world.cloud.instances[s.agent.machine.id].devices[of.Device] == "" {
				return "", fmt.Errorf("no volume has the name %s", of.Device)
			}
			return id, err
		}
	}},
	{name: "that another volume has the device name by now is not seen", breaks: "the role is not up in the end", change: func(s *seams) {
		s.held = func(context.Context, name.VolumeID, string) error { return nil }
	}},
}
