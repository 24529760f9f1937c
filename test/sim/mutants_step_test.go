package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

// The mistakes about steps: their events, retries and deadlines.
var ofSteps = []mutant{
	// Events.
	{name: "a mount that goes is not noticed, with its grant", misses: func(_ *agent, event string) bool {
		return strings.HasSuffix(event, ".mount") || event == grantUnit(database)
	}},
	{
		name:   "an event of a step that runs is lost",
		misses: func(a *agent, event string) bool { return event == database && a.works(upStep) },
		change: func(s *seams) { s.awaitsNothingWhileProbing() },
	},
	{
		name:   "an event of a step that runs is lost, in its last moment",
		misses: func(a *agent, event string) bool { return event == database && a.works(upStep) },
	},
	{name: "no event of a unit arrives", misses: func(_ *agent, event string) bool { return event != diskEvent && event != keyEvent }},
	{name: "no event of a disk arrives", misses: func(_ *agent, event string) bool { return event == diskEvent }},
	{name: "an event that says nothing new is one", change: func(s *seams) {
		find, n := s.findDisk, new(atomic.Uint64)
		s.findDisk = func(ctx context.Context, serial string) (host.Disk, bool, error) {
			disk, there, err := find(ctx, serial)
			if !s.inStep("") { // what follows events asks
				disk.Seq += 1000 * n.Add(1)
			}
			return disk, there, err
		}
	}},
	{name: "an event of any disk is one of all, and begins anew", misses: func(a *agent, event string) bool {
		if event == diskEvent {
			a.person(func() error {
				if b := a.boot(); b != nil {
					b.Retry()
				}
				return nil
			})
		}
		return false
	}},

	// Retries.
	{name: "a passing error is final", change: fails("", fault.Permanent)},
	{name: "an error for ever is tried again", change: fails("", func(err error) error {
		return errors.New(err.Error())
	})},
	{name: "a step that starts over rests as if it had never failed", breaks: `are too many`, change: func(s *seams) {
		s.step("", func(ctx context.Context, run graph.Func) error {
			for {
				err := run(ctx)
				if err == nil || ctx.Err() != nil || fault.IsPermanent(err) {
					return err
				}
				done := graph.SetWaiting(ctx, graph.Wait{For: "another try, after " + err.Error(), Until: time.Now().Add(time.Second)})
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
				done()
			}
		})
	}},

	// Deadlines.
	{name: "a wait has no end", change: asksCloud(func(ask func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			until := time.Now().Add(time.Minute)
			for {
				err := ask(ctx)
				if !isPending(err) {
					return err
				}
				done := graph.SetWaiting(ctx, graph.Wait{For: err.Error(), Until: until, Hint: fault.HintOf(err)})
				select {
				case <-time.After(10 * time.Second):
				case <-ctx.Done():
				}
				done()
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
			}
		}
	})},
	{name: "what was waited for in vain is given up for good", change: func(s *seams) {
		began := time.Now()
		asksCloud(func(ask func(context.Context) error) func(context.Context) error {
			return func(ctx context.Context) error {
				err := ask(ctx)
				if isPending(err) && time.Since(began) > 20*time.Minute {
					return fault.Permanent(fmt.Errorf("it was waited for in vain: %s", err.Error()))
				}
				return err
			}
		})(s)
	}},
	{name: "what fails is never failed", role: patience(100, 1), change: func(s *seams) { s.real.RetryWithin = 1000 * time.Hour }},
	{name: "what fails is failed only where it is not tried again", report: func(all []graph.Progress) []graph.Progress {
		for i := range all {
			if all[i].CountsAsFailed && !fault.IsPermanent(all[i].Err) {
				all[i].CountsAsFailed = false
			}
		}
		return all
	}},
	{name: "a hiccup is a failure", breaks: `has to be told to be waiting`, role: patience(1, 10), change: func(s *seams) { s.real.RetryWithin = 90 * time.Second }},
	{name: "a step that works says nothing of it", report: func(all []graph.Progress) []graph.Progress {
		for i := range all {
			if all[i].State == graph.Waiting {
				all[i].State, all[i].Wait = graph.Running, graph.Wait{}
			}
		}
		return all
	}},
	{name: "what failed does not say why", report: func(all []graph.Progress) []graph.Progress {
		for i := range all {
			all[i].Err, all[i].First = nil, nil
		}
		return all
	}},
	{name: "what a probe answered last is not told", breaks: "does not tell what its probe answered last", report: func(all []graph.Progress) []graph.Progress {
		for i := range all {
			all[i].Answer = ""
		}
		return all
	}},
	{name: "the role is ready when its service is granted", report: func(all []graph.Progress) []graph.Progress {
		last := len(all) - 1
		if all[last].Step == upStep && all[last-1].State == graph.Done {
			all[last] = graph.Progress{Step: upStep, State: graph.Done, Since: all[last].Since, Serves: true}
		}
		return all
	}},
}
