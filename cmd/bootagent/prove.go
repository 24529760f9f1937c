package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"

	"bootagent/pkg/block"
)

// prove says what is on a disk. The agent runs it as a child of its own, as
// reading a disk can hang for good.
func prove(ctx context.Context, args []string, out io.Writer) error {
	var asJSON *bool
	var device string
	err := parse("prove", args, func(f *flag.FlagSet) func([]string) {
		asJSON = f.Bool("json", false, "")
		return func(args []string) { device = args[0] }
	}, 1, 1)
	if err != nil {
		return err
	}
	report, err := block.Host().Prove(ctx, device)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(out).Encode(report)
	}
	fmt.Fprintln(out, device, report)
	return nil
}
