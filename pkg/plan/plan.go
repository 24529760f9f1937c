// Package plan says which plan an instance has: its user-data, or else its tag or
// the agent's settings, select a role, and the role files say what that needs.
package plan

import (
	"errors"
	"fmt"
	"strings"

	"bootagent/pkg/aws/cli"
	"bootagent/pkg/aws/imds"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/userdata"
)

// ErrNoRole says that nothing gives this instance a role.
var ErrNoRole = fault.WithHint(
	errors.New("this instance has no role: its user-data selects none, it has no tag "+roleTag+", and no default-role is set"),
	"give it user-data of three lines: #bootagent, version: 1 and role: NAME; or give it the tag; or set default-role in "+settings.File+"; then: bootagent retry")

// roleTag is the tag of an instance that selects its role where no user-data
// does.
const roleTag = imds.RoleTag

// A Source is where what a machine is told comes from, as errors call it.
type Source string

const (
	UserData Source = "the user-data" // of the instance metadata service
	Tag      Source = "the instance's tag " + roleTag
)

// Make returns the plan of an instance. Its errors say what a person mends, after
// which the agent reads everything again.
func Make(set settings.Settings, readRoles func() ([]*role.Role, error), from Source, identity host.Identity) (role.Plan, error) {
	plan, from, err := Select(set, readRoles, from, identity)
	if err != nil && !errors.Is(err, ErrNoRole) {
		err = toMend(err, from, identity.Instance)
	}
	return plan, err
}

// Select returns the plan of an instance, and what selected its role.
func Select(set settings.Settings, readRoles func() ([]*role.Role, error), from Source, identity host.Identity) (role.Plan, Source, error) {
	sel, from, err := Selection(set, from, identity)
	if err != nil {
		return role.Plan{}, from, err
	}
	// A broken file of another role is told by validate and by the guards;
	// this instance's own is enough for it.
	roles, loadErr := readRoles()
	if _, err := role.ByName(roles, sel.Role); err != nil {
		err = fmt.Errorf("%s: %w", from, err)
		if loadErr != nil {
			err = fault.WithHint(errors.Join(err, loadErr), "mend the role files until bootagent validate says nothing against them, then: bootagent retry")
		}
		return role.Plan{}, from, err
	}
	plan, err := From(from, sel, roles, identity.Instance)
	return plan, from, err
}

// toMend adds to what is wrong with what a machine is told how a person mends
// that, unless the error says so itself.
func toMend(err error, from Source, who host.Instance) error {
	if fault.HintOf(err) != "" {
		return err
	}
	var how string
	switch from {
	case UserData:
		how = "mend the role file, then: bootagent retry; or mend the user-data, which EC2 changes only while the instance is stopped, " +
			cli.Own + cli.ChangeUserData(who.Region, who.ID)
	case Tag:
		how = "mend the role file, or the instance's tag " + roleTag + ", then: bootagent retry"
	default:
		how = fmt.Sprintf("mend %s or the role file, then: bootagent retry", from)
	}
	return fault.WithHint(err, how)
}

// From makes the plan of the selected role.
func From(from Source, sel userdata.Selection, roles []*role.Role, who host.Instance) (role.Plan, error) {
	r, err := role.ByName(roles, sel.Role)
	if err != nil {
		return role.Plan{}, fmt.Errorf("%s: %w", from, err)
	}
	plan, err := r.Plan(sel.Params, sel.Volumes, role.Instance(who))
	if err != nil {
		return role.Plan{}, placed(err, from, sel)
	}
	if what, needs := r.NeedsCloud(plan); needs && who == (host.Instance{}) {
		return role.Plan{}, fault.WithHint(
			fmt.Errorf("role %q has %s, and this machine is set to be a local one", plan.Role, what),
			"on an instance of EC2, leave user-data: out of "+settings.File)
	}
	return *plan, nil
}

// placed says of each mistake of a selection where it stands: the line of the
// user-data, or what selected the role.
func placed(err error, from Source, sel userdata.Selection) error {
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s: %w", from, err)
	}
	var errs []error
	for _, err := range all.Unwrap() {
		place := string(from)
		var misfit *role.Misfit
		if errors.As(err, &misfit) && sel.Place(misfit.Section, misfit.Name) != "" {
			place = sel.Place(misfit.Section, misfit.Name)
		}
		errs = append(errs, fmt.Errorf("%s: %w", place, err))
	}
	return errors.Join(errs...)
}

// Selection returns which role this instance has, and by what. Only where there
// is no user-data, or plainly another's, do the tag and the default count: a
// document of ours that can't be read is an error.
func Selection(set settings.Settings, from Source, identity host.Identity) (userdata.Selection, Source, error) {
	sel, err := userdata.Parse(strings.TrimPrefix(string(from), "the "), identity.UserData)
	switch {
	case err == nil:
		return sel, from, nil
	case !errors.Is(err, userdata.ErrNone) && !errors.Is(err, userdata.ErrForeign):
		return sel, from, err
	case identity.RoleTag != "":
		return userdata.Selection{Role: identity.RoleTag}, Tag, nil
	case set.DefaultRole != "":
		return userdata.Selection{Role: set.DefaultRole}, settings.File, nil
	}
	return userdata.Selection{}, "", ErrNoRole
}
