package agent

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/plan"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
)

// Inputs are what an agent learns from: what people write for it, and what the
// metadata service says.
type Inputs interface {
	// Settings reads the agent's settings.
	Settings() (settings.Settings, error)

	// Metadata returns the metadata service that the settings name.
	Metadata(settings.Settings) (host.Metadata, error)

	// UserData reads a file that stands in for user-data on a local machine. It
	// is nil if the file does not exist.
	UserData(file string) ([]byte, error)

	// Roles reads the role files. It returns those that could be read, and what
	// is wrong with the others.
	Roles() ([]*role.Role, error)
}

// A Lesson is what the agent has learnt: its settings, what the machine is told,
// and the plan that follows from these and the role files.
type Lesson struct {
	Settings settings.Settings
	Metadata host.Metadata // nil on a local machine
	Identity host.Identity
	Plan     role.Plan

	// confirm returns a warning if the lesson uses a cached answer that is stale. If
	// it is nil, the lesson uses what the lesson before it used.
	confirm func(context.Context) (warning string, err error)
}

// same reports whether another lesson makes no difference.
func (l *Lesson) same(as *Lesson) bool {
	return reflect.DeepEqual(l.Settings, as.Settings) && reflect.DeepEqual(l.Plan, as.Plan) && l.Identity.Instance == as.Identity.Instance
}

// learn learns everything, at once on a local machine, and else when the metadata
// service has said which instance this is.
func (a *Agent) learn(ctx context.Context) (*Lesson, error) {
	set, err := a.Inputs.Settings()
	if err != nil {
		return nil, err
	}
	if a.late == nil {
		a.late = time.AfterFunc(set.ReadyWithin, a.Report.Ready)
	}
	l := &Lesson{Settings: set}
	if set.UserDataFile != "" {
		return l, l.fromFile(a.Inputs)
	}
	if l.Metadata, err = a.Inputs.Metadata(set); err != nil {
		return nil, err
	}
	identify := NewIdentify(l.Metadata, func(identity host.Identity) (role.Plan, error) {
		return plan.Make(set, a.Inputs.Roles, plan.UserData, identity)
	})
	identify.Jitter, identify.Wrap = a.Jitter, a.Wrap
	a.begin(identify.Graph, nil, nil)
	l.Plan, l.Identity, err = identify.Run(ctx, a.Log, func(progress []graph.Progress) {
		a.mu.Lock()
		a.identified = progress
		a.mu.Unlock()
		a.Report.Identifying(progress)
	})
	if ctx.Err() == nil {
		a.mu.Lock()
		a.identity = &l.Identity
		a.mu.Unlock()
	}
	l.confirm = identify.Confirm
	return l, err
}

// fromFile learns what a local machine is told.
func (l *Lesson) fromFile(in Inputs) (err error) {
	file := l.Settings.UserDataFile
	if l.Identity.UserData, err = in.UserData(file); err != nil {
		return fault.WithHint(fmt.Errorf("cannot read the user-data: %w", err), "mend that, then: bootagent retry")
	}
	l.Plan, err = plan.Make(l.Settings, in.Roles, plan.Source(file), l.Identity)
	return err
}

// askAgainWithin is how long the metadata service may take to answer when a person
// wants everything to be read again.
const askAgainWithin = 10 * time.Second

// relearn reads everything again, at once: if the metadata service does not
// answer, known counts, which it said before. A *fault.Pending says that it never
// answered.
func (a *Agent) relearn(ctx context.Context, known *host.Identity) (*Lesson, error) {
	set, err := a.Inputs.Settings()
	if err != nil {
		return nil, err
	}
	l := &Lesson{Settings: set}
	if set.UserDataFile != "" {
		return l, l.fromFile(a.Inputs)
	}
	if l.Metadata, err = a.Inputs.Metadata(set); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askAgainWithin)
	defer cancel()
	l.Identity, err = l.Metadata.Ask(ctx)
	asked := err == nil
	if !asked && known != nil {
		a.Log.Warn("the metadata service gives no answer now; its last answer counts", "error", err)
		l.Identity, err = *known, nil
	}
	if err != nil {
		return nil, err
	}
	if l.Plan, err = plan.Make(set, a.Inputs.Roles, plan.UserData, l.Identity); err == nil && asked {
		l.Metadata.Cache(l.Identity)
		l.confirm = func(context.Context) (string, error) { return "", nil }
	}
	return l, err
}

// confirm takes back the warning that a cached answer is used, or says more, when
// the metadata service answers again.
func (a *Agent) confirm(ctx context.Context, by *Lesson) error {
	if by.confirm == nil {
		return nil
	}
	warning, err := by.confirm(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.identified = slices.Clone(a.identified)
	for i := range a.identified {
		if a.identified[i].Warning != "" {
			a.identified[i].Warning = warning
			a.Log.Info("the metadata service answers again", "warning", warning)
		}
	}
	return nil
}
