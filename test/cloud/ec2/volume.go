package ec2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The states of a volume.
const (
	Creating  = "creating"
	Available = "available"
	InUse     = "in-use"
)

// The states of an attachment. One that is detached no longer exists.
const (
	Attaching = "attaching"
	Attached  = "attached"
	Detaching = "detaching"
	Busy      = "busy"
)

// A Volume is an EBS volume. Methods return a copy, which does not change.
type Volume struct {
	ID          string // vol- and 17 digits; a random one by default
	Zone        string // eu-central-1a by default
	State       string
	Size        int // GiB; 1 by default, or the snapshot's
	Type        string
	SnapshotID  string
	Encrypted   bool
	KMSKey      string // the key that encrypts it
	MultiAttach bool   // for types io1 and io2
	Tags        map[string]string
	Created     time.Time
	Attachments []Attachment

	Modification *Modification // the last, or nil; it is replaced, never changed

	// Path is the backing file, in raw format. If it does not exist, it is created: empty, or as a copy of the
	// snapshot's.
	Path string
}

// An Attachment is the attachment of a volume to an instance.
type Attachment struct {
	InstanceID          string
	Device              string // /dev/sdf; only a name on current instances
	State               string
	Since               time.Time
	DeleteOnTermination bool
}

// Serial is the serial number of the NVMe disk that an instance sees.
func (v Volume) Serial() string { return strings.Replace(v.ID, "-", "", 1) }

// CreateVolume creates a volume. It becomes available after the delay.
func (e *EC2) CreateVolume(v Volume) (Volume, error) {
	v.ID = cmp.Or(v.ID, newID("vol"))
	v.Zone = cmp.Or(v.Zone, e.env.Region+"a")
	v.Type = cmp.Or(v.Type, "gp3")
	v.State, v.Created, v.Attachments, v.Modification = Creating, time.Now(), nil, nil
	v.Tags = maps.Clone(v.Tags)
	if err := e.checkNew(v); err != nil {
		return Volume{}, err
	}
	var source string
	if v.SnapshotID != "" {
		s, err := e.sourceOf(v)
		if err != nil {
			return Volume{}, err
		}
		v.Size = cmp.Or(v.Size, s.Size)
		v.Encrypted = v.Encrypted || s.Encrypted
		source = s.Path
	}
	v.Size = cmp.Or(v.Size, 1)
	if v.Path == "" && e.dir != "" {
		v.Path = filepath.Join(e.dir, v.ID+".raw")
	}
	if err := makeFile(v, source); err != nil {
		return Volume{}, fmt.Errorf("cannot create %s: %w", v.ID, err)
	}

	err := e.change(func(s *State) error {
		if _, ok := s.Volumes[v.ID]; ok {
			return fmt.Errorf("cannot create %s: it already exists", v.ID)
		}
		s.Volumes[v.ID] = v
		return nil
	})
	if err != nil {
		return Volume{}, err
	}
	e.env.Later(e.delay().Create, func(context.Context) {
		_ = e.ChangeVolume(v.ID, func(v *Volume) { v.State = Available }) // it may be deleted by now
	})
	return v, nil
}

// checkNew refuses what EC2 refuses of a new volume.
func (e *EC2) checkNew(v Volume) error {
	if !slices.Contains(e.zones(), v.Zone) {
		return Errorf("InvalidZone.NotFound", "The zone '%s' does not exist.", v.Zone)
	}
	if err := CheckVolumeID(v.ID); err != nil {
		return err
	}
	if v.MultiAttach && v.Type != "io1" && v.Type != "io2" {
		return Errorf("InvalidParameterCombination", "The parameter MultiAttachEnabled is not supported for volume type %s.", v.Type)
	}
	return checkTags(v.Tags)
}

// sourceOf returns the snapshot that a new volume is created from.
func (e *EC2) sourceOf(v Volume) (Snapshot, error) {
	s, err := e.Now().Snapshot(v.SnapshotID)
	switch {
	case err != nil:
		return Snapshot{}, err
	case s.State != "completed":
		return Snapshot{}, Errorf("IncorrectState", "Snapshot is in invalid state - %s", s.State)
	case v.Size != 0 && v.Size < s.Size:
		return Snapshot{}, Errorf("InvalidParameterValue", "The size of a volume can't be less than the size of its snapshot")
	}
	return s, nil
}

// makeFile creates the backing file of a volume that has a path, unless it exists.
func makeFile(v Volume, source string) error {
	if v.Path == "" {
		return nil
	}
	f, err := os.OpenFile(v.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if source != "" {
		from, err := os.Open(source)
		if err != nil {
			return err
		}
		defer from.Close()
		if _, err := io.Copy(f, from); err != nil {
			return err
		}
	}
	return errors.Join(f.Truncate(int64(v.Size)<<30), f.Close())
}

// Volume returns a volume as it is now, whatever Describe calls see.
func (e *EC2) Volume(id string) (Volume, bool) {
	v, ok := e.Now().Volumes[id]
	return v, ok
}

// Volumes returns all volumes as they are now, with the root volumes of instances, sorted by ID.
func (e *EC2) Volumes() []Volume {
	return slices.SortedFunc(maps.Values(e.Now().Volumes), func(a, b Volume) int { return strings.Compare(a.ID, b.ID) })
}

// DeleteVolume deletes a volume that is not attached. The backing file stays.
func (e *EC2) DeleteVolume(id string) error {
	return e.change(func(s *State) error {
		v, err := s.Volume(id)
		if err != nil {
			return err
		}
		if len(v.Attachments) > 0 {
			return Errorf("VolumeInUse", "Volume %s is currently attached to %s", id, v.Attachments[0].InstanceID)
		}
		delete(s.Volumes, id)
		return nil
	})
}

// WaitVolume waits until a volume, or its only attachment, has a state, such as [Available] or [Attached].
func (e *EC2) WaitVolume(ctx context.Context, id, state string) error {
	has := ""
	err := e.wait(ctx, func(s State) bool {
		v := s.Volumes[id]
		has = v.State
		if len(v.Attachments) == 1 {
			has += ", " + v.Attachments[0].State
		}
		return v.State == state || len(v.Attachments) == 1 && v.Attachments[0].State == state
	})
	if err != nil {
		return fmt.Errorf("%s is not %s but %s: %w", id, state, cmp.Or(has, "missing"), err)
	}
	return nil
}

// ChangeVolume changes a volume; do gets a copy. It is for changes that have no method of their own.
func (e *EC2) ChangeVolume(id string, do func(v *Volume)) error {
	return e.change(func(s *State) error {
		v, err := s.Volume(id)
		if err != nil {
			return err
		}
		v.Attachments = slices.Clone(v.Attachments)
		do(&v)
		s.Volumes[id] = v
		return nil
	})
}

// CheckVolumeID refuses a text that is not the ID of a volume.
func CheckVolumeID(id string) error {
	if !validID(id, "vol-") {
		return Errorf("InvalidParameterValue", "Value (%s) for parameter volumeId is invalid. Expected: 'vol-...'.", id)
	}
	return nil
}
