package ebs

import (
	"maps"
	"slices"
	"sync"
	"time"

	"bootagent/pkg/aws/name"
)

// deviceNames returns the names that a volume can be attached as, in the order
// in which they are tried: first those that EC2 recommends for EBS volumes,
// then the others that it takes, without what instance store volumes and the
// root may have.
// https://docs.aws.amazon.com/ebs/latest/userguide/device_naming.html
func deviceNames() (all []string) {
	for c := 'f'; c <= 'p'; c++ {
		all = append(all, "/dev/sd"+string(c))
	}
	for b := 'b'; b <= 'c'; b++ {
		for c := 'a'; c <= 'z'; c++ {
			all = append(all, "/dev/xvd"+string(b)+string(c))
		}
	}
	return all
}

// names gives out device names. It remembers, for as long as the agent runs,
// which of them EC2 did not take, and which were in an attach that came to
// nothing: such a name tends to hang. What else is in use EC2 says.
type names struct {
	mu    sync.Mutex
	spent map[string]bool // slots that are not tried again
	old   map[string]int  // slots that have served, to be tried when no other is left: the oldest first
	count int
	asked map[name.VolumeID]asking
}

// An asking is an attach that is asked for.
type asking struct {
	device string    // or "", before there is one again
	tried  time.Time // EC2 was asked last, whatever it answered
	since  time.Time // EC2 accepted it; zero if that is not known
	unsure bool      // it was asked and did not answer, and may have done it
	seen   bool      // EC2 said that it is under way
	failed time.Time // one came to nothing that was asked for then, or zero
	freed  time.Time // the agent had one detached that hung, or zero
}

func newNames() names {
	return names{spent: map[string]bool{}, old: map[string]int{}, asked: map[name.VolumeID]asking{}}
}

// take returns the device name for the next attach of a volume: the one that
// it has from a call whose outcome was not known, or one that is free.
func (n *names) take(id name.VolumeID, inUse map[string]name.VolumeID, now time.Time) (device string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := maps.Clone(n.spent)
	for device := range inUse {
		taken[name.Slot(device)] = true
	}
	for other, ask := range n.asked {
		if other != id && ask.device != "" {
			taken[name.Slot(ask.device)] = true
		}
	}
	ask := n.asked[id]
	order := slices.Concat([]string{ask.device}, n.sorted())
	i := slices.IndexFunc(order, func(device string) bool { return device != "" && !taken[name.Slot(device)] })
	if i < 0 {
		return "", false
	}
	ask.device, ask.tried = order[i], now
	n.asked[id] = ask
	return ask.device, true
}

// sorted returns the device names, those that have served last at the end.
func (n *names) sorted() []string {
	all := deviceNames()
	slices.SortStableFunc(all, func(a, b string) int { return n.old[name.Slot(a)] - n.old[name.Slot(b)] })
	return all
}

// spend sees to it that a name is not tried again.
func (n *names) spend(device string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spent[name.Slot(device)] = true
}

// accepted notes that EC2 accepted an attach.
func (n *names) accepted(id name.VolumeID, now time.Time) asking {
	n.mu.Lock()
	defer n.mu.Unlock()
	ask := n.asked[id]
	ask.since = now
	n.asked[id] = ask
	return ask
}

// attaching notes that EC2 says that an attach is under way.
func (n *names) attaching(id name.VolumeID, a Attachment, stuck bool) asking {
	n.mu.Lock()
	defer n.mu.Unlock()
	ask := n.asked[id]
	ask.device, ask.since, ask.seen = a.Device, a.Since, true
	n.asked[id] = ask
	if stuck {
		n.spent[name.Slot(a.Device)] = true
	}
	return ask
}

// freed notes that EC2 accepted the detach of an attach that hung.
func (n *names) freed(id name.VolumeID, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ask := n.asked[id]
	ask.freed = now
	n.asked[id] = ask
}

// unanswered notes that EC2 did not answer whether it accepts an attach.
func (n *names) unanswered(id name.VolumeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ask := n.asked[id]
	ask.unsure = true
	n.asked[id] = ask
}

// open tells whether EC2 may have accepted an attach and not tell it yet.
func (n *names) open(id name.VolumeID) bool {
	ask := n.of(id)
	return (ask.unsure || !ask.since.IsZero()) && time.Since(ask.tried) < settle
}

// forget forgets an attach that came to nothing because another has the volume.
func (n *names) forget(id name.VolumeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.asked, id)
}

// of returns what is known of the attach of a volume.
func (n *names) of(id name.VolumeID) asking {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[id]
}

// attached notes that a volume is attached.
func (n *names) attached(id name.VolumeID, device string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.asked, id)
	n.count++
	n.old[name.Slot(device)] = n.count
}

// available notes that EC2 says that a volume is available, and tells whether
// an attach of it may be under way all the same. One that was seen and is
// gone, or that was accepted and is not to be seen, has come to nothing.
func (n *names) available(id name.VolumeID, now time.Time) (ask asking, underWay bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ask = n.asked[id]
	switch {
	case ask.since.IsZero():
		return ask, false
	case !ask.seen && now.Sub(ask.since) < settle:
		return ask, true
	}
	n.spent[name.Slot(ask.device)] = true
	ask = asking{failed: ask.since, freed: ask.freed}
	n.asked[id] = ask
	return ask, false
}
