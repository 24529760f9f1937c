// Package ondisk is what the story of pkg/boot asks of disks and of the data
// directories on them, as pkg/block and pkg/datadir see them. It is apart from
// the program so that the simulated world runs the very same.
package ondisk

import (
	"fmt"

	"bootagent/pkg/block"
	"bootagent/pkg/datadir"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// Disk is a disk as the story knows it.
func Disk(d block.Disk) host.Disk {
	return host.Disk{Serial: d.Serial, Path: d.Path, Link: d.Link, Dev: d.Dev(), Seq: d.Seq, Size: int64(d.Size)}
}

// Same refuses a disk that is not the one that the story means: it is another
// one as soon as it was pulled.
func Same(want host.Disk, now block.Disk) error {
	if Disk(now) != want {
		return fmt.Errorf("disk %s was pulled, or another took its place", want.Serial)
	}
	return nil
}

// Content is what a proof found on a disk that is to hold a filesystem of a
// type. It is an error where the proof is of another disk, or somebody uses the
// disk meanwhile.
func Content(d block.Disk, r block.Report, want string) (host.Content, error) {
	if err := r.Check(d); err != nil {
		return host.Content{}, err
	}
	content := host.Content{Blank: r.Blank, Words: r.String()}
	switch fs := r.Filesystem; {
	// Partitions may be in use one by one, and what is in them is somebody's.
	case fs != nil && !r.Ambiguous && len(r.Partitions) == 0:
		content.Filesystem, content.UUID, content.Beside = fs.Type, fs.UUID, r.Beside()
	case len(r.Partitions) == 0:
		content.Mend = r.Mend(want)
	}
	return content, nil
}

// Directory says in which state a data directory is.
func Directory(files datadir.Files, path string, d role.Data, set host.EngineSettings) (host.Directory, error) {
	r, err := datadir.Examine(files, path, string(d.Engine), d.Owner,
		datadir.Settings{Directory: set.DataDirectory, Version: set.Version, Files: set.Files})
	return host.Directory{State: host.DirectoryState(r.State), Version: r.Version, Words: r.Words, Hint: r.Hint}, err
}
