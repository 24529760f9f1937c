package machine

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
)

// Inputs are what the agent learns from: files of this machine, and the metadata
// service.
type Inputs struct {
	SettingsFile string // /etc/bootagent/agent.yaml
	RolesDir     string // /etc/bootagent/roles.d
	StateDir     string // /var/lib/bootagent
	Log          *slog.Logger
}

// Settings reads the settings file. That there is none is no error.
func (in Inputs) Settings() (settings.Settings, error) {
	set, err := settings.Load(in.SettingsFile)
	if err != nil {
		err = fault.WithHint(err, "mend "+in.SettingsFile+", then: bootagent retry")
	}
	return set, err
}

// Metadata returns the metadata service that the settings name, as a *Metadata.
func (in Inputs) Metadata(set settings.Settings) (host.Metadata, error) {
	return NewMetadata(set.Endpoints.IMDS, in.StateDir, in.Log)
}

// UserData reads a file that stands in for user-data. It is nil if the file does
// not exist.
func (in Inputs) UserData(file string) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

// Roles reads the role files.
func (in Inputs) Roles() ([]*role.Role, error) { return role.Load(in.RolesDir) }
