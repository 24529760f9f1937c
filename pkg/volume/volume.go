// Package volume finds, claims and attaches EBS volumes by EC2's API. It
// decides over the small interface API, without goroutines, sleeps or files of
// its own: whoever calls it asks again while it says *fault.Pending, and holds the
// deadline. Package aws/ec2 is that interface by the AWS
// SDK.
//
// Nothing in it detaches a volume, and nothing forces: what holds a volume is
// named, and waited for.
package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/fault"
)

// The tags that the agent writes on a volume. Nothing else is written on it.
const (
	// TagSelf holds the volume's own id. A copy that was made with the tags of
	// its original says by it whose copy it is.
	TagSelf = "bootagent:volume"

	// TagFilesystem holds the Filesystem that the agent makes, or has made.
	TagFilesystem = "bootagent:filesystem"
)

// Tags returns the keys of the tags that the agent writes.
func Tags() []string { return []string{TagSelf, TagFilesystem} }

// API is what is asked of EC2. Errors are *diagnose.Error, but for that of a context
// that ended, and those of whoever gives the credentials, which are wrapped.
type API interface {
	// Volumes returns all volumes that fit a query, of every page. Of ids that
	// EC2 does not know it may return nothing or an error.
	Volumes(ctx context.Context, q Query) ([]Volume, error)

	// Instance returns an instance.
	Instance(ctx context.Context, id string) (Instance, error)

	// Attach asks for a volume to be attached, which then takes its time.
	Attach(ctx context.Context, volume, instance, device string) error

	// Tag sets tags of a volume and leaves its others.
	Tag(ctx context.Context, volume string, tags map[string]string) error
}

// The actions of the API, as IAM calls them.
const (
	DescribeVolumes   = "ec2:DescribeVolumes"
	DescribeInstances = "ec2:DescribeInstances"
	AttachVolume      = "ec2:AttachVolume"
	CreateTags        = "ec2:CreateTags"
)

// A Query says which volumes are meant: those with the ids, or those that have
// all of the tags.
type Query struct {
	IDs  []string
	Tags map[string]string
}

// A Volume is what EC2 says of a volume.
type Volume struct {
	ID          string
	Zone        string
	State       string
	Size        int64  // in bytes
	Snapshot    string // that it was made from, or ""
	Source      string // volume that it was copied from, or ""
	Encrypted   bool
	Key         string // of KMS, that it is encrypted with, or ""
	MultiAttach bool   // several instances may attach it at once
	Tags        map[string]string
	Attachments []Attachment

	// AsOf is when EC2 said so, by EC2's own clock, with which its other times
	// are to be compared; zero if that is not known.
	AsOf time.Time
}

// The states of a volume.
const (
	Creating  = "creating"
	Available = "available"
	InUse     = "in-use"
	Deleting  = "deleting"
	Deleted   = "deleted"
	Failed    = "error"
)

// An Attachment is the tie between a volume and what it is attached to.
type Attachment struct {
	Instance string // or "", where a service of AWS holds the volume
	Service  string // that holds it
	Device   string // the name that it was asked for by; not what Linux calls it
	State    string
	Since    time.Time // it was asked for
}

// The states of an attachment.
const (
	Attaching = "attaching"
	Attached  = "attached"
	Detaching = "detaching"
	Detached  = "detached"
	Busy      = "busy" // it is to be detached, and the instance still uses it
)

// An Instance is what EC2 says of an instance.
type Instance struct {
	ID       string
	Zone     string
	State    string            // as "running"
	Launched time.Time         // the last time
	Devices  map[string]string // ids of the volumes in its block device mapping, by device name

	// What hints are made complete with, where it is known of this instance.
	Region string
	Role   string // of bootagent, that it has
}

// Volumes are the volumes of EC2, as one instance sees them. It can be used
// for several volumes at once.
type Volumes struct {
	api   API
	self  Instance
	names names

	mu      sync.Mutex
	holders map[string]holder // by volume
}

// New returns the volumes for an instance, of which the id and the zone are
// enough.
func New(api API, self Instance) *Volumes {
	return &Volumes{api: api, self: self, names: newNames(), holders: map[string]holder{}}
}

// Want says which volume is wanted: the one with an id, or the one that has
// all of the tags.
type Want struct {
	ID   string
	Tags map[string]string
}

func (w Want) String() string {
	if w.ID != "" {
		return "volume " + w.ID
	}
	return "a volume with the tags " + w.tags()
}

func (w Want) tags() string {
	var tags []string
	for _, key := range slices.Sorted(maps.Keys(w.Tags)) {
		tags = append(tags, key+"="+w.Tags[key])
	}
	return strings.Join(tags, ", ")
}

