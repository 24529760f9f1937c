package main

import (
	"context"
	"io"
	"os"

	"bootagent/pkg/child"
	"bootagent/pkg/command"
	"bootagent/pkg/machine"
)

// worker does the tasks that standard input names until it ends, one after the
// other. The agent runs it as a child of its own.
func worker(ctx context.Context, args []string, out io.Writer) error {
	if err := command.Parse(child.Command, args, nil, 0, 0); err != nil {
		return err
	}
	return machine.Serve(ctx, os.Stdin, out)
}
