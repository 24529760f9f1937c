package secret

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"bootagent/pkg/strictyaml"
)

var commandKind = providerKind{
	name: "command", form: "{command: [/path, argument, ...]}", read: readCommand,
	provider: func(args []string, run Run) Provider { return CommandKeys{Argv: args, Run: run} },
	program:  func(args []string) string { return args[0] },
}

// readCommand reads a program's absolute path and its arguments.
func readCommand(v strictyaml.Value) (argv []string) {
	list, ok := v.List()
	if ok && len(list) == 0 {
		v.Failf("the command of a source of keys is empty; it must begin with the path of a program")
	}
	for i, arg := range list {
		text, _ := arg.Text()
		if i == 0 {
			text = arg.Path("the program of a source of keys")
		}
		argv = append(argv, text)
	}
	return argv
}

// commandWithin is how long a command may take to print an age identity.
const commandWithin = 30 * time.Second

// CommandKeys is the provider command: a program that prints age identities.
type CommandKeys struct {
	Argv []string // the program's absolute path and its arguments
	Run  Run
}

// Provide adds the age identities that the command prints within 30 seconds.
func (c CommandKeys) Provide(ctx context.Context, keys *Keys) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandWithin, fmt.Errorf("no end within %s", commandWithin))
	defer cancel()
	text, err := c.Run(ctx, c.Argv)
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("cannot take age identities from the command %s: %w", c.Argv[0], scrubbed(err))
	}
	added, err := keys.Add(text)
	if err != nil {
		return nil, fmt.Errorf("cannot take age identities from the output of the command %s: %w", c.Argv[0], err)
	}
	return added, nil
}

// secretKey matches an age identity, whole or broken.
var secretKey = regexp.MustCompile(`(?i)AGE-(SECRET-KEY|PLUGIN)-[^\s"']+`)

// scrubbed returns an error without the age identities in its text: a script
// that traces itself writes all that it does to standard error.
func scrubbed(err error) error {
	if text := err.Error(); secretKey.MatchString(text) {
		return errors.New(secretKey.ReplaceAllString(text, redacted))
	}
	return err
}
