package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// A Disk is a file that a machine sees as an NVMe disk. Identity is the serial number, as on EC2,
// where it is the volume's id without the dash; there is no vendor area, and the model is QEMU's.
// One machine at a time may have it: QEMU locks the file.
type Disk struct {
	Path   string // raw
	Serial string // at most 20 characters

	// BadSectors, of 512 bytes, can't be read: the guest sees an I/O error for each read that touches
	// one. They can be written to, and stay bad. In force from the next Plug.
	BadSectors []int64
}

// NewDisk makes a sparse file of zeros; size is in bytes. The file must not be there.
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

// ports is how many disks a machine takes, its own among them. Each is a PCIe port, which costs the
// kernel's boot some milliseconds.
const ports = 6

func portName(port int) string   { return fmt.Sprintf("port%d", port) }
func deviceName(port int) string { return fmt.Sprintf("disk%d", port) }
func nodeName(port int) string   { return fmt.Sprintf("image%d", port) }

// blockdev describes the file, in the words of QMP's blockdev-add. Flushes are not passed on: the
// host outlives the machine, and what a killed QEMU has written is written.
func (d *Disk) blockdev(port int) map[string]any {
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
		"driver": "raw", "node-name": nodeName(port), "file": file,
		"cache": map[string]any{"no-flush": true},
	}
}

// device describes the disk that the guest sees, in the words of device_add.
func (d *Disk) device(port int) map[string]any {
	return map[string]any{
		"driver": "nvme", "id": deviceName(port), "drive": nodeName(port),
		"serial": d.Serial, "bus": portName(port),
	}
}

// Plug gives the machine a disk. A running guest sees it in less than a second; one that is off, at
// its next boot.
func (m *Machine) Plug(ctx context.Context, d *Disk) error {
	m.plugging.Lock()
	defer m.plugging.Unlock()
	free := 0
	for port, plugged := range m.disks {
		switch {
		case plugged == d:
			return fmt.Errorf("cannot plug %s: it is plugged already", d.Serial)
		case plugged == nil && free == 0:
			free = port
		}
	}
	if free == 0 {
		return fmt.Errorf("cannot plug %s: all %d ports of the machine are taken", d.Serial, ports)
	}

	if q := m.running(); q != nil {
		if err := q.monitor.do(ctx, "blockdev-add", d.blockdev(free), nil); err != nil {
			return fmt.Errorf("cannot plug %s: %w", d.Serial, err)
		}
		if err := q.monitor.do(ctx, "device_add", d.device(free), nil); err != nil {
			return errors.Join(fmt.Errorf("cannot plug %s: %w", d.Serial, err), q.dropNode(ctx, free))
		}
	}
	m.disks[free] = d
	m.log.Info("plugged", "serial", d.Serial)
	return nil
}

// Unplug pulls a disk, mounted or not, and returns when the guest has let go of it: the file can
// then be plugged into another machine. A guest that hangs keeps it until ctx ends.
func (m *Machine) Unplug(ctx context.Context, d *Disk) error {
	m.plugging.Lock()
	defer m.plugging.Unlock()
	port := 0
	for p, plugged := range m.disks {
		if plugged == d {
			port = p
		}
	}
	if port == 0 {
		return fmt.Errorf("cannot unplug %s: it is not plugged", d.Serial)
	}

	if q := m.running(); q != nil {
		gone := q.monitor.watch(func(msg message) bool {
			var data struct {
				Device string `json:"device"`
			}
			return msg.Event == "DEVICE_DELETED" && json.Unmarshal(msg.Data, &data) == nil && data.Device == deviceName(port)
		})
		if err := q.monitor.do(ctx, "device_del", map[string]any{"id": deviceName(port)}, nil); err != nil {
			return fmt.Errorf("cannot unplug %s: %w", d.Serial, err)
		}
		if err := q.monitor.wait(ctx, gone); err != nil {
			return fmt.Errorf("cannot unplug %s: the guest has not let go of it: %w", d.Serial, err)
		}
		if err := q.dropNode(ctx, port); err != nil {
			return fmt.Errorf("cannot unplug %s: %w", d.Serial, err)
		}
	}
	m.disks[port] = nil
	m.log.Info("unplugged", "serial", d.Serial)
	return nil
}

func (q *qemu) dropNode(ctx context.Context, port int) error {
	return q.monitor.do(ctx, "blockdev-del", map[string]any{"node-name": nodeName(port)}, nil)
}
