package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/boot"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/unit"
)

// ErrNoPlan says that the agent has no plan, so it cannot prove anything of a service.
var ErrNoPlan = errors.New("the agent has no plan")

// Bypass starts a held service of the plan although not all that it needs is there. It
// keeps the proofs of its volumes and data, unless the bypass is without proof. The
// answer says what is done. ErrNoPlan says that the agent cannot do it.
func (a *Agent) Bypass(ctx context.Context, want host.Bypass) (answer string, err error) {
	a.retrying <- struct{}{}
	defer func() { <-a.retrying }()
	a.mu.Lock()
	b, by := a.boot, a.lesson
	a.mu.Unlock()
	switch {
	case !a.holds(b, want.Unit):
		return "", fault.Refuse("systemctl start "+want.Unit, "%s is not held", want.Unit)
	case b == nil:
		return "", ErrNoPlan
	case !b.HasService(want.Unit):
		return "", fmt.Errorf("%w for %s: it is not a service of role %s", ErrNoPlan, want.Unit, by.Plan.Role)
	}
	if err := b.Bypass(ctx, want); err != nil {
		return "", err
	}
	a.Log.Warn("BYPASS: "+want.String(), "by", want.By, "reason", want.Reason, unit.JournalField, want.Unit)
	a.startOver(by)
	return want.Unit + " is granted now, without what it lacks; bootagent status tells what that is", nil
}

// holds reports whether a unit is held: by the plan, or by a guard.
func (a *Agent) holds(b *boot.Boot, name string) bool {
	return b != nil && b.HasService(name) || slices.Contains(a.Keep.Held(), name)
}

// EndBypass ends the bypass of a service of the plan. If not all that the service needs
// is there by now, it is stopped. ErrNoPlan says that the agent cannot do it.
func (a *Agent) EndBypass(ctx context.Context, name string) (answer string, err error) {
	a.retrying <- struct{}{}
	defer func() { <-a.retrying }()
	a.mu.Lock()
	b, by := a.boot, a.lesson
	a.mu.Unlock()
	if b == nil || !b.HasService(name) {
		return "", ErrNoPlan
	}
	missing, err := b.EndBypass(ctx, name)
	if err != nil {
		return "", err
	}
	a.Log.Warn("the bypass of "+name+" has ended", unit.JournalField, name)
	a.startOver(by)
	if missing == nil {
		return "the bypass of " + name + " has ended; all that it needs is there, so it goes on", nil
	}
	return fmt.Sprintf("the bypass of %s has ended; it is stopped, because this is not done: %s", name, strings.Join(missing, ", ")), nil
}
