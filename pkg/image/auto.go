package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/role"
)

// bind finds where the data of the roles is bound whose bind is auto. From then on
// the roles of the image have these paths, as far as they are known. An image that
// does not run can't be asked: the agent asks at boot.
func (i *Image) bind(ctx context.Context, r *Report) {
	i.Roles = slices.Clone(i.Roles)
	before, bound := len(r.Problems), []string{}
	for n, ro := range i.Roles {
		if !slices.ContainsFunc(ro.Data, func(d role.Data) bool { return d.Auto }) {
			continue
		}
		if i.Bind == nil {
			r.unasked(ro, "the engine is asked when the image boots")
			continue
		}
		plan, err := i.Bind(ctx, role.Plan{Role: ro.Name, Volumes: ro.Volumes, Data: ro.Data, Services: ro.Services})
		switch {
		case fault.IsPermanent(err):
			hint := fault.HintOf(err)
			r.problem("%s: %s", ro.File, strings.TrimSuffix(fmt.Sprintf("%v: %s", err, hint), ": "))
			continue
		case err != nil:
			r.unasked(ro, "the engine is asked at boot, and gives no answer now: "+err.Error())
			continue
		}
		with := *ro
		with.Data, i.Roles[n] = plan.Data, &with
		for _, d := range plan.Data {
			if d.Auto {
				bound = append(bound, fmt.Sprintf("data %q of %s to %s", d.Name, ro.File, d.Bind))
			}
		}
	}
	if len(bound) > 0 {
		r.check(before, "where bind: auto binds: "+strings.Join(bound, ", "))
	}
}

// unasked says of which data of a role it is not known where it is bound.
func (r *Report) unasked(ro *role.Role, why string) {
	for _, d := range ro.Data {
		if d.Auto {
			r.Unchecked = append(r.Unchecked, fmt.Sprintf("where data %q of %s is bound (bind: auto): %s", d.Name, ro.File, why))
		}
	}
}
