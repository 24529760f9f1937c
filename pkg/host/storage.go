package host

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/aws/name"
)

// Volumes are the EBS volumes, as this instance sees them. If an answer may
// become another by itself, the error is a *fault.Pending.
type Volumes interface {
	// FindVolume returns the ID of the one volume that is meant.
	FindVolume(ctx context.Context, find Find) (name.VolumeID, error)

	// Claim refuses a volume that this instance may not use, and tags the volume
	// with its own ID, by which a copy of it is recognised.
	Claim(ctx context.Context, id name.VolumeID) error

	// Attach returns nil once the volume is attached to this instance. It
	// neither forces nor detaches.
	Attach(ctx context.Context, id name.VolumeID) error

	// Held returns nil once this instance has the volume attached under a device
	// name. It asks for no attach: that is somebody else's part.
	Held(ctx context.Context, id name.VolumeID, device string) error

	// DeletedWithInstance says that EC2 deletes a volume when this instance is
	// terminated, and what keeps it. It is "" if EC2 does not, and if EC2 was not
	// asked in this boot: it answers from what Attach and Held have learned.
	DeletedWithInstance(id name.VolumeID) string

	// Tags returns all tags of a volume.
	Tags(ctx context.Context, id name.VolumeID) (map[string]string, error)

	// Origin says what EC2 knows of a volume that is taken for new.
	Origin(ctx context.Context, id name.VolumeID) (Origin, error)

	// Resized returns nil once a volume has a size, in bytes, for good: a
	// modification can't fail any more, or there is none. The error is a *Denied if
	// this instance may not ask for modifications.
	Resized(ctx context.Context, id name.VolumeID, size int64) error

	// Intent and Intend read and write the intent, which is a tag of the volume.
	Intent(ctx context.Context, id name.VolumeID) (Intent, error) // the zero Intent if there is none
	Intend(ctx context.Context, id name.VolumeID, intent Intent) error
}

// A Denied says that the IAM role of the instance does not allow a call.
type Denied struct {
	Action  string // as IAM calls it
	Message string // of AWS
}

func (e *Denied) Error() string {
	return "the instance's IAM role does not allow " + e.Action + ": " + e.Message
}

// Find says which EBS volume is meant: the one with the ID, the one that this
// instance has under a device name, or the one that has all of the tags.
type Find struct {
	ID   name.VolumeID     `json:"id,omitempty"`
	Tags map[string]string `json:"tags,omitempty"`

	// Device is a device name of EC2, such as /dev/sdf.
	Device string `json:"device,omitempty"`

	// Any says that any volume of the instance's zone with the tags will do that no
	// other instance has; Last is the one that this instance had last, or "".
	Any  bool          `json:"any,omitempty"`
	Last name.VolumeID `json:"-"`
}

func (f Find) String() string {
	if f.ID != "" {
		return "volume " + string(f.ID)
	}
	if f.Device != "" {
		return "the volume that is attached as " + f.Device
	}
	return "a volume with the tags " + f.TagList()
}

// TagList returns the tags as text: "cluster=orders, part=log".
func (f Find) TagList() string {
	var tags []string
	for _, key := range slices.Sorted(maps.Keys(f.Tags)) {
		value := f.Tags[key]
		if value == "" {
			value = `""`
		}
		tags = append(tags, key+"="+value)
	}
	return strings.Join(tags, ", ")
}

// Origin is what EC2 knows of a volume besides what is on it.
type Origin struct {
	From string // "snapshot snap-..." or another that its blocks are of, or ""
	Size int64  // in bytes
}

// Records keeps which EBS volume this very instance had mounted for a volume of
// the plan, and the tags that were read of it.
type Records interface {
	Recorded(volume string, find Find) (name.VolumeID, error) // "" if there is none
	Record(volume string, find Find, id name.VolumeID) error

	RecordedTag(id name.VolumeID, key string) (value string, there bool, err error)
	RecordTag(id name.VolumeID, key, value string) error

	// All returns all that are recorded of this instance, by the volume of the plan.
	All() map[string]Recorded
}

// Recorded says which EBS volume this instance had mounted for a volume of a plan.
type Recorded struct {
	Find Find          `json:"find"` // how the role said which it is
	ID   name.VolumeID `json:"id"`
}

// Releases tells how the last shutdown of the machine ended.
type Releases interface {
	// Released returns when a volume of the plan was found unmounted by the
	// shutdown that ended a boot of this machine. It is zero if the boot ended
	// without one, or if that is not known any more.
	Released(bootID, volume string) (time.Time, error)
}

// Disks finds and reads the disks of the machine. It writes to none.
type Disks interface {
	// Find returns the disk with a serial number, if it is there.
	Find(ctx context.Context, serial string) (disk Disk, there bool, err error)

	// Marked returns the disks, of those that are there, that have a mark. A
	// disk that can't be read is an error: it may be one of them.
	Marked(ctx context.Context, mark Mark) ([]Disk, error)

	// Appear returns the disk with a serial number, as soon as it is there.
	Appear(ctx context.Context, serial string) (Disk, error)

	// Read returns what is on a disk, from what it could read of it. A disk that
	// could not be read is an error, never Blank.
	Read(ctx context.Context, disk Disk, r Reading) (Content, error)
}

// A Disk is one disk that is plugged in.
type Disk struct {
	Serial string
	Model  string // that its controller reports
	Path   string // of its device node, until it is pulled
	Link   string // that names it under whatever number it comes back
	Dev    uint64 // device number, as in st_rdev
	Seq    uint64 // another one each time that it is plugged in
	Size   int64  // in bytes
}

