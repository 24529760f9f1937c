package ebs

import (
	"context"
	"time"

	"bootagent/pkg/aws/name"
)

// API is what is asked of EC2. An error is a *diagnose.Error, unless the context
// ended or there are no credentials: those errors are wrapped.
type API interface {
	// Volumes returns all volumes that fit a query, of every page. For IDs that
	// EC2 does not know it may return nothing or an error.
	Volumes(ctx context.Context, q Query) ([]Volume, error)

	// Instance returns an instance.
	Instance(ctx context.Context, id string) (Instance, error)

	// Modification returns the last modification of a volume. That there was none is
	// an error, InvalidVolumeModification.NotFound.
	Modification(ctx context.Context, id name.VolumeID) (Modification, error)

	// Attach asks for a volume to be attached, which then takes its time.
	Attach(ctx context.Context, volume name.VolumeID, instance, device string) error

	// Detach asks for a volume to be detached from an instance, where it has this
	// device name. It is not forced.
	Detach(ctx context.Context, volume name.VolumeID, instance, device string) error

	// Tag sets tags of a volume and leaves its others.
	Tag(ctx context.Context, volume name.VolumeID, tags map[string]string) error
}

// The actions of the API, as IAM calls them.
const (
	DescribeVolumes              = "ec2:DescribeVolumes"
	DescribeInstances            = "ec2:DescribeInstances"
	DescribeVolumesModifications = "ec2:DescribeVolumesModifications"
	AttachVolume                 = "ec2:AttachVolume"
	DetachVolume                 = "ec2:DetachVolume"
	CreateTags                   = "ec2:CreateTags"
)

// A Query says which volumes are meant: those with the IDs, or those that have
// all of the tags.
type Query struct {
	IDs  []name.VolumeID
	Tags map[string]string
}

// A Volume is what EC2 says of a volume.
type Volume struct {
	ID          name.VolumeID
	Zone        string
	State       string
	Size        int64         // in bytes
	Snapshot    string        // that it was made from, or ""
	Source      name.VolumeID // that it was copied from, or ""
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

// A Modification is a change of a volume's size, type or performance.
type Modification struct {
	State    string
	Message  string // why it failed
	From, To int64  // sizes, in bytes
	Progress int64  // in percent
}

// The states of a modification. The new size counts from Optimizing on.
const (
	Modifying    = "modifying"
	Optimizing   = "optimizing"
	Completed    = "completed"
	ModifyFailed = "failed"
)

// An Attachment is the tie between a volume and what it is attached to.
type Attachment struct {
	Instance string // or "", where a service of AWS holds the volume
	Service  string // that holds it
	Device   string // the name that it was asked for by; not what Linux calls it
	State    string
	Since    time.Time // it was asked for

	DeleteOnTermination bool // of the instance, which deletes the volume
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
	ID      string
	Zone    string
	Type    string                   // as "m7g.large"
	State   string                   // as "running"
	Devices map[string]name.VolumeID // the volumes in its block device mapping, by device name

	// For the commands in hints, if they are known of this instance.
	Region string
	Role   string // the role of bootagent that it has
}
