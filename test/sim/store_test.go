package sim

import (
	"context"
	"fmt"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
)

const ebsModel = "Amazon Elastic Block Store"

func (v *ebs) model() string {
	if v.store {
		return host.InstanceStore
	}
	return ebsModel
}

type intents struct{ *agent }

func (i intents) Intent(ctx context.Context, serial string) (intent host.Intent, err error) {
	err = i.call(ctx, "asks", "what is made on "+serial, effect{do: func() error {
		intent = i.machine.intents[serial]
		return nil
	}})
	return intent, err
}

func (i intents) Intend(ctx context.Context, serial string, intent host.Intent) error {
	return i.call(ctx, "record", fmt.Sprintf("of %s: %+v", serial, intent), effect{do: func() error {
		i.machine.intents[serial] = intent
		return nil
	}})
}

// onStore has the role's volume on instance store, beside a blank EBS volume.
func onStore(w *World, v *ebs) {
	w.edit(func(vol *role.Volume) { vol.Find, vol.Format = find.Find{Store: find.OneStore}, role.FormatIfBlank })
	w.withoutFiles()
	v.ID, v.store = "AWS22F6E3B7A0E6F6B1", true
	blank := w.cloud.add()
	blank.Tags = map[string]string{}
	w.cloud.mapping = devices{"/dev/sde": blank.ID}
}

// stopsAndStarts stops the instance and starts it again, after which its instance store is
// blank and has a serial number.
func stopsAndStarts(serial name.VolumeID) func(*World, *machine) {
	return func(w *World, m *machine) {
		m.shutDown(func() {
			v := w.theVolume()
			delete(w.acked, v.ID)
			v.ID, v.blocks = serial, blocks{made: v.made}
			m.boot()
		})
	}
}

// madeTimes breaks unless so many filesystems were made on the volume of the role.
func madeTimes(n int) func(*World, *machine) {
	return func(w *World, _ *machine) {
		if v := w.theVolume(); v.made != n {
			w.breaks("on %s, %d filesystems were made, and not %d", v.ID, v.made, n)
		}
	}
}

func reboots(_ *World, m *machine) { m.shutDown(m.boot) }

// storing are the scenarios of instance store.
var storing = []scenario{
	{
		name: "instance store is made at the launch, and found after a reboot",
		set:  onStore,
		then: []func(*World, *machine){
			all(madeTimes(1), mustWarn("is instance store: what is on it is lost when this instance stops"), reboots),
			madeTimes(1),
		},
	},
	{
		name: "the instance stops and starts on other hardware, and its instance store is made again",
		set:  onStore,
		then: []func(*World, *machine){stopsAndStarts("AWS33333333333333333"), after(time.Minute), all(madeTimes(2), reboots), madeTimes(2)},
	},
	{
		name: "the instance stops and starts on the same hardware, and its instance store is made again",
		set:  onStore,
		then: []func(*World, *machine){stopsAndStarts("AWS22F6E3B7A0E6F6B1"), after(time.Minute), all(madeTimes(2), reboots), madeTimes(2)},
	},
	{
		name: "the agent dies before the ledger of instance store is written",
		set:  onStore,
		at: []moment{{step: "volume data: prepare", op: "introduce", do: func(_ *World, m *machine) {
			m.crash("before it has written the ledger")
		}}},
		then: []func(*World, *machine){after(time.Minute), madeTimes(1)},
	},
	{
		name: "instance store holds what nobody knows, and a person takes it away",
		set: func(w *World, v *ebs) {
			onStore(w, v)
			v.lvm = true
		},
		then: []func(*World, *machine){
			func(w *World, m *machine) {
				mustSay("LVM2")(w, m)
				madeTimes(0)(w, m)
				w.theVolume().lvm = false
				m.retry()
			},
			after(time.Minute),
			madeTimes(1),
		},
	},
	{
		name: "there are two disks of instance store, and then one",
		set: func(w *World, v *ebs) {
			onStore(w, v)
			two := w.cloud.add()
			two.ID, two.store, two.Tags = "AWS33333333333333333", true, map[string]string{}
		},
		then: []func(*World, *machine){
			func(w *World, m *machine) {
				mustSay("this instance has 2 disks of instance store, and one is meant")(w, m)
				two := w.cloud.volumes[2]
				two.store = false
				m.unplug(two)
			},
			after(2 * time.Minute),
		},
	},
}

// ofStores are mistakes about instance store.
var ofStores = []mutant{
	{name: "any disk is as good as instance store", breaks: "which is no instance store", change: ofStore(func(s *seams) {
		asStore := func(d host.Disk) host.Disk { d.Model = host.InstanceStore; return d }
		asEBS := func(d host.Disk) host.Disk { d.Model = ebsModel; return d }
		find, read, format := s.findDisk, s.readDisk, s.format
		s.marked = func(ctx context.Context, _ host.Mark) (all []host.Disk, err error) {
			for _, serial := range sortedKeys(s.agent.machine.plugged) {
				d, there, err := find(ctx, serial)
				if there && err == nil && d.Model == ebsModel {
					return []host.Disk{asStore(d)}, nil
				}
			}
			return nil, err
		}
		s.findDisk = func(ctx context.Context, serial string) (host.Disk, bool, error) {
			d, there, err := find(ctx, serial)
			return asStore(d), there, err
		}
		s.readDisk = func(ctx context.Context, d host.Disk, as host.Reading) (host.Content, error) {
			return read(ctx, asEBS(d), as)
		}
		s.format = func(ctx context.Context, d host.Disk, filesystem, uuid string) error {
			return format(ctx, asEBS(d), filesystem, uuid)
		}
	})},
	{name: "of several disks of instance store the first is taken", breaks: "it does not say", change: ofStore(marks(func(all []host.Disk, err error) ([]host.Disk, error) {
		return all[:min(len(all), 1)], err
	}))},
}

// ofStore is a mistake of agents whose role has its volume on instance store.
func ofStore(change func(*seams)) func(*seams) {
	return func(s *seams) {
		if s.agent.machine.world.role.Volumes[0].Find.Store != "" {
			change(s)
		}
	}
}
