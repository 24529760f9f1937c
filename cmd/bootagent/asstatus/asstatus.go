// Package asstatus tells the progress of a story of pkg/boot as a status of
// pkg/status. It is apart from the program so that the simulated world tells
// the very same.
package asstatus

import (
	"maps"
	"slices"

	"bootagent/pkg/boot"
	"bootagent/pkg/status"
)

// Of tells the state of a boot from the progress of its story.
func Of(role string, held map[string]boot.Progress, progress []boot.Progress) status.Status {
	s := status.Status{Role: role, State: status.Ready}
	var worst *boot.Progress
	up := false
	for i, p := range progress {
		step := status.Step{Name: p.Step, State: string(p.State), Since: p.Since, For: p.Wait.For, Hint: hintOf(p), Remark: p.Remark}
		if !p.Began.IsZero() {
			step.Began = &progress[i].Began
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
		if p.Tries > 0 {
			step.Tries, step.Failing = p.Tries, &progress[i].Failing
		}
		if step.Until == nil && !p.Due.IsZero() {
			step.Until = &progress[i].Due
		}
		s.Steps = append(s.Steps, step)
		if p.Remark != "" {
			s.Remarks = append(s.Remarks, p.Step+": "+p.Remark)
		}
		up = up || p.Serves && p.State == boot.Done
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
func OfLaunch(progress []boot.Progress) status.Status {
	s := Of("", nil, progress)
	if s.State == status.Ready {
		s.State, s.Reason = status.Starting, "the plan is made"
	}
	return s
}

// Settled tells whether all is done, failed, or waits for something outside.
// What is pending then waits for a step that does; where there is none, it is
// about to run.
func Settled(progress []boot.Progress) bool {
	is := func(states ...boot.State) bool {
		return slices.ContainsFunc(progress, func(p boot.Progress) bool { return slices.Contains(states, p.State) })
	}
	return !is(boot.Running) && (!is(boot.Pending) || is(boot.Waiting, boot.Failed))
}

// hintOf says what a person can do about a step: for what it waits for now, or
// else about why it failed.
func hintOf(p boot.Progress) string {
	if p.Wait.Hint != "" {
		return p.Wait.Hint
	}
	return boot.HintOf(p.Err)
}

// rank says how much a step keeps its role from being ready: 4 for good, or for
// longer than it may, also while it is tried again; 3 until something outside
// happens, 2 for now, 1 until it had its turn, 0 not at all.
func rank(p boot.Progress) int {
	switch {
	case p.State == boot.Failed && p.RetryAt.IsZero():
		return 4
	case p.GaveUp && p.State != boot.Done && p.State != boot.Skipped:
		return 4
	case p.State == boot.Failed, p.State == boot.Waiting, p.Err != nil && p.State != boot.Skipped:
		return 3
	case p.State == boot.Running:
		return 2
	case p.State != boot.Done:
		return 1
	}
	return 0
}
