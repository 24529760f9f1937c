// Package plugged tells which of the disks that are plugged in is meant, where neither
// its serial number nor EC2 says so. It asks the interfaces of package host.
package plugged

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/syntax"
)

// Sought returns the one disk that is meant by a volume whose serial number the role does
// not know, and what people should know of it, or "". The error is a *fault.Pending while
// it is not there.
func Sought(ctx context.Context, h host.Host, v role.Volume) (disk host.Disk, warning string, err error) {
	if v.Find.Store == "" {
		disk, err = marked(ctx, h, v)
		return disk, "", err
	}
	disk, err = stored(ctx, h, v)
	return disk, fmt.Sprintf("disk %s is instance store: what is on it is lost when this instance stops or is terminated", disk.Serial), err
}

// marked returns the one disk with the filesystem that a volume is found by.
// Several disks are refused: a copy has the UUID
// and the label of its original. The one that is mounted where the volume belongs is in
// use already, and its ledger is read as always.
func marked(ctx context.Context, h host.Host, v role.Volume) (host.Disk, error) {
	mark := host.Mark{Filesystem: string(v.Filesystem), UUID: v.Find.UUID, Label: v.Find.Label}
	all, err := h.Disks.Marked(ctx, mark)
	if err != nil {
		return host.Disk{}, err
	}
	if all, err = mounted(h, v, all); err != nil {
		return host.Disk{}, err
	}
	switch {
	case len(all) == 0:
		return host.Disk{}, &fault.Pending{For: "a disk with " + mark.String(), Hint: "attach it; the agent goes on as soon as it is there"}
	case len(all) > 1:
		return host.Disk{}, fault.WithHint(fmt.Errorf("%d disks have %s, and one is meant: %s", len(all), mark, serials(all)),
			"a copy has what its original has: detach those that are not meant, or name the serial number of the one below volumes in the user-data")
	}
	return all[0], nil
}

// stored returns the one disk of the instance store. Of several disks none is taken, but
// the one that is in use already: nobody says which one is meant.
func stored(ctx context.Context, h host.Host, v role.Volume) (host.Disk, error) {
	all, err := h.Disks.Marked(ctx, host.Mark{Model: host.InstanceStore})
	if err != nil {
		return host.Disk{}, err
	}
	if all, err = mounted(h, v, all); err != nil {
		return host.Disk{}, err
	}
	switch {
	case len(all) == 0:
		return host.Disk{}, &fault.Pending{
			For:  "a disk of the model " + host.InstanceStore,
			Hint: "launch the role on an instance type that has NVMe instance store, such as one with a d in its family: m7gd",
		}
	case len(all) > 1:
		return host.Disk{}, fault.WithHint(fmt.Errorf("this instance has %d disks of instance store, and one is meant: %s", len(all), serials(all)),
			"launch the role on an instance type that has one disk of instance store")
	}
	if err := syntax.CheckSerial(all[0].Serial); err != nil {
		return host.Disk{}, fmt.Errorf("the serial number of the instance store, %q, is not one that bootagent can use: %w", all[0].Serial, err)
	}
	return all[0], IsStore(all[0])
}

// IsStore refuses a disk that is not instance store, as its controller says: no
// filesystem is made on any other in its place.
func IsStore(disk host.Disk) error {
	if disk.Model != host.InstanceStore {
		return fault.Refuse("", "disk %s is no instance store: it reports the model %q, and nothing is made on it", disk.Serial, disk.Model)
	}
	return nil
}

// mounted returns of several disks the one that is mounted where a volume belongs, or all
// of them if it is none.
func mounted(h host.Host, v role.Volume, all []host.Disk) ([]host.Disk, error) {
	dev, mounted, err := h.Mounts.At(v.Mount)
	if at := slices.IndexFunc(all, func(disk host.Disk) bool { return mounted && disk.Dev == dev }); at >= 0 {
		all = all[at : at+1]
	}
	return all, err
}

// serials are the serial numbers of disks.
func serials(all []host.Disk) string {
	var names []string
	for _, disk := range all {
		names = append(names, disk.Serial)
	}
	return strings.Join(names, ", ")
}
