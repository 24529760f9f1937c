package ec2

import (
	"cmp"
	"maps"
	"time"
)

// A Snapshot is an EBS snapshot.
type Snapshot struct {
	ID        string // a random one by default
	VolumeID  string // the volume that it was created from
	State     string // pending, completed (default), error
	Started   time.Time
	Size      int // GiB
	Encrypted bool
	Tags      map[string]string

	// Path is a file in raw format. Volumes that are created from the snapshot are copies of it.
	Path string
}

// AddSnapshot adds a snapshot, or replaces the one with the same ID.
func (e *EC2) AddSnapshot(s Snapshot) (Snapshot, error) {
	s.ID = cmp.Or(s.ID, newID("snap"))
	s.State = cmp.Or(s.State, "completed")
	s.Size = cmp.Or(s.Size, 1)
	s.Tags = maps.Clone(s.Tags)
	if s.Started.IsZero() {
		s.Started = time.Now()
	}
	if err := checkTags(s.Tags); err != nil {
		return Snapshot{}, err
	}
	return s, e.change(func(state *State) error {
		state.Snapshots[s.ID] = s
		return nil
	})
}
