package service

import (
	"context"
	"fmt"

	"bootagent/pkg/graph"
	"bootagent/pkg/unit"
)

// Grant lets the service start, now that all it needs is there, and starts
// it, unless a person had stopped it.
func (s *Service) Grant(ctx context.Context) error {
	var on []string
	for _, where := range s.Mounts {
		_, mounted, err := s.Host.Mounts.At(where)
		if err != nil {
			return err
		}
		if !mounted && s.Unproven() {
			continue
		}
		if !mounted {
			s.Unmounted(where) // systemd may not have told
			return fmt.Errorf("%s is not mounted any more", where)
		}
		// Systemd tells nothing of one that a process holds.
		stale, err := s.Host.Mounts.Stale(where)
		if err != nil {
			return err
		}
		if stale {
			s.Unmounted(where)
			return fmt.Errorf("the disk is gone that is mounted at %s", where)
		}
		on = append(on, where)
	}
	for _, secret := range s.Secrets {
		if err := s.Host.Secrets.StageNothing(secret, s.Unit); err != nil {
			return err
		}
	}
	if err := s.Host.Grants.Grant(ctx, s.Unit, on); err != nil {
		return err
	}
	graph.Observed(ctx) // what was told of the grant is older than this one
	byHand, err := s.Host.Stops.StoppedByHand(s.Unit)
	if err != nil || byHand || s.byHand.Load() {
		return err
	}
	return s.Host.Jobs.StartOnce(ctx, s.Unit)
}

// lostGrant starts over from what the grant stands on. Where that is all
// there, it was a person who took the grant away, and with it the service. A
// grant that has yet to start, after the agent itself, is not lost.
func (s *Service) lostGrant(ctx context.Context, grant string) {
	now, err := s.Host.Units.State(ctx, grant)
	if err != nil || now.Active == "active" || now.Busy {
		return
	}
	if !s.Graph.IsDone(s.granted) {
		s.Graph.Recheck(s.granted, grant+" is not active", graph.Done) // if it is just being made
		return
	}
	standing := true
	for _, where := range s.Mounts {
		mount, err := s.Host.Units.State(ctx, unit.MountAt(where))
		standing = standing && err == nil && mount.Active == "active" && !mount.Busy
		// One that a process holds stays after its disk has gone.
		stale, err := s.Host.Mounts.Stale(where)
		standing = standing && err == nil && !stale
	}
	from := []*graph.Step{s.granted}
	if standing && !s.revoked.Load() {
		if err := s.setByHand(true); err != nil {
			s.Log.Error("cannot note that a person stopped a service", "unit", s.Unit, "error", err)
		}
	}
	for _, v := range s.Volumes {
		from = append(from, v.Device())
	}
	s.Graph.Invalidate(s.granted, "the grant of "+s.Unit+" is gone", from...)
}

// Unproven tells whether the service starts on what there is, without proof.
func (s *Service) Unproven() bool { return s.Bypass != nil && s.Bypass.WithoutProof }

// Revoke takes the grant away, which stops the service, until it is granted anew.
func (s *Service) Revoke(ctx context.Context) error {
	s.revoked.Store(true)
	return s.Host.Grants.Revoke(ctx, s.Unit)
}

// StartAgain forgets that a person stopped the service, and starts it if it is
// granted and does not run. One that is not granted yet starts when it is.
func (s *Service) StartAgain(ctx context.Context) error {
	if err := s.setByHand(false); err != nil {
		return err
	}
	granted, err := s.Host.Grants.Granted(ctx, s.Unit)
	if err != nil || !granted {
		return err
	}
	if err := s.keepGrant(ctx); err != nil {
		return err
	}
	state, err := s.Host.Units.State(ctx, s.Unit)
	if err != nil || state.Active != "inactive" && state.Active != "failed" {
		return err
	}
	return s.Host.Jobs.Start(ctx, s.Unit)
}

// keepGrant sees to it that a service whose grant holds has its grant file.
func (s *Service) keepGrant(ctx context.Context) error {
	lost, err := s.Host.Grants.KeepGrant(ctx, s.Unit)
	if lost && err == nil {
		s.Log.Warn("the grant file of "+s.Unit+" was gone, and is there again", "unit", s.Unit)
	}
	return err
}

// setByHand keeps whether a person stopped the service.
func (s *Service) setByHand(stopped bool) error {
	s.byHand.Store(stopped)
	return s.Host.Stops.SetStoppedByHand(s.Unit, stopped)
}
