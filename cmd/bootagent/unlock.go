package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"bootagent/pkg/fault"
	"bootagent/pkg/secret"
)

// unlock hands keys to the running agent. They come by standard input, as
// everybody on the machine sees the arguments of a program.
func unlock(ctx context.Context, args []string, out io.Writer) error {
	var rest []string
	err := parse("unlock", args, func(*flag.FlagSet) func([]string) {
		return func(args []string) { rest = args }
	}, 0, -1)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errDisclosed
	}
	return unlockFrom(ctx, controlSocket, os.Stdin, out)
}

// errDisclosed does not tell the argument: it may be a secret.
var errDisclosed = usageError{errors.New("secrets and keys are read from standard input only; everybody on this machine can see arguments, so take for disclosed what was one")}

func unlockFrom(ctx context.Context, socket string, in *os.File, out io.Writer) error {
	text, err := readQuietly(ctx, in, secret.KeysTextMax, "The private key, AGE-SECRET-KEY-1..., then Enter and Ctrl-D; it is not shown.")
	if err != nil {
		return fmt.Errorf("cannot read the key: %w", err)
	}
	defer clear(text)
	if len(bytes.TrimSpace(text)) == 0 {
		return fault.WithHint(errors.New("standard input holds no key"), "bootagent unlock < FILE, or type it at a terminal")
	}
	answer, err := order(ctx, socket, "unlock", text)
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		return fmt.Errorf("the agent took no key: %w", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(out, answer)
	return nil
}
