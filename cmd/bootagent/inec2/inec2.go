// Package inec2 is what the story of pkg/boot asks of the volumes of a cloud, as
// pkg/volume decides it for EC2. It is apart from the program so that the
// simulated world runs the very same.
package inec2

import (
	"context"

	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/volume"
)

// Volumes are those of EC2, as one instance sees them.
type Volumes struct{ *volume.Volumes }

var _ host.Volumes = Volumes{}

// FindVolume returns the id of the one volume that is meant.
func (v Volumes) FindVolume(ctx context.Context, find role.Find) (string, error) {
	found, err := v.Find(ctx, volume.Want{ID: find.ID, Tags: find.Tags})
	return found.ID, err
}

// Claim refuses a volume that this instance may not use, and has it say its name.
func (v Volumes) Claim(ctx context.Context, id string) error {
	found, err := v.Find(ctx, volume.Want{ID: id})
	if err == nil {
		err = v.Volumes.Claim(ctx, found)
	}
	return err
}

// Attach returns nil once the volume is attached to this instance.
func (v Volumes) Attach(ctx context.Context, id string) error {
	_, err := v.Volumes.Attach(ctx, id)
	return err
}

// Origin says what EC2 knows of a volume that is taken for new.
func (v Volumes) Origin(ctx context.Context, id string) (host.Origin, error) {
	facts, err := v.Facts(ctx, id)
	origin := host.Origin{Size: facts.Size}
	switch {
	case facts.Snapshot != "":
		origin.From = "snapshot " + facts.Snapshot
	case facts.Source != "":
		origin.From = "volume " + facts.Source
	}
	return origin, err
}

// Intent is what the tag of the volume says of its filesystem.
func (v Volumes) Intent(ctx context.Context, id string) (host.Intent, error) {
	facts, err := v.Facts(ctx, id)
	return host.Intent(facts.Filesystem), err
}

// Intend writes the tag.
func (v Volumes) Intend(ctx context.Context, id string, intent host.Intent) error {
	return v.Note(ctx, id, volume.Filesystem(intent))
}
