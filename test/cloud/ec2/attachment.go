package ec2

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"bootagent/test/cloud/service"
)

// Hardware is the machine of an instance. EC2 calls its methods in the background, so they may take long:
// for one volume one call at a time, for several volumes at once.
type Hardware interface {
	// Plug connects a volume to the machine. If it fails, the attachment stays attaching.
	Plug(ctx context.Context, v Volume) error

	// Unplug disconnects a volume, and returns when the machine has released it. If it fails, EC2 calls it
	// again every second. If it fails with ErrBusy, the attachment is busy meanwhile.
	Unplug(ctx context.Context, v Volume) error
}

// ErrBusy is the error of Unplug for a volume that the machine does not release because it is mounted.
var ErrBusy = errors.New("the machine does not release the volume")

// ends are the two ends of an attachment.
type ends struct{ volume, instance string }

// A slot is where a volume is plugged into a machine. It is locked while that happens.
type slot struct {
	lock    chan struct{} // of size one; those who wait for it can also wait for a context
	plugged bool
}

// StickAttach makes attachments of a volume stay attaching until Release or until they are detached.
func (e *EC2) StickAttach(volume string) { e.stick(volume, Attaching) }

// StickDetach makes attachments of a volume stay detaching until Release.
func (e *EC2) StickDetach(volume string) { e.stick(volume, Detaching) }

// Release ends StickAttach and StickDetach: attachments that are stuck go on.
func (e *EC2) Release(volume string) { e.stick(volume, "") }

func (e *EC2) stick(volume, state string) {
	_ = e.change(func(*State) error { // a change wakes those that wait
		e.stuck[volume] = state
		return nil
	})
}

func (e *EC2) isStuck(volume, state string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stuck[volume] == state
}

// Attach attaches a volume, as somebody else would.
func (e *EC2) Attach(volume, instance, device string) error {
	_, err := e.AttachVolume(volume, instance, device)
	return err
}

// Detach detaches a volume that has one attachment, as somebody else would.
func (e *EC2) Detach(volume string) error {
	_, err := e.DetachVolume(volume, "", "")
	return err
}

// AttachVolume begins to attach a volume, as EC2's action does, and returns the attachment.
func (e *EC2) AttachVolume(volume, instance, device string) (Attachment, error) {
	a := Attachment{InstanceID: instance, Device: device, State: Attaching, Since: time.Now()}
	clash := false
	err := e.change(func(s *State) error {
		v, i, err := attachable(s, volume, instance, device)
		if err != nil {
			return err
		}
		clash = slices.ContainsFunc(i.devices(s), func(taken string) bool { return port(taken) == port(device) })
		v.Attachments = append(slices.Clone(v.Attachments), a)
		v.State = InUse
		s.Volumes[volume] = v
		return nil
	})
	if err != nil {
		return Attachment{}, err
	}
	// If /dev/sdf is taken, EC2 accepts /dev/xvdf, but the attachment stays attaching:
	// https://github.com/joeduffy/blocker/issues/1
	if !clash {
		e.env.Later(e.delay().Attach, func(ctx context.Context) { e.finishAttach(ctx, ends{volume, instance}) })
	}
	return a, nil
}

// attachable refuses what EC2 refuses. The words are EC2's, as people quote them.
func attachable(s *State, volume, instance, device string) (Volume, InstanceState, error) {
	v, err := s.Volume(volume)
	if err != nil {
		return v, InstanceState{}, err
	}
	i, err := s.Instance(instance)
	if err != nil {
		return v, i, err
	}
	switch {
	case !deviceNames.MatchString(device):
		err = Errorf("InvalidParameterValue", "Value (%s) for parameter device is invalid. %[1]s is not a valid EBS device name.", device)
	case v.Zone != i.Zone:
		err = Errorf("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", volume, instance)
	case i.State != Running && i.State != Stopped:
		err = Errorf("IncorrectState", "Instance '%s' is not 'running'.", instance)
	case v.AttachmentTo(instance) != nil || len(v.Attachments) > 0 && !v.MultiAttach || len(v.Attachments) >= mostInstances:
		err = Errorf("VolumeInUse", "%s is already attached to an instance", volume)
	case v.State != Available && v.State != InUse:
		err = Errorf("IncorrectState", "%s is not 'available'.", volume)
	case slices.Contains(i.devices(s), device):
		err = Errorf("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %[1]s is already in use", device)
	case len(i.devices(s)) >= i.limit:
		err = Errorf("AttachmentLimitExceeded", "You may attach up to %d devices for this instance type. Please use a larger instance size to attach more volumes.", i.limit)
	}
	return v, i, err
}

// mostInstances is how many instances a multi-attach volume may be attached to.
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html
const mostInstances = 16

// deviceNames matches the device names that EC2 accepts for a current instance type.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
var deviceNames = regexp.MustCompile(`^(/dev/)?(sd[a-z]|xvd[a-d]?[a-z])$`)

// port is what the names of one device have in common: sdf and /dev/xvdf are the same.
func port(device string) string {
	device = strings.TrimPrefix(device, "/dev/")
	return strings.TrimPrefix(strings.TrimPrefix(device, "sd"), "xvd")
}

// AttachmentTo returns the attachment of the volume to an instance, or nil.
func (v Volume) AttachmentTo(instance string) *Attachment {
	for n := range v.Attachments {
		if v.Attachments[n].InstanceID == instance {
			return &v.Attachments[n]
		}
	}
	return nil
}

