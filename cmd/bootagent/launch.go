package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"time"

	"bootagent/cmd/bootagent/asstatus"
	"bootagent/pkg/aws/cli"
	"bootagent/pkg/aws/imds"
	"bootagent/pkg/boot"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/userdata"
)

// errNoRole says that nothing gives this instance a role.
var errNoRole = fault.WithHint(
	errors.New("this instance has no role: its user-data selects none, it has no tag "+roleTag+", and no default-role is set"),
	"give it user-data whose first line is #bootagent, or set default-role in "+agentFile+", then: bootagent retry")

// roleTag is the tag of an instance that selects its role where no user-data
// does.
const roleTag = imds.RoleTag

// A source is where what a machine is told comes from, as errors call it.
type source string

const (
	imdsSource source = "the user-data" // of the instance metadata service
	tagSource  source = "the instance's tag " + roleTag
)

// makePlan makes the plan of this instance, as the agent goes by it: its errors
// say what a person mends, after which the agent reads everything again.
func makePlan(set settings.Settings, rolesDir string, from source, facts host.Identity) (role.Plan, error) {
	plan, from, err := selectPlan(set, rolesDir, from, facts)
	if err != nil && !errors.Is(err, errNoRole) {
		err = toMend(err, from, facts.Instance)
	}
	return plan, err
}

// selectPlan says what an instance has to make true, by what it is told and by
// the role files, and which of them selects that.
func selectPlan(set settings.Settings, rolesDir string, from source, facts host.Identity) (role.Plan, source, error) {
	sel, from, err := selection(set, from, facts)
	if err != nil {
		return role.Plan{}, from, err
	}
	// A broken file of another role is told by validate and by the guards;
	// this instance's own is enough for it.
	roles, loadErr := role.Load(rolesDir)
	if _, err := role.ByName(roles, sel.Role); err != nil {
		err = fmt.Errorf("%s: %w", from, err)
		if loadErr != nil {
			err = fault.WithHint(errors.Join(err, loadErr), "mend the role files until bootagent validate says nothing against them, then: bootagent retry")
		}
		return role.Plan{}, from, err
	}
	plan, err := planFrom(from, sel, roles, facts.Instance)
	return plan, from, err
}

// toMend adds to what is wrong with what a machine is told how a person mends
// that, unless the error says so itself.
func toMend(err error, from source, who role.Instance) error {
	if fault.HintOf(err) != "" {
		return err
	}
	var how string
	switch from {
	case imdsSource:
		how = "mend the role file, then: bootagent retry; or mend the user-data, which EC2 changes only while the instance is stopped, " +
			cli.Own + cli.ChangeUserData(who.Region, who.ID)
	case tagSource:
		how = "mend the role file, or the instance's tag " + roleTag + ", then: bootagent retry"
	default:
		how = fmt.Sprintf("mend %s or the role file, then: bootagent retry", from)
	}
	return fault.WithHint(err, how)
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
		return role.Plan{}, fault.WithHint(
			fmt.Errorf("role %q has %s, and this machine is set to be a local one", plan.Role, what),
			"on an instance of EC2, leave user-data: out of "+agentFile)
	}
	return *plan, nil
}

// selection reads which role this instance has, and by what. Only where there
// is no user-data, or plainly another's, do the tag and the default count: a
// document of ours that can't be read is an error.
func selection(set settings.Settings, from source, facts host.Identity) (userdata.Selection, source, error) {
	sel, err := userdata.Parse(facts.UserData)
	switch {
	case err == nil:
		return sel, from, nil
	case !errors.Is(err, userdata.ErrNone) && !errors.Is(err, userdata.ErrForeign):
		return sel, from, fmt.Errorf("%s: %w", from, err)
	case facts.RoleTag != "":
		return userdata.Selection{Role: facts.RoleTag}, tagSource, nil
	case set.DefaultRole != "":
		return userdata.Selection{Role: set.DefaultRole}, agentFile, nil
	}
	return userdata.Selection{}, "", errNoRole
}

// localFacts are what a local machine is told, by a file of its own.
func localFacts(file string) (host.Identity, error) {
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return host.Identity{}, fmt.Errorf("cannot read the user-data: %w", err)
	}
	return host.Identity{UserData: raw}, nil
}

