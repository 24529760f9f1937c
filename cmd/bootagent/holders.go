package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"bootagent/pkg/systemd/holder"
)

// holders names the processes that hold a mount. The agent has PID 1 run it, as
// it sees no process of another user's itself.
func holders(ctx context.Context, args []string, out io.Writer) error {
	var where string
	if err := parse("holders", args, func(*flag.FlagSet) func([]string) {
		return func(args []string) { where = args[0] }
	}, 1, 1); err != nil {
		return err
	}
	if !filepath.IsAbs(where) {
		return usageError{fmt.Errorf("holders wants an absolute path, not %q", where)}
	}
	ctx, cancel := context.WithTimeout(ctx, holder.Within)
	defer cancel()
	found, err := holder.Find(ctx, "/proc", filepath.Clean(where))
	if err != nil {
		return err
	}
	for _, line := range found {
		fmt.Fprintln(out, line)
	}
	return nil
}
