package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

// comeUp waits until the service is active, stays so where it did not before,
// and its probe, if it has one, says that it serves. What it waits for in vain
// it goes on waiting for: the service may come up all the same.
func (s *Service) comeUp(ctx context.Context) error {
	began := graph.Since(ctx)
	for {
		state, err := s.settled(ctx, began)
		if err != nil {
			return err
		}
		if state.Active != "active" {
			return s.ended(ctx, state)
		}
		if serves, err := s.serves(ctx, began); serves || err != nil {
			return err
		}
	}
}

// ended says why a service that should run does not.
func (s *Service) ended(ctx context.Context, state host.UnitState) error {
	look := "systemctl status " + s.Unit
	ended, err := s.Host.Runs.Ended(ctx, s.Unit)
	if err != nil {
		return err
	}
	if state.Active == "failed" && ended.Result == startLimit {
		return fault.Permanent(fault.WithHint(
			fmt.Errorf("%s was started too often, and systemd does not start it again (%s)", s.Unit, joined("StartLimitBurst= of its unit", ended.Died)),
			fmt.Sprintf("journalctl -u %s tells why it ended; then, to start it: systemctl reset-failed %s && systemctl start %s", s.Unit, s.Unit, s.Unit)))
	}
	if state.Active == "failed" {
		return fault.Permanent(fault.WithHint(fmt.Errorf("%s failed: %s", s.Unit, joined(ended.Result, ended.Died)), look))
	}
	byHand, err := s.Host.Stops.StoppedByHand(s.Unit)
	if err != nil {
		return err
	}
	granted, err := s.Host.Grants.Granted(ctx, s.Unit)
	if err != nil {
		return err
	}
	if stopping, err := s.Host.Shutdown.Stopping(ctx); stopping || err != nil {
		return errors.Join(err, fmt.Errorf("%s was stopped, as the machine shuts down", s.Unit))
	}
	again := "systemctl start " + s.Unit + ", or: bootagent retry"
	switch {
	case !granted && !byHand:
		s.Graph.Invalidate(s.granted, "the grant of "+s.Unit+" is gone", s.granted) // systemd may not have told
		return fmt.Errorf("%s lost its grant", s.Unit)
	case !ended.Ran && !byHand:
		return fault.Permanent(fault.WithHint(fmt.Errorf("%s was granted and did not start", s.Unit), look))
	case ended.ByItself && !byHand && !s.dead: // not where it was stopped as it waited for its restart
		return fault.Permanent(fault.WithHint(fmt.Errorf("%s ended by itself (%s), and its unit does not start it again",
			s.Unit, joined(ended.Result, ended.Died)), look+" tells more; to start it: "+again))
	}
	if err := s.setByHand(true); err != nil {
		return err
	}
	return fault.Permanent(fault.WithHint(fmt.Errorf("%s was stopped by hand", s.Unit), again))
}

// startLimit is the Result= of a service that was started more often than its unit
// allows (systemd.unit(5), StartLimitBurst=).
const startLimit = "start-limit-hit"

func joined(result, died string) string {
	if died == "" {
		return result
	}
	return result + ", " + died
}

// settled waits until the service has started, or will not. One that is stopped
// while it starts has to stop first.
func (s *Service) settled(ctx context.Context, began time.Time) (host.UnitState, error) {
	for {
		if err := s.Stopped(ctx); err != nil {
			return host.UnitState{}, err
		}
		state, err := s.started(ctx, began)
		if err != nil || state.Active != "deactivating" {
			return state, err
		}
	}
}

// started waits until systemd has started the service, stops it, or has nothing
// more to do for it. It says which restart that is, where there was one.
func (s *Service) started(ctx context.Context, began time.Time) (host.UnitState, error) {
	until := began.Add(startWithin)
	done := func() {}
	defer func() { done() }()
	settled := func(u host.UnitState) bool {
		return u.Active == "active" || u.Active == "deactivating" || !u.Busy && (u.Active == "failed" || u.Active == "inactive")
	}
	for first := true; ; first = false {
		what, err := s.whichStart(ctx, first)
		if err != nil {
			return host.UnitState{}, err
		}
		in := time.Until(until)
		if in <= 0 {
			graph.SetFailed(ctx, fault.WithHint(fmt.Errorf("waited %s in vain for %s", startWithin, what), "journalctl -u "+s.Unit))
			in = startWithin // and then it is told anew
		} else {
			done = graph.SetWaiting(ctx, graph.Wait{For: what, Until: until, Hint: "systemctl status " + s.Unit})
		}
		patience, cancel := context.WithTimeout(ctx, in)
		dead := s.dead
		state, err := s.Host.Units.Await(patience, s.Unit, func(u host.UnitState) bool { return settled(u) || u.Crashed() != dead })
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			continue
		case err != nil || settled(state):
			return state, err
		}
		s.dead = state.Crashed()
	}
}