// A lesson is what the agent has learnt: how it is set, what the machine is
// told, and the plan that follows from that and from the role files.
type lesson struct {
	set      settings.Settings
	metadata *metadata // nil on a local machine
	facts    host.Identity
	plan     role.Plan

	// confirm tells whether what was kept, which the lesson may rely on, still
	// holds. nil is that it relies on what the one before did.
	confirm func(context.Context) (remark string, err error)
}

// same tells whether another lesson makes no difference.
func (l *lesson) same(to *lesson) bool {
	return reflect.DeepEqual(l.set, to.set) && reflect.DeepEqual(l.plan, to.plan) && l.facts.Instance == to.facts.Instance
}

// files are what people write for the agent.
type files struct{ settings, roles string }

// set reads what the agent is set to.
func (f files) set() (settings.Settings, error) {
	set, err := settings.Load(f.settings)
	if err != nil {
		err = fault.WithHint(err, "mend "+f.settings+", then: bootagent retry")
	}
	return set, err
}

// learn learns all there is to know, at once on a local machine, and else when
// the metadata service has told who the instance is.
func (a *agent) learn(ctx context.Context) (*lesson, error) {
	set, err := a.files.set()
	if err != nil {
		return nil, err
	}
	if a.late == nil {
		a.late = time.AfterFunc(set.ReadyWithin, a.teller.ready)
	}
	l := &lesson{set: set}
	if set.UserDataFile != "" {
		return l, l.byFile(a.files)
	}
	if l.metadata, err = newMetadata(set.Endpoints.IMDS, a.log); err != nil {
		return nil, err
	}
	launch := boot.NewIdentify(l.metadata, func(facts host.Identity) (role.Plan, error) {
		return makePlan(set, a.files.roles, imdsSource, facts)
	})
	a.begin(launch.Graph, nil, nil)
	l.plan, l.facts, err = launch.Run(ctx, a.log, func(progress []graph.Progress) {
		a.mu.Lock()
		a.launched = progress
		a.mu.Unlock()
		a.teller.tell(asstatus.OfLaunch(progress))
	})
	if ctx.Err() == nil {
		a.mu.Lock()
		a.facts = &l.facts
		a.mu.Unlock()
	}
	l.confirm = launch.Confirm
	return l, err
}

// byFile learns what a local machine is told.
func (l *lesson) byFile(f files) (err error) {
	if l.facts, err = localFacts(l.set.UserDataFile); err != nil {
		return fault.WithHint(err, "mend that, then: bootagent retry")
	}
	l.plan, err = makePlan(l.set, f.roles, source(l.set.UserDataFile), l.facts)
	return err
}

// askAgainWithin is how long the metadata service may take to answer a person
// who wants all to be read again.
const askAgainWithin = 10 * time.Second

// relearn reads everything again, at once: where the metadata service does not
// answer, what it told before counts. A NotYetError says that it never did.
func (f files) relearn(ctx context.Context, known *host.Identity, log *slog.Logger) (*lesson, error) {
	set, err := f.set()
	if err != nil {
		return nil, err
	}
	l := &lesson{set: set}
	if set.UserDataFile != "" {
		return l, l.byFile(f)
	}
	if l.metadata, err = newMetadata(set.Endpoints.IMDS, log); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askAgainWithin)
	defer cancel()
	l.facts, err = l.metadata.Ask(ctx)
	asked := err == nil
	if !asked && known != nil {
		log.Warn("goes by what the metadata service told before, as it gives no answer now", "error", err)
		l.facts, err = *known, nil
	}
	if err != nil {
		return nil, err
	}
	if l.plan, err = makePlan(set, f.roles, imdsSource, l.facts); err == nil && asked {
		l.metadata.Cache(l.facts)
		l.confirm = func(context.Context) (string, error) { return "", nil }
	}
	return l, err
}

// confirmLaunch takes back that the launch relied on what was kept, or says
// more of it, when the metadata service answers again.
func (a *agent) confirmLaunch(ctx context.Context, by *lesson) error {
	if by.confirm == nil {
		return nil
	}
	remark, err := by.confirm(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.launched = slices.Clone(a.launched)
	for i := range a.launched {
		if a.launched[i].Warning != "" {
			a.launched[i].Warning = remark
			a.log.Info("the metadata service answers again", "remark", remark)
		}
	}
	return nil
}
