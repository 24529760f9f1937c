package ebs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
)

// at returns the volume that this instance has under a device name, as EC2 says: a
// name in the guest tells nothing of which volume it is. Two names of one slot are the
// same. Nothing but the ID is known of the volume, see Held.
func (v *Volumes) at(ctx context.Context, device string) (Volume, error) {
	self, err := v.itself(ctx)
	if err != nil {
		return Volume{}, err
	}
	var names []string
	for _, has := range slices.Sorted(maps.Keys(self.Devices)) {
		if name.Slot(has) == name.Slot(device) {
			names = append(names, has)
		}
	}
	switch {
	case len(names) > 1:
		return Volume{}, fault.WithHint(fmt.Errorf("this instance has several volumes as %s: %s", device, has(self, names)), "detach those that are not meant")
	case len(names) == 1 && self.Devices[names[0]] != "":
		return Volume{ID: self.Devices[names[0]]}, nil
	}
	return Volume{}, &fault.Pending{
		For: fmt.Sprintf("a volume of this instance as %s (it has %s)", device, has(self, slices.Sorted(maps.Keys(self.Devices)))),
		Hint: fmt.Sprintf("launch the instance with a volume as %s in its block device mapping, or attach one under this name; "+
			"the agent attaches none where the role says attached", device),
	}
}

// has lists volumes of an instance by their device names.
func has(self Instance, names []string) string {
	var all []string
	for _, device := range names {
		all = append(all, strings.TrimSpace(device+" "+string(self.Devices[device])))
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// Held returns nil once EC2 says of a volume, too, that this instance has it attached
// under a device name. The error is a *fault.Pending while it is being attached, and
// not if somebody has detached it: then another volume may have the name.
func (v *Volumes) Held(ctx context.Context, id name.VolumeID, device string) error {
	vol, err := v.describe(ctx, id)
	if err != nil {
		return err
	}
	if err := v.refuse(vol); err != nil {
		return err
	}
	mine := slices.IndexFunc(vol.Attachments, func(a Attachment) bool {
		return a.State != Detached && a.Instance == v.self.ID && name.Slot(a.Device) == name.Slot(device)
	})
	if mine < 0 {
		return fmt.Errorf("EC2 does not say of volume %s that this instance has it as %s: it is %s", id, device, list([]Volume{vol}))
	}
	switch a := vol.Attachments[mine]; a.State {
	case Attached:
		v.learn(id, a)
		return nil
	case Attaching:
		w := &fault.Pending{For: fmt.Sprintf("volume %s to be attached as %s (%s since %s)", id, a.Device, a.State, clock(a.Since))}
		if vol.since(a) > stuckAfter {
			w.Hint = "that attach hangs: stop this instance and start it again, " + v.stop(v.self.ID)
		}
		return w
	default:
		return &fault.Pending{
			For:  fmt.Sprintf("volume %s to be detached from this instance (%s)", id, a.State),
			Hint: fmt.Sprintf("somebody detaches it: attach it, or another one, as %s again; the agent does not", a.Device),
		}
	}
}
