package ebs

import (
	"context"
	"fmt"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
)

// Resized returns nil once EC2 says of a volume that it has a size, in bytes, for
// good: its last modification is optimizing or completed, or it was never modified.
// Before, the modification can fail, and the volume stays as it was. The error is a
// *fault.Pending while EC2 does not say so.
// https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-modifications.html
func (v *Volumes) Resized(ctx context.Context, id name.VolumeID, size int64) error {
	m, err := v.api.Modification(ctx, id)
	switch {
	case codeOf(err) == "InvalidVolumeModification.NotFound": // never, or not in the last 30 days
	case err != nil:
		return v.answer(err)
	case m.State == Modifying:
		return &fault.Pending{For: fmt.Sprintf("EC2 to have modified volume %s from %d to %d GiB (%s, %d %%)", id, m.From>>30, m.To>>30, m.State, m.Progress)}
	case (m.State == Optimizing || m.State == Completed) && m.To >= size:
		return nil
	case m.State == ModifyFailed && m.From < size:
		return &fault.Pending{
			For:  fmt.Sprintf("another modification of volume %s than the one to %d GiB, which has failed (%s)", id, m.To>>30, m.Message),
			Hint: "ask for it again: " + v.person("ec2 modify-volume", "--volume-id", string(id), "--size", fmt.Sprint(m.To>>30)),
		}
	}
	// EC2 may not know yet of the modification that the kernel has seen.
	vol, err := v.describe(ctx, id)
	if err != nil {
		return err
	}
	if vol.Size < size {
		return &fault.Pending{For: fmt.Sprintf("EC2 to say of volume %s that it has %d bytes (it says %d)", id, size, vol.Size)}
	}
	return nil
}
