package sim

import (
	"context"
	"fmt"

	"bootagent/pkg/block"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/diskinfo"
)

// A disk is one that is plugged in.
type disk struct {
	vol   *ebs
	minor uint32
	seq   uint64
	read  bool // by the agent, since it was last mounted
}

// block is the disk as the kernel shows it.
func (d *disk) block() block.Disk {
	serial, name := d.vol.ID.Serial(), fmt.Sprintf("nvme%dn1", d.seq)
	return block.Disk{
		Path: "/dev/" + name, Link: "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + serial, Name: name, Serial: serial, Model: d.vol.model(),
		Size: block.Bytes(d.vol.sizeOf()), Major: 259, Minor: d.minor, Seq: d.seq,
	}
}

func (d *disk) dev() uint64 { return d.block().Dev() }

// same finds a disk again.
func (a *agent) same(want host.Disk) (*disk, error) {
	d := a.machine.plugged[want.Serial]
	if d == nil {
		return nil, block.ErrAbsent
	}
	return d, diskinfo.Same(want, d.block())
}

// plug has a disk appear.
func (m *machine) plug(v *ebs) {
	if !m.up {
		return // it is found at the next boot
	}
	m.seq++
	v.minor += 16
	m.plugged[v.ID.Serial()] = &disk{vol: v, minor: v.minor, seq: m.seq}
	m.diskEvent(m.plugged[v.ID.Serial()].event())
}

// unplug has a disk go, with all that stands on it.
func (m *machine) unplug(v *ebs) {
	d := m.plugged[v.ID.Serial()]
	if d == nil {
		return
	}
	delete(m.plugged, v.ID.Serial())
	for _, where := range sortedKeys(m.mounts) {
		if mt := m.mounts[where]; mt.vol == v && !mt.dead {
			mt.dead, mt.stopping, mt.pinned = true, true, m.pins && where == volumeAt
		}
	}
	for _, name := range sortedKeys(m.commands) {
		if c := m.commands[name]; c.running && c.dev == d.dev() {
			m.cutCommand(name)
		}
	}
	v.cut(m.world)
	m.diskEvent(d.event())
}

// diskEvent tells the agent that something happened to a disk, as udev does.
func (m *machine) diskEvent(e host.DiskEvent) {
	if a := m.agent; a != nil && a.boot() != nil && !m.world.mutant.deaf(a, diskEvent) {
		a.person(func() error { a.boot().DiskChanged(context.Background(), e); return nil })
	}
}

// event is one of a disk, by which nothing that is known of it has changed.
func (d *disk) event() host.DiskEvent {
	b := d.block()
	return host.DiskEvent{Name: b.Name, Serial: b.Serial}
}
