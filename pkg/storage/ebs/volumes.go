// Package ebs finds, claims and attaches EBS volumes through the API of EC2, for
// one instance. It decides over the small interface API, without goroutines,
// sleeps or files of its own: its caller asks again while the error is a
// *fault.Pending, and holds the deadline. Package aws/ec2 is the API by the AWS
// SDK.
//
// It detaches no volume but one whose attach to its own instance hangs, and
// nothing in it forces: the error names what holds the volume, and the caller waits.
package ebs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

// Volumes are the EBS volumes, as one instance sees them. Several goroutines may
// use it at once.
type Volumes struct {
	api   API
	self  Instance
	names names

	mu      sync.Mutex
	holders map[name.VolumeID]holder
	pools   map[string]pool          // by the tags
	doomed  map[name.VolumeID]string // the devices of those that go with this instance
}

var _ host.Volumes = (*Volumes)(nil)

// New returns the volumes for an instance, of which the ID and the zone have to
// be known.
func New(api API, self Instance) *Volumes {
	return &Volumes{api: api, self: self, names: newNames(), holders: map[name.VolumeID]holder{}, pools: map[string]pool{}, doomed: map[name.VolumeID]string{}}
}

// FindVolume returns the ID of the one volume that is meant, of every zone and
// state, or of one of a pool, see pick. Two kinds do not count: a volume that is deleted or being deleted, and a
// copy that has the tags of its original. If there is none the error is a
// *fault.Pending, because it may yet be made or tagged, or not be known to all of
// EC2. It is also an error if there are several, or only copies; the latter is
// permanent, but of several volumes some may be deleted.
func (v *Volumes) FindVolume(ctx context.Context, find host.Find) (name.VolumeID, error) {
	vol, err := v.find(ctx, find)
	return vol.ID, err
}

func (v *Volumes) find(ctx context.Context, want host.Find) (Volume, error) {
	switch {
	case want.ID != "":
		return v.describe(ctx, want.ID)
	case want.Device != "":
		return v.at(ctx, want.Device)
	case len(want.Tags) == 0:
		return Volume{}, fault.Refuse("give it an id or tags in the role file", "the volume has neither an id nor tags to be found by")
	}
	all, err := v.api.Volumes(ctx, Query{Tags: want.Tags})
	if err != nil {
		return Volume{}, v.answer(err)
	}
	var found, copies, gone []Volume
	for _, vol := range all {
		switch {
		case !vol.has(want.Tags): // a filter of EC2 knows wildcards, and may lag behind
		case vol.State == Deleting || vol.State == Deleted:
			gone = append(gone, vol)
		case vol.isCopy():
			copies = append(copies, vol)
		default:
			found = append(found, vol)
		}
	}
	switch {
	case want.Any:
		return v.pick(want, found, copies)
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Volume{}, fault.WithHint(fmt.Errorf("%d volumes have the tags %s, and one is meant: %s", len(found), want.TagList(), list(found)),
			"take the tags off those that are not meant, or name the id of the one below volumes in the user-data")
	case len(copies) > 0:
		return Volume{}, v.refuseCopy(copies[0])
	case len(gone) > 0:
		return Volume{}, &fault.Pending{
			For:  fmt.Sprintf("%s (there is %s)", want, list(gone)),
			Hint: "make a volume with these tags in zone " + v.self.Zone,
		}
	}
	return Volume{}, &fault.Pending{
		For:  want.String(),
		Hint: fmt.Sprintf("tag the volume, or make one with these tags in zone %s; the agent goes on as soon as it is there", v.self.Zone),
	}
}

// describe returns what EC2 says of a volume.
func (v *Volumes) describe(ctx context.Context, id name.VolumeID) (Volume, error) {
	all, err := v.api.Volumes(ctx, Query{IDs: []name.VolumeID{id}})
	if code := codeOf(err); code == "InvalidVolume.NotFound" || err == nil && len(all) == 0 {
		return Volume{}, v.lost(id, pending(fmt.Sprintf("EC2 to know volume %s", id),
			"check the id, and that the volume is of this account and region", err))
	}
	if code := codeOf(err); code == "InvalidVolumeID.Malformed" || code == "InvalidParameterValue" {
		return Volume{}, fault.Refuse("correct the id, then: bootagent retry", "%q is not a volume ID, as EC2 says", id)
	}
	if err != nil {
		return Volume{}, v.answer(err)
	}
	return all[0], nil
}

// Claim refuses a volume that can't be this instance's, and tags the volume
// with its own ID, by which a copy of it is recognised from now on.
func (v *Volumes) Claim(ctx context.Context, id name.VolumeID) error {
	vol, err := v.describe(ctx, id)
	if err != nil {
		return err
	}
	if err := v.refuse(vol); err != nil {
		return v.lost(id, err)
	}
	if vol.Tags[TagSelf] == string(id) {
		return nil
	}
	return v.tag(ctx, id, TagSelf, string(id))
}

// refuse says what is wrong with a volume that no waiting mends.
func (v *Volumes) refuse(vol Volume) error {
	switch {
	case vol.State == Deleting || vol.State == Deleted:
		return fault.Refuse("", "volume %s is %s", vol.ID, vol.State)
	case vol.State == Failed:
		return fault.Refuse("restore it from a snapshot, and take the tags off this one",
			"volume %s is in state error: EC2 says that its hardware failed", vol.ID)
	case vol.isCopy():
		return v.refuseCopy(vol)
	case vol.MultiAttach:
		return fault.Refuse("turn multi-attach off, "+v.person("ec2 modify-volume", "--volume-id", string(vol.ID), "--no-multi-attach-enabled")+"; then: bootagent retry",
			"volume %s has multi-attach enabled: two instances could mount one filesystem, which destroys it", vol.ID)
	case vol.Zone != v.self.Zone:
		return fault.Refuse(v.zoneHint(vol),
			"volume %s is in zone %s and this instance is in %s: a volume can be attached in its own zone only", vol.ID, vol.Zone, v.self.Zone)
	}
	return nil
}

func (vol Volume) has(tags map[string]string) bool {
	for key, value := range tags {
		if got, ok := vol.Tags[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// isCopy tells whether a volume says by its tags that it is another one's copy.
func (vol Volume) isCopy() bool {
	original, ok := vol.Tags[TagSelf]
	return ok && original != string(vol.ID)
}

func (v *Volumes) zoneHint(vol Volume) string {
	return fmt.Sprintf("start the instance in %s, or make a volume in %s from a snapshot of this one", vol.Zone, v.self.Zone)
}

func (v *Volumes) refuseCopy(vol Volume) error {
	return fault.Refuse("if it is to be a volume of its own, take the tag off, "+
		v.person("ec2 delete-tags", "--resources", string(vol.ID), "--tags", "Key="+TagSelf),
		"volume %s is a copy of volume %s: its tag %s says so", vol.ID, vol.Tags[TagSelf], TagSelf)
}

// list names volumes with their state, zone and holder.
func list(all []Volume) string {
	var words []string
	for _, vol := range all {
		word := fmt.Sprintf("%s (%s in %s", vol.ID, vol.State, vol.Zone)
		for _, a := range vol.Attachments {
			word += ", held by " + a.holder()
		}
		words = append(words, word+")")
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func (a Attachment) holder() string {
	if a.Instance == "" {
		return a.Service
	}
	return a.Instance
}

func codeOf(err error) string {
	if e := (*diagnose.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}
