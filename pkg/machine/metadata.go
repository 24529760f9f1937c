package machine

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"bootagent/pkg/aws/ec2"
	"bootagent/pkg/aws/imds"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/settings"
	"bootagent/pkg/storage/ebs"
)

// Metadata is the instance metadata service, with its last good answers kept
// on this machine.
type Metadata struct {
	*imds.Client
	kept    string // file of the last good answers
	machine imds.Fingerprint
	answer  imds.Metadata // the last
	log     *slog.Logger
}

// NewMetadata returns the metadata service at an endpoint. An error says that no
// cached answer can be told to be of this machine; the service can be used all the
// same.
func NewMetadata(endpoint, stateDir string, log *slog.Logger) (*Metadata, error) {
	machine, err := imds.ReadFingerprint(imds.DMI, "/etc/machine-id")
	m := &Metadata{
		Client: imds.New(endpoint), kept: filepath.Join(stateDir, "instance.json"), machine: machine, log: log,
	}
	m.Assume(imds.Identity{ID: machine.BoardAssetTag}) // on Nitro
	if facts, _, keptErr := imds.Cached(m.kept, machine); keptErr == nil {
		m.Assume(facts.Identity)
	}
	return m, err
}

func (m *Metadata) Ask(ctx context.Context) (host.Identity, error) {
	facts, err := m.Client.Metadata(ctx)
	if diagnosed := (*imds.Error)(nil); errors.As(err, &diagnosed) {
		return host.Identity{}, &fault.Pending{For: "an answer: " + err.Error(), Hint: diagnosed.Hint()}
	}
	if err != nil {
		return host.Identity{}, err
	}
	m.answer = facts
	return Identity(facts), nil
}

// Cache keeps the last answer.
func (m *Metadata) Cache(host.Identity) {
	if err := imds.Cache(m.kept, m.machine, m.answer); err != nil {
		m.log.Warn("a boot without the metadata service will not know who this instance is", "error", err)
	}
}

func (m *Metadata) Cached() (host.Identity, time.Time, error) {
	facts, since, err := imds.Cached(m.kept, m.machine)
	return Identity(facts), since, err
}

// Identity is what the metadata service says, as package host has it.
func Identity(f imds.Metadata) host.Identity {
	who := host.Instance{ID: f.Identity.ID, Zone: f.Identity.Zone, Region: f.Identity.Region, Type: f.Identity.Type, PrivateIPv4: f.Identity.PrivateIPv4}
	return host.Identity{Instance: who, UserData: f.UserData, RoleTag: f.RoleTag}
}

func newVolumes(set settings.Settings, who host.Instance, roleName string, credentials aws.CredentialsProvider, log *slog.Logger) host.Volumes {
	api := ec2.New(ec2.Config{Region: who.Region, Endpoint: set.Endpoints.EC2, Credentials: credentials, Log: log})
	return ebs.New(api, ebs.Instance{ID: who.ID, Zone: who.Zone, Region: who.Region, Role: roleName})
}
