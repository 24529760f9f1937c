package block

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
)

// A Named is a disk as it is named to a command that changes what is on it: by all
// that tells it from another disk.
type Named struct {
	Filesystem string // the type of the filesystem on it, or to be made on it
	Serial     string
	Seq        uint64 // 0 where the kernel, before Linux 5.15, has none
	Size       int64  // in bytes
	Path       string // of its device node
}

// notGiven stands for the disk sequence number that the command line lacks.
const notGiven = math.MaxUint64

// Args returns the flags by which a command is told the disk, without its path.
func (n Named) Args() []string {
	return []string{"--type", n.Filesystem, "--serial", n.Serial, "--sequence", fmt.Sprint(n.Seq), "--size", fmt.Sprint(n.Size)}
}

// Flags defines the flags of Args.
func (n *Named) Flags(f *flag.FlagSet) {
	f.StringVar(&n.Filesystem, "type", "", "")
	f.StringVar(&n.Serial, "serial", "", "")
	f.Uint64Var(&n.Seq, "sequence", notGiven, "")
	f.Int64Var(&n.Size, "size", 0, "")
}

// Whole reports whether all flags were given.
func (n Named) Whole() bool {
	return n.Filesystem != "" && n.Serial != "" && n.Seq != notGiven && n.Size > 0
}

// Is returns the device number of an opened disk, and refuses another disk than the
// one that is named. It compares no sizes.
func (n Named) Is(disk *os.File) (dev uint64, err error) { return SameDisk(disk, n.Serial, n.Seq) }

// HasSize refuses an opened disk that has another size than the one that is named.
func (n Named) HasSize(disk io.Seeker) error {
	end, err := disk.Seek(0, io.SeekEnd)
	if err == nil && end != n.Size {
		err = fmt.Errorf("disk %s has %d bytes now, not %d", n.Serial, end, n.Size)
	}
	return err
}
