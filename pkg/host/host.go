// Package host declares what the agent asks of the machine and of the cloud: small
// interfaces, and the types that they use. It asks nobody itself.
package host

import (
	"bytes"
	"context"
	"io/fs"
	"strings"
	"time"

	"bootagent/pkg/role/ready"
	"bootagent/pkg/role/source"
)

// A Host is all that a boot reads and changes. Its parts are interfaces, so that a
// whole boot also runs where there is no disk and no systemd.
type Host struct {
	Volumes     Volumes // nil if no volume of the plan is an EBS volume
	Records     Records
	Releases    Releases
	Disks       Disks
	Filesystems Filesystems
	Growths     Growths
	Ledgers     Ledgers
	Intents     Intents
	Mounts      Mounts
	Directories Directories
	Engines     Engines
	Secrets     Secrets
	Files       Files
	Units       Units
	Runs        Runs
	Grants      Grants
	Jobs        Jobs
	Probes      Probes
	Stops       Stops
	Bypasses    Bypasses
	Shutdown    Shutdown
	Machine     Machine

	UnlockWithin time.Duration // how long a person may take to bring a key
	RetryWithin  time.Duration // how long what has no deadline of its own may go wrong; 0 is DefaultRetryWithin

	NewUUID func() string // for a filesystem; nil is at random
}

// A Machine is the machine that the agent runs on, in one of its boots.
type Machine struct {
	ID     string // what names the machine to people: its instance id, or its machine id
	BootID string // what the kernel calls this boot
}

// A Secret is something that services get as a credential of systemd.
type Secret struct {
	Name       string        // of the secret in the plan
	From       source.Source // where its payload is
	Credential string        // its name for the services
	Services   []string      // units of the services that get it
}

// Secrets fetches secrets, decrypts them in memory, and stages them for their
// services.
type Secrets interface {
	// Staged returns the version of a secret that, in this boot, is where the
	// services that it is for are given it, or "" where it is not there.
	Staged(s Secret) (version string, err error)

	// NeedsKey reports whether the secret is encrypted, so that it takes a key
	// of the agent.
	NeedsKey(s Secret) bool

	// Unlock gets the keys that the agent is set to use. fault.Pending says
	// that a person has to bring one.
	Unlock(ctx context.Context) error

	// Fetch returns what the source of a secret holds.
	Fetch(ctx context.Context, s Secret) (Payload, error)

	// StageNothing stages an empty line for a unit in place of a secret, unless the
	// secret is staged. Staged does not tell of it.
	StageNothing(s Secret, unit string) error

	// Open decrypts a secret and stages it. fault.Pending says that none of
	// the keys fits, and that a person may bring another.
	Open(ctx context.Context, s Secret, p Payload) error
}

// A Payload is what a source holds of a secret.
type Payload struct {
	Bytes     func() []byte // behind a function, so that nothing prints one that is not encrypted
	Version   string        // tells payloads of the same secret apart
	Encrypted bool          // it is encrypted
	Stale     string        // that it comes from the cache, and why; "" if it is fresh from its source
}

// Files writes the configuration files of a role.
type Files interface {
	// Write makes a file so, in one step, unless it is so already: changed says
	// which. The secrets in it are staged. A secret that can't be put in is a
	// permanent error.
	Write(ctx context.Context, f File) (changed bool, err error)

	// Written reports whether there is a file of that name.
	Written(name string) (bool, error)
}

// A File is a small configuration file, as services are to find it.
type File struct {
	Name    string
	Owner   string // user name
	Group   string // name, or "" for the group of the owner
	Mode    fs.FileMode
	Content []Piece
}

// A Piece is a part of a file: some text, or a secret that is put in when the file
// is written.
type Piece struct {
	Text   string
	Secret *Secret // nil for a text
	Quoted bool    // the secret stands between double quotes, in an environment file
}

// Units says what systemd's units are doing.
type Units interface {
	// State returns what a unit is doing.
	State(ctx context.Context, unit string) (UnitState, error)

	// Await returns what a unit is doing as soon as until is true of it.
	Await(ctx context.Context, unit string, until func(UnitState) bool) (UnitState, error)
}

