package ebs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
)

// settle is how long EC2 may say "available" of a volume whose attach it has
// accepted, before that counts as an attach that it gave up.
const settle = 15 * time.Second

// Attach brings a volume one round nearer to being attached to this instance:
// it asks EC2 how the volume is, and asks for the attach if it is time. The error
// is nil once EC2 says that the volume is attached, whoever asked for it, and a
// *fault.Pending while it is not. Other errors are refusals, which are permanent
// if only a person can do something.
//
// AttachVolume has no client token, and can fail and yet have attached: what
// counts is only what EC2 says of the volume afterwards.
func (v *Volumes) Attach(ctx context.Context, id name.VolumeID) error {
	vol, err := v.describe(ctx, id)
	if err != nil {
		return err
	}
	if err := v.refuse(vol); err != nil {
		return v.lost(id, err)
	}
	held := slices.DeleteFunc(slices.Clone(vol.Attachments), func(a Attachment) bool { return a.State == Detached })
	switch {
	case len(held) > 1:
		return fault.Refuse("detach it from all but one, then: bootagent retry",
			"volume %s is attached more than once, which must not be: %s", id, list([]Volume{vol}))
	case len(held) == 1 && held[0].Instance == v.self.ID:
		return v.own(ctx, vol, held[0])
	case len(held) == 1 && (!v.pooled(id) || v.names.open(id)):
		return v.heldBy(ctx, vol, held[0])
	case len(held) == 1:
		return v.lost(id, fmt.Errorf("volume %s is attached to %s", id, held[0].holder()))
	case vol.State != Available:
		return &fault.Pending{For: fmt.Sprintf("volume %s to be available (it is %s)", id, vol.State)}
	}
	return v.attach(ctx, vol)
}

// own says how far the attachment of a volume to this instance is.
func (v *Volumes) own(ctx context.Context, vol Volume, a Attachment) error {
	switch a.State {
	case Attached:
		v.names.attached(vol.ID, a.Device)
		v.learn(vol.ID, a)
		return nil
	case Attaching:
		stuck := vol.since(a) > stuckAfter
		ask := v.names.attaching(vol.ID, a, stuck)
		if stuck {
			return v.takeBack(ctx, vol, a, ask)
		}
		return v.waiting(ask, vol)
	case Busy:
		return &fault.Pending{
			For:  fmt.Sprintf("volume %s to be detached from this instance, which still uses it (busy)", vol.ID),
			Hint: "someone detached it while it was mounted: unmount it; the agent attaches it again when it is free",
		}
	}
	return v.free(vol, a)
}

// learn remembers whether a volume that is attached goes with this instance.
func (v *Volumes) learn(id name.VolumeID, a Attachment) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if delete(v.doomed, id); a.DeleteOnTermination {
		v.doomed[id] = a.Device
	}
}

// DeletedWithInstance says that EC2 deletes a volume when this instance is
// terminated, and what keeps it; "" if EC2 does not, or was not asked. A volume that
// AttachVolume attached stays. One of the launch's block device mapping may not:
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-detaching-volume.html
func (v *Volumes) DeletedWithInstance(id name.VolumeID) string {
	v.mu.Lock()
	device, doomed := v.doomed[id]
	v.mu.Unlock()
	if !doomed {
		return ""
	}
	mapping := fmt.Sprintf(`[{"DeviceName":%q,"Ebs":{"DeleteOnTermination":false}}]`, device)
	return fmt.Sprintf("EC2 deletes volume %s when this instance is terminated (DeleteOnTermination); to keep it: %s", id,
		v.person("ec2 modify-instance-attribute", "--instance-id", string(v.self.ID), "--block-device-mappings", mapping))
}

// detach is the command that has a volume let go, without force: a filesystem
// that is still mounted would lose what is not yet written.
func (v *Volumes) detach(vol Volume) string {
	return v.person("ec2 detach-volume", "--volume-id", string(vol.ID))
}

