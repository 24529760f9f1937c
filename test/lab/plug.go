package lab

import (
	"context"
	"fmt"
	"slices"

	"bootagent/test/lab/qemu"
)

// Plug plugs a disk into the machine. If the machine is on, the guest sees the disk in less than a
// second; otherwise at the next boot.
func (m *Machine) Plug(ctx context.Context, d *qemu.Disk) error {
	m.plugging.Lock()
	defer m.plugging.Unlock()
	if slices.Contains(m.disks[:], d) {
		return fmt.Errorf("cannot plug %s: it is plugged already", d.Serial)
	}
	free := slices.Index(m.disks[:], nil)
	if free < 0 {
		return fmt.Errorf("cannot plug %s: all %d slots of the machine are in use", d.Serial, qemu.Slots)
	}
	if p := m.running(); p != nil {
		if err := p.Plug(ctx, free, d); err != nil {
			return fmt.Errorf("cannot plug %s: %w", d.Serial, err)
		}
	}
	m.disks[free] = d
	m.log.Info("plugged", "serial", d.Serial)
	return nil
}

// Unplug unplugs a disk, mounted or not, and returns when the guest has released it. Another machine
// can then have the disk. If the guest hangs, it keeps the disk, and Unplug fails when ctx ends.
func (m *Machine) Unplug(ctx context.Context, d *qemu.Disk) error {
	m.plugging.Lock()
	defer m.plugging.Unlock()
	slot := slices.Index(m.disks[:], d)
	if slot < 1 { // slot 0 has the root disk
		return fmt.Errorf("cannot unplug %s: it is not plugged", d.Serial)
	}
	if p := m.running(); p != nil {
		if err := p.Unplug(ctx, slot); err != nil {
			return fmt.Errorf("cannot unplug %s: %w", d.Serial, err)
		}
	}
	m.disks[slot] = nil
	m.log.Info("unplugged", "serial", d.Serial)
	return nil
}