// whichStart says what is waited for: the start of the service, or which of its
// restarts, and what it died of before.
func (s *Service) whichStart(ctx context.Context, first bool) (string, error) {
	if first {
		s.dead = false
	}
	restarts, err := s.Host.Runs.Restarts(ctx, s.Unit)
	if err != nil {
		return "", err
	}
	if restarts.Died != "" {
		s.died = restarts.Died
	}
	number := restarts.Count
	if s.dead {
		number++ // the one that is about to be
	}
	if number == 0 {
		return s.Unit + " to start", nil
	}
	return fmt.Sprintf("%s to start again: %s", s.Unit, s.restart(number)), nil
}

// restart says which restart it is, and what the service died of.
func (s *Service) restart(number int) string {
	text := fmt.Sprintf("this is restart %d by systemd", number)
	if s.died != "" {
		text += ", after " + s.died
	}
	return text
}

const (
	// holdsAfter is how long a service that systemd has started again by itself
	// has to stay up until it is taken for one that holds: six times what
	// MariaDB's unit rests between two starts (RestartSec=5s). A database that
	// dies in its recovery, or of the first that it is asked, does so sooner.
	holdsAfter = 30 * time.Second

	// holdsMost bounds what that is doubled to with every restart more, so that
	// one that dies every few minutes is not ready in between.
	holdsMost = 10 * time.Minute
)

// holds is how long a service has to stay up that was restarted so many times
// since it last did.
func holds(restarts int) time.Duration {
	if restarts <= 0 {
		return 0
	}
	return min(holdsAfter<<min(restarts-1, 6), holdsMost)
}

// serves waits until an active service has stayed up for long enough and its
// probe says that it serves. It does not serve if it went down meanwhile.
func (s *Service) serves(ctx context.Context, began time.Time) (bool, error) {
	if err := s.setByHand(false); err != nil {
		return false, err
	}
	restarts, err := s.Host.Runs.Restarts(ctx, s.Unit)
	if err != nil {
		return false, err
	}
	s.counted(restarts)
	if holds, err := s.hold(ctx, began, restarts); !holds || err != nil {
		return false, err
	}
	if serves, err := s.probe(ctx); !serves || err != nil {
		return false, err
	}
	graph.Observed(ctx) // what was told of the service is older than this
	state, err := s.Host.Units.State(ctx, s.Unit)
	if err != nil || state.Active != "active" {
		return false, err
	}
	now, err := s.Host.Runs.Restarts(ctx, s.Unit)
	if err != nil || now.Count != restarts.Count {
		return false, err
	}
	s.upAt = time.Now()
	return true, nil
}

// counted takes note of how often the service was restarted. What it did before
// it last stayed up for long counts no more.
func (s *Service) counted(r host.Restarts) {
	before := int(s.restarts.Swap(int64(r.Count)))
	if !s.looked { // a former agent may have seen it hold
		s.looked, s.longAgo = true, max(r.Count-1, 0)
	}
	if !s.upAt.IsZero() && time.Since(s.upAt) > holdsMost {
		s.longAgo = min(before, r.Count)
	}
	if r.Count < s.longAgo || r.Active > holdsMost {
		s.longAgo = r.Count
	}
	s.upAt = time.Time{}
}

// crashed tells whether systemd has started the service again by itself since
// it was last looked at.
func (s *Service) crashed(ctx context.Context) bool {
	r, err := s.Host.Runs.Restarts(ctx, s.Unit)
	return err != nil || int64(r.Count) != s.restarts.Load()
}

// startedBySomebody tells whether a service that runs was started by anybody but
// systemd itself.
func (s *Service) startedBySomebody(ctx context.Context) bool {
	r, err := s.Host.Runs.Restarts(ctx, s.Unit)
	return err == nil && r.Count == 0
}

// hold waits until a service that was restarted has stayed up for a while.
func (s *Service) hold(ctx context.Context, began time.Time, r host.Restarts) (bool, error) {
	left := holds(r.Count-s.longAgo) - r.Active
	if left <= 0 {
		return true, nil
	}
	until := time.Now().Add(left)
	what := fmt.Sprintf("%s to stay up: %s", s.Unit, s.restart(r.Count))
	if time.Since(began) >= startWithin {
		graph.SetFailed(ctx, fault.WithHint(fmt.Errorf("waited %s in vain for %s", startWithin, what), "journalctl -u "+s.Unit))
	} else {
		defer graph.SetWaiting(ctx, graph.Wait{For: what, Until: until, Hint: "journalctl -u " + s.Unit})()
	}
	patience, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	_, err := s.Host.Units.Await(patience, s.Unit, func(u host.UnitState) bool { return u.Active != "active" })
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return true, nil
	}
	return false, err
}
