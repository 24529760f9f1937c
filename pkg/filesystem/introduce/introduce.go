// Package introduce is the command bootagent introduce, which writes the ledger of a
// filesystem that has none, or, by a person's order, another than it has. It runs in a
// unit of its own, because the agent may write to no disk.
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
		Name: "introduce", Args: "--type T --serial S --sequence N --size B --ledger JSON [--instead SUM] [--made DIR] DEVICE", Raw: run,
		Summary: "write the ledger of a filesystem", RunBy: "bootagent-introduce-SERIAL.service",
	}
}

// Argv returns the command line of a unit that introduces the filesystem on a disk:
// it writes a ledger, in place of none or of the one that is named. Of one that was just
// made, it writes none if the filesystem holds a file already, and it labels the root
// directory like the mount point.
func Argv(d host.Disk, i host.Introduction) []string {
	argv := slices.Concat([]string{"/usr/bin/bootagent", "introduce"}, diskinfo.Named(d, i.Filesystem).Args(), []string{"--ledger", string(i.Ledger)})
	if i.Instead != "" {
		argv = append(argv, "--instead", i.Instead)
	}
	if i.Made {
		argv = append(argv, "--made", i.Mount)
	}
	return append(argv, "--", d.Path)
}

// run writes the ledger of the filesystem on a disk, unless it has another than it is to
// replace.
// What it opens, identifies and mounts is one descriptor.
func run(_ context.Context, args []string, _ io.Writer) error {
	var of block.Named
	var ledger, instead, mount string
	made := false
	err := command.Parse("introduce", args, func(f *flag.FlagSet) func([]string) {
		of.Flags(f)
		f.StringVar(&ledger, "ledger", "", "")
		f.StringVar(&instead, "instead", "", "")
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
	return filesystem.Introduce(block.DescriptorPath(disk), dev, of.Filesystem, []byte(ledger), instead, made, root)
}
