package ebs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/fault"
)

// An attach takes seconds. One that takes longer than stuckAfter has failed,
// as far as the EBS CSI driver's experience goes, and its device name will not
// work again before the instance is stopped. A detach that takes as long hangs, too.
const stuckAfter = 90 * time.Second

// since is how long an attachment has been asked for, by EC2's clock where that
// is known: the one of this machine may be set while it waits.
func (vol Volume) since(a Attachment) time.Duration {
	if a.Since.IsZero() {
		return 0
	}
	if vol.AsOf.IsZero() {
		return time.Since(a.Since)
	}
	return vol.AsOf.Sub(a.Since)
}

// takeBack detaches a volume that has been attaching to this instance for too
// long, so that the attach can be tried by another device name. EC2 does not say
// "attached" of it, so nothing is mounted from it. It does so once while the agent
// runs: where two names hang, the instance is what is wrong. EC2 refuses the call
// where another instance has the volume by then, and nothing is forced.
func (v *Volumes) takeBack(ctx context.Context, vol Volume, a Attachment, ask asking) error {
	w := v.waiting(ask, vol)
	if !ask.freed.IsZero() {
		w.Hint = "two device names hang: stop this instance and start it again, which frees them, " + v.stop(v.self.ID)
		return w
	}
	err := v.api.Detach(ctx, vol.ID, v.self.ID, a.Device)
	if err == nil {
		v.names.freed(vol.ID, time.Now())
		return v.free(vol, a)
	}
	denied, e := false, (*diagnose.Error)(nil)
	if errors.As(err, &e) {
		denied = e.Kind() == diagnose.Denied
	}
	switch code := codeOf(err); {
	case denied, code == "OperationNotPermitted", code == "IncorrectInstanceState", code == "UnsupportedOperation":
		return pending(w.For+", which hangs, and this instance can't detach it", "detach it, "+v.detach(vol)+
			"; the agent then tries another device name; if that hangs as well, stop and start the instance", err)
	case code == "IncorrectState", code == "InvalidAttachment.NotFound", code == "InvalidVolume.NotFound", code == "InvalidInstanceID.NotFound":
		return pending(w.For+", which has changed meanwhile", "", err)
	}
	return v.answer(err)
}

// free says that a volume has to be free of this instance before it is attached again.
func (v *Volumes) free(vol Volume, a Attachment) *fault.Pending {
	w := &fault.Pending{For: fmt.Sprintf("volume %s to be detached from this instance (%s), and then attached again", vol.ID, Detaching)}
	if ask := v.names.of(vol.ID); !ask.freed.IsZero() {
		w.For = fmt.Sprintf("volume %s to be detached from this instance, since its attach as %s hung, and then attached by another device name", vol.ID, a.Device)
		if time.Since(ask.freed) > stuckAfter {
			w.Hint = "the detach hangs as well: stop this instance and start it again, which ends it, " + v.stop(v.self.ID)
		}
	}
	return w
}

// stop is the command that has an instance stopped, after which what hangs ends.
func (v *Volumes) stop(instance string) string {
	return v.person("ec2 stop-instances", "--instance-ids", instance)
}

// look is the command that shows how a volume is.
func (v *Volumes) look(vol Volume) string {
	return v.person("ec2 describe-volumes", "--volume-ids", string(vol.ID))
}

// letGo adds what a person can do about the instance that holds a volume.
func (v *Volumes) letGo(w *fault.Pending, vol Volume, a Attachment, state string) {
	leaves := state == "shutting-down" || state == "terminated"
	switch {
	case a.State == Busy:
		w.For += " and is to let it go, but still uses it (busy)"
		w.Hint = fmt.Sprintf("unmount it on %s, or stop that instance, %s", a.Instance, v.stop(a.Instance))
	case a.State == Detaching:
		w.For += " and is letting it go"
		if !leaves {
			w.Hint = "that takes seconds; if it takes minutes, it hangs: stop that instance, " + v.stop(a.Instance)
		}
	case a.State == Attaching && vol.since(a) > stuckAfter && !leaves:
		w.For += " and is still attaching it"
		w.Hint = "that attach hangs: detach it, " + v.detach(vol)
	case leaves:
		w.Hint = "nothing has to be done: EC2 detaches it when that instance is terminated; to see whether it did, " + v.look(vol)
	case state == "running" || state == "pending":
		w.Hint = fmt.Sprintf("to move it here, stop the services on %s, unmount the volume there, and then detach it, %s", a.Instance, v.detach(vol))
	case state == "stopping":
		w.Hint = "an instance that is stopped keeps its volumes: when it is stopped, detach it, " + v.detach(vol)
	case state == "stopped":
		w.Hint = "a stopped instance keeps its volumes: detach it, " + v.detach(vol)
	default:
		w.Hint = "see who holds it, " + v.look(vol)
	}
}