// Runs says how a service ran.
type Runs interface {
	// Restarts returns how often systemd itself has started a service again.
	Restarts(ctx context.Context, unit string) (Restarts, error)

	// Began returns when a unit, of any type, last ceased to be inactive: the time
	// since the kernel was started, or 0 if it was inactive since then.
	Began(ctx context.Context, unit string) (time.Duration, error)

	// Ended returns how a unit that is inactive or failed has ended.
	Ended(ctx context.Context, unit string) (Ended, error)
}

// Grants lets services start.
type Grants interface {
	// Grant lets a service start for as long as all of its mounts are there.
	// It does not wait for the jobs that it queues: they run after the agent's
	// own start.
	Grant(ctx context.Context, unit string, mounts []string) error

	// Revoke takes the grant of a service away, which stops the service. It does
	// not wait for that.
	Revoke(ctx context.Context, unit string) error

	// Granted reports whether a service is granted, and not about to lose its
	// grant.
	Granted(ctx context.Context, unit string) (bool, error)

	// KeepGrant makes the file of an active grant again if it is lost. It
	// grants nothing.
	KeepGrant(ctx context.Context, unit string) (lost bool, err error)
}

// Jobs starts services, and kills them.
type Jobs interface {
	// StartOnce starts a unit, once for each grant.
	StartOnce(ctx context.Context, unit string) error

	// Start starts a unit, without waiting for it.
	Start(ctx context.Context, unit string) error

	// Kill sends SIGKILL to all processes of a unit.
	Kill(ctx context.Context, unit string) error
}

// Probes asks whether a service is ready.
type Probes interface {
	// Probe asks a service once, and returns what it answered, in a few words;
	// "" is nothing but that it serves. An error says why it does not serve. ctx
	// bounds the time; the cause of its end is then the error.
	Probe(ctx context.Context, service string, probe ready.Ready) (answer string, err error)
}

// Stops keeps which services a person stopped. A new agent has to know it.
type Stops interface {
	StoppedByHand(unit string) (bool, error)
	SetStoppedByHand(unit string, stopped bool) error
}

// Shutdown says whether the machine shuts down.
type Shutdown interface {
	Stopping(ctx context.Context) (bool, error)
}

// UnitState is what systemd says of a unit.
type UnitState struct {
	Active string // as ActiveState= in systemd's D-Bus interface
	Sub    string // as SubState=
	Busy   bool   // a job is queued for it
}

// Crashed tells whether a service has ended by itself and is about to be
// started again by systemd, as Restart= of its unit has it. The words are of
// service_state in systemd's src/basic/unit-def.c.
func (u UnitState) Crashed() bool { return strings.HasPrefix(u.Sub, "auto-restart") }

// Restarts is what systemd says of a service that it starts again by itself.
type Restarts struct {
	Count  int           // since the service was last started by anybody else
	Active time.Duration // since it became active; 0 where it is not
	Died   string        // what it ended of, while it waits for its restart: "it was killed by SIGSEGV"
}

// Ended is what systemd says of a unit that does not run.
type Ended struct {
	Result    string // as Result=: "success", or how its last run ended
	Died      string // how its main process ended: "it exited with status 1"; "" where that is not known
	Ran       bool   // it was active in this boot
	ByItself  bool   // it ended, and nobody had asked systemd to stop it
	Processes bool   // its cgroup is not empty
}

// Metadata is what the cloud tells of the instance.
type Metadata interface {
	// Ask asks for it. A *fault.Pending says why there is no answer yet.
	Ask(ctx context.Context) (Identity, error)

	// Cache keeps an answer that a plan could be made of.
	Cache(f Identity)

	// Cached returns the answer that was kept last, and when that was, if it was
	// given to this very machine.
	Cached() (Identity, time.Time, error)
}

// An Instance is an EC2 instance. It is zero on a machine that is not in a cloud.
type Instance struct {
	ID          string
	Zone        string // such as eu-central-1a
	Region      string
	Type        string // such as m7g.large
	PrivateIPv4 string // its primary private IPv4 address; "" where it is not known
}

// An Identity is what the cloud tells an instance of itself.
type Identity struct {
	Instance Instance
	UserData []byte // nil where there is none
	RoleTag  string // of the instance, "" where there is none
}

func (f Identity) Equal(to Identity) bool {
	return f.Instance == to.Instance && bytes.Equal(f.UserData, to.UserData) && f.RoleTag == to.RoleTag
}
