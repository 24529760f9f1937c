package files

import (
	"context"
	"fmt"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
)

// A Volume is an EBS volume of which a value is put in.
type Volume interface {
	// ID is the ID of the volume.
	ID() string

	// Await asks EC2 something about the volume until the error is no
	// *fault.Pending.
	Await(ctx context.Context, ask func(context.Context) error) error
}

// useTagAfter is how long EC2 may take to tell a tag that was read before.
const useTagAfter = 4 * time.Second

// tag asks EC2 for a tag of a volume. One that is not there is waited for. A plain
// reboot needs no API: if EC2 does not answer, the value is the one that was read
// last, and the warning says so.
func (f *File) tag(ctx context.Context, v Volume, key string) (value, warning string, err error) {
	id := name.VolumeID(v.ID())
	recorded, there, err := f.Host.Records.RecordedTag(id, key)
	if err != nil {
		return "", "", err
	}
	ask := func(ctx context.Context) error {
		tags, err := f.Host.Volumes.Tags(ctx, id)
		if err != nil {
			return err
		}
		value, err = tagOf(tags, id, key)
		return err
	}
	if there {
		once, cancel := context.WithTimeoutCause(ctx, useTagAfter, fmt.Errorf("EC2 did not answer within %s", useTagAfter))
		tags, err := f.Host.Volumes.Tags(once, id)
		cancel()
		if err != nil && ctx.Err() == nil {
			return recorded, fmt.Sprintf("uses the tag %s of %s as it was read before: %v", key, id, err), nil
		}
		if value, err = tagOf(tags, id, key); err == nil && value == recorded {
			return value, "", nil
		}
	}
	if err := v.Await(ctx, ask); err != nil {
		return "", "", err
	}
	return value, "", f.Host.Records.RecordTag(id, key, value)
}

func tagOf(tags map[string]string, id name.VolumeID, key string) (string, error) {
	value, there := tags[key]
	if !there {
		return "", &fault.Pending{
			For:  fmt.Sprintf("the tag %s on volume %s", key, id),
			Hint: fmt.Sprintf("give volume %s the tag %s; the agent goes on as soon as it is there", id, key),
		}
	}
	return value, nil
}
