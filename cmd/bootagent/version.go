package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"bootagent/pkg/buildinfo"
	"bootagent/pkg/command"
)

// version is set by the linker: -X main.version=1.2.3.
var version string

func versionCommand() command.Command {
	return command.Command{
		Name:     "version",
		Summary:  "print the version",
		About:    "Print the version of this program. bootagent --version does the same.",
		Examples: []string{"bootagent version"},
		Setup: func(*flag.FlagSet) command.Action {
			return func(_ context.Context, _ []string, out io.Writer) error {
				_, err := fmt.Fprintln(out, "bootagent", buildinfo.Version(version))
				return err
			}
		},
	}
}
