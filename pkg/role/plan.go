package role

import (
	"encoding/json"
	"fmt"
	"time"
)

// A Plan is what one instance has to make true: a role file with the
// parameters of the user-data put in. It holds no expansion any more. Every
// list is sorted by name, so that two plans from the same input are equal.
type Plan struct {
	Role     string    `json:"role"`
	Volumes  []Volume  `json:"volumes,omitempty"`
	Data     []Data    `json:"data,omitempty"`
	Secrets  []Secret  `json:"secrets,omitempty"`
	Services []Service `json:"services,omitempty"`
}

// A Volume is one disk of the role and the filesystem that belongs on it.
type Volume struct {
	Name       string         `json:"name"`
	Find       Find           `json:"find"`
	Filesystem FilesystemType `json:"filesystem"`
	Format     Format         `json:"format"`
	BlankProof BlankProof     `json:"blank-proof,omitempty"` // how much is read before a filesystem is made; "" is sampled
	Mount      string         `json:"mount"`                 // absolute, clean path of the mount point
	Timeout    time.Duration  `json:"timeout"`               // how long the disk may take to appear
	Adopt      bool           `json:"adopt,omitempty"`       // take a filesystem that has no ledger
}

// Find says which disk a volume is, in one of three ways. In a Plan, one of
// them is there.
type Find struct {
	// Serial is the serial number that the NVMe controller of a disk reports
	// which is there without the agent's doing.
	Serial string `json:"serial,omitempty"`

	// ID is the id of an EBS volume, which the agent attaches: vol-...
	ID string `json:"id,omitempty"`

	// Tags are what the one EBS volume has that is meant, beside whatever
	// other tags. None of their keys and values has a wildcard of EC2's
	// filters in it, nor the backslash that escapes one.
	Tags map[string]string `json:"tags,omitempty"`
}

// FilesystemType is a kind of filesystem that a volume may hold.
type FilesystemType string

// The filesystems that a volume may hold.
const (
	XFS  FilesystemType = "xfs"
	Ext4 FilesystemType = "ext4"
)

// Format says whether a filesystem may be made on a volume.
type Format string

// FormatIfBlank allows a filesystem to be made on a disk that is proven blank;
// FormatNever, the default, allows none.
const (
	FormatNever   Format = "never"
	FormatIfBlank Format = "if-blank"
)

// BlankProof says how much of a disk is read to prove that it is blank.
type BlankProof string

// Sampled, the default, is what a volume gives in 20 s, and all of a disk up to
// 4 GiB; Whole is all of any disk.
const (
	Sampled BlankProof = "sampled"
	Whole   BlankProof = "whole"
)

// Data is one data directory: a directory of a volume, bound onto the path
// where its engine looks for it.
type Data struct {
	Name     string   `json:"name"`
	Volume   string   `json:"volume"` // name of the volume
	Dir      string   `json:"dir"`    // directory below the volume's root, one path element
	Bind     string   `json:"bind"`   // absolute, clean path where the engine expects it
	Engine   Engine   `json:"engine"`
	Owner    string   `json:"owner"` // user name
	IfAbsent IfAbsent `json:"if-absent"`
	Beside   []string `json:"beside,omitempty"` // former data of the volume, beside which it may be initialised
}

// Engine is what keeps its data in a data directory.
type Engine string

// MariaDB is the one engine so far.
const MariaDB Engine = "mariadb"

// IfAbsent says what to do where a volume has no such data directory yet.
type IfAbsent string

// Initialize has the engine make a new, empty database, on a filesystem that
// never held one; Fail, the default, makes its absence an error.
const (
	Initialize IfAbsent = "initialize"
	Fail       IfAbsent = "fail"
)

// A Secret is something that services get as a credential of systemd.
type Secret struct {
	Name       string   `json:"name"`
	From       Source   `json:"from"`
	Credential string   `json:"credential"` // its name for the services
	Services   []string `json:"services"`   // units of services of the role
}

// Source is where the ciphertext of a secret is: an object of S3, or a file.
type Source struct {
	Bucket string // of S3
	Key    string // of the object; in a Role it may still hold expansions
	Path   string // absolute, clean path of a file, where there is no bucket
}

// String gives a source as a role file writes it: "s3://bucket/key" or
// "file:///path".
func (s Source) String() string {
	if s.Bucket != "" {
		return s3Scheme + s.Bucket + "/" + s.Key
	}
	return fileScheme + s.Path
}

// MarshalJSON writes a source as a role file does.
func (s Source) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// A Service is a systemd unit that is held until its needs are met.
type Service struct {
	Unit      string   `json:"unit"`                 // a .service
	Needs     []Need   `json:"needs,omitempty"`      // what has to be there first
	Ready     *Ready   `json:"ready,omitempty"`      // what tells that it serves
	AlsoGuard []string `json:"also-guard,omitempty"` // further units held with it
	IMDS      bool     `json:"imds,omitempty"`       // may reach the metadata service
}

// A Need names a volume, a data directory or a secret of the same role.
type Need struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
}

// String gives a need as a role file writes it: "data.mysql".
func (n Need) String() string { return string(n.Kind) + "." + n.Name }

// Kind is the kind of thing that a service can need.
type Kind string

// The kinds of things that a service can need.
const (
	KindVolume Kind = "volume"
	KindData   Kind = "data"
	KindSecret Kind = "secret"
)

// Ready names the unit that probes whether a service serves.
type Ready struct {
	Unit    string        `json:"unit"`    // a oneshot .service that succeeds when it does
	Timeout time.Duration `json:"timeout"` // how long that may take after the service is active
}

// NeedsCloud says what of the plan no machine without the API of a cloud can
// make true, if there is such a thing: `volume "data", which is found by its
// tags`. (What stands on ${instance.id} and the like has no plan there.)
func (p *Plan) NeedsCloud() (what string, needs bool) {
	for _, v := range p.Volumes {
		switch {
		case v.Find.ID != "":
			return fmt.Sprintf("volume %q, which is the EBS volume %s", v.Name, v.Find.ID), true
		case len(v.Find.Tags) > 0:
			return fmt.Sprintf("volume %q, which is found by its tags", v.Name), true
		}
	}
	for _, s := range p.Secrets {
		if s.From.Bucket != "" {
			return fmt.Sprintf("secret %q, which comes from %s", s.Name, s.From), true
		}
	}
	return "", false
}

// MarshalJSON writes the durations as people do: "20m0s".
func (v Volume) MarshalJSON() ([]byte, error) {
	type plain Volume
	return json.Marshal(struct {
		plain
		Timeout string `json:"timeout"`
	}{plain(v), v.Timeout.String()})
}

// MarshalJSON writes the durations as people do: "5m0s".
func (r Ready) MarshalJSON() ([]byte, error) {
	type plain Ready
	return json.Marshal(struct {
		plain
		Timeout string `json:"timeout"`
	}{plain(r), r.Timeout.String()})
}
