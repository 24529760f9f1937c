package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"bootagent/pkg/role"
	"bootagent/pkg/systemd/guard"
)

// guardCommand holds the units of every role file of a machine, or of the
// image below --root, until they are granted.
func guardCommand(_ context.Context, args []string, out io.Writer) error {
	if err := parse("guard", args[:min(len(args), 1)], nil, 1, 1); err != nil {
		return err
	}
	root := "/"
	verb := args[0]
	err := parse("guard "+verb, args[1:], func(f *flag.FlagSet) func([]string) {
		f.StringVar(&root, "root", "/", "")
		return func([]string) {}
	}, 0, 0)
	if err != nil {
		return err
	}
	switch verb {
	case "install":
		holds, err := holdsOf(root)
		if err != nil {
			return err
		}
		return printChanges(out)(guard.Install(root, holds))
	case "remove":
		return printChanges(out)(guard.Remove(root))
	case "check":
		return checkGuards(root, out)
	case "show":
		guards, err := guard.Show(root)
		for _, g := range guards {
			fmt.Fprintf(out, "# %s\n%s\n", g.Path, g.Text)
		}
		return err
	}
	return usageError{fmt.Errorf("guard does not know how to %q", verb)}
}

func checkGuards(root string, out io.Writer) error {
	holds, err := holdsOf(root)
	if err != nil {
		return err
	}
	problems, err := guard.Check(root, holds)
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("%d problem(s) with the guards; bootagent guard install mends what is missing or stale", len(problems))
	}
	return err
}

// holdsOf reads what the role files below a root want to be held. A file that
// can't be read is an error: its units would go unguarded.
func holdsOf(root string) ([]guard.Hold, error) {
	roles, err := role.Load(filepath.Join(root, rolesDir))
	if err != nil {
		return nil, err
	}
	var holds []guard.Hold
	for _, r := range roles {
		for _, u := range r.Units() {
			holds = append(holds, guard.Hold{Unit: u.Unit, Service: u.Service, IMDS: u.IMDS, Credentials: u.Credentials})
		}
	}
	return holds, nil
}

func printChanges(out io.Writer) func([]guard.Change, error) error {
	return func(changes []guard.Change, err error) error {
		for _, c := range changes {
			fmt.Fprintln(out, c)
		}
		return err
	}
}