// Find returns the one volume that is wanted, of every zone and state, but for
// these: a volume that is deleted or being deleted is gone as far as its tags
// go, and a copy is not what has the tags that it was copied with. Where there
// is none the error is *fault.Pending, because it may yet be made or tagged, or not
// have reached all of EC2. More than one, or copies alone, is refused; only
// the latter finally, because volumes that are too many may be deleted.
func (v *Volumes) Find(ctx context.Context, want Want) (Volume, error) {
	switch {
	case want.ID != "":
		return v.describe(ctx, want.ID)
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
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Volume{}, fault.WithHint(fmt.Errorf("%d volumes have the tags %s, and one is meant: %s", len(found), want.tags(), list(found)),
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

// describe returns a volume by its id.
func (v *Volumes) describe(ctx context.Context, id string) (Volume, error) {
	all, err := v.api.Volumes(ctx, Query{IDs: []string{id}})
	if code := codeOf(err); code == "InvalidVolume.NotFound" || err == nil && len(all) == 0 {
		return Volume{}, pending(fmt.Sprintf("EC2 to know volume %s", id),
			"check the id, and that the volume is of this account and region", err)
	}
	if code := codeOf(err); code == "InvalidVolumeID.Malformed" || code == "InvalidParameterValue" {
		return Volume{}, fault.Refuse("correct the id, then: bootagent retry", "EC2 takes %q for no volume's id", id)
	}
	if err != nil {
		return Volume{}, v.answer(err)
	}
	return all[0], nil
}

// Claim refuses a volume that can't be this instance's, and tags the volume
// with its own id, so that a copy of it tells itself from now on.
func (v *Volumes) Claim(ctx context.Context, vol Volume) error {
	if err := v.refuse(vol); err != nil {
		return err
	}
	if vol.Tags[TagSelf] == vol.ID {
		return nil
	}
	return v.tag(ctx, vol.ID, TagSelf, vol.ID)
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
		return fault.Refuse("turn multi-attach off, "+v.person("ec2 modify-volume", "--volume-id", vol.ID, "--no-multi-attach-enabled")+"; then: bootagent retry",
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
	return ok && original != vol.ID
}

func (v *Volumes) zoneHint(vol Volume) string {
	return fmt.Sprintf("start the instance in %s, or make a volume in %s from a snapshot of this one", vol.Zone, v.self.Zone)
}

func (v *Volumes) refuseCopy(vol Volume) error {
	return fault.Refuse("if it is to be a volume of its own, take the tag off, "+
		v.person("ec2 delete-tags", "--resources", vol.ID, "--tags", "Key="+TagSelf),
		"volume %s is a copy of volume %s: its tag %s says so", vol.ID, vol.Tags[TagSelf], TagSelf)
}

// tag sets one tag of a volume.
func (v *Volumes) tag(ctx context.Context, id, key, value string) error {
	err := v.api.Tag(ctx, id, map[string]string{key: value})
	switch codeOf(err) {
	case "InvalidVolume.NotFound", "InvalidID":
		return pending(fmt.Sprintf("EC2 to know volume %s", id), "", err)
	case "TagLimitExceeded":
		return fault.Refuse("take a tag off that nobody needs, then: bootagent retry",
			"volume %s can't be tagged %s: it has as many tags as EC2 allows", id, key)
	}
	return v.answer(err)
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

// Facts are what EC2 knows of a volume that is proof of what can be on it.
type Facts struct {
	Size        int64      // in bytes
	Snapshot    string     // that it was made from, or ""
	Source      string     // volume that it was copied from, or ""
	Filesystem  Filesystem // that the agent made, or zero
	MultiAttach bool
	Encrypted   bool
}

// Facts returns the facts of a volume. A tag that can't be understood is an
// error, because it may say that there is a filesystem.
func (v *Volumes) Facts(ctx context.Context, id string) (Facts, error) {
	vol, err := v.describe(ctx, id)
	if err != nil {
		return Facts{}, err
	}
	facts := Facts{
		Size: vol.Size, Snapshot: vol.Snapshot, Source: vol.Source,
		MultiAttach: vol.MultiAttach, Encrypted: vol.Encrypted,
	}
	if tag, ok := vol.Tags[TagFilesystem]; ok {
		facts.Filesystem, err = ParseFilesystem(tag)
	}
	if err != nil {
		return Facts{}, fault.Refuse("look what is on the volume, and set the tag right, then: bootagent retry",
			"the tag %s of volume %s %w", TagFilesystem, id, err)
	}
	return facts, nil
}

// Note writes on a volume which filesystem is made on it, or was made.
func (v *Volumes) Note(ctx context.Context, id string, fs Filesystem) error {
	return v.tag(ctx, id, TagFilesystem, fs.String())
}

// A Filesystem is what the tag TagFilesystem says.
type Filesystem struct {
	UUID string
	Made bool // otherwise it was begun, and nobody knows how far that went
}

// String is the text of the tag: "making UUID" or "made UUID".
func (f Filesystem) String() string {
	if f.Made {
		return "made " + f.UUID
	}
	return "making " + f.UUID
}

// ParseFilesystem reads the text of the tag.
func ParseFilesystem(tag string) (Filesystem, error) {
	verb, uuid, _ := strings.Cut(tag, " ")
	f := Filesystem{UUID: uuid, Made: verb == "made"}
	if f.String() != tag || !isUUID(uuid) {
		return Filesystem{}, fmt.Errorf(`has to be "making UUID" or "made UUID", not %q`, tag)
	}
	return f, nil
}

func isUUID(s string) bool {
	const like = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
	if len(s) != len(like) {
		return false
	}
	for i := range s {
		isHex := strings.IndexByte("0123456789abcdef", s[i]) >= 0
		if (like[i] == 'x') != isHex || like[i] == '-' && s[i] != '-' {
			return false
		}
	}
	return true
}

func codeOf(err error) string {
	if e := (*diagnose.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}
