package secret

import (
	"context"

	"bootagent/pkg/settings"
)

// A Provider is one place that age identities come from, as agent.yaml lists
// them under keys.
type Provider interface {
	// Provide adds age identities to those that are here, and returns their
	// recipients. *fault.Pending says that a person has to bring one; another
	// error says why there is none now, and may be gone at the next call.
	Provide(ctx context.Context, keys *Keys) (recipients []string, err error)
}

// Run runs a program and returns what it prints. Its error has what the program
// wrote to standard error, and nothing of what it printed.
type Run func(ctx context.Context, argv []string) (stdout []byte, err error)

// Providers returns the providers that agent.yaml lists, in its order.
func Providers(keys []settings.Key, run Run) (all []Provider) {
	for _, key := range keys {
		switch {
		case key.Operator:
			all = append(all, OperatorKeys{})
		case key.File != "":
			all = append(all, FileKeys(key.File))
		case len(key.Command) > 0:
			all = append(all, CommandKeys{Argv: key.Command, Run: run})
		}
	}
	return all
}
