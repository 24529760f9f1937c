package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"bootagent/pkg/apparmor"
	"bootagent/pkg/command"
	"bootagent/pkg/fault"
	"bootagent/pkg/grammar"
	"bootagent/pkg/image"
	"bootagent/pkg/machine"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/guard"
)

func guardCommand() command.Command {
	return command.Command{
		Name:    "guard",
		Verbs:   []string{"install", "check", "remove", "show"},
		Args:    "[--root DIR]",
		Summary: "hold the units of all roles until their needs are met",
		About: "install  write the guards of all role files, and remove guards that no role file needs;\n" +
			"         where AppArmor confines a service, allow what its role gives it\n" +
			"check    check the guards, and everything else that the roles need of this machine or image\n" +
			"remove   remove all installed guards, and all rules that were added for AppArmor\n" +
			"show     print the guards that are in force",
		Examples: []string{"bootagent guard install", "bootagent guard check --root image"},
		Setup: func(f *flag.FlagSet) command.Action {
			root := f.String("root", "", "use the image whose root directory is `DIR`, in place of this machine")
			return func(ctx context.Context, args []string, out io.Writer) error {
				return runGuard(ctx, args[0], *root, out)
			}
		},
	}
}

func runGuard(ctx context.Context, verb, root string, out io.Writer) error {
	dir := cmp.Or(root, "/")
	switch verb {
	case "install":
		roles, err := grammar.All().Load(filepath.Join(dir, rolesDir))
		if err != nil {
			return err
		}
		given := image.Image{Root: dir, Roles: roles, Bind: machine.BindOf(dir, runDir)}.Given(ctx)
		return errors.Join(
			printChanges(out)(guard.Install(dir, image.Holds(roles))),
			printChanges(out)(apparmor.Install(dir, given, apparmor.Loader(ctx, dir))))
	case "remove":
		return errors.Join(
			printChanges(out)(guard.Remove(dir)),
			printChanges(out)(apparmor.Remove(dir, apparmor.Loader(ctx, dir))))
	case "show":
		guards, err := guard.Show(dir)
		for _, g := range guards {
			fmt.Fprintf(out, "# %s\n%s\n", g.Path, g.Text)
		}
		return err
	}
	return checkGuards(ctx, root, out)
}

// checkGuards checks the guards, and everything else that the roles need from the
// machine or from the image at a root, and prints what it checked.
func checkGuards(ctx context.Context, root string, out io.Writer) error {
	dir := cmp.Or(root, "/")
	// A role file that can't be read is an error: its units would have no guards.
	roles, err := grammar.All().Load(filepath.Join(dir, rolesDir))
	if err != nil {
		return err
	}
	report, err := image.Image{Root: dir, Roles: roles, Kept: root != "" || !hasRun(), Bind: machine.BindOf(dir, runDir)}.Check(ctx)
	report.Print(out)
	if err != nil {
		return err
	}
	if n := len(report.Problems); n > 0 {
		err = fmt.Errorf("%s with the guards, or with what the roles need", image.Count(n, "problem"))
		if report.Install {
			return fault.WithHint(err, "to repair the guards: bootagent guard install"+rootOption(root))
		}
	}
	return err
}

// hasRun tells whether an agent has run on this machine since it booted: then
// it keeps things here, and may have keys.
func hasRun() bool {
	_, err := os.Stat(filepath.Join(runDir, "lock"))
	return err == nil
}

// rootOption is how a command is told of a root.
func rootOption(root string) string {
	if root == "" {
		return ""
	}
	return " --root " + shell.Quote(root)
}

func printChanges(out io.Writer) func([]guard.Change, error) error {
	return func(changes []guard.Change, err error) error {
		for _, c := range changes {
			fmt.Fprintln(out, c)
		}
		return err
	}
}
