package boot

import (
	"context"
	"errors"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/role"
)

// A secret is one secret of the plan on its way to the services it is for. It
// is sealed for as long as the story has it.
type secret struct {
	role.Secret
	boot *Boot

	fetched, opened *graph.Step
	sealed          []byte
	when            time.Time // it was fetched
}

// fetchAgainAfter is how old a sealed secret may be while a key for it is
// waited for: somebody may seal it anew for a key that is here.
const fetchAgainAfter = time.Minute

// unlock waits for a key, unless nothing is left to be opened in this boot.
func (b *Boot) unlock(ctx context.Context) error {
	for _, s := range b.plan.Secrets {
		staged, err := b.host.Secrets.Staged(s)
		if err != nil {
			return err
		}
		if !staged {
			return b.awaitKey(ctx, b.host.Secrets.Unlock)
		}
	}
	return nil
}

// awaitKey waits for as long as a person may take to bring a key.
func (b *Boot) awaitKey(ctx context.Context, ask func(context.Context) error) error {
	err := b.AwaitSince(ctx, graph.Since(ctx), graph.MaxRest, b.host.UnlockWithin, ask)
	if errors.As(err, new(*fault.Expired)) {
		return fault.Permanent(err) // until a key is brought, see Unlocked
	}
	return err
}

// HasSecrets tells whether a key is of any use to the boot.
func (b *Boot) HasSecrets() bool { return b.unlocked != nil }

// Unlocked has what waits for a key, or failed for the lack of the right one,
// look at the keys again.
func (b *Boot) Unlocked() {
	const why = "a key was brought"
	if !b.HasSecrets() {
		return
	}
	b.Recheck(b.unlocked, why, graph.Waiting, graph.Failed)
	for _, s := range b.plan.Secrets {
		b.Recheck(b.secrets[s.Name].opened, why, graph.Waiting, graph.Failed)
	}
}

// fetch gets the sealed secret from its source, while nobody need have the
// key yet.
func (s *secret) fetch(ctx context.Context) error {
	staged, err := s.boot.host.Secrets.Staged(s.Secret)
	if staged || err != nil {
		return err
	}
	return s.fetchNow(ctx)
}

func (s *secret) fetchNow(ctx context.Context) error {
	sealed, err := s.boot.host.Secrets.Fetch(ctx, s.Secret)
	if err != nil {
		return err
	}
	graph.Warn(ctx, sealed.Stale)
	s.sealed, s.when = sealed.Bytes, time.Now()
	return nil
}

// open decrypts the secret in memory, and puts it where systemd hands it to
// the services that it is for. What was staged in this boot stays: a service
// that runs has been given it.
func (s *secret) open(ctx context.Context) error {
	staged, err := s.boot.host.Secrets.Staged(s.Secret)
	if staged || err != nil {
		return err
	}
	return s.boot.awaitKey(ctx, func(ctx context.Context) error {
		if time.Since(s.when) > fetchAgainAfter {
			if err := s.fetchNow(ctx); err != nil {
				s.boot.log.Warn("opens a secret as it was fetched before", "secret", s.Name, "error", err)
			}
		}
		return s.boot.host.Secrets.Open(ctx, s.Secret, s.sealed)
	})
}
