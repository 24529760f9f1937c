package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"bootagent/pkg/boot"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/userdata"
)

// errNoRole says that nothing gives this instance a role.
var errNoRole = boot.WithHint(
	errors.New("this instance has no role: its user-data selects none and no default-role is set"),
	"give it user-data whose first line is #bootagent, or set default-role in "+agentFile)

// makePlan reads the user-data and the role files and says what this instance
// has to make true.
func makePlan(set settings.Settings, rolesDir string) (role.Plan, error) {
	sel, err := selection(set)
	if err != nil {
		return role.Plan{}, err
	}
	// A broken file of another role is told by validate and by the guards;
	// this instance's own is enough for it.
	roles, loadErr := role.Load(rolesDir)
	if _, err := role.ByName(roles, sel.Role); err != nil {
		return role.Plan{}, errors.Join(err, loadErr)
	}
	return planFrom(set, sel, roles)
}

// planFrom makes the plan of the selected role.
func planFrom(set settings.Settings, sel userdata.Selection, roles []*role.Role) (role.Plan, error) {
	r, err := role.ByName(roles, sel.Role)
	if err != nil {
		return role.Plan{}, fmt.Errorf("%s: %w", set.UserDataFile, err)
	}
	plan, err := r.Plan(sel.Params, sel.Volumes, role.Instance{})
	if err != nil {
		return role.Plan{}, fmt.Errorf("%s does not fit its role: %w", set.UserDataFile, err)
	}
	return *plan, nil
}

// selection reads which role this instance has. Only where there is no
// user-data, or plainly another's, does the default count: a document of ours
// that can't be read is an error.
func selection(set settings.Settings) (userdata.Selection, error) {
	raw, err := os.ReadFile(set.UserDataFile)
	if err == nil {
		var sel userdata.Selection
		if sel, err = userdata.Parse(raw); err == nil {
			return sel, nil
		}
		if !errors.Is(err, userdata.ErrNone) && !errors.Is(err, userdata.ErrForeign) {
			return sel, fmt.Errorf("%s: %w", set.UserDataFile, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return userdata.Selection{}, fmt.Errorf("cannot read the user-data: %w", err)
	}
	if set.DefaultRole == "" {
		return userdata.Selection{}, errNoRole
	}
	return userdata.Selection{Role: set.DefaultRole}, nil
}

func showPlan(_ context.Context, args []string, out io.Writer) error {
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
	if userData != "" {
		set.UserDataFile = userData
	}
	plan, err := makePlan(set, dir)
	if err != nil {
		return err
	}
	if *asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(plan)
	}
	fmt.Fprintf(out, "role %s\n\n%s", plan.Role, boot.New(plan, boot.World{}, slog.New(slog.DiscardHandler)))
	return nil
}

// validate checks role files, those of the machine if none is named, and what
// user-data makes of them.
func validate(_ context.Context, args []string, out io.Writer) error {
	var files []string
	dir, userData, err := planFlags("validate", args, -1, nil, &files)
	if err != nil {
		return err
	}
	roles, err := decodeRoles(files)
	if len(files) == 0 {
		roles, err = role.Load(dir)
	}
	for _, r := range roles {
		fmt.Fprintf(out, "%s: role %s\n", r.File, r.Name)
	}
	if userData == "" {
		return err
	}
	set := settings.Settings{UserDataFile: userData}
	sel, selErr := selection(set)
	if selErr == nil {
		_, selErr = planFrom(set, sel, roles)
	}
	if selErr == nil {
		fmt.Fprintf(out, "%s: selects role %s\n", userData, sel.Role)
	}
	return errors.Join(err, selErr)
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
