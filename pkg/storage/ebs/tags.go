package ebs

import (
	"context"
	"fmt"
	"strings"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

// The tags that the agent writes on a volume. It changes no others.
const (
	// TagSelf holds the ID of the volume itself. A copy that was made with the
	// tags of its original has the ID of the original there.
	TagSelf = "bootagent:volume"

	// TagFilesystem holds the intent: the filesystem that the agent makes, or has
	// made.
	TagFilesystem = "bootagent:filesystem"
)

// Tags returns the keys of the tags that the agent writes.
func Tags() []string { return []string{TagSelf, TagFilesystem} }

// Intent returns the intent that the volume's tag holds, or the zero Intent. A
// tag that can't be understood is an error, because it may say that there is a
// filesystem.
func (v *Volumes) Intent(ctx context.Context, id name.VolumeID) (host.Intent, error) {
	vol, err := v.describe(ctx, id)
	if err != nil {
		return host.Intent{}, err
	}
	return vol.intent()
}

// Intend writes the volume's tag.
func (v *Volumes) Intend(ctx context.Context, id name.VolumeID, intent host.Intent) error {
	return v.tag(ctx, id, TagFilesystem, intentText(intent))
}

// Tags returns all tags of a volume.
func (v *Volumes) Tags(ctx context.Context, id name.VolumeID) (map[string]string, error) {
	vol, err := v.describe(ctx, id)
	return vol.Tags, err
}

// Origin returns what EC2 knows of a volume besides what is on it.
func (v *Volumes) Origin(ctx context.Context, id name.VolumeID) (host.Origin, error) {
	vol, err := v.describe(ctx, id)
	if err != nil {
		return host.Origin{}, err
	}
	origin := host.Origin{Size: vol.Size}
	switch {
	case vol.Snapshot != "":
		origin.From = "snapshot " + vol.Snapshot
	case vol.Source != "":
		origin.From = "volume " + string(vol.Source)
	}
	return origin, nil
}

func (vol Volume) intent() (host.Intent, error) {
	tag, ok := vol.Tags[TagFilesystem]
	if !ok {
		return host.Intent{}, nil
	}
	verb, uuid, _ := strings.Cut(tag, " ")
	intent := host.Intent{UUID: uuid, Made: verb == "made"}
	if intentText(intent) != tag || !isUUID(uuid) {
		return host.Intent{}, fault.Refuse("look what is on the volume, and set the tag right, then: bootagent retry",
			`the tag %s of volume %s has to be "making UUID" or "made UUID", not %q`, TagFilesystem, vol.ID, tag)
	}
	return intent, nil
}

// intentText is the text of the tag.
func intentText(intent host.Intent) string {
	if intent.Made {
		return "made " + intent.UUID
	}
	return "making " + intent.UUID
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

// tag sets one tag of a volume.
func (v *Volumes) tag(ctx context.Context, id name.VolumeID, key, value string) error {
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
