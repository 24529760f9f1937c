package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"bootagent/pkg/blankproof"
	"bootagent/pkg/block"
	"bootagent/pkg/command"
	"bootagent/pkg/filesystem"
)

// mkfs proves once more that a disk is blank, and then becomes mkfs, on the very
// descriptor that was proven. Between the two is a look at the size of the disk, and
// execve(2).
func mkfs(ctx context.Context, args []string, _ io.Writer) error {
	var of block.Named
	var uuid string
	err := command.Parse("mkfs", args, func(f *flag.FlagSet) func([]string) {
		of.Flags(f)
		f.StringVar(&uuid, "uuid", "", "")
		return func(args []string) { of.Path = args[0] }
	}, 1, 1)
	if err == nil && (!of.Whole() || uuid == "") {
		err = command.Misuse(errors.New("mkfs wants --type, --uuid, --serial, --sequence and --size: it makes no filesystem on a disk that is not named by all of them"))
	}
	if err != nil {
		return err
	}
	disk, err := os.OpenFile(of.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer disk.Close()
	argv, err := filesystem.MakeCommand(of.Filesystem, uuid, of.Size, block.DescriptorPath(disk))
	if err != nil {
		return err
	}
	err = blankproof.Host().ProveBlank(ctx, disk, of.Serial, of.Seq)
	if err == nil {
		err = of.HasSize(disk) // the proof takes its time, in which a volume can be modified
	}
	if err != nil {
		return fmt.Errorf("no filesystem is made: %w", err)
	}
	if _, err := unix.FcntlInt(disk.Fd(), unix.F_SETFD, 0); err != nil { // mkfs gets it
		return os.NewSyscallError("fcntl", err)
	}
	return &os.PathError{Op: "exec", Path: argv[0], Err: unix.Exec(argv[0], argv, os.Environ())}
}
