// Package byhand is the command with which a person grows the filesystem of a volume.
// It asks the agent.
package byhand

import (
	"context"
	"flag"
	"fmt"
	"io"

	"bootagent/pkg/command"
	"bootagent/pkg/control"
)

// Command is the command grow, which asks the agent that listens on a socket.
func Command(socket string) command.Command {
	return command.Command{
		Name:    "grow",
		Args:    "[--dry-run] VOLUME",
		Summary: "make the filesystem of a volume as large as its disk",
		About: "Let the running agent make the filesystem of a volume as large as its disk, while it is mounted\n" +
			"and in use. VOLUME is its name in the role file. The agent does so only if the disk and the\n" +
			"filesystem are proven to be the role's, and if EC2 says that a modification of the EBS volume\n" +
			"can't fail any more. A filesystem can't be made smaller again: look first, with --dry-run.\n\n" +
			"Where the role file says grow: true, the agent does it without being asked.",
		Examples: []string{"bootagent grow --dry-run data", "bootagent grow data"},
		Least:    1, Most: 1,
		Setup: func(f *flag.FlagSet) command.Action {
			only := f.Bool("dry-run", false, "only say what would be done")
			return func(ctx context.Context, args []string, out io.Writer) error {
				answer, err := control.Client{Socket: socket}.Grow(ctx, control.GrowRequest{Volume: args[0], DryRun: *only})
				if err == nil {
					fmt.Fprintln(out, answer.Message)
				}
				return err
			}
		},
	}
}
