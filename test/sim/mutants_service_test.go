package sim

import (
	"context"
	"strings"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/ready"
)

// The mistakes about services and their grants.
var ofServices = []mutant{
	{name: "a service is granted before its needs are met", role: needs(func([]role.Need) []role.Need { return nil })},
	{name: "a grant holds without the volume's mount", change: func(s *seams) {
		grant := s.grant
		s.grant = func(ctx context.Context, unit string, mounts []string) error { return grant(ctx, unit, mounts[:1]) }
	}},
	{name: "what a person stopped is started", change: func(s *seams) {
		says(&s.stoppedByHand, func(_ string, byHand *bool) { *byHand = false })
	}},
	{name: "that a person stopped a service is forgotten with the agent", change: func(s *seams) {
		s.setStoppedByHand = func(string, bool) error { return nil }
	}},
	{name: "a service that is granted is not started", change: func(s *seams) {
		s.startOnce = func(context.Context, string) error { return nil }
	}},
	{name: "a service that hangs on a disk that is gone is left hanging", change: func(s *seams) {
		s.kill = func(context.Context, string) error { return nil }
	}},
	{name: "a disk that came back passes for the one that was pulled", change: func(s *seams) {
		disk, kill := s.lastDisk(), s.kill
		s.kill = func(ctx context.Context, unit string) error {
			if _, there, err := s.findDisk(ctx, disk().Serial); there || err != nil {
				return err
			}
			return kill(ctx, unit)
		}
	}},
	{name: "a service that takes long to stop is killed", change: func(s *seams) {
		await := s.await
		s.await = func(ctx context.Context, unit string, until func(host.UnitState) bool) (host.UnitState, error) {
			if now, err := s.state(ctx, unit); err == nil && now.Active == "deactivating" {
				_ = s.kill(ctx, unit)
			}
			return await(ctx, unit, until)
		}
	}},
	{name: "a grant that is gone is not made again", change: func(s *seams) {
		answers(&s.granted, func(_ string, granted *bool) { *granted = true })
	}},
	{name: "a service that dies is ready until somebody looks", change: func(s *seams) {
		answers(&s.state, func(unit string, now *host.UnitState) {
			if unit == database && now.Active == "activating" && !s.inStep("") {
				now.Active = "reloading"
			}
		})
	}},
	{name: "a service that was restarted is ready at once", change: func(s *seams) {
		answers(&s.restarts, func(_ string, r *host.Restarts) {
			if r.Active > 0 {
				r.Active = time.Hour
			}
		})
	}},
	{name: "the restarts of a service are not counted", change: func(s *seams) {
		answers(&s.restarts, func(_ string, r *host.Restarts) { r.Count = 0 })
	}},
	{name: "what ended by itself was stopped by a person", change: func(s *seams) {
		answers(&s.ended, func(_ string, e *host.Ended) { e.ByItself = false })
	}},
	{name: "that a start limit was hit is not told", breaks: "was started too often", change: func(s *seams) {
		answers(&s.ended, func(_ string, e *host.Ended) {
			if e.Result == "start-limit-hit" {
				e.Result = "signal"
			}
		})
	}},
	{name: "the probe does not see that its service was stopped", change: func(s *seams) { s.awaitsNothingWhileProbing() }},
	{name: "a probe that was never asked has succeeded", change: func(s *seams) {
		s.probe = func(context.Context, string, ready.Ready) (string, error) { return "", nil }
	}},
	{name: "a try of a probe has no limit", breaks: "that one try may take", change: func(s *seams) {
		probe := s.probe
		s.probe = func(ctx context.Context, service string, r ready.Ready) (string, error) {
			return probe(context.WithoutCancel(ctx), service, r)
		}
	}},
	{name: "what stops as the machine shuts down was stopped by a person", change: func(s *seams) {
		stopping := s.stopping
		s.stopping = func(ctx context.Context) (bool, error) {
			_, err := stopping(ctx)
			return false, err
		}
	}},
	{name: "a plan takes over that changes what stands", change: func(s *seams) {
		at := s.at
		s.at = func(where string) (uint64, bool, error) {
			dev, mounted, err := at(where)
			return dev, mounted && s.inStep(""), err
		}
		says(&s.staged, func(_ host.Secret, staged *string) {
			if !s.inStep("") && s.agent.actor() != "key" {
				*staged = ""
			}
		})
		answers(&s.granted, func(_ string, granted *bool) { *granted = *granted && s.inStep("") })
	}},
}

// awaitsNothingWhileProbing has an Await of a service beside its probe never see
// that the service goes down.
func (s *seams) awaitsNothingWhileProbing() {
	probing := make(chan struct{}, 1)
	await, probe := s.await, s.probe
	s.probe = func(ctx context.Context, service string, r ready.Ready) (string, error) {
		probing <- struct{}{}
		defer func() { <-probing }()
		return probe(ctx, service, r)
	}
	s.await = func(ctx context.Context, unit string, until func(host.UnitState) bool) (host.UnitState, error) {
		if strings.Contains(s.agent.actor(), ": ") {
			return await(ctx, unit, until) // the step itself; the watch beside a probe has a goroutine of its own
		}
		<-ctx.Done()
		return host.UnitState{}, ctx.Err()
	}
}
