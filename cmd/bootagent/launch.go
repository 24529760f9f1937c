package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"bootagent/cmd/bootagent/asstatus"
	"bootagent/pkg/boot"
	"bootagent/pkg/instance"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/userdata"
)

// errNoRole says that nothing gives this instance a role.
var errNoRole = boot.WithHint(
	errors.New("this instance has no role: its user-data selects none, it has no tag "+roleTag+", and no default-role is set"),
	"give it user-data whose first line is #bootagent, or set default-role in "+agentFile)

// roleTag is the tag of an instance that selects its role where no user-data
// does.
const roleTag = instance.RoleTag

// A source is where what a machine is told comes from, as errors call it.
type source string

// imdsSource is the instance metadata service.
const imdsSource source = "the user-data"

// makePlan says what this instance has to make true, by what it is told and by
// the role files.
func makePlan(set settings.Settings, rolesDir string, from source, facts boot.Facts) (role.Plan, error) {
	sel, from, err := selection(set, from, facts)
	if err != nil {
		return role.Plan{}, err
	}
	// A broken file of another role is told by validate and by the guards;
	// this instance's own is enough for it.
	roles, loadErr := role.Load(rolesDir)
	if _, err := role.ByName(roles, sel.Role); err != nil {
		return role.Plan{}, errors.Join(fmt.Errorf("%s: %w", from, err), loadErr)
	}
	return planFrom(from, sel, roles, facts.Instance)
}

// planFrom makes the plan of the selected role.
func planFrom(from source, sel userdata.Selection, roles []*role.Role, instance role.Instance) (role.Plan, error) {
	r, err := role.ByName(roles, sel.Role)
	if err != nil {
		return role.Plan{}, fmt.Errorf("%s: %w", from, err)
	}
	plan, err := r.Plan(sel.Params, sel.Volumes, instance)
	if err != nil {
		return role.Plan{}, fmt.Errorf("%s does not fit its role: %w", from, err)
	}
	if what, needs := plan.NeedsCloud(); needs && instance == (role.Instance{}) {
		return role.Plan{}, boot.WithHint(
			fmt.Errorf("role %q has %s, and this machine is set to be a local one", plan.Role, what),
			"on an instance of EC2, leave user-data: out of "+agentFile)
	}
	return *plan, nil
}

// selection reads which role this instance has, and by what. Only where there
// is no user-data, or plainly another's, do the tag and the default count: a
// document of ours that can't be read is an error.
func selection(set settings.Settings, from source, facts boot.Facts) (userdata.Selection, source, error) {
	sel, err := userdata.Parse(facts.UserData)
	switch {
	case err == nil:
		return sel, from, nil
	case !errors.Is(err, userdata.ErrNone) && !errors.Is(err, userdata.ErrForeign):
		return sel, from, fmt.Errorf("%s: %w", from, err)
	case facts.RoleTag != "":
		return userdata.Selection{Role: facts.RoleTag}, "the instance's tag " + roleTag, nil
	case set.DefaultRole != "":
		return userdata.Selection{Role: set.DefaultRole}, agentFile, nil
	}
	return userdata.Selection{}, "", errNoRole
}

// localFacts are what a local machine is told, by a file of its own.
func localFacts(file string) (boot.Facts, error) {
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return boot.Facts{}, fmt.Errorf("cannot read the user-data: %w", err)
	}
	return boot.Facts{UserData: raw}, nil
}

// launch returns the plan and what it was made of: at once on a local machine,
// and else when the metadata service has told who the instance is.
func (a *agent) launch(ctx context.Context) (role.Plan, boot.Facts, error) {
	if file := a.set.UserDataFile; file != "" {
		facts, err := localFacts(file)
		if err != nil {
			return role.Plan{}, facts, err
		}
		plan, err := makePlan(a.set, rolesDir, source(file), facts)
		return plan, facts, err
	}
	var err error
	if a.metadata, err = newMetadata(a.set.Endpoints.IMDS, a.log); err != nil {
		return role.Plan{}, boot.Facts{}, err
	}
	launch := boot.NewLaunch(a.metadata, func(facts boot.Facts) (role.Plan, error) {
		return makePlan(a.set, rolesDir, imdsSource, facts)
	})
	a.confirm = launch.Confirm
	a.begin(launch.Story, nil)
	return launch.Run(ctx, a.log, func(progress []boot.Progress) {
		a.mu.Lock()
		a.launched = progress
		a.mu.Unlock()
		a.teller.tell(asstatus.OfLaunch(progress))
	})
}

// confirmLaunch takes back that the launch relied on what was kept, or says
// more of it, when the metadata service answers again.
func (a *agent) confirmLaunch(ctx context.Context) error {
	if a.confirm == nil {
		return nil
	}
	remark, err := a.confirm(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.launched = slices.Clone(a.launched)
	for i := range a.launched {
		if a.launched[i].Remark != "" {
			a.launched[i].Remark = remark
			a.log.Info("the metadata service answers again", "remark", remark)
		}
	}
	return nil
}
