package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"bootagent/pkg/blankproof"
	"bootagent/pkg/block"
	"bootagent/pkg/command"
	"bootagent/pkg/filesystem"
)

// mkfs proves once more that a disk is blank, and then becomes mkfs, on the very
// descriptor that was proven. Between the two is nothing but execve(2).
func mkfs(ctx context.Context, args []string, _ io.Writer) error {
	var fstype, uuid, serial, device string
	var seq uint64 // 0 where the kernel, before Linux 5.15, has none
	const notGiven = math.MaxUint64
	err := command.Parse("mkfs", args, func(f *flag.FlagSet) func([]string) {
		f.StringVar(&fstype, "type", "", "")
		f.StringVar(&uuid, "uuid", "", "")
		f.StringVar(&serial, "serial", "", "")
		f.Uint64Var(&seq, "sequence", notGiven, "")
		return func(args []string) { device = args[0] }
	}, 1, 1)
	if err == nil && (fstype == "" || uuid == "" || serial == "" || seq == notGiven) {
		err = command.Misuse(errors.New("mkfs wants --type, --uuid, --serial and --sequence: it makes no filesystem on a disk that is not named by all of them"))
	}
	if err != nil {
		return err
	}
	disk, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer disk.Close()
	argv, err := filesystem.MakeCommand(fstype, uuid, block.DescriptorPath(disk))
	if err != nil {
		return err
	}
	if err := blankproof.Host().ProveBlank(ctx, disk, serial, seq); err != nil {
		return fmt.Errorf("no filesystem is made: %w", err)
	}
	if _, err := unix.FcntlInt(disk.Fd(), unix.F_SETFD, 0); err != nil { // mkfs gets it
		return os.NewSyscallError("fcntl", err)
	}
	return &os.PathError{Op: "exec", Path: argv[0], Err: unix.Exec(argv[0], argv, os.Environ())}
}
