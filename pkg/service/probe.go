package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

// lookEvery is the rest until systemd is asked again about a service that is
// probed, after it could not say.
const lookEvery = 2 * time.Second

// probe runs the service's probe until it succeeds, for as long as the service
// is active.
func (s *Service) probe(ctx context.Context) (serves bool, err error) {
	if s.Ready == nil {
		return true, nil
	}
	up, down := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer down(nil)
	watching.Go(func() { s.awaitDown(up, down) })
	until := time.Now().Add(s.Ready.Timeout)
	hint := "systemctl status " + cmp.Or(s.Ready.Unit, s.Unit)
	defer graph.SetWaiting(ctx, graph.Wait{For: s.Unit + " to serve, as " + s.Ready.String() + " tells", Until: until, Hint: hint})()
	for {
		answer, err := s.ask(up, time.Until(until))
		if up.Err() == nil {
			graph.Answer(ctx, answer)
		}
		if err == nil {
			return true, nil
		}
		if time.Until(until) <= 0 && up.Err() == nil {
			graph.SetFailed(ctx, fault.WithHint(fmt.Errorf("%s is active but did not serve within %s: %w", s.Unit, s.Ready.Timeout, err), hint))
		}
		rest := s.Ready.Interval
		if left := time.Until(until); left > 0 {
			rest = min(rest, left)
		}
		select {
		case <-time.After(rest):
		case <-up.Done():
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return false, nil
		}
	}
}

// ask probes the service once. The last try before the service has failed ends
// with its time; later ones have as much as the first.
func (s *Service) ask(ctx context.Context, left time.Duration) (answer string, err error) {
	limit := cmp.Or(s.Ready.TryTimeout, s.Ready.Timeout)
	if left > 0 {
		limit = min(limit, left)
	}
	once, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit.Round(time.Millisecond)))
	defer cancel()
	answer, err = s.Host.Probes.Probe(once, s.Unit, *s.Ready)
	if err != nil {
		answer = err.Error()
	}
	return answer, err
}

// awaitDown calls down when the service is not active any more.
func (s *Service) awaitDown(up context.Context, down context.CancelCauseFunc) {
	for up.Err() == nil {
		if _, err := s.Host.Units.Await(up, s.Unit, func(u host.UnitState) bool { return u.Active != "active" }); err == nil {
			down(errDown)
			return
		}
		select {
		case <-time.After(lookEvery):
		case <-up.Done():
		}
	}
}

// errDown ends a probe whose service is not active any more.
var errDown = errors.New("the service is not active any more")
