package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"bootagent/pkg/aws/imds"
	"bootagent/pkg/boot"
	"bootagent/pkg/command"
	"bootagent/pkg/grammar"
	"bootagent/pkg/host"
	"bootagent/pkg/machine"
	"bootagent/pkg/plan"
	"bootagent/pkg/role"
	"bootagent/pkg/role/plantext"
	"bootagent/pkg/settings"
)

const rolesUsage = "read the role files in this `DIR`"

func planCommand() command.Command {
	return command.Command{
		Name:    "plan",
		Args:    "[--json] [--steps] [--roles DIR] [--user-data FILE]",
		Summary: "show what the agent would do on this instance",
		About: "Print what the agent would do on this instance: its volumes, data directories, secrets, files\n" +
			"and services. This changes nothing.",
		Examples: []string{"bootagent plan", "bootagent plan --roles roles.d --user-data user-data"},
		Setup: func(f *flag.FlagSet) command.Action {
			asJSON := f.Bool("json", false, "print the plan as JSON")
			steps := f.Bool("steps", false, "also print the steps of the boot, and which steps each step needs")
			dir := f.String("roles", rolesDir, rolesUsage)
			userData := f.String("user-data", "", "print the plan of an example instance with the user-data in `FILE`")
			return func(ctx context.Context, _ []string, out io.Writer) error {
				plan, err := planOf(ctx, *dir, *userData)
				if err == nil && *dir == rolesDir && *userData == "" {
					plan, err = machine.BindIfTold(ctx, runDir, plan)
				}
				switch {
				case err != nil:
					return err
				case *asJSON:
					return printJSON(out, plan)
				}
				plantext.Print(out, plan)
				if *steps {
					fmt.Fprintf(out, "\nsteps\n%s", boot.New(plan, host.Host{}, slog.New(slog.DiscardHandler)))
				}
				return nil
			}
		},
	}
}

// planOf makes the plan of this instance, or of an example instance with
// user-data from a file.
func planOf(ctx context.Context, dir, userData string) (role.Plan, error) {
	set, err := settings.Load(agentFile)
	if err != nil {
		return role.Plan{}, err
	}
	from, facts, err := identityOf(ctx, set, userData)
	if err != nil {
		return role.Plan{}, err
	}
	made, _, err := plan.Select(set, func() ([]*role.Role, error) { return grammar.All().Load(dir) }, from, facts)
	return made, err
}

// example is the instance with which user-data from a file is tried.
var example = host.Instance{ID: "i-0123456789abcdef0", Zone: "eu-central-1a", Region: "eu-central-1", Type: "m7g.large", PrivateIPv4: "10.0.0.17"}

// identityOf returns the identity and the user-data of this machine, or of the
// example with user-data from a file.
func identityOf(ctx context.Context, set settings.Settings, userData string) (plan.Source, host.Identity, error) {
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
