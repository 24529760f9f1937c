package boot

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/storage"
)

// A volume that this instance had for another role stays attached when the instance gets
// a new role. It is left alone: not mounted, not claimed, not detached. People are told.

// lookForLeft looks which such volumes are attached.
func (b *Boot) lookForLeft(ctx context.Context) error {
	if b.host.Volumes == nil {
		return nil
	}
	var left []string
	all := b.host.Records.All()
	for _, volume := range slices.Sorted(maps.Keys(all)) {
		id := all[volume].ID
		if b.means(id, all) {
			continue
		}
		_, there, err := b.host.Disks.Find(ctx, id.Serial())
		if err != nil {
			return err
		}
		if there {
			left = append(left, fmt.Sprintf("volume %s is attached and left alone: this instance had it as volume %q of another role", id, volume))
		}
	}
	if before := b.left.Swap(&left); before == nil && left != nil || before != nil && !slices.Equal(*before, left) {
		for _, text := range left {
			b.log.Info(text)
		}
		b.Ping() // it is reported
	}
	return nil
}

// means reports whether the plan means a volume that this instance had, as far as is
// known.
func (b *Boot) means(id name.VolumeID, had map[string]host.Recorded) bool {
	for _, v := range b.volumes {
		find := storage.Wanted(v.Find)
		if v.KnownSerial() == id.Serial() || had[v.Name].ID == id && reflect.DeepEqual(find, had[v.Name].Find) {
			return true
		}
	}
	return false
}

// LeftAlone says of each volume that is left alone which it is.
func (b *Boot) LeftAlone() []string {
	if left := b.left.Load(); left != nil {
		return *left
	}
	return nil
}
