// Package machine is the real host of an agent: disks, filesystems and systemd of
// the machine that it runs on, and the cloud around it, as package host declares
// them.
package machine

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"bootagent/pkg/answers"
	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/s3"
	"bootagent/pkg/block"
	"bootagent/pkg/bypass"
	"bootagent/pkg/child"
	"bootagent/pkg/host"
	"bootagent/pkg/machine/engines"
	"bootagent/pkg/probe"
	"bootagent/pkg/ramfile"
	"bootagent/pkg/records"
	"bootagent/pkg/release"
	"bootagent/pkg/secret"
	"bootagent/pkg/secret/credential"
	"bootagent/pkg/secret/sources"
	"bootagent/pkg/settings"
	"bootagent/pkg/systemd"
)

// A Machine is the machine that the agent runs on.
type Machine struct {
	Log      *slog.Logger
	Manager  *systemd.Manager
	Children *child.Group
	Keys     *secret.Keys
	RunDir   string // /run/bootagent
	StateDir string // /var/lib/bootagent
}

// NewChildren returns the children in which a machine does what may hang.
func NewChildren(log *slog.Logger, m *systemd.Manager) *child.Group {
	return &child.Group{Log: log, Leave: m.Leave, Sentinels: sentinels}
}

// A Config is what the host of one plan depends on.
type Config struct {
	Settings settings.Settings
	Identity host.Identity
	Role     string
	Metadata *Metadata // nil on a local machine
}

// Host returns the host as one plan needs it.
func (m *Machine) Host(c Config) (host.Host, error) {
	self, err := m.self(c.Identity)
	if err != nil {
		return host.Host{}, err
	}
	d := disks{block.Host(), m.Children, m.RunDir}
	u := units{m.Manager}
	h := host.Host{
		Records:     records.New(filepath.Join(m.StateDir, "volumes.json"), self.ID, m.Log),
		Bypasses:    bypass.Below(m.RunDir),
		Releases:    release.Kept(m.StateDir),
		Disks:       d,
		Filesystems: filesystems{m.Manager, d},
		Growths:     filesystems{m.Manager, d},
		Ledgers:     ledgers{m.Children},
		Intents:     records.Intents(filepath.Join(m.StateDir, "intents")),
		Mounts:      mounts{m.Manager, m.Children},
		Directories: directories{m.Children},
		Engines:     engines.Engines{Manager: m.Manager, Children: m.Children, Answers: answers.Store{Dir: filepath.Join(m.StateDir, "answers"), Log: m.Log}},
		Units:       u, Runs: u, Grants: u, Jobs: u, Probes: m.probes(), Stops: u, Shutdown: u,
		Machine: self,

		UnlockWithin: c.Settings.UnlockWithin, RetryWithin: c.Settings.RetryWithin,
	}
	var objects sources.Objects
	if c.Metadata != nil {
		credentials := c.Metadata.Credentials()
		h.Volumes = newVolumes(c.Settings, c.Identity.Instance, c.Role, credentials, m.Log)
		objects = s3.New(s3.Config{
			Caller:   diagnose.Caller{Region: c.Identity.Instance.Region, Role: c.Role},
			Endpoint: c.Settings.Endpoints.S3, Credentials: credentials, Max: sources.Max,
		})
	}
	h.Secrets = m.secrets(c.Settings.Keys, objects)
	h.Files = configFiles{ramfile.Dir{Root: filepath.Join(m.RunDir, "files"), Check: credential.OnRamfs}, m.staging()}
	return h, nil
}

// self says which machine this is, in which of its boots: by the instance ID, or
// by the machine ID on a local machine.
func (m *Machine) self(identity host.Identity) (self host.Machine, err error) {
	id, err := identity.Instance.ID, error(nil)
	if id == "" {
		var src []byte
		if src, err = os.ReadFile("/etc/machine-id"); err != nil {
			return self, err
		}
		id = strings.TrimSpace(string(src))
	}
	bootID, err := BootID()
	return host.Machine{ID: id, BootID: bootID}, err
}

// BootID is what the kernel calls this boot of the machine.
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// probes ask the services of the role.
func (m *Machine) probes() probe.Host {
	return probe.Host{Manager: m.Manager, Log: m.Log, RunDir: m.RunDir, Unix: func(ctx context.Context, path string) error {
		return m.Children.Do(ctx, child.Task{Key: string(connect) + " " + path}, task{Do: connect, Path: path}, nil)
	}}
}

// staging is where secrets are staged.
func (m *Machine) staging() credential.Store {
	return credential.Store{Root: filepath.Join(m.RunDir, "secrets")}
}

// secrets are those of S3 or of files. On a local machine objects is nil.
func (m *Machine) secrets(keys []secret.ProviderConfig, objects sources.Objects) *secret.Secrets {
	run := func(ctx context.Context, argv []string) ([]byte, error) {
		return m.Children.Run(ctx, child.Task{Key: "command " + argv[0]}, nil, argv[0], argv[1:]...)
	}
	return &secret.Secrets{
		Keys: m.Keys, Providers: secret.Providers(keys, run), Sources: sources.All(objects),
		Cache: secret.Cache(filepath.Join(m.StateDir, "secrets")),
		Store: m.staging(),
		Log:   m.Log,
	}
}
