package boot

import (
	"context"
	"errors"

	"bootagent/pkg/host"
)

// Inspect checks what the boot made and what no event tells the loss of: the file of
// a grant, a note that a person stopped a service, a staged secret. All of these are
// files, which root can delete.
func (b *Boot) Inspect(ctx context.Context) error {
	var errs []error
	for _, s := range b.services {
		if b.IsDone(s.granted) {
			errs = append(errs, s.keepGrant(ctx))
		}
		if s.byHand.Load() {
			errs = append(errs, b.host.Stops.SetStoppedByHand(s.Unit, true))
		}
	}
	for _, s := range b.plan.Secrets {
		sec := b.secrets[s.Name]
		if !b.IsDone(sec.opened) {
			continue
		}
		version, err := b.host.Secrets.Staged(host.Secret(s))
		if err == nil && version == "" {
			b.Invalidate(sec.opened, "secret "+s.Name+" is not staged any more", sec.needs...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// keepGrant sees to it that a service whose grant holds has its grant file.
func (s *service) keepGrant(ctx context.Context) error {
	lost, err := s.boot.host.Grants.KeepGrant(ctx, s.Unit)
	if lost && err == nil {
		s.boot.log.Warn("the grant file of "+s.Unit+" was gone, and is there again", "unit", s.Unit)
	}
	return err
}

// setByHand keeps whether a person stopped the service.
func (s *service) setByHand(stopped bool) error {
	s.byHand.Store(stopped)
	return s.boot.host.Stops.SetStoppedByHand(s.Unit, stopped)
}
