package image

import (
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/role"
	"bootagent/pkg/systemd/guard"
)

// Holds returns what the guards of roles have to hold.
func Holds(roles []*role.Role) []guard.Hold {
	var holds []guard.Hold
	for _, r := range roles {
		for _, u := range r.Units() {
			holds = append(holds, guard.Hold{Unit: u.Unit, Service: u.Service, IMDS: u.IMDS, Credentials: u.Credentials})
		}
	}
	return holds
}

// checkGuards checks the guards, and returns the units that they hold and the
// services that the agent grants. The error is one of reading units.
func (i Image) checkGuards(r *Report) (held, granted []string, err error) {
	holds := Holds(i.Roles)
	problems, err := guard.Check(i.Root, holds)
	for _, p := range problems {
		r.problem("%v", p)
		r.Install = r.Install || p.Install
	}
	if err != nil {
		return nil, nil, err
	}
	all, err := guard.Expand(i.Root, holds)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range all {
		held = append(held, h.Unit)
		if !slices.Contains(granted, h.Service) {
			granted = append(granted, h.Service)
		}
	}
	if len(problems) == 0 && len(held) > 0 {
		r.Checked = append(r.Checked,
			fmt.Sprintf("%s of %s: all held (%s)", Count(len(held), "unit"), Count(len(i.Roles), "role"), strings.Join(held, ", ")),
			"their access to the metadata service: denied, except where a role says imds: allow")
	}
	return held, granted, nil
}
