// Package asstatus tells the progress of a story of pkg/boot as a status of
// pkg/status. It is apart from the program so that the simulated world tells
// the very same.
package asstatus

import (
	"maps"
	"slices"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/status"
)

// Of tells the state of a boot from the progress of its story.
func Of(role string, held map[string]graph.Progress, progress []graph.Progress) status.Status {
	s := status.Status{Role: role, State: status.Ready}
	var worst *graph.Progress
	up := false
	for i, p := range progress {
		step := status.Step{Name: p.Step, State: string(p.State), Since: p.Since, For: p.Wait.For, Hint: hintOf(p), Remark: p.Warning}
		if !p.Started.IsZero() {
			step.Began = &progress[i].Started
		}
		if !p.Wait.Until.IsZero() {
			step.Until = &progress[i].Wait.Until
		}
		if !p.RetryAt.IsZero() {
			step.RetryAt = &progress[i].RetryAt
		}
		if p.Err != nil {
			step.Error, step.FirstError = p.Err.Error(), p.Earlier()
		}
		if p.Failures > 0 {
			step.Tries, step.Failing = p.Failures, &progress[i].FailingSince
		}
		if step.Until == nil && !p.FailsAt.IsZero() {
			step.Until = &progress[i].FailsAt
		}
		s.Steps = append(s.Steps, step)
		if p.Warning != "" {
			s.Remarks = append(s.Remarks, p.Step+": "+p.Warning)
		}
		up = up || p.Serves && p.State == graph.Done
		if rank(p) > 0 && (worst == nil || rank(p) > rank(*worst)) {
			worst = &progress[i]
		}
	}
	if worst == nil {
		return s
	}
	s.Reason, s.Hint = worst.String(), hintOf(*worst)
	switch {
	case rank(*worst) == 4 && up:
		s.State = status.Degraded
	case rank(*worst) == 4:
		s.State = status.Failed
	case rank(*worst) == 3:
		s.State = status.Waiting
	default:
		s.State = status.Starting
	}
	for _, unit := range slices.Sorted(maps.Keys(held)) {
		s.Held = append(s.Held, status.Held{Unit: unit, Why: held[unit].String()})
	}
	return s
}

// OfLaunch tells the state of a launch. When all of it is done, the boot
// has yet to begin.
func OfLaunch(progress []graph.Progress) status.Status {
	s := Of("", nil, progress)
	if s.State == status.Ready {
		s.State, s.Reason = status.Starting, "the plan is made"
	}
	return s
}

// Settled tells whether all is done, failed, or waits for something outside.
// What is pending then waits for a step that does; where there is none, it is
// about to run.
func Settled(progress []graph.Progress) bool {
	is := func(states ...graph.State) bool {
		return slices.ContainsFunc(progress, func(p graph.Progress) bool { return slices.Contains(states, p.State) })
	}
	return !is(graph.Running) && (!is(graph.Pending) || is(graph.Waiting, graph.Failed))
}

// hintOf says what a person can do about a step: for what it waits for now, or
// else about why it failed.
func hintOf(p graph.Progress) string {
	if p.Wait.Hint != "" {
		return p.Wait.Hint
	}
	return fault.HintOf(p.Err)
}

// rank says how much a step keeps its role from being ready: 4 for good, or for
// longer than it may, also while it is tried again; 3 until something outside
// happens, 2 for now, 1 until it had its turn, 0 not at all.
func rank(p graph.Progress) int {
	switch {
	case p.State == graph.Failed && p.RetryAt.IsZero():
		return 4
	case p.CountsAsFailed && p.State != graph.Done && p.State != graph.Skipped:
		return 4
	case p.State == graph.Failed, p.State == graph.Waiting, p.Err != nil && p.State != graph.Skipped:
		return 3
	case p.State == graph.Running:
		return 2
	case p.State != graph.Done:
		return 1
	}
	return 0
}
