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
	"bootagent/pkg/secret"
	"bootagent/pkg/terminal"
)

func secretCommand() command.Command {
	return command.Command{
		Name:    "secret",
		Verbs:   []string{"encrypt"},
		Args:    "-r KEY... (--recovery KEY... | --without-recovery) [-a] [-o FILE]",
		Summary: "encrypt a secret of a role",
		About: "Encrypt standard input for public keys of age, and write the result to standard output. This needs\n" +
			"neither root nor an agent: encrypt a secret where you make it. age -d decrypts it.",
		Examples: []string{"bootagent secret encrypt -r age1... --recovery age1... -o root.sql.age <root.sql"},
		Binary:   true,
		Most:     -1, // arguments are refused without printing them
		Setup: func(f *flag.FlagSet) command.Action {
			var e encryption
			f.Func("recipient", "the public `KEY` of a machine that needs the secret; may be repeated", appendTo(&e.keys.To))
			command.Short(f, "r", "recipient")
			f.Func("recovery", "the public `KEY` that decrypts the secret when the machine's key is lost; may be repeated", appendTo(&e.keys.Recovery))
			f.BoolVar(&e.keys.WithoutRecovery, "without-recovery", false, "accept that the secret is lost with the machine's key")
			f.BoolVar(&e.armored, "armor", false, "write text, not binary data")
			command.Short(f, "a", "armor")
			f.StringVar(&e.output, "output", "", "write to `FILE`, which must not exist")
			command.Short(f, "o", "output")
			return func(ctx context.Context, args []string, out io.Writer) error {
				if len(args) > 1 {
					return errDisclosed
				}
				return e.run(ctx, out)
			}
		},
	}
}

// An encryption says for whom a secret is encrypted, and where to.
type encryption struct {
	keys    secret.Encryption
	armored bool
	output  string // a file; "" is standard output
}

func (e encryption) run(ctx context.Context, out io.Writer) error {
	recipients, err := e.keys.Recipients()
	if err != nil {
		return command.Misuse(err)
	}
	if file, ok := out.(*os.File); ok && e.output == "" && !e.armored && terminal.Is(file) {
		return command.Misuse(errors.New("cannot write binary data to a terminal: pass --output with a file, or --armor"))
	}
	plaintext, err := terminal.ReadHidden(ctx, os.Stdin, secret.PlaintextMax,
		"Type the secret, then Ctrl-D twice. Do not press Enter: it would become part of the secret. The secret is not shown.")
	if err != nil {
		return fmt.Errorf("cannot read the secret: %w", err)
	}
	defer clear(plaintext)
	if e.output == "" {
		err = secret.Encrypt(out, bytes.NewReader(plaintext), recipients, e.armored)
	} else {
		err = secret.EncryptToFile(e.output, bytes.NewReader(plaintext), recipients, e.armored)
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
