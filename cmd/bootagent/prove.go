package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"

	"bootagent/pkg/blankproof"
	"bootagent/pkg/block"
	"bootagent/pkg/machine"
)

// prove says what is on a disk. The agent runs it as a child of its own, as
// reading a disk can hang for good.
func prove(ctx context.Context, args []string, out io.Writer) error {
	var asJSON, blank, whole *bool
	var report, device string
	var task blankproof.Task
	err := parse("prove", args, func(f *flag.FlagSet) func([]string) {
		asJSON = f.Bool("json", false, "")
		whole = f.Bool("whole", false, "")
		blank = f.Bool("require-blank", false, "")
		f.StringVar(&task.Serial, "serial", "", "")
		sequence := f.Uint64("sequence", 0, "")
		f.StringVar(&report, "report", "", "")
		return func(args []string) {
			device = args[0]
			f.Visit(func(given *flag.Flag) {
				if given.Name == "sequence" {
					task.Sequence = sequence
				}
			})
		}
	}, 1, 1)
	if err != nil {
		return err
	}
	task.Whole = *whole
	if report != "" {
		task.Tell = func(read, of block.Bytes) { machine.WriteProof(report, machine.Proof{Read: read, Of: of}) }
	}
	found, err := blankproof.Host().Prove(ctx, device, task)
	switch {
	case errors.As(err, new(*blankproof.OtherDiskError)):
		return codedError{err, machine.ExitOtherDisk}
	case err != nil:
		return err
	}
	code := 0
	switch {
	case len(found.InUse) > 0:
		code = machine.ExitInUse
	case !found.Blank:
		code = machine.ExitNotBlank
	}
	switch {
	case report != "":
		if err := machine.WriteProof(report, machine.Proof{Report: &found}); err != nil {
			return err
		}
	case *asJSON:
		if err := json.NewEncoder(out).Encode(found); err != nil {
			return err
		}
	case *blank && code != 0:
		return codedError{fmt.Errorf("%s is to be blank, and %v", device, found), code}
	default:
		fmt.Fprintln(out, device, found)
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}
