package role

import (
	"encoding/json"
	"time"
)

// A Plan is what one instance has to make true: a role file with the
// parameters of the user-data put in. It holds no expansion any more. Every
// list is sorted by name, so that two plans from the same input are equal.
type Plan struct {
	Role     string    `json:"role"`
	Volumes  []Volume  `json:"volumes,omitempty"`
	Data     []Data    `json:"data,omitempty"`
	Services []Service `json:"services,omitempty"`
}

// A Volume is one disk of the role and the filesystem that belongs on it.
type Volume struct {
	Name       string         `json:"name"`
	Find       Find           `json:"find"`
	Filesystem FilesystemType `json:"filesystem"`
	Make       Make           `json:"make"`
	At         string         `json:"at"`              // absolute, clean path of the mount point
	Wait       time.Duration  `json:"wait"`            // how long the disk may take to appear
	Adopt      bool           `json:"adopt,omitempty"` // take a filesystem that has no ledger
}

// Find says which disk a volume is.
type Find struct {
	// Serial is the serial number that the disk's NVMe controller reports,
	// for an EBS volume its id without the dash.
	Serial string `json:"serial"`
}

// FilesystemType is a kind of filesystem that a volume may hold.
type FilesystemType string

// The filesystems that a volume may hold.
const (
	XFS  FilesystemType = "xfs"
	Ext4 FilesystemType = "ext4"
)

// Make says whether a filesystem may be made on a volume.
type Make string

// MakeIfBlank allows a filesystem to be made on a disk that is proven blank;
// MakeNever, the default, allows none.
const (
	MakeNever   Make = "never"
	MakeIfBlank Make = "if-blank"
)

// Data is one data directory: a directory of a volume, bound onto the path
// where its engine looks for it.
type Data struct {
	Name     string   `json:"name"`
	On       string   `json:"on"`   // name of the volume
	Dir      string   `json:"dir"`  // directory below the volume's root, one path element
	Bind     string   `json:"bind"` // absolute, clean path where the engine expects it
	Engine   Engine   `json:"engine"`
	Owner    string   `json:"owner"` // user name
	IfAbsent IfAbsent `json:"if-absent"`
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

// A Service is a systemd unit that is held until its needs are met.
type Service struct {
	Unit      string   `json:"unit"`                 // a .service
	Needs     []Need   `json:"needs,omitempty"`      // what has to be there first
	Ready     *Ready   `json:"ready,omitempty"`      // what tells that it serves
	AlsoGuard []string `json:"also-guard,omitempty"` // further units held with it
	IMDS      bool     `json:"imds,omitempty"`       // may reach the metadata service
}

// A Need names a volume or a data directory of the same role.
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
)

// Ready names the unit that probes whether a service serves.
type Ready struct {
	Unit   string        `json:"unit"`   // a oneshot .service that succeeds when it does
	Within time.Duration `json:"within"` // how long that may take after the service is active
}

// MarshalJSON writes the durations as people do: "20m0s".
func (v Volume) MarshalJSON() ([]byte, error) {
	type plain Volume
	return json.Marshal(struct {
		plain
		Wait string `json:"wait"`
	}{plain(v), v.Wait.String()})
}

// MarshalJSON writes the durations as people do: "5m0s".
func (r Ready) MarshalJSON() ([]byte, error) {
	type plain Ready
	return json.Marshal(struct {
		plain
		Within string `json:"within"`
	}{plain(r), r.Within.String()})
}
