package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/renameio/v2"

	"bootagent/pkg/aws/ec2"
	"bootagent/pkg/aws/imds"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/storage/ebs"
)

// metadata is the instance metadata service, with its last good answers kept
// on this machine.
type metadata struct {
	*imds.Client
	kept    string // file of the last good answers
	machine imds.Fingerprint
	answer  imds.Metadata // the last
	log     *slog.Logger
}

func newMetadata(endpoint string, log *slog.Logger) (*metadata, error) {
	machine, err := imds.ReadFingerprint(imds.DMI, "/etc/machine-id")
	m := &metadata{
		Client: imds.New(endpoint), kept: filepath.Join(stateDir, "instance.json"), machine: machine, log: log,
	}
	m.Assume(imds.Identity{ID: machine.BoardAssetTag}) // on Nitro
	if facts, _, keptErr := imds.Cached(m.kept, machine); keptErr == nil {
		m.Assume(facts.Identity)
	}
	return m, err
}

func (m *metadata) Ask(ctx context.Context) (host.Identity, error) {
	facts, err := m.Metadata(ctx)
	if diagnosed := (*imds.Error)(nil); errors.As(err, &diagnosed) {
		return host.Identity{}, &fault.Pending{For: "an answer: " + err.Error(), Hint: diagnosed.Hint()}
	}
	if err != nil {
		return host.Identity{}, err
	}
	m.answer = facts
	return asFacts(facts), nil
}

// Cache keeps the last answer.
func (m *metadata) Cache(host.Identity) {
	if err := imds.Cache(m.kept, m.machine, m.answer); err != nil {
		m.log.Warn("a boot without the metadata service will not know who this instance is", "error", err)
	}
}

func (m *metadata) Cached() (host.Identity, time.Time, error) {
	facts, since, err := imds.Cached(m.kept, m.machine)
	return asFacts(facts), since, err
}

func asFacts(f imds.Metadata) host.Identity {
	who := role.Instance{ID: f.Identity.ID, Zone: f.Identity.Zone, Region: f.Identity.Region, Type: f.Identity.Type}
	return host.Identity{Instance: who, UserData: f.UserData, RoleTag: f.RoleTag}
}

// records are files of this machine's own disk, of this very instance.
type records struct {
	file     string
	instance string // id of the instance
	log      *slog.Logger
}

// A recorded is the volume of the cloud that an instance had mounted.
type recorded struct {
	Find host.Find     `json:"find"` // how the role said which it is
	ID   name.VolumeID `json:"id"`
}

// recordsOf is what the file holds.
type recordsOf struct {
	Instance string              `json:"instance"`
	Volumes  map[string]recorded `json:"volumes"` // by name
}

// read gives what is recorded of this instance. An image may carry the records
// of another. What can't be read is as nothing: then EC2 is asked.
func (r records) read() recordsOf {
	var all recordsOf
	src, err := os.ReadFile(r.file)
	if err == nil {
		err = json.Unmarshal(src, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("cannot tell which volumes were mounted before, and asks EC2", "error", err)
	}
	if err != nil || all.Instance != r.instance || all.Volumes == nil {
		return recordsOf{r.instance, make(map[string]recorded)}
	}
	return all
}

func (r records) Recorded(volume string, find host.Find) (name.VolumeID, error) {
	if known := r.read().Volumes[volume]; reflect.DeepEqual(known.Find, find) {
		return known.ID, nil
	}
	return "", nil
}

func (r records) Record(volume string, find host.Find, id name.VolumeID) error {
	all := r.read()
	all.Volumes[volume] = recorded{find, id}
	src, err := json.Marshal(all)
	if err == nil {
		err = renameio.WriteFile(r.file, append(src, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot record which volume is mounted: %w", err)
	}
	return nil
}

func newVolumes(set settings.Settings, who role.Instance, roleName string, credentials aws.CredentialsProvider, log *slog.Logger) host.Volumes {
	api := ec2.New(ec2.Config{Region: who.Region, Endpoint: set.Endpoints.EC2, Credentials: credentials, Log: log})
	return ebs.New(api, ebs.Instance{ID: who.ID, Zone: who.Zone, Region: who.Region, Role: roleName})
}
