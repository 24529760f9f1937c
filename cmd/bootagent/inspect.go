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
	"bootagent/pkg/command"
	"bootagent/pkg/machine"
)

func inspectCommand() command.Command {
	return command.Command{
		Name:     "inspect",
		Args:     "[--json] [--whole] [--require-blank] [--serial SERIAL] [--sequence N] DEVICE",
		Summary:  "show what is on a disk, and whether it is proven blank",
		About:    "Print what is on a disk, and whether it is proven blank. This only reads.",
		Examples: []string{"bootagent inspect /dev/nvme1n1"},
		Exits: []string{
			"0  the disk is proven blank, and is not in use",
			"1  it is not known: the disk or a tool gave no good answer",
			"3  the disk is not proven blank",
			"4  the disk is in use",
			"5  it is not the disk of --serial or --sequence",
		},
		Least: 1, Most: 1,
		Setup: func(f *flag.FlagSet) command.Action {
			var i inspection
			f.BoolVar(&i.json, "json", false, "print the result as JSON")
			f.BoolVar(&i.task.Whole, "whole", false, "read all of the disk")
			f.BoolVar(&i.blank, "require-blank", false, "fail with an error if the disk is not proven blank, or is in use")
			f.StringVar(&i.task.Serial, "serial", "", "fail with an error if the disk does not report this `SERIAL` number")
			sequence := f.Uint64("sequence", 0, "fail with an error if the disk has another disk sequence number than `N`")
			f.StringVar(&i.report, "report", "", command.Hidden)
			return func(ctx context.Context, args []string, out io.Writer) error {
				f.Visit(func(given *flag.Flag) {
					if given.Name == "sequence" {
						i.task.Sequence = sequence
					}
				})
				return i.run(ctx, args[0], out)
			}
		},
	}
}

// An inspection says how a disk is inspected.
type inspection struct {
	json, blank bool
	report      string // the file for the agent, which runs this as a child, because reading a disk can hang for ever
	task        blankproof.Task
}

func (i inspection) run(ctx context.Context, device string, out io.Writer) error {
	if i.report != "" {
		i.task.Tell = func(read, of block.Bytes) { blankproof.WriteProof(i.report, blankproof.Proof{Read: read, Of: of}) }
	}
	found, err := blankproof.Host().Prove(ctx, device, i.task)
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
	case i.report != "":
		err = blankproof.WriteProof(i.report, blankproof.Proof{Report: &found})
	case i.json:
		err = json.NewEncoder(out).Encode(found)
	case i.blank && code != 0:
		return codedError{fmt.Errorf("%s does not meet --require-blank: it %v", device, found), code}
	default:
		_, err = fmt.Fprintln(out, device, found)
	}
	if err == nil && code != 0 {
		return command.Ends(code)
	}
	return err
}
