// Package introduce is the command bootagent introduce, which writes the first ledger
// of a filesystem. It runs in a unit of its own, because the agent may write to no
// disk.
package introduce

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"bootagent/pkg/block"
	"bootagent/pkg/command"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/host"
	"bootagent/pkg/selinux"
	"bootagent/pkg/storage/diskinfo"
)

// Command returns the command, for the list of the program's commands.
func Command() command.Command {
	return command.Command{
		Name: "introduce", Args: "--type TYPE --serial SERIAL --sequence N --size BYTES --ledger LEDGER [--made MOUNT] DEVICE", Raw: run,
		Summary: "write the first ledger of a filesystem", RunBy: "bootagent-introduce-SERIAL.service",
	}
}

// Argv returns the command line of a unit that introduces the filesystem on a disk:
// it writes a ledger. Of one that was just made, it writes none if the filesystem
// holds a file already, and it labels the root directory like the mount point.
func Argv(d host.Disk, i host.Introduction) []string {
	argv := slices.Concat([]string{"/usr/bin/bootagent", "introduce"}, diskinfo.Named(d, i.Filesystem).Args(), []string{"--ledger", string(i.Ledger)})
	if i.Made {
		argv = append(argv, "--made", i.Mount)
	}
	return append(argv, "--", d.Path)
}

// run writes the first ledger of the filesystem on a disk, unless it has one.
// What it opens, identifies and mounts is one descriptor.
func run(_ context.Context, args []string, _ io.Writer) error {
	var of block.Named
	var ledger, mount string
	made := false
	err := command.Parse("introduce", args, func(f *flag.FlagSet) func([]string) {
		of.Flags(f)
		f.StringVar(&ledger, "ledger", "", "")
		f.Func("made", "", func(value string) error { made, mount = true, value; return nil })
		return func(args []string) { of.Path = args[0] }
	}, 1, 1)
	if err == nil && made && mount == "" {
		err = command.Misuse(errors.New("introduce wants the mount point with --made: what was just made has no label yet"))
	}
	if err == nil && (!of.Whole() || ledger == "") {
		err = command.Misuse(errors.New("introduce wants --type, --serial, --sequence, --size and --ledger: it writes to no disk that is not named by all of them"))
	}
	if err != nil {
		return err
	}
	disk, err := os.Open(of.Path)
	if err != nil {
		return err
	}
	defer disk.Close()
	dev, err := of.Is(disk)
	if err == nil {
		err = of.HasSize(disk)
	}
	if err != nil {
		return fmt.Errorf("no ledger is written to %s: %w", of.Path, err)
	}
	var root selinux.Label
	if made {
		if root, err = selinux.Kernel.Of(mount); err != nil {
			return err
		}
	}
	return filesystem.Introduce(block.DescriptorPath(disk), dev, of.Filesystem, []byte(ledger), made, root)
}
