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

	"bootagent/pkg/plan"
	"bootagent/pkg/policy"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/storage/ebs"
)

// iam prints the least that AWS has to allow an instance for its role, or for
// its role and its user-data. In what that is more than it needs it says on
// standard error: a policy has no comments.
func iam(ctx context.Context, args []string, out io.Writer) error {
	var dir, name, userData, partition string
	err := parse("iam", args, func(f *flag.FlagSet) func([]string) {
		f.StringVar(&dir, "roles", rolesDir, "")
		f.StringVar(&name, "role", "", "")
		f.StringVar(&userData, "user-data", "", "")
		f.StringVar(&partition, "partition", "aws", "")
		return func([]string) {}
	}, 0, 0)
	switch {
	case err != nil:
		return err
	case name == "" && userData == "":
		return usageError{errors.New("iam wants the name of a role, --role NAME, or an instance's user-data, --user-data FILE")}
	case !slices.Contains(policy.Partitions(), partition):
		return usageError{fmt.Errorf("AWS has no partition %q (it has %s)", partition, strings.Join(policy.Partitions(), ", "))}
	}
	roles, loadErr := role.Load(dir)
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
		return fmt.Errorf("role %q needs nothing of AWS: no policy, and no instance profile", r.Name)
	}
	for _, sentence := range policy.Wider(needs) {
		fmt.Fprintln(os.Stderr, "bootagent: note:", sentence)
	}
	if userData == "" && narrower(needs) {
		fmt.Fprintln(os.Stderr, "bootagent: note: --user-data FILE prints what the instances with this user-data need")
	}
	_, err = fmt.Fprint(out, p)
	return err
}

// narrower tells whether the user-data would say more of what is needed.
func narrower(needs policy.Needs) bool {
	return strings.Contains(fmt.Sprint(needs), "${params.") ||
		slices.ContainsFunc(needs.Volumes, func(v policy.Volume) bool { return v.ID == "" && len(v.Tags) == 0 })
}

// standIns are facts of an instance that nobody knows when its policy is
// written, by the expansions that they stand for until then. No instance of EC2
// is like them.
var standIns = map[string]string{
	"${instance.id}": "stand-in.id", "${instance.zone}": "stand-in.zone",
	"${instance.region}": "stand-in.region", "${instance.type}": "stand-in.type",
}

// ofInstance is the role of the instances that have a user-data, with its
// parameters put in. What only one instance knows is still an expansion.
func ofInstance(ctx context.Context, roles []*role.Role, name, userData string) (*role.Role, error) {
	from, facts, err := tellFacts(ctx, settings.Settings{}, userData)
	if err != nil {
		return nil, err
	}
	sel, _, err := plan.Selection(settings.Settings{}, from, facts)
	switch {
	case err != nil:
		return nil, err
	case name != "" && name != sel.Role:
		return nil, fmt.Errorf("%s selects role %q, and not %q", from, sel.Role, name)
	}
	plan, err := plan.From(from, sel, roles, role.Instance{
		ID: standIns["${instance.id}"], Zone: standIns["${instance.zone}"],
		Region: standIns["${instance.region}"], Type: standIns["${instance.type}"],
	})
	if err != nil {
		return nil, err
	}
	r := &role.Role{Name: plan.Role, Volumes: plan.Volumes, Secrets: plan.Secrets}
	for i := range r.Volumes {
		find := &r.Volumes[i].Find
		find.ID = unknownAgain(find.ID)
		for key, value := range find.Tags {
			find.Tags[key] = unknownAgain(value)
		}
	}
	for i := range r.Secrets {
		r.Secrets[i].From.Key = unknownAgain(r.Secrets[i].From.Key)
	}
	return r, nil
}

// unknownAgain puts the expansions back for which there were stand-ins.
func unknownAgain(text string) string {
	for expansion, standIn := range standIns {
		text = strings.ReplaceAll(text, standIn, expansion)
	}
	return text
}

// needsOf are the needs of a role whatever its instance is; what only that
// knows is still an expansion in them.
func needsOf(r *role.Role, partition string) policy.Needs {
	needs := policy.Needs{Partition: partition, Tagged: ebs.Tags()}
	for _, v := range r.Volumes {
		if v.Find.Serial == "" {
			needs.Volumes = append(needs.Volumes, policy.Volume{Name: v.Name, ID: v.Find.ID, Tags: v.Find.Tags})
		}
	}
	for _, s := range r.Secrets {
		if s.From.Bucket != "" {
			needs.Objects = append(needs.Objects, s.From.Bucket+"/"+s.From.Key)
		}
	}
	return needs
}
