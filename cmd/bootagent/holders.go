package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"bootagent/pkg/command"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/systemd/holder"
)

func holdersCommand() command.Command {
	return command.Command{
		Name:    "holders",
		Args:    "MOUNTPOINT",
		Summary: "show which processes use a mounted filesystem",
		About: "Print which processes hold the filesystem that is mounted there, by their working or root\n" +
			"directory, an open file, a mapped file, or a mount in a namespace of their own; and what is\n" +
			"mounted below it. Only root sees the processes of other users.",
		Examples: []string{"bootagent holders /srv/data"},
		Least:    1, Most: 1,
		Setup: func(*flag.FlagSet) command.Action { return holders },
	}
}

// holders names the processes that hold a mount. The agent lets PID 1 run it,
// because in its sandbox it does not see processes of other users.
func holders(ctx context.Context, args []string, out io.Writer) error {
	where := args[0]
	if !filepath.IsAbs(where) {
		return command.Misuse(fmt.Errorf("the mount point %s is not an absolute path", strictyaml.Quote(where)))
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
