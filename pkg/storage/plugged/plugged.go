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
)

// Marked returns the one disk with the filesystem that a volume is found by. The error
// is a *fault.Pending while there is none. Several disks are refused: a copy has the UUID
// and the label of its original. The one that is mounted where the volume belongs is in
// use already, and its ledger is read as always.
func Marked(ctx context.Context, h host.Host, v role.Volume) (host.Disk, error) {
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