// InstanceStore is the model that the disks of an EC2 instance store report: what is on
// them is lost when the instance stops.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ssd-instance-store.html
const InstanceStore = "Amazon EC2 NVMe Instance Storage"

// A Mark is what tells a filesystem of a type from others, its UUID or its label; or it is
// the model of a disk, whatever is on it.
type Mark struct{ Filesystem, UUID, Label, Model string }

func (m Mark) String() string {
	if m.Model != "" {
		return "the model " + m.Model
	}
	if m.UUID != "" {
		return fmt.Sprintf("the %s filesystem %s", m.Filesystem, m.UUID)
	}
	return fmt.Sprintf("an %s filesystem with the label %s", m.Filesystem, m.Label)
}

// A DiskEvent says that something may have happened to a disk. It is a reason
// to look whether anything did.
type DiskEvent struct {
	Name   string // of the disk, as the kernel calls it; "" if it may be any
	Serial string // "" if the event does not tell it
	Holds  string // what udev sees on it, in words of its own; "" if the event does not tell it
}

// A Reading says how a disk is to be read.
type Reading struct {
	Filesystem string // the type of the filesystem that is meant to be on it
	Whole      bool   // every byte, before it counts as blank
}

// Content is what is on a disk.
type Content struct {
	Blank      bool   // proven to hold nothing
	Filesystem string // the type of the one filesystem on it, or ""
	UUID       string // of that filesystem
	Size       int64  // of that filesystem, in bytes; 0 if it is not known
	Words      string // what was found and where: "has an LVM2 signature at 0x218"
	Beside     string // what else is on a disk with a filesystem, in words that name it; or ""
	Mend       string // the command that leaves the volume's filesystem alone on the disk, or ""
}

// Filesystems makes and checks filesystems, by their type: "xfs", "ext4".
type Filesystems interface {
	// Format makes a filesystem on a disk that was just proven blank, as large as
	// disk.Size, whatever the kernel sees meanwhile. It never forces, and goes on
	// where an agent that died left it.
	Format(ctx context.Context, disk Disk, filesystem, uuid string) error

	// Settle waits until no Format, no Introduce and no Grow runs on the disk.
	Settle(ctx context.Context, disk Disk) error

	// Check mends what the filesystem's own checker mends without being
	// asked, before the first mount, and refuses what it would not.
	Check(ctx context.Context, disk Disk, filesystem string) error

	// Look returns what the filesystem on a disk says of itself, and the state of
	// directories in it, which are named by their paths below its root. It does not
	// change a byte of the disk, and nobody else sees the filesystem mounted.
	Look(ctx context.Context, disk Disk, filesystem string, inside []Data) (Look, error)

	// Introduce writes the ledger of a filesystem and brings it to where Look sees
	// it. It writes nothing if there is another ledger than the one that it is to
	// replace, or, if the filesystem is to be just made, if there is a file that mkfs
	// does not leave. It changes nothing else.
	// Look tells. The root directory of one that was just made gets the SELinux
	// label of where it will be mounted, because mkfs gives it none.
	Introduce(ctx context.Context, disk Disk, i Introduction) error
}

// An Introduction is what Introduce has to know of a filesystem.
type Introduction struct {
	Filesystem string // its type
	Ledger     []byte
	Instead    string // the SHA-256 of the ledger that is replaced, in hexadecimal digits; "" where there is none
	Made       bool   // it was just made, and holds nothing
	Mount      string // the directory on which it will be mounted
}

// A Look is what a filesystem says of itself.
type Look struct {
	Ledger []byte   // nil if there is none
	Names  []string // in its root directory that mkfs does not leave there

	Inside []DirectoryReport // in the order in which they were asked for
}

// Ledgers keeps a volume's ledger on the root directory of its filesystem.
type Ledgers interface {
	ReadLedger(ctx context.Context, root string) ([]byte, error) // nil if there is none
	WriteLedger(ctx context.Context, root string, ledger []byte) error
}

// Intents keeps what the agent is about to make on a disk, so that after a
// crash what it half made can be told from what is someone else's. These are of
// disks by their serial number, on this machine; those of an EBS volume are its
// tag, see Volumes.
type Intents interface {
	Intent(ctx context.Context, serial string) (Intent, error) // the zero Intent if there is none
	Intend(ctx context.Context, serial string, intent Intent) error
}

// An Intent is a filesystem that the agent makes, or has made.
type Intent struct {
	UUID string `json:"uuid"`
	Made bool   `json:"made"`
}

// Mounts mounts and unmounts by systemd.
type Mounts interface {
	// At returns the device that is mounted at a path, and whether one is.
	At(where string) (dev uint64, mounted bool, err error)

	// Mount mounts, and returns when it is done. Nobody else can have the
	// same mounted before, or afterwards without another call.
	Mount(ctx context.Context, m Mount) error

	// Stale tells whether what is mounted at a path is of a disk that is gone:
	// nothing that is written there gets anywhere any more.
	Stale(where string) (bool, error)

	// Stopped says why nothing can be written any more to the filesystem that is
	// mounted at a path, as after an error of its disk. It is "" if it can be written,
	// and if nothing is mounted there.
	Stopped(ctx context.Context, where string) (why string, err error)

	// Unmount unmounts what was mounted by Mount. What processes hold is not
	// unmounted, and they are named; but where it is stale it is taken out of
	// sight, and they keep what they hold.
	Unmount(ctx context.Context, where string) error
}

// A Mount is a device, or a directory of another mount, to be mounted.
type Mount struct {
	What    string
	Where   string
	Type    string // "" for a directory, which is bound
	Options []string
	On      string // mount point that it goes with, for a directory
}
