package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/command"
	"bootagent/pkg/engine"
	"bootagent/pkg/fault"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/grammar"
	"bootagent/pkg/image"
	"bootagent/pkg/role"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/guard"
)

func guardCommand() command.Command {
	return command.Command{
		Name:    "guard",
		Verbs:   []string{"install", "check", "remove", "show"},
		Args:    "[--root DIR]",
		Summary: "hold the units of all roles until their needs are met",
		About: "install  write the guards of all role files, and remove guards that no role file needs\n" +
			"check    check the guards, and everything else that the roles need of this machine or image\n" +
			"remove   remove all installed guards\n" +
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
		return printChanges(out)(guard.Install(dir, holdsOf(roles)))
	case "remove":
		return printChanges(out)(guard.Remove(dir))
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
	holds := holdsOf(roles)
	problems, err := guard.Check(dir, holds)
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	if err != nil {
		return err
	}
	all, err := guard.Expand(dir, holds)
	if err != nil {
		return err
	}
	img := image.Image{Root: dir, Roles: roles, Kept: root != "" || !hasRun(), Programs: programs}
	for _, h := range all {
		img.Held = append(img.Held, h.Unit)
		if !slices.Contains(img.Granted, h.Service) {
			img.Granted = append(img.Granted, h.Service)
		}
	}
	report, err := img.Check(ctx)
	if err != nil {
		return err
	}
	if len(problems) == 0 {
		report.Checked = slices.Concat(guarded(roles, img.Held), report.Checked)
	}
	printReport(out, report)
	if n := len(problems) + len(report.Problems); n > 0 {
		err = fmt.Errorf("%s with the guards, or with what the roles need", image.Count(n, "problem"))
		if slices.ContainsFunc(problems, func(p guard.Problem) bool { return p.Install }) {
			return fault.WithHint(err, "to repair the guards: bootagent guard install"+rootOption(root))
		}
	}
	return err
}

// guarded says what was checked of the guards; each line continues "checked ".
func guarded(roles []*role.Role, held []string) []string {
	if len(held) == 0 {
		return nil
	}
	return []string{
		fmt.Sprintf("%s of %s: all held (%s)", image.Count(len(held), "unit"), image.Count(len(roles), "role"), strings.Join(held, ", ")),
		"their access to the metadata service: denied, except where a role says imds: allow",
	}
}

func printReport(out io.Writer, report image.Report) {
	for _, problem := range report.Problems {
		fmt.Fprintln(out, problem)
	}
	for _, words := range report.Checked {
		fmt.Fprintf(out, "checked %s\n", words)
	}
	for _, words := range report.Unchecked {
		fmt.Fprintf(out, "not checked: %s\n", words)
	}
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

// holdsOf gives what roles want to be held.
func holdsOf(roles []*role.Role) []guard.Hold {
	var holds []guard.Hold
	for _, r := range roles {
		for _, u := range r.Units() {
			holds = append(holds, guard.Hold{Unit: u.Unit, Service: u.Service, IMDS: u.IMDS, Credentials: u.Credentials})
		}
	}
	return holds
}

// programs gives the programs that the agent runs for a role.
func programs(r *role.Role) (all []image.Program) {
	for _, v := range r.Volumes {
		of := fmt.Sprintf("of volume %q", v.Name)
		if v.Format == role.FormatIfBlank {
			if argv, err := filesystem.MakeCommand(string(v.Filesystem), "", ""); err == nil {
				all = append(all, image.Program{Paths: argv[:1], For: "which makes the filesystem " + of, Get: "install " + packageOf(v.Filesystem)})
			}
		}
		if argv, _ := filesystem.CheckCommand(string(v.Filesystem), ""); len(argv) > 0 {
			all = append(all, image.Program{Paths: argv[:1], For: "which checks the filesystem " + of, Get: "install " + packageOf(v.Filesystem)})
		}
		for _, tool := range []string{"blkid", "wipefs"} {
			all = append(all, image.Program{
				Paths: []string{"/usr/sbin/" + tool, "/usr/bin/" + tool, "/sbin/" + tool, "/bin/" + tool},
				For:   "which says what is on the disk " + of, Get: "install util-linux",
			})
		}
	}
	for _, d := range r.Data {
		of, get := fmt.Sprintf("of data %q", d.Name), fmt.Sprintf("install the engine %s", d.Engine)
		e, err := engine.Named(string(d.Engine))
		if err != nil {
			continue // a role file names no other engine
		}
		questions, _ := e.Questions(nil)
		for _, q := range questions {
			all = append(all, image.Program{Paths: q.Argv[:1], For: "which says where the engine " + of + " keeps its data", Get: get})
		}
		if argv := e.Initialize("/", d.Owner); d.IfAbsent == role.Initialize {
			all = append(all, image.Program{Paths: argv[:1], For: "which makes the directory " + of, Get: get})
		}
	}
	return all
}

func packageOf(t role.FilesystemType) string {
	if t == role.Ext4 {
		return "e2fsprogs"
	}
	return "xfsprogs"
}

func printChanges(out io.Writer) func([]guard.Change, error) error {
	return func(changes []guard.Change, err error) error {
		for _, c := range changes {
			fmt.Fprintln(out, c)
		}
		return err
	}
}
