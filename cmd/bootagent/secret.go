package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"bootagent/pkg/secret"
)

// secretCommand seals a secret of a role.
func secretCommand(ctx context.Context, args []string, out io.Writer) error {
	if err := parse("secret", args[:min(len(args), 1)], nil, 1, 1); err != nil {
		return err
	}
	if args[0] != "seal" {
		return usageError{fmt.Errorf("secret does not know how to %q", args[0])}
	}
	var sealing secret.Sealing
	var armored bool
	var output string
	var rest []string
	err := parse("secret seal", args[1:], func(f *flag.FlagSet) func([]string) {
		f.Func("to", "", appendTo(&sealing.To))
		f.Func("recovery", "", appendTo(&sealing.Recovery))
		f.BoolVar(&sealing.WithoutRecovery, "without-recovery", false, "")
		f.BoolVar(&armored, "armor", false, "")
		f.StringVar(&output, "output", "", "")
		return func(args []string) { rest = args }
	}, 0, -1)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errDisclosed
	}
	recipients, err := sealing.Recipients()
	if err != nil {
		return usageError{err}
	}
	if file, ok := out.(*os.File); ok && output == "" && !armored && isTerminal(file) {
		return usageError{errors.New("what is sealed is binary, and standard output is a terminal: say --output or --armor")}
	}
	plaintext, err := readQuietly(ctx, os.Stdin, secret.PlaintextMax, "The secret, then Ctrl-D twice, without Enter, which would be sealed with it; it is not shown.")
	if err != nil {
		return fmt.Errorf("cannot read the secret: %w", err)
	}
	defer clear(plaintext)
	if output == "" {
		err = secret.Seal(out, bytes.NewReader(plaintext), recipients, armored)
	} else {
		err = sealTo(output, bytes.NewReader(plaintext), recipients, armored)
	}
	if err != nil {
		return err
	}
	for _, doubt := range secret.Doubts(plaintext) {
		fmt.Fprintln(os.Stderr, "bootagent: warning:", doubt)
	}
	return nil
}

func appendTo(list *[]string) func(string) error {
	return func(value string) error {
		*list = append(*list, value)
		return nil
	}
}

// sealTo seals into a file that is not there yet.
func sealTo(path string, plaintext io.Reader, recipients []string, armored bool) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write the sealed secret: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	return secret.Seal(f, plaintext, recipients, armored)
}
