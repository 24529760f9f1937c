package image

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"bootagent/pkg/apparmor"
	"bootagent/pkg/role"
)

// Given returns what the roles give to their services, for the rules of AppArmor. Of
// data that is bound to auto it has the path where the engine can be asked.
func (i Image) Given(ctx context.Context) []apparmor.Given {
	var told Report // by Check
	i.bind(ctx, &told)
	return given(i.Roles)
}

func given(roles []*role.Role) (all []apparmor.Given) {
	for _, r := range roles {
		for _, u := range r.Services {
			g := apparmor.Given{Service: u.Unit}
			for _, s := range r.Secrets {
				g.Credentials = g.Credentials || slices.Contains(s.Services, u.Unit)
			}
			for _, f := range r.Files {
				if slices.Contains(f.Services, u.Unit) {
					g.Files = append(g.Files, f.Path())
				}
			}
			for _, d := range r.Data {
				if slices.Contains(u.Needs, role.Need{Kind: role.KindData, Name: d.Name}) && path.IsAbs(d.Bind) {
					g.Data = append(g.Data, d.Bind)
				}
			}
			all = append(all, g)
		}
	}
	return all
}

// checkConfined checks that the profiles of AppArmor allow to services what the
// roles give them.
func (i Image) checkConfined(r *Report) error {
	problems, confined, err := apparmor.Check(i.Root, given(i.Roles))
	for _, p := range problems {
		r.problem("%v", p)
		r.Install = r.Install || p.Install
	}
	unheard, failed := apparmor.Unheard(i.Root, i.hidden)
	for _, p := range unheard {
		r.problem("%v", p)
	}
	problems, err = append(problems, unheard...), errors.Join(err, failed)
	if err == nil && len(problems) == 0 && len(confined) > 0 {
		r.Checked = append(r.Checked, Count(len(confined), "profile")+" of AppArmor: allowed is what the roles give ("+strings.Join(confined, ", ")+")")
	}
	return err
}
