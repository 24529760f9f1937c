// Package block says which disks the machine has: it finds the disk that has a
// serial number, reports when a disk is plugged in, and says what uses a disk.
// It never opens a disk for writing.
//
// It reads:
//
//   - /sys/class/nvme and /sys/block: controllers, their namespaces, sizes;
//     /sys/dev/block: partitions and holders
//   - /dev: the disk's node, read-only, and the links in /dev/disk/by-id
//   - /proc/self/mountinfo and /proc/swaps, and the descriptors of processes
//   - a netlink socket for the kernel's and udevd's uevents, which both send
//     into the host's network namespace only
//
// It changes nothing. Asking a controller for its identity needs CAP_SYS_ADMIN
// before Linux 6.2.
package block

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Bytes is a number of bytes.
type Bytes int64

// The units that Bytes prints in.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
	TiB Bytes = 1 << 40
)

// String returns b in the largest unit of which it has at least one: "1.0 GiB".
func (b Bytes) String() string {
	for _, u := range []struct {
		size Bytes
		name string
	}{{TiB, "TiB"}, {GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if b >= u.size {
			return fmt.Sprintf("%.1f %s", float64(b)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(b))
}

// Offset is a place on a disk, in bytes from the start of the disk.
type Offset int64

// String returns o as wipefs prints it: "0x218".
func (o Offset) String() string { return fmt.Sprintf("%#x", int64(o)) }

// System is the machine that has the disks, as three roots. Tests use directories.
type System struct {
	Sys  string // "/sys"
	Dev  string // "/dev"
	Proc string // "/proc"

	identify func(path string) (identity, error) // nil asks the device
}

// Host returns the machine that this program runs on.
func Host() System { return System{Sys: "/sys", Dev: "/dev", Proc: "/proc"} }

// A Disk is one disk that is plugged in: the only namespace of the NVMe
// controller that reported its serial number.
type Disk struct {
	Path   string // of its device node, until it is pulled: "/dev/nvme1n1"
	Link   string // udev's link to it, the same if it comes back with another number; "" until udev made it
	Name   string // the kernel's: "nvme1n1"
	Serial string // for an EBS volume: the volume ID without the dash
	Model  string
	Size   Bytes
	Major  uint32
	Minor  uint32
	Seq    uint64 // disk sequence number, which is new each time that a disk is plugged in; 0 before Linux 5.15
}

// Dev returns the device number: st_rdev of the device node, and st_dev of a
// filesystem that is mounted from the disk.
func (d Disk) Dev() uint64 { return unix.Mkdev(d.Major, d.Minor) }

// ErrAbsent says that the machine has no disk with the serial number. It may come
// later: WaitFor waits for it.
var ErrAbsent = errors.New("no such disk")

// ErrNoLink says that the disk is there, and udev has made no link to it.
var ErrNoLink = errors.New("no link by id")

// A DuplicateError says that several disks report the same serial number, so that
// it is unknown which of them is the right one.
type DuplicateError struct {
	Serial string
	Disks  []string // device nodes
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("serial %s is reported by several disks, %s: cannot tell which one is meant; unplug all but one",
		e.Serial, strings.Join(e.Disks, " and "))
}

// A NamespacesError says that a controller has several namespaces, which share
// the controller's serial number.
type NamespacesError struct {
	Serial     string
	Controller string
	Disks      []string // device nodes
}

func (e *NamespacesError) Error() string {
	return fmt.Sprintf("serial %s is that of controller %s with %d namespaces, %s: cannot tell which one is meant",
		e.Serial, e.Controller, len(e.Disks), strings.Join(e.Disks, " and "))
}