// waiting says that an attach is waited for.
func (v *Volumes) waiting(ask asking, vol Volume) *fault.Pending {
	w := &fault.Pending{For: fmt.Sprintf("volume %s to be attached as %s, asked for at %s", vol.ID, ask.device, clock(ask.since))}
	if ask.failed.IsZero() {
		return w
	}
	w.For += fmt.Sprintf(", after the attach asked for at %s came to nothing", clock(ask.failed))
	if vol.Encrypted {
		w.Hint = "the volume is encrypted: " + v.keyHint(vol)
	}
	return w
}

// heldBy names who holds a volume.
func (v *Volumes) heldBy(ctx context.Context, vol Volume, a Attachment) error {
	if a.Instance == "" {
		return &fault.Pending{
			For:  fmt.Sprintf("volume %s to be detached from %s, attached there since %s", vol.ID, a.Service, clock(a.Since)),
			Hint: "a service of AWS holds it; it has to be asked to let go",
		}
	}
	state, err := v.stateOf(ctx, vol.ID, a)
	if err != nil {
		return err
	}
	w := &fault.Pending{For: fmt.Sprintf("volume %s to be detached from %s (%s), attached there since %s",
		vol.ID, a.Instance, state, clock(a.Since))}
	v.letGo(w, vol, a, state)
	return w
}

// A holder is what was told of the instance that holds a volume.
type holder struct {
	attachment Attachment // as it was then
	state      string
	when       time.Time
}

// holderAgain is how old the state of a holder may be that is told. A volume
// that is waited for is asked about again and again, its holder only once it
// has changed: whoever waits for a volume waits for its attachment to go, and
// the holder's state is said for a person.
const holderAgain = time.Hour

// stateOf is the state of the instance that holds a volume, in a word or two.
// The only error is that of ctx.
func (v *Volumes) stateOf(ctx context.Context, id name.VolumeID, a Attachment) (string, error) {
	v.mu.Lock()
	known, ok := v.holders[id]
	v.mu.Unlock()
	if ok && known.attachment == a && time.Since(known.when) < holderAgain {
		return known.state, nil
	}
	state, told := "state unknown", true
	instance, err := v.api.Instance(ctx, a.Instance)
	switch e := (*diagnose.Error)(nil); {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err == nil:
		state = instance.State
	case codeOf(err) == "InvalidInstanceID.NotFound":
		state = "unknown to EC2"
	case !errors.As(err, &e) || e.Unanswered():
		told = false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.holders, id)
	if told {
		v.holders[id] = holder{a, state, time.Now()}
	}
	return state, nil
}

// attach asks for the attach of a volume that is available.
func (v *Volumes) attach(ctx context.Context, vol Volume) error {
	if ask, underWay := v.names.available(vol.ID, time.Now()); underWay {
		return v.waiting(ask, vol)
	}
	self, err := v.itself(ctx)
	switch {
	case err != nil:
		return err
	case self.State != "running":
		return &fault.Pending{For: fmt.Sprintf("EC2 to say of this instance, %s, that it is running (it says %s)", v.self.ID, self.State)}
	}
	for device, id := range self.Devices {
		if id == vol.ID {
			return &fault.Pending{For: fmt.Sprintf("EC2 to say of volume %s, too, that this instance has it as %s", vol.ID, device)}
		}
	}
	if other := v.beside(vol.ID, self); other != "" {
		return v.lost(vol.ID, fmt.Errorf("this instance has volume %s, so it does not take volume %s", other, vol.ID))
	}
	device, ok := v.names.take(vol.ID, self.Devices, time.Now())
	if !ok {
		return fault.Refuse("detach what the instance does not need, or stop and start it, which frees the names",
			"no device name is left for volume %s on this instance, %s: all are in use, or were in an attach that hung", vol.ID, v.self.ID)
	}
	if err := v.api.Attach(ctx, vol.ID, v.self.ID, device); err != nil {
		return v.notAccepted(vol, self, device, err)
	}
	return v.waiting(v.names.accepted(vol.ID, time.Now()), vol)
}

