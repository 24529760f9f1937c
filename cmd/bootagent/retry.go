package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"bootagent/pkg/command"
	"bootagent/pkg/control"
)

func retryCommand() command.Command {
	return command.Command{
		Name:    "retry",
		Summary: "read everything again, and try failed steps again",
		About: "Let the running agent read its settings, the role files, the user-data and the instance's tag\n" +
			"again. If nothing has changed, it tries failed steps again, and starts granted services that a\n" +
			"person stopped. It never changes what is mounted, granted or decrypted.",
		Examples: []string{"bootagent retry"},
		Setup: func(*flag.FlagSet) command.Action {
			return func(ctx context.Context, _ []string, out io.Writer) error {
				answer, err := control.Client{Socket: controlSocket}.Retry(ctx)
				if err == nil {
					fmt.Fprintln(out, answer.Message)
				}
				return err
			}
		},
	}
}
