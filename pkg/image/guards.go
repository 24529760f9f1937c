package image

import (
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/role"
	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/unit"
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

// checkGuards checks the guards, and finds the units that they hold, the services
// that the agent grants, and the services from which they hide systemd-imdsd's
// socket. The error is one of reading units.
func (i *Image) checkGuards(r *Report) error {
	holds := Holds(i.Roles)
	problems, err := guard.Check(i.Root, holds)
	for _, p := range problems {
		r.problem("%v", p)
		r.Install = r.Install || p.Install
	}
	if err != nil {
		return err
	}
	all, err := guard.Expand(i.Root, holds)
	if err != nil {
		return err
	}
	for _, h := range all {
		i.held = append(i.held, h.Unit)
		if !slices.Contains(i.granted, h.Service) {
			i.granted = append(i.granted, h.Service)
		}
		if unit.IsService(h.Unit) && !h.IMDS && !h.NoSocket {
			i.hidden = append(i.hidden, h.Unit)
		}
	}
	if len(problems) == 0 && len(i.held) > 0 {
		r.Checked = append(r.Checked,
			fmt.Sprintf("%s of %s: all held (%s)", Count(len(i.held), "unit"), Count(len(i.Roles), "role"), strings.Join(i.held, ", ")),
			"their access to the metadata service: denied, except where a role says imds: allow")
	}
	return nil
}