// setAttachment changes the state of an attachment that has one of the states in from.
func (e *EC2) setAttachment(at ends, to string, from ...string) {
	_ = e.ChangeVolume(at.volume, func(v *Volume) {
		if a := v.AttachmentTo(at.instance); a != nil && slices.Contains(from, a.State) {
			a.State = to
		}
	})
}

// attachment returns a volume and the state of its attachment, "" if there is none.
func (e *EC2) attachment(at ends) (Volume, string) {
	v := e.Now().Volumes[at.volume]
	if a := v.AttachmentTo(at.instance); a != nil {
		return v, a.State
	}
	return v, ""
}

// lockSlot locks the slot of an attachment, and returns the instance's machine, nil if it has none. It is not ok if
// ctx ends first.
func (e *EC2) lockSlot(ctx context.Context, at ends) (locked *slot, machine Hardware, ok bool) {
	e.mu.Lock()
	found := e.slots[at]
	if found == nil {
		found = &slot{lock: make(chan struct{}, 1)}
		e.slots[at] = found
	}
	instance := e.instances[at.instance]
	e.mu.Unlock()
	select {
	case found.lock <- struct{}{}:
		return found, instance.hardware(), true
	case <-ctx.Done():
		return nil, nil, false
	}
}

func (s *slot) unlock() { <-s.lock }

// finishAttach plugs in a volume that is attaching.
func (e *EC2) finishAttach(ctx context.Context, at ends) {
	err := e.wait(ctx, func(State) bool {
		_, state := e.attachment(at)
		return state != Attaching || !e.isStuck(at.volume, Attaching)
	})
	if err != nil {
		return
	}
	slot, hardware, ok := e.lockSlot(ctx, at)
	if !ok {
		return
	}
	defer slot.unlock()
	v, state := e.attachment(at)
	if state != Attaching {
		return // it was detached meanwhile
	}
	if hardware != nil {
		if err := hardware.Plug(ctx, v); err != nil {
			e.env.Log.Error("cannot plug", "volume", at.volume, "instance", at.instance, "err", err)
			return
		}
		slot.plugged = true
	}
	e.setAttachment(at, Attached, Attaching)
}

// DetachVolume begins to detach a volume, as EC2's action does, and returns the attachment. The instance and the
// device may be empty.
func (e *EC2) DetachVolume(volume, instance, device string) (Attachment, error) {
	var at Attachment
	err := e.change(func(s *State) error {
		v, err := s.Volume(volume)
		if err != nil {
			return err
		}
		if len(v.Attachments) == 0 {
			return Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", volume, v.State)
		}
		if instance == "" && len(v.Attachments) > 1 {
			return Errorf("InvalidParameterCombination", "The volume '%s' is attached to several instances; the parameter instanceId is required", volume)
		}
		v.Attachments = slices.Clone(v.Attachments)
		a := v.AttachmentTo(cmp.Or(instance, v.Attachments[0].InstanceID))
		switch {
		case a == nil || device != "" && device != a.Device:
			return Errorf("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s'", volume, instance)
		case a.State == Detaching || a.State == Busy:
			return Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", volume, a.State)
		}
		switch i := s.Instances[a.InstanceID]; {
		case i.State == ShuttingDown || i.State == Terminated:
			return Errorf("IncorrectInstanceState", "Unable to detach volume '%s' from instance '%s'. The instance is not in a state in which volumes can be detached.", volume, a.InstanceID)
		case a.Device == RootDevice && i.State != Stopped:
			return Errorf("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", volume, a.InstanceID)
		}
		a.State = Detaching
		at = *a
		s.Volumes[volume] = v
		return nil
	})
	if err == nil {
		e.env.Later(e.delay().Detach, func(ctx context.Context) { e.finishDetach(ctx, ends{volume, at.InstanceID}) })
	}
	return at, err
}

// finishDetach unplugs a volume, and removes its attachment.
func (e *EC2) finishDetach(ctx context.Context, at ends) {
	if e.wait(ctx, func(State) bool { return !e.isStuck(at.volume, Detaching) }) != nil {
		return
	}
	slot, hardware, ok := e.lockSlot(ctx, at)
	if !ok {
		return
	}
	defer slot.unlock()
	for slot.plugged && hardware != nil {
		v, _ := e.attachment(at)
		err := hardware.Unplug(ctx, v)
		if err == nil {
			break
		}
		if errors.Is(err, ErrBusy) {
			e.setAttachment(at, Busy, Detaching)
		} else {
			e.env.Log.Error("cannot unplug", "volume", at.volume, "instance", at.instance, "err", err)
		}
		if !service.Sleep(ctx, time.Second) {
			return
		}
	}
	slot.plugged = false
	_ = e.change(func(s *State) error { // the volume may be deleted by now
		v, err := s.Volume(at.volume)
		if err != nil {
			return err
		}
		a := v.AttachmentTo(at.instance)
		if a == nil {
			return Errorf("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s'", at.volume, at.instance)
		}
		if a.DeleteOnTermination && s.Instances[at.instance].State == Terminated {
			delete(s.Volumes, at.volume)
			return nil
		}
		v.Attachments = slices.DeleteFunc(slices.Clone(v.Attachments), func(a Attachment) bool { return a.InstanceID == at.instance })
		if len(v.Attachments) == 0 {
			v.State = Available
		}
		s.Volumes[at.volume] = v
		return nil
	})
}
