// Package size says whether the size of a disk is for good. It asks the interfaces of
// package host.
package size

import (
	"context"
	"fmt"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/role/find"
)

// Sure asks EC2 whether the size that the kernel sees of a disk is for good. Until a
// modification is in the state optimizing, it can still fail, and a filesystem that was
// made or grown by then would be larger than its volume. The error is a *fault.Pending
// while EC2 does not say so, and a *host.Denied if the instance may not ask. Of a disk
// that the role does not find by EC2, nobody but the kernel knows the size.
// https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-modifications.html
func Sure(ctx context.Context, volumes host.Volumes, by find.Find, disk host.Disk) error {
	if by.Plugged() {
		return nil
	}
	id, ok := name.VolumeOfSerial(disk.Serial)
	if !ok {
		return fmt.Errorf("the serial number of disk %s is not that of an EBS volume", disk.Serial)
	}
	return volumes.Resized(ctx, id, disk.Size)
}
