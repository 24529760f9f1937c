package main

import (
	"errors"
	"time"

	"bootagent/cmd/bootagent/asstatus"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/plan"
	"bootagent/pkg/status"
)

// Identifying tells how the agent learns which plan the machine has.
func (t *teller) Identifying(progress []graph.Progress) { t.tell(asstatus.OfLaunch(progress)) }

// Booting tells how a role comes up, and what holds its services.
func (t *teller) Booting(role string, held map[string]graph.Progress, progress []graph.Progress) {
	t.tell(asstatus.Of(role, held, progress))
	t.tellHeld(held)
	if asstatus.Settled(progress) {
		t.Ready()
	}
}

// NoPlan tells why there is no plan. What is held stays held.
func (t *teller) NoPlan(err error, units []string) {
	s := status.Status{State: status.Failed, Reason: err.Error(), Hint: fault.HintOf(err)}
	if errors.Is(err, plan.ErrNoRole) {
		s.State = status.Idle
	}
	why := graph.Progress{Step: "plan", State: graph.Failed, Since: time.Now(), Err: err}
	held := make(map[string]graph.Progress)
	for _, unit := range units {
		held[unit] = why
		s.Held = append(s.Held, status.Held{Unit: unit, Why: "there is no plan: " + err.Error()})
	}
	t.tell(s)
	t.tellHeld(held)
}
