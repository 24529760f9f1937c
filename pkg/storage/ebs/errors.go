package ebs

import (
	"errors"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

// pending returns the error for what EC2's answer says is not there yet. What
// EC2 said is part of its text.
func pending(what, hint string, err error) *fault.Pending {
	p := &fault.Pending{For: what, Hint: hint}
	if e := (*diagnose.Error)(nil); errors.As(err, &e) {
		p.For += ": " + e.Why()
		p.Unanswered = e.Unanswered()
	}
	return p
}

// answer returns the error for what EC2 answered, whatever the call was:
// *fault.Pending where EC2 did not answer the question, a *host.Denied that is
// permanent where the IAM role does not allow the call, and err with a hint otherwise.
func (v *Volumes) answer(err error) error {
	e := (*diagnose.Error)(nil)
	if !errors.As(err, &e) {
		return err
	}
	hint := v.caller().Hint(e)
	switch {
	case e.Unanswered():
		return pending("EC2 to answer "+e.Action, hint, err)
	case e.Kind() == diagnose.Denied:
		return fault.Permanent(fault.WithHint(&host.Denied{Action: e.Action, Message: e.Message}, hint))
	case hint != "":
		return fault.WithHint(err, hint)
	}
	return err
}

// keyHint says what a person can check where EC2 can't use the KMS key of a volume.
func (v *Volumes) keyHint(vol Volume) string {
	return v.caller().Key(vol.Key, "kms:CreateGrant, kms:Decrypt and kms:DescribeKey")
}

// person returns a command for a person, as the instance's IAM role may not run it.
func (v *Volumes) person(command string, args ...string) string {
	return v.caller().Own(command, args...)
}

func (v *Volumes) caller() diagnose.Caller {
	return diagnose.Caller{Region: v.self.Region, Role: v.self.Role}
}
