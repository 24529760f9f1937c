package ebs

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

// A pool are the volumes that have some tags, of which an instance is to have
// any one. AttachVolume is what decides who gets one: EC2 attaches a volume to
// one instance only, and whoever comes too late takes another.
type pool struct {
	picked name.VolumeID
	all    map[name.VolumeID]bool // that are of the instance's zone
}

// pick returns the volume of a pool that this instance is to have: the one that
// it has, or else the one that it had last, or else one that is free. A volume
// that somebody else has is never taken away. Each instance has an order of its
// own for those that are free, so that they seldom want the same one.
func (v *Volumes) pick(want host.Find, found, copies []Volume) (Volume, error) {
	key := want.TagList()
	v.mu.Lock()
	defer v.mu.Unlock()
	others := map[name.VolumeID]bool{} // of this instance, for other volumes of its role
	for of, p := range v.pools {
		if of != key {
			others[p.picked] = true
		}
	}
	now := pool{all: map[name.VolumeID]bool{}}
	before := v.pools[key].picked
	var mine, free []Volume
	held, elsewhere, unfit := 0, 0, len(copies)
	for _, vol := range found {
		if vol.Zone != v.self.Zone {
			elsewhere++
			continue
		}
		now.all[vol.ID] = true
		holders := slices.DeleteFunc(slices.Clone(vol.Attachments), func(a Attachment) bool { return a.State == Detached })
		switch {
		case vol.ID == before && v.names.open(vol.ID):
			mine = []Volume{vol} // EC2 may not tell yet what became of the attach
		case vol.MultiAttach, others[vol.ID]:
			unfit++
		case slices.ContainsFunc(holders, func(a Attachment) bool { return a.Instance == v.self.ID }):
			mine = append(mine, vol)
		case len(holders) > 0:
			held++
		case vol.State == Available:
			free = append(free, vol)
		default:
			unfit++
		}
	}
	order := func(a, b Volume) int {
		return cmp.Or(
			boolCompare(b.ID == before, a.ID == before), boolCompare(b.ID == want.Last, a.ID == want.Last),
			cmp.Compare(v.rank(a.ID), v.rank(b.ID)), strings.Compare(string(a.ID), string(b.ID)),
		)
	}
	slices.SortFunc(mine, order)
	slices.SortFunc(free, order)
	if all := append(mine, free...); len(all) > 0 {
		now.picked = all[0].ID
		v.pools[key] = now
		return all[0], nil
	}
	v.pools[key] = now
	return Volume{}, &fault.Pending{
		For: fmt.Sprintf("a free volume with the tags %s in zone %s (%d have them: %d attached to other instances, %d in other zones, %d not to be used)",
			key, v.self.Zone, len(found)+len(copies), held, elsewhere, unfit),
		Hint: fmt.Sprintf("make one more volume with these tags in zone %s, or have an instance let one go that it does not need; the agent goes on as soon as one is free", v.self.Zone),
	}
}

// boolCompare has false come before true.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// rank is where a volume is in this instance's order.
func (v *Volumes) rank(id name.VolumeID) uint32 {
	h := fnv.New32a()
	h.Write([]byte(v.self.ID + " " + string(id)))
	return h.Sum32()
}

// pooled tells whether another volume will do as well as one.
func (v *Volumes) pooled(id name.VolumeID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.isPicked(id)
}

// beside returns the volume of the same pool that this instance has already, or "".
func (v *Volumes) beside(id name.VolumeID, self Instance) name.VolumeID {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range v.pools {
		if p.picked != id {
			continue
		}
		for _, other := range self.Devices {
			if other != id && p.all[other] && !v.isPicked(other) {
				return other
			}
		}
	}
	return ""
}

// isPicked tells whether a volume is the one of a pool. The caller has the lock.
func (v *Volumes) isPicked(id name.VolumeID) bool {
	for _, p := range v.pools {
		if p.picked == id {
			return true
		}
	}
	return false
}

// lost is the error for a volume of a pool that can't be had: the caller finds
// another. Any other volume has the error as it is.
func (v *Volumes) lost(id name.VolumeID, err error) error {
	if err == nil || !v.pooled(id) {
		return err
	}
	v.names.forget(id)
	why := err.Error()
	if pending := (*fault.Pending)(nil); errors.As(err, &pending) {
		why = "not waiting for " + pending.For
	}
	return fmt.Errorf("another volume with the same tags is looked for: %s", why)
}
