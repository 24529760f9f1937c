// Package diskinfo turns what packages block and blankproof say of a disk into what
// package host says of it. The real host and the simulated one both use it.
package diskinfo

import (
	"fmt"

	"bootagent/pkg/blankproof"
	"bootagent/pkg/block"
	"bootagent/pkg/host"
)

// Of returns a disk as package host has it.
func Of(d block.Disk) host.Disk {
	return host.Disk{Serial: d.Serial, Model: d.Model, Path: d.Path, Link: d.Link, Dev: d.Dev(), Seq: d.Seq, Size: int64(d.Size)}
}

// Named returns a disk as it is named to a command that changes what is on it.
func Named(d host.Disk, filesystem string) block.Named {
	return block.Named{Filesystem: filesystem, Serial: d.Serial, Seq: d.Seq, Size: d.Size, Path: d.Path}
}

// Same refuses a disk that is not the one that is meant: it is another one as
// soon as it was pulled.
func Same(want host.Disk, now block.Disk) error {
	if Of(now) != want {
		return fmt.Errorf("disk %s was pulled, or another took its place", want.Serial)
	}
	return nil
}

// Content returns what a proof found on a disk that is meant to hold a filesystem
// of a type. It is an error if the proof is of another disk, or if the disk is in
// use.
func Content(d block.Disk, r blankproof.Report, filesystem string) (host.Content, error) {
	if err := r.Check(d); err != nil {
		return host.Content{}, err
	}
	content := host.Content{Blank: r.Blank, Words: r.String()}
	switch fs := r.Filesystem; {
	// Partitions may be in use one by one, and what is in them is somebody's.
	case fs != nil && !r.Ambiguous && len(r.Partitions) == 0:
		content.Filesystem, content.UUID, content.Size, content.Beside = fs.Type, fs.UUID, int64(fs.Size), r.Beside()
	case len(r.Partitions) == 0:
		content.Mend = r.Mend(filesystem)
	}
	return content, nil
}
