package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"bootagent/pkg/control"
)

func retryCommand() command {
	return command{
		name:    "retry",
		summary: "read everything again, and try failed steps again",
		about: "Let the running agent read its settings, the role files, the user-data and the instance's tag\n" +
			"again. If nothing has changed, it tries failed steps again, and starts granted services that a\n" +
			"person stopped. It never changes what is mounted, granted or decrypted.",
		examples: []string{"bootagent retry"},
		setup: func(*flag.FlagSet) action {
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
