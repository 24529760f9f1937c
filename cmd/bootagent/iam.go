package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"bootagent/pkg/policy"
	"bootagent/pkg/role"
	"bootagent/pkg/volume"
)

// iam prints the least that AWS has to allow an instance for its role.
func iam(_ context.Context, args []string, out io.Writer) error {
	var dir, name, partition string
	err := parse("iam", args, func(f *flag.FlagSet) func([]string) {
		f.StringVar(&dir, "roles", rolesDir, "")
		f.StringVar(&name, "role", "", "")
		f.StringVar(&partition, "partition", "aws", "")
		return func([]string) {}
	}, 0, 0)
	if err != nil {
		return err
	}
	if name == "" {
		return usageError{errors.New("iam wants the name of a role: --role NAME")}
	}
	roles, loadErr := role.Load(dir)
	r, err := role.ByName(roles, name)
	if err != nil {
		return errors.Join(err, loadErr)
	}
	p := policy.Of(needsOf(r, partition))
	if len(p.Statement) == 0 {
		return fmt.Errorf("role %q needs nothing of AWS: no policy, and no instance profile", name)
	}
	_, err = fmt.Fprint(out, p)
	return err
}

// needsOf are the needs of a role whatever its instance is; what only that
// knows is still an expansion in them.
func needsOf(r *role.Role, partition string) policy.Needs {
	needs := policy.Needs{Partition: partition, Tagged: volume.Tags()}
	for _, v := range r.Volumes {
		if v.Find.Serial == "" {
			needs.Volumes = append(needs.Volumes, policy.Volume{ID: v.Find.ID, Tags: v.Find.Tags})
		}
	}
	for _, s := range r.Secrets {
		if s.From.Bucket != "" {
			needs.Objects = append(needs.Objects, s.From.Bucket+"/"+s.From.Key)
		}
	}
	return needs
}