// itself returns what EC2 says of this instance.
func (v *Volumes) itself(ctx context.Context) (Instance, error) {
	self, err := v.api.Instance(ctx, v.self.ID)
	if codeOf(err) == "InvalidInstanceID.NotFound" {
		return self, pending(fmt.Sprintf("EC2 to know this instance, %s", v.self.ID), "", err)
	}
	return self, v.answer(err)
}

// notAccepted makes of what AttachVolume answered what the caller can act on.
func (v *Volumes) notAccepted(vol Volume, self Instance, device string, err error) error {
	e := (*diagnose.Error)(nil)
	if !errors.As(err, &e) {
		return err
	}
	if e.Unanswered() {
		v.names.unanswered(vol.ID)
	}
	cannot := fmt.Sprintf("volume %s can't be attached to this instance, %s", vol.ID, v.self.ID)
	if e.Kind() == diagnose.KMSKey {
		return pending(fmt.Sprintf("EC2 to be able to use the KMS key of volume %s", vol.ID),
			v.keyHint(vol), err)
	}
	switch e.Code {
	case "VolumeInUse":
		if v.pooled(vol.ID) && !v.names.open(vol.ID) {
			return v.lost(vol.ID, err) // somebody else was quicker
		}
		return pending(fmt.Sprintf("EC2 to say who holds volume %s", vol.ID), "", err)
	case "IncorrectState":
		if strings.Contains(strings.ToLower(e.Message), "instance") {
			return pending(fmt.Sprintf("EC2 to say of this instance, %s, that it is running", v.self.ID), "", err)
		}
		return pending(fmt.Sprintf("volume %s to be available", vol.ID), "", err)
	case "InvalidVolume.NotFound":
		return pending(fmt.Sprintf("EC2 to know volume %s", vol.ID), "", err)
	case "InvalidInstanceID.NotFound":
		return pending(fmt.Sprintf("EC2 to know this instance, %s", v.self.ID), "", err)
	case "InvalidParameterValue":
		if strings.Contains(e.Message, "already in use") {
			v.names.spend(device)
			return pending(fmt.Sprintf("another device name for volume %s than %s, which is in use", vol.ID, device), "", err)
		}
		return fault.Refuse("", "%s, as %s: %s", cannot, device, e.Message)
	case "AttachmentLimitExceeded":
		return fault.Refuse("detach what it does not need, or take a larger instance type, then: bootagent retry",
			"%s: it has as many attachments as its type, %s, allows, with %d volumes: %s", cannot, self.Type, len(self.Devices), e.Message)
	case "IncorrectInstanceState":
		return fault.Refuse("a volume with a Marketplace product code can be attached to a stopped instance only: copy its data to one without",
			"%s: %s", cannot, e.Message)
	case "InvalidVolume.ZoneMismatch", "ZoneMismatch":
		hint := v.zoneHint(vol)
		if vol.Zone == v.self.Zone { // as far as DescribeVolumes and the metadata service say
			hint = "see which zone the volume is in, " + v.look(vol)
		}
		return fault.Refuse(hint, "%s: %s: %s", cannot, e.Code, e.Message)
	case "OperationNotPermitted":
		return fault.Refuse("see whether a service of AWS manages the volume, "+v.look(vol)+
			"; what it manages nobody else may attach: take another volume", "%s: %s: %s", cannot, e.Code, e.Message)
	case "UnsupportedOperation":
		return fault.Refuse("the instance type and the volume do not fit, as EC2 says: change one of them", "%s: %s: %s", cannot, e.Code, e.Message)
	case "InvalidVolumeID.Malformed", "InvalidParameterCombination":
		return fault.Refuse("", "%s: %s: %s", cannot, e.Code, e.Message)
	}
	return v.answer(err)
}

// clock is a time of today, or a time with its day.
func clock(t time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}
