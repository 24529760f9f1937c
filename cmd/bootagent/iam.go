package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"bootagent/pkg/command"
	"bootagent/pkg/grammar"
	"bootagent/pkg/plan"
	"bootagent/pkg/policy"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/storage/ebs"
	"bootagent/pkg/strictyaml"
)

func iamCommand() command.Command {
	return command.Command{
		Name:    "iam",
		Args:    "[--role ROLE] [--user-data FILE] [--partition PARTITION] [--roles DIR]",
		Summary: "print the IAM policy for the instances of a role",
		About: "Print the IAM policy, as JSON, with the least permissions that instances with a role need. Notes on\n" +
			"standard error say where it allows more. Either --role or --user-data is required.",
		Examples: []string{"bootagent iam --role mysql-ec2 >policy.json"},
		Setup: func(f *flag.FlagSet) command.Action {
			name := f.String("role", "", "print the policy for this `ROLE`")
			userData := f.String("user-data", "", "print the policy for the instances with the user-data in `FILE`")
			partition := f.String("partition", "aws", "the AWS `PARTITION`: "+strings.Join(policy.Partitions(), ", "))
			dir := f.String("roles", rolesDir, rolesUsage)
			return func(ctx context.Context, _ []string, out io.Writer) error {
				return printPolicy(ctx, *dir, *name, *userData, *partition, out)
			}
		},
	}
}

// printPolicy prints the IAM policy of a role, or of a role with user-data.
func printPolicy(ctx context.Context, dir, name, userData, partition string, out io.Writer) (err error) {
	switch {
	case name == "" && userData == "":
		return command.Misuse(errors.New("no role: pass --role with its name, or --user-data with the user-data of an instance"))
	case !slices.Contains(policy.Partitions(), partition):
		return command.Misuse(fmt.Errorf("unknown partition %s%s (AWS has: %s)", strictyaml.Quote(partition),
			strictyaml.DidYouMean(partition, policy.Partitions()), strings.Join(policy.Partitions(), ", ")))
	}
	roles, loadErr := grammar.All().Load(dir)
	var r *role.Role
	if userData != "" {
		r, err = ofInstance(ctx, roles, name, userData)
	} else {
		r, err = role.ByName(roles, name)
	}
	if err != nil {
		return errors.Join(err, loadErr)
	}
	needs := needsOf(r, partition)
	p := policy.Of(needs)
	if len(p.Statement) == 0 {
		return fmt.Errorf("role %q needs nothing from AWS, so its instances need no policy and no instance profile", r.Name)
	}
	for _, sentence := range policy.Wider(needs) {
		fmt.Fprintln(os.Stderr, "bootagent: note:", sentence)
	}
	if userData == "" && narrower(needs) {
		fmt.Fprintln(os.Stderr, "bootagent: note: with --user-data FILE, the policy allows only what the instances with that user-data need")
	}
	_, err = fmt.Fprint(out, p)
	return err
}

// narrower reports whether the policy for user-data would allow less.
func narrower(needs policy.Needs) bool {
	return strings.Contains(fmt.Sprint(needs), "${params.") ||
		slices.ContainsFunc(needs.Volumes, func(v policy.Volume) bool { return v.ID == "" && len(v.Tags) == 0 })
}

// ofInstance returns the role of the instances that have a user-data, with the
// parameters filled in. What only one instance knows is still an expansion.
func ofInstance(ctx context.Context, roles []*role.Role, name, userData string) (*role.Role, error) {
	from, facts, err := identityOf(ctx, settings.Settings{}, userData)
	if err != nil {
		return nil, err
	}
	sel, _, err := plan.Selection(settings.Settings{}, from, facts)
	switch {
	case err != nil:
		return nil, err
	case name != "" && name != sel.Role:
		return nil, fmt.Errorf("%s selects role %q, not %q", from, sel.Role, name)
	}
	return plan.OfAny(from, sel, roles)
}

// needsOf returns what any instance with a role needs. What only the instance
// knows is still an expansion.
func needsOf(r *role.Role, partition string) policy.Needs {
	needs := grammar.All().Permissions(r)
	needs.Partition, needs.Tagged = partition, ebs.Tags()
	return needs
}
