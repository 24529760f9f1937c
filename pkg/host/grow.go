package host

import "context"

// GrowsFrom is how much more a disk has to have than its filesystem before the
// filesystem is grown, in bytes. A filesystem can't use all that is left at the end:
// a group of ext4 or XFS begins with its own tables, and a group that has room for
// nothing else is not made.
const GrowsFrom = 16 << 20

// Growths makes filesystems larger while they are mounted.
type Growths interface {
	// Size returns how many bytes of its disk the filesystem of a type takes that is
	// mounted from the disk at a path.
	Size(ctx context.Context, disk Disk, filesystem, where string) (int64, error)

	// Grow makes a mounted filesystem as large as its disk. It changes nothing if
	// what is mounted there is not that filesystem, of that disk, or if the disk has
	// another size by then. It never forces. An agent that died may have begun it:
	// then Grow waits for the end of that.
	Grow(ctx context.Context, g Growth) error
}

// A Growth says which filesystem is to become as large as its disk.
type Growth struct {
	Disk       Disk // as large as the filesystem is to be
	Filesystem string
	Where      string // it is mounted
	Volume     string // that its ledger names
	Role       string // that its ledger names
	UUID       string // that its ledger names
}
