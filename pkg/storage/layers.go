package storage

import (
	"context"

	"bootagent/pkg/host"
)

// A layer is one layer of a volume. The lowest is its source, where the disk
// comes from; each other one lies on what the layer below gives; the highest is
// the filesystem.
//
// A layer has those of these verbs that it needs, as functions of steps:
//
//   - open makes what is below usable: attach a disk, mount a filesystem
//   - inspect reads what is there and refuses what is not meant; it changes
//     nothing
//   - create makes the layer where inspect has proven that nothing is there
//   - check says whose it is, and has its own checker run
//   - close gives it back
//
// A step can run again after a crash at any point, and after any of the steps
// below ran again. A later verb, such as grow, is one more step of the layers
// that have it, after those of check: the interface stays as it is.
type layer interface {
	// add adds the steps of the layer, which need those of the layer below.
	add(s *steps)
}

// A source is the lowest layer: it finds the disk, and knows of it what is not
// on it.
type source interface {
	layer

	// serial is the serial number of the disk, or "" if it is not known yet which
	// disk is meant.
	serial() string

	// seek finds out which disk is meant, where its serial number does not say so.
	seek(ctx context.Context) error

	// isNew refuses a blank disk that has a history, or is not the one that the
	// source knows.
	isNew(ctx context.Context, disk host.Disk) error

	// intent and intend read and write what the agent is about to make on the
	// disk.
	intent(ctx context.Context) (host.Intent, error)
	intend(ctx context.Context, intent host.Intent) error

	// volumeID is the ID of the EBS volume, or "" if it is not known yet, or the
	// disk is not known to be one.
	volumeID() string

	// remote reports whether intents are kept by a cloud: each costs a request
	// to its API, and what was written may not be read at once.
	remote() bool

	// exclusive reports whether no other machine can use the disk while this one
	// has it.
	exclusive() bool

	// keep keeps which disk it is, so that the next boot finds it without asking.
	keep() error
}

// sources are where the disk of a volume can come from; the first that is meant
// counts. A new one is a file of its own and a line here.
func (v *Volume) sources() []candidate {
	return []candidate{
		{v.Find.Cloud() != "", &ebs{volume: v}},
		{v.Find.Plugged(), &local{volume: v}},
	}
}

// A candidate is a source, and whether the plan means it.
type candidate struct {
	meant bool
	source
}

// layers are those of a volume, from the lowest to the highest. A new one is a
// file of its own and a line here: RAID 0 would make one disk of several, and
// LUKS the device of an encrypted one, each between the source and the
// filesystem.
func (v *Volume) layers() []layer {
	return []layer{
		v.source,
		v.filesystem,
	}
}
