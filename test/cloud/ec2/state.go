package ec2

import "time"

// A State is everything that EC2 knows at one time. A change of EC2 replaces it by another State.
type State struct {
	Volumes   map[string]Volume
	Snapshots map[string]Snapshot
	Instances map[string]InstanceState
}

// Volume returns a volume, or EC2's error that it does not exist.
func (s State) Volume(id string) (Volume, error) {
	v, ok := s.Volumes[id]
	if !ok {
		return v, Errorf("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
	}
	return v, nil
}

// Snapshot returns a snapshot, or EC2's error that it does not exist.
func (s State) Snapshot(id string) (Snapshot, error) {
	found, ok := s.Snapshots[id]
	if !ok {
		return found, Errorf("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
	}
	return found, nil
}

// Instance returns the state of an instance, or EC2's error that it does not exist.
func (s State) Instance(id string) (InstanceState, error) {
	i, ok := s.Instances[id]
	if !ok {
		return i, Errorf("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	return i, nil
}

// history is what Describe calls see while EC2 is eventually consistent: the states after each change, the
// oldest first, and when each becomes visible.
type history []seen

type seen struct {
	at    time.Time
	state State
}

// add adds the state after a change.
func (h *history) add(s State, lag time.Duration) {
	*h = append(*h, seen{time.Now().Add(lag), s})
	h.now() // removes states that nobody sees any more
}

// now returns the newest visible state.
func (h *history) now() State {
	for n := len(*h) - 1; n > 0; n-- {
		if !(*h)[n].at.After(time.Now()) {
			*h = (*h)[n:]
			break
		}
	}
	return (*h)[0].state
}
