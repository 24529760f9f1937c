package engine

import (
	"context"
	"slices"

	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// none is a service that is no database: it keeps any files, and an empty
// directory is all that it needs at first. Nothing can be said of what is in the
// directory but whose it is.
type none struct{}

func (none) Name() string { return "none" }

// Tools are none: nothing is asked, and nothing is run.
func (none) Tools() []Tool { return nil }

// Settings are not known: the role file alone says where the service looks.
func (none) Settings(context.Context, Asker, []execstart.Service) (host.EngineSettings, error) {
	return host.EngineSettings{}, nil
}

func (none) Examine(dir Dir, _ host.EngineSettings) host.DirectoryReport {
	something := slices.ContainsFunc(dir.Names, func(name string) bool { return name != lostAndFound })
	return host.DirectoryReport{State: host.Ready, Empty: !something}
}

func (none) Owns() Owned { return Owned{} }

func (none) Initialize(string, string, host.EngineSettings) []string { return nil }

// Plain are the names of the engines that keep any files, so that the role file
// says how their directory has to be.
func Plain() []string { return []string{none{}.Name()} }
