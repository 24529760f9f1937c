package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"bootagent/pkg/command"
	"bootagent/pkg/control"
	"bootagent/pkg/fault"
	"bootagent/pkg/secret"
	"bootagent/pkg/terminal"
)

func unlockCommand() command.Command {
	return command.Command{
		Name:    "unlock",
		Summary: "give the agent the key that a secret waits for",
		About: "Give the running agent one or more private keys of age on standard input, one per line, in the\n" +
			"format of age-keygen. A terminal does not show them. The agent keeps them in memory.",
		Examples: []string{"ssh admin@machine sudo bootagent unlock <machine.key"},
		Most:     -1, // arguments are refused without printing them
		Setup: func(*flag.FlagSet) command.Action {
			return func(ctx context.Context, args []string, out io.Writer) error {
				if len(args) > 0 {
					return errDisclosed
				}
				return unlockFrom(ctx, controlSocket, os.Stdin, out)
			}
		},
	}
}

// errDisclosed does not quote the argument, because it may be a secret.
var errDisclosed = command.Misuse(fault.WithHint(
	errors.New("unexpected argument: secrets and keys are read from standard input only"),
	"other users of this machine can see arguments: if the argument was a secret or a key, replace that"))

// unlockFrom gives the agent the keys that a file holds.
func unlockFrom(ctx context.Context, socket string, in *os.File, out io.Writer) error {
	keys, err := terminal.ReadHidden(ctx, in, secret.KeysTextMax, "Type the private key, AGE-SECRET-KEY-1..., then Enter and Ctrl-D. It is not shown.")
	if err != nil {
		return fmt.Errorf("cannot read the key: %w", err)
	}
	defer clear(keys)
	if len(bytes.TrimSpace(keys)) == 0 {
		return fault.WithHint(errors.New("cannot unlock: standard input contains no key"), "bootagent unlock <FILE, or type the key at a terminal")
	}
	answer, err := control.Client{Socket: socket}.Unlock(ctx, keys)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, answer.Message)
	return nil
}
