package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"bootagent/pkg/command"
	"bootagent/pkg/grammar"
	"bootagent/pkg/image"
	"bootagent/pkg/machine"
	"bootagent/pkg/plan"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/systemd/guard"
)

func validateCommand() command.Command {
	return command.Command{
		Name:    "validate",
		Args:    "[--root DIR] [--roles DIR] [--user-data FILE] [FILE...]",
		Summary: "check role files and user-data",
		About: "Check these role files, or all role files in a directory, and print what was checked. For the\n" +
			"role files of this machine or of an image, also check the units that they name.",
		Examples: []string{"bootagent validate --roles roles.d --user-data user-data", "bootagent validate mysql.yaml"},
		Most:     -1,
		Setup: func(f *flag.FlagSet) command.Action {
			var v validation
			f.StringVar(&v.root, "root", "", "check the role files of the image whose root directory is `DIR`")
			f.StringVar(&v.roles, "roles", rolesDir, rolesUsage)
			f.StringVar(&v.userData, "user-data", "", "also check that the user-data in `FILE` selects one of the roles and fits it")
			return func(ctx context.Context, files []string, out io.Writer) error {
				v.files = files
				return v.run(ctx, out)
			}
		},
	}
}

// A validation says which role files are checked: files, or else those in the
// directory roles, of this machine or below root.
type validation struct {
	root, roles, userData string
	files                 []string
}

func (v validation) run(ctx context.Context, out io.Writer) error {
	dir, units := v.roles, v.root
	switch {
	case v.root != "" && dir == rolesDir:
		dir = filepath.Join(v.root, rolesDir)
	case v.root == "" && dir == rolesDir && len(v.files) == 0:
		units = "/"
	}
	roles, err := decodeRoles(v.files)
	if len(v.files) == 0 {
		roles, err = grammar.All().Load(dir)
	}
	for _, r := range roles {
		fmt.Fprintf(out, "%s: role %s\n", r.File, r.Name)
	}
	if units != "" {
		err = errors.Join(err, validateUnits(ctx, units, roles, out))
	}
	if v.userData != "" {
		err = errors.Join(err, validateUserData(ctx, v.userData, roles, out))
	}
	if err != nil {
		return err
	}
	files := image.Count(len(roles), "role file")
	switch {
	case units == "":
		fmt.Fprintf(out, "checked %s: names, values and how they fit together\n"+
			"not checked: units, users and programs, which are in the image: bootagent guard check --root DIR\n", files)
	default:
		fmt.Fprintf(out, "checked %s: names, values and how they fit together, and the units that they name\n"+
			"not checked: guards, users and programs: bootagent guard check%s\n", files, rootOption(v.root))
	}
	return nil
}

// validateUserData checks which of the roles user-data selects.
func validateUserData(ctx context.Context, userData string, roles []*role.Role, out io.Writer) error {
	from, facts, err := identityOf(ctx, settings.Settings{}, userData)
	if err != nil {
		return err
	}
	sel, _, err := plan.Selection(settings.Settings{}, from, facts)
	if err != nil {
		return err
	}
	if _, err := plan.From(from, sel, roles, facts.Instance); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: selects role %s\n", userData, sel.Role)
	return nil
}

// validateUnits checks the units that roles name among those below a root.
func validateUnits(ctx context.Context, root string, roles []*role.Role, out io.Writer) error {
	problems, err := guard.CheckUnits(root, image.Holds(roles))
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	report, err := image.Image{Root: root, Roles: roles, Bind: machine.BindOf(root, runDir)}.Units(ctx)
	if err != nil {
		return err
	}
	report.Print(out)
	if n := len(problems) + len(report.Problems); n > 0 {
		return fmt.Errorf("%s with the units that the roles name", image.Count(n, "problem"))
	}
	return nil
}

// decodeRoles reads role files wherever they are.
func decodeRoles(files []string) (roles []*role.Role, err error) {
	var errs []error
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err == nil {
			var r *role.Role
			if r, err = grammar.All().Decode(file, src); err == nil {
				roles = append(roles, r)
			}
		}
		errs = append(errs, err)
	}
	return roles, errors.Join(errs...)
}
