package ec2

import (
	"context"
	"errors"
	"os"
	"time"
)

// The states of a modification. The new size counts from Optimizing on.
const (
	Modifying    = "modifying"
	Optimizing   = "optimizing"
	Completed    = "completed"
	ModifyFailed = "failed"
)

// A Modification is a change of the size of a volume, in GiB.
type Modification struct {
	State    string
	Message  string // why it failed
	From, To int
	Started  time.Time
}

// ModifyVolume makes a volume larger. It is modifying, optimizing and completed, each for its delay. When it is
// optimizing, its backing file has the new size. A machine sees that when it is switched on or the volume is
// plugged in again: QEMU gives an NVMe disk no other size before.
func (e *EC2) ModifyVolume(id string, size int) (Modification, error) {
	m := Modification{State: Modifying, To: size, Started: time.Now()}
	err := e.change(func(s *State) error {
		v, err := s.Volume(id)
		switch {
		case err != nil:
			return err
		case size <= v.Size:
			return Errorf("InvalidParameterValue", "New size cannot be smaller than existing size")
		case v.Modification != nil && (v.Modification.State == Modifying || v.Modification.State == Optimizing):
			// https://docs.aws.amazon.com/ebs/latest/userguide/modify-volume-requirements.html
			return Errorf("IncorrectModificationState", "Volume %s is in the %s state and cannot be modified.", id, v.Modification.State)
		}
		m.From = v.Size
		v.Modification = &m
		s.Volumes[id] = v
		return nil
	})
	if err != nil {
		return Modification{}, err
	}
	e.env.Later(e.delay().Modify, func(context.Context) {
		if e.becomesModified(id, Modifying, Optimizing) != nil {
			return // it has failed, or is deleted by now
		}
		if v, there := e.Volume(id); there && v.Path != "" {
			_ = os.Truncate(v.Path, int64(v.Size)<<30) // who uses the file sees that it is not larger
		}
		e.env.Later(e.delay().Optimize, func(context.Context) { _ = e.becomesModified(id, Optimizing, Completed) })
	})
	return m, nil
}

// FailModification fails the modification of a volume that is modifying. The volume stays as it was.
func (e *EC2) FailModification(id, why string) error {
	return e.changeModification(id, Modifying, func(_ *Volume, m *Modification) { m.State, m.Message = ModifyFailed, why })
}

func (e *EC2) becomesModified(id, from, to string) error {
	return e.changeModification(id, from, func(v *Volume, m *Modification) { m.State, v.Size = to, m.To })
}

func (e *EC2) changeModification(id, from string, do func(*Volume, *Modification)) error {
	return e.change(func(s *State) error {
		v, err := s.Volume(id)
		if err != nil {
			return err
		}
		if v.Modification == nil || v.Modification.State != from {
			return errors.New(id + " is not " + from)
		}
		m := *v.Modification
		do(&v, &m)
		v.Modification = &m
		s.Volumes[id] = v
		return nil
	})
}
