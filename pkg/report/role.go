package report

import (
	"maps"
	"slices"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/status"
)

// Of returns the status of a role from the progress of its boot, and from what is
// told of it beside that. The values of held, by unit, are the steps that hold the
// units.
func Of(told status.Status, held map[string]graph.Progress, progress []graph.Progress) status.Status {
	s := told
	s.State = status.Ready
	var worst *graph.Progress
	up := false
	for i, p := range progress {
		s.Steps = append(s.Steps, stepOf(p))
		if p.Warning != "" {
			s.Warnings = append(s.Warnings, p.Step+": "+p.Warning)
		}
		if p.Aside {
			s.Warnings = append(s.Warnings, aside(p)...)
			continue
		}
		up = up || p.Serves && p.State == graph.Done
		if severity(p) > isFine && (worst == nil || severity(p) > severity(*worst)) {
			worst = &progress[i]
		}
	}
	if worst == nil {
		return s
	}
	s.Reason, s.Hint = worst.String(), hintOf(*worst)
	switch severity(*worst) {
	case hasFailed:
		s.State = status.Failed
		if up {
			s.State = status.Degraded
		}
	case isWaiting:
		s.State = status.Waiting
	default:
		s.State = status.Starting
	}
	for _, unit := range slices.Sorted(maps.Keys(held)) {
		s.Held = append(s.Held, status.Held{Unit: unit, Why: held[unit].String()})
	}
	return s
}

// aside is what is to be known of a step that the role is ready without.
func aside(p graph.Progress) []string {
	switch {
	case severity(p) < isWaiting:
		return nil
	case hintOf(p) != "":
		return []string{p.String() + "; " + hintOf(p)}
	}
	return []string{p.String()}
}

// OfIdentify returns the status while the agent identifies the instance, from
// the progress of that. The role is not ready when all steps are done, because
// the boot then begins.
func OfIdentify(progress []graph.Progress) status.Status {
	s := Of(status.Status{}, nil, progress)
	if s.State == status.Ready {
		s.State, s.Reason = status.Starting, "the plan is made"
	}
	return s
}

// Settled reports whether every step is done, has failed, or waits for something
// outside. A pending step waits for such a step; if there is none, it is about
// to run, and the boot is not settled.
func Settled(progress []graph.Progress) bool {
	is := func(states ...graph.State) bool {
		return slices.ContainsFunc(progress, func(p graph.Progress) bool { return !p.Aside && slices.Contains(states, p.State) })
	}
	return !is(graph.Running) && (!is(graph.Pending) || is(graph.Waiting, graph.Failed))
}

func stepOf(p graph.Progress) status.Step {
	step := status.Step{Name: p.Step, State: string(p.State), Since: p.Since, For: p.Wait.For, Hint: hintOf(p), Answer: p.Answer, Warning: p.Warning}
	if !p.Started.IsZero() {
		step.Began = &p.Started
	}
	if !p.Wait.Until.IsZero() {
		step.Until = &p.Wait.Until
	}
	if !p.RetryAt.IsZero() {
		step.RetryAt = &p.RetryAt
	}
	if p.Err != nil {
		step.Error, step.FirstError = p.Err.Error(), p.Earlier()
	}
	if p.Failures > 0 {
		step.Tries, step.Failing = p.Failures, &p.FailingSince
	}
	if step.Until == nil && !p.FailsAt.IsZero() {
		step.Until = &p.FailsAt
	}
	return step
}

// hintOf returns what a person can do about what a step waits for now, or else
// about why it failed.
func hintOf(p graph.Progress) string {
	if p.Wait.Hint != "" {
		return p.Wait.Hint
	}
	return fault.HintOf(p.Err)
}

// How much a step keeps its role from being ready, in ascending order.
const (
	isFine    = iota // not at all
	isPending        // it has not run yet
	isRunning
	isWaiting // for something outside, or for its next attempt
	hasFailed // permanently, or for longer than it may, also while it is tried again
)

func severity(p graph.Progress) int {
	switch {
	case p.State == graph.Failed && p.RetryAt.IsZero():
		return hasFailed
	case p.CountsAsFailed && p.State != graph.Done && p.State != graph.Skipped:
		return hasFailed
	case p.State == graph.Failed, p.State == graph.Waiting, p.Err != nil && p.State != graph.Skipped:
		return isWaiting
	case p.State == graph.Running:
		return isRunning
	case p.State != graph.Done:
		return isPending
	}
	return isFine
}
