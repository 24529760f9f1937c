package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/blankproof"
	"bootagent/pkg/block"
	"bootagent/pkg/fault"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/filesystem/introduce"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/diskinfo"
	"bootagent/pkg/systemd"
	"bootagent/pkg/unit"
)

// filesystems are made and checked by units of PID 1's, which outlive the agent.
type filesystems struct {
	manager *systemd.Manager
	disks   disks
}

const (
	makeWithin  = 10 * time.Minute
	checkWithin = time.Hour // a whole e2fsck of a large, damaged filesystem

	// introduceWithin is as long as a mount may take: replaying the log of a large
	// XFS filesystem takes minutes on a slow volume.
	introduceWithin = 10 * time.Minute
)

func makeUnit(d host.Disk) string { return unit.CommandOn("make", d.Serial) }

func introduceUnit(d host.Disk) string { return unit.CommandOn("introduce", d.Serial) }

func (f filesystems) Format(ctx context.Context, d host.Disk, fstype, uuid string) error {
	if _, err := f.disks.same(ctx, d); err != nil {
		return err
	}
	maker, err := filesystem.MakeCommand(fstype, uuid, d.Size, d.Path)
	if err == nil {
		err = inImage(maker[0])
	}
	if err != nil {
		return err
	}
	c := systemd.Command{
		Unit: makeUnit(d), Description: "Making of the filesystem on disk " + d.Serial,
		Argv: FormatCommand(d, fstype, uuid), Devices: []string{d.Path},
		Timeout: makeWithin + blankproof.ReadWithin(block.Bytes(d.Size), false), // it proves the disk first
	}
	tried := try(f.disks.children, c.Unit, d.Path)
	return unmade(ctx, tried, f.run(ctx, c))
}

func (f filesystems) Settle(ctx context.Context, d host.Disk) error {
	for _, name := range []string{makeUnit(d), introduceUnit(d), growUnit(d)} {
		if err := f.manager.Settle(ctx, name); err != nil {
			return err
		}
		if err := f.manager.Forget(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (f filesystems) Check(ctx context.Context, d host.Disk, fstype string) error {
	argv, success := filesystem.CheckCommand(fstype, d.Path)
	if argv == nil {
		return nil
	}
	if err := inImage(argv[0]); err != nil {
		return err
	}
	c := systemd.Command{
		Unit: unit.CommandOn("check", d.Serial), Description: "Check of the filesystem on disk " + d.Serial,
		Argv: argv, Success: success, Devices: []string{d.Path}, Timeout: checkWithin,
	}
	tried := try(f.disks.children, c.Unit, d.Path)
	return unmended(ctx, tried, d.Link, f.run(ctx, c))
}

// Look mounts the filesystem in a child, whose end unmounts it.
func (f filesystems) Look(ctx context.Context, d host.Disk, fstype string, inside []host.Data) (seen host.Look, err error) {
	if _, err := f.disks.same(ctx, d); err != nil {
		return host.Look{}, err
	}
	tried := try(f.disks.children, "", d.Path)
	err = reach(ctx, f.disks.children, task{Do: lookAt, Path: d.Path, Dev: d.Dev, Filesystem: fstype, Inside: inside}, &seen)
	return seen, unmountable(ctx, tried, d.Link, fstype, err)
}

// Introduce mounts the filesystem in a unit of its own, because the agent may write
// to no disk.
func (f filesystems) Introduce(ctx context.Context, d host.Disk, i host.Introduction) error {
	if _, err := f.disks.same(ctx, d); err != nil {
		return err
	}
	c := systemd.Command{
		Unit: introduceUnit(d), Description: "Ledger of the filesystem on disk " + d.Serial,
		Argv: introduce.Argv(d, i), Devices: []string{d.Path}, Timeout: introduceWithin,
	}
	tried := try(f.disks.children, c.Unit, d.Path)
	return unmountable(ctx, tried, d.Link, i.Filesystem, f.run(ctx, c))
}

func (f filesystems) run(ctx context.Context, c systemd.Command) error {
	if err := f.manager.Run(ctx, c); err != nil {
		return err
	}
	return f.manager.Forget(ctx, c.Unit)
}

// FormatCommand is the command of a unit that makes a filesystem on a disk. Other
// than mkfs itself, it proves the disk blank once more, when all else is done.
func FormatCommand(d host.Disk, fstype, uuid string) []string {
	return slices.Concat([]string{systemd.Agent, "mkfs"}, diskinfo.Named(d, fstype).Args(), []string{"--uuid", uuid, "--", d.Path})
}

// unmade is what the making of a filesystem failed with.
func unmade(ctx context.Context, r refusal, err error) error {
	if !hasFailed(err) {
		return err
	}
	return r.quote(ctx, err)
}

// unmended is what a check of a filesystem failed with, which does not mend what
// a person has to decide.
func unmended(ctx context.Context, r refusal, link string, err error) error {
	if !hasFailed(err) {
		return err
	}
	return fault.WithHint(r.quote(ctx, err),
		fmt.Sprintf("see what it would mend, which changes nothing: e2fsck -fn %s; then take a snapshot of the volume, mend it by e2fsck -f %s, and: bootagent retry", link, link))
}

// inImage refuses a program that this image lacks.
func inImage(program string) error {
	_, err := os.Stat(program)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in := "e2fsprogs" // so on Debian and on Red Hat's family
	if strings.Contains(program, "xfs") {
		in = "xfsprogs"
	}
	return fault.Permanent(fault.WithHint(fmt.Errorf("%s is not in this image", program),
		fmt.Sprintf("put the package %s into the image; to go on here and now, install it, and: bootagent retry", in)))
}
