package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// A Disk is a file that a guest sees as an NVMe disk. The serial number identifies it, as on EC2, where
// the serial number is the ID of the volume without the dash. Unlike on EC2, there is no vendor area,
// and the model is QEMU's. One machine at a time can have the disk, because QEMU locks the file.
type Disk struct {
	Path   string // of the file, which has the format "raw"
	Serial string // at most 20 characters

	// BadSectors are sectors of 512 bytes that the guest can't read: each read that touches one fails
	// with an I/O error. Writes succeed and do not repair them. A change applies from the next Plug on.
	BadSectors []int64

	// Cache is where data stays that the guest has not flushed. A change applies from the next Plug or
	// Start on. A disk that is not in the HostCache has no BadSectors.
	Cache WriteCache
}

// NewDisk makes a sparse file of size bytes, all zero. It fails if the file exists.
func NewDisk(path, serial string, size int64) (*Disk, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return nil, err
	}
	return &Disk{Path: path, Serial: serial}, nil
}

// Slots is how many disks a machine can have. Each slot is a PCIe port, which makes the boot of the
// kernel some milliseconds longer.
const Slots = 6

func portName(slot int) string   { return fmt.Sprintf("port%d", slot) }
func deviceName(slot int) string { return fmt.Sprintf("disk%d", slot) }
func nodeName(slot int) string   { return fmt.Sprintf("image%d", slot) }

// blockdev returns the arguments of QMP's blockdev-add, for a disk that s serves. Without s, QEMU does
// not flush the file: the host outlives the machine, so data that a killed QEMU has written is not lost.
func (d *Disk) blockdev(slot int, s *server) map[string]any {
	if s != nil {
		return map[string]any{
			"driver": "raw", "node-name": nodeName(slot),
			"file": map[string]any{"driver": "nbd", "server": map[string]any{"type": "unix", "path": s.socket()}},
		}
	}
	file := map[string]any{"driver": "file", "filename": d.Path}
	if len(d.BadSectors) > 0 {
		var inject []map[string]any
		for _, sector := range d.BadSectors {
			inject = append(inject, map[string]any{
				"event": "none", "iotype": "read", "errno": 5, "sector": sector, "immediately": true,
			})
		}
		file = map[string]any{"driver": "blkdebug", "image": file, "inject-error": inject}
	}
	return map[string]any{
		"driver": "raw", "node-name": nodeName(slot), "file": file,
		"cache": map[string]any{"no-flush": true},
	}
}

// device returns the arguments of QMP's device_add.
func (d *Disk) device(slot int) map[string]any {
	return map[string]any{
		"driver": "nvme", "id": deviceName(slot), "drive": nodeName(slot),
		"serial": d.Serial, "bus": portName(slot),
	}
}

// Plug plugs a disk into an empty slot. The guest sees it in less than a second.
func (p *Process) Plug(ctx context.Context, slot int, d *Disk) error {
	s, err := d.serve()
	if err != nil {
		return err
	}
	p.keep(slot, s)
	if err := p.Monitor.Do(ctx, "blockdev-add", d.blockdev(slot, s), nil); err != nil {
		p.keep(slot, nil)
		return err
	}
	if err := p.Monitor.Do(ctx, "device_add", d.device(slot), nil); err != nil {
		return errors.Join(err, p.closeFile(ctx, slot))
	}
	return nil
}

// Unplug unplugs the disk in a slot, and returns when the guest has released it and QEMU has closed
// its file. It fails if the guest does not release the disk before ctx ends.
func (p *Process) Unplug(ctx context.Context, slot int) error {
	released := p.Monitor.watch(func(msg message) bool {
		var data struct {
			Device string `json:"device"`
		}
		return msg.Event == "DEVICE_DELETED" && json.Unmarshal(msg.Data, &data) == nil && data.Device == deviceName(slot)
	})
	if err := p.Monitor.Do(ctx, "device_del", map[string]any{"id": deviceName(slot)}, nil); err != nil {
		return err
	}
	if err := p.Monitor.wait(ctx, released); err != nil {
		return fmt.Errorf("the guest has not released it: %w", err)
	}
	return p.closeFile(ctx, slot)
}

func (p *Process) closeFile(ctx context.Context, slot int) error {
	err := p.Monitor.Do(ctx, "blockdev-del", map[string]any{"node-name": nodeName(slot)}, nil)
	p.keep(slot, nil)
	return err
}
