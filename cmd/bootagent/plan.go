package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"bootagent/pkg/aws/imds"
	"bootagent/pkg/boot"
	"bootagent/pkg/host"
	"bootagent/pkg/image"
	"bootagent/pkg/machine"
	"bootagent/pkg/plan"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/systemd/guard"
)

func showPlan(ctx context.Context, args []string, out io.Writer) error {
	var asJSON *bool
	dir, userData, err := planFlags("plan", args, 0, func(f *flag.FlagSet) {
		asJSON = f.Bool("json", false, "")
	}, nil)
	if err != nil {
		return err
	}
	set, err := settings.Load(agentFile)
	if err != nil {
		return err
	}
	from, facts, err := tellFacts(ctx, set, userData)
	if err != nil {
		return err
	}
	plan, _, err := plan.Select(set, func() ([]*role.Role, error) { return role.Load(dir) }, from, facts)
	if err != nil {
		return err
	}
	if *asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(plan)
	}
	fmt.Fprintf(out, "role %s\n\n%s", plan.Role, boot.New(plan, host.Host{}, slog.New(slog.DiscardHandler)))
	return nil
}

// example is the instance that user-data is tried with where it is not that of
// the machine itself.
var example = role.Instance{ID: "i-0123456789abcdef0", Zone: "eu-central-1a", Region: "eu-central-1", Type: "m7g.large"}

// tellFacts gives what this machine is told, or a machine that had this file as
// its user-data.
func tellFacts(ctx context.Context, set settings.Settings, userData string) (plan.Source, host.Identity, error) {
	switch {
	case userData != "":
		raw, err := machine.Inputs{}.UserData(userData)
		return plan.Source(userData), host.Identity{Instance: example, UserData: raw}, err
	case set.UserDataFile != "":
		raw, err := machine.Inputs{}.UserData(set.UserDataFile)
		return plan.Source(set.UserDataFile), host.Identity{UserData: raw}, err
	}
	facts, err := imds.New(set.Endpoints.IMDS).Metadata(ctx)
	return plan.UserData, machine.Identity(facts), err
}

// validate checks role files, those of the machine or of the image below --root
// if none is named, and what user-data makes of them. Of those of a machine or
// an image, it also checks the units that they name.
func validate(ctx context.Context, args []string, out io.Writer) error {
	var files []string
	var root string
	dir, userData, err := planFlags("validate", args, -1, func(f *flag.FlagSet) {
		f.StringVar(&root, "root", "", "")
	}, &files)
	if err != nil {
		return err
	}
	of := root
	switch {
	case root != "" && dir == rolesDir:
		dir = filepath.Join(root, rolesDir)
	case root == "" && dir == rolesDir && len(files) == 0:
		of = "/"
	}
	roles, err := decodeRoles(files)
	if len(files) == 0 {
		roles, err = role.Load(dir)
	}
	for _, r := range roles {
		fmt.Fprintf(out, "%s: role %s\n", r.File, r.Name)
	}
	checked, unitsErr := validateUnits(of, roles, out)
	err = errors.Join(err, unitsErr)
	if userData != "" {
		err = errors.Join(err, validateUserData(ctx, userData, roles, out))
	}
	if err == nil {
		fmt.Fprintln(out, "checked: names, values and how they fit together"+checked)
	}
	return err
}

// validateUserData checks which of the roles user-data selects.
func validateUserData(ctx context.Context, userData string, roles []*role.Role, out io.Writer) error {
	from, facts, err := tellFacts(ctx, settings.Settings{}, userData)
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

// validateUnits checks the units that roles name among those below a root, and
// says what it checked. Without a root there are none to look at.
func validateUnits(root string, roles []*role.Role, out io.Writer) (checked string, err error) {
	if root == "" {
		return "; not checked: units, users and programs, which are in the image: bootagent guard check --root DIR", nil
	}
	problems, err := guard.CheckUnits(root, holdsOf(roles))
	if err != nil {
		return "", err
	}
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	report, err := image.Image{Root: root, Roles: roles}.Units()
	if err != nil {
		return "", err
	}
	for _, problem := range report.Problems {
		fmt.Fprintln(out, problem)
	}
	if n := len(problems) + len(report.Problems); n > 0 {
		return "", fmt.Errorf("%d problem(s) with the units that the roles name", n)
	}
	return ", and the units that they name; guards, users and programs are checked by bootagent guard check", nil
}

// decodeRoles reads role files wherever they are.
func decodeRoles(files []string) (roles []*role.Role, err error) {
	var errs []error
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err == nil {
			var r *role.Role
			if r, err = role.Decode(file, src); err == nil {
				roles = append(roles, r)
			}
		}
		errs = append(errs, err)
	}
	return roles, errors.Join(errs...)
}

// planFlags parses --roles and --user-data, and what more adds.
func planFlags(name string, args []string, most int, more func(*flag.FlagSet), rest *[]string) (dir, userData string, err error) {
	err = parse(name, args, func(f *flag.FlagSet) func([]string) {
		f.StringVar(&dir, "roles", rolesDir, "")
		f.StringVar(&userData, "user-data", "", "")
		if more != nil {
			more(f)
		}
		return func(args []string) {
			if rest != nil {
				*rest = args
			}
		}
	}, 0, most)
	return dir, userData, err
}
