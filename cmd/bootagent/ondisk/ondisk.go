// Package ondisk is what the story of pkg/boot asks of data directories, as
// pkg/datadir sees them. It is apart from
// the program so that the simulated world runs the very same.
package ondisk

import (
	"bootagent/pkg/datadir"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// Directory says in which state a data directory is.
func Directory(files datadir.Files, path string, d role.Data, set host.EngineSettings) (host.Directory, error) {
	r, err := datadir.Examine(files, path, string(d.Engine), d.Owner,
		datadir.Settings{Directory: set.DataDirectory, Version: set.Version, Files: set.Files})
	return host.Directory{State: host.DirectoryState(r.State), Version: r.Version, Words: r.Words, Hint: r.Hint}, err
}
