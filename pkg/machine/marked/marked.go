// Package marked finds the disks whose filesystem has a UUID or a label, or that are of a
// model. It opens disks read-only.
package marked

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"bootagent/pkg/block"
	"bootagent/pkg/filesystem/superblock"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/diskinfo"
)

// Find returns the disks, of those with these serial numbers, that have a mark. A disk
// whose serial number does not tell it from others is left out: bootagent can use none of
// them. A disk that can't be read is an error: it may be one of them.
func Find(ctx context.Context, serials []string, find func(context.Context, string) (block.Disk, error), mark host.Mark) (all []host.Disk, err error) {
	for _, serial := range serials {
		disk, err := find(ctx, serial)
		switch {
		case errors.Is(err, block.ErrAbsent), errors.As(err, new(*block.DuplicateError)), errors.As(err, new(*block.NamespacesError)):
			continue
		case err != nil:
			return nil, err
		}
		has, err := disk.Model == mark.Model, error(nil) // as the disk itself says
		if mark.Model == "" {
			has, err = holds(disk.Path, mark)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot tell whether disk %s has %s: %w", serial, mark, err)
		}
		if has {
			all = append(all, diskinfo.Of(disk))
		}
	}
	return all, nil
}

// holds reports whether the filesystem on a disk has a mark. One that was pulled has none.
func holds(path string, mark host.Mark) (bool, error) {
	disk, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer disk.Close()
	uuid, label, err := superblock.Names(mark.Filesystem, disk)
	if errors.Is(err, superblock.ErrNone) {
		return false, nil
	}
	return err == nil && (mark.UUID == "" || mark.UUID == uuid) && (mark.Label == "" || mark.Label == label), err
}
