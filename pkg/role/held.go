package role

import (
	"fmt"
	"slices"
)

// A HeldUnit is a unit that does not start before its service is granted.
type HeldUnit struct {
	Unit    string
	Service string // the service whose grant lets it start; Unit itself for a service
	IMDS    bool   // may reach the metadata service

	// Credentials are the names of those that a service gets from secrets,
	// sorted; what is held with it gets none.
	Credentials []string
}

// Units returns all units that the role file names to be held: its services
// and, after each, what is guarded with it.
func (r *Role) Units() []HeldUnit {
	var held []HeldUnit
	for _, s := range r.Services {
		held = append(held, HeldUnit{Unit: s.Unit, Service: s.Unit, IMDS: s.IMDS, Credentials: r.credentials(s.Unit)})
		for _, also := range s.AlsoGuard {
			held = append(held, HeldUnit{Unit: also, Service: s.Unit, IMDS: s.IMDS})
		}
	}
	return held
}

// credentials are the names of those that a service gets from the secrets.
func (r *Role) credentials(unit string) (names []string) {
	for _, s := range r.Secrets {
		if slices.Contains(s.Services, unit) {
			names = append(names, s.Credential)
		}
	}
	slices.Sort(names)
	return names
}

// torn refuses the units that one role holds with one service, and another role
// with another: a unit has one guard, and the guard names one grant.
func torn(roles []*Role) (errs []error) {
	type holder struct {
		service string
		role    *Role
	}
	holders := make(map[string]holder)
	for _, r := range roles {
		for _, u := range r.Units() {
			other, held := holders[u.Unit]
			switch {
			case !held:
				holders[u.Unit] = holder{u.Service, r}
			case other.service != u.Service:
				errs = append(errs, fmt.Errorf("%s is held with %s in %s and with %s in %s; a unit can be held with one service only",
					u.Unit, other.service, other.role.File, u.Service, r.File))
			}
		}
	}
	return errs
}
