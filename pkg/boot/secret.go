package boot

import (
	"context"
	"errors"
	"slices"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// A secret is one secret of the plan on its way to the services it is for.
type secret struct {
	host.Secret
	boot *Boot

	fetched, opened *graph.Step
	needs           []*graph.Step // of opened
	payload         host.Payload
	when            time.Time // it was fetched
}

// addSecrets adds the steps of the secrets. Only an encrypted secret needs a key,
// and only to be decrypted: it is fetched meanwhile.
func (b *Boot) addSecrets(secrets []role.Secret) {
	if slices.ContainsFunc(secrets, func(s role.Secret) bool { return b.needsKey(host.Secret(s)) }) {
		b.unlocked = b.Add("key", b.unlock)
	}
	for _, s := range secrets {
		sec := &secret{Secret: host.Secret(s), boot: b}
		name := "secret " + s.Name + ": "
		sec.fetched = b.Add(name+"fetch", sec.fetch)
		if b.needsKey(sec.Secret) {
			sec.needs = append(sec.needs, b.unlocked)
		}
		sec.needs = append(sec.needs, sec.fetched)
		sec.opened = b.Add(name+"decrypt", sec.open, sec.needs...).From(sec.fetched)
		b.secrets[s.Name] = sec
	}
}

// needsKey reports whether a secret is encrypted. Without a host, the steps of a
// plan are only printed, and every secret counts as encrypted.
func (b *Boot) needsKey(s host.Secret) bool {
	return b.host.Secrets == nil || b.host.Secrets.NeedsKey(s)
}

// fetchAgainAfter is how old a payload may be while a key for it is waited for:
// somebody may encrypt the secret again, for a key that is here.
const fetchAgainAfter = time.Minute

// unlock waits for a key, unless every encrypted secret is staged in this boot.
func (b *Boot) unlock(ctx context.Context) error {
	for _, planned := range b.plan.Secrets {
		s := host.Secret(planned)
		if !b.needsKey(s) {
			continue
		}
		version, err := b.host.Secrets.Staged(s)
		if err != nil {
			return err
		}
		if version == "" {
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

// HasSecrets reports whether the boot has encrypted secrets, so that it uses keys.
func (b *Boot) HasSecrets() bool { return b.unlocked != nil }

// Unlocked runs the steps again that wait for a key, or failed for lack of the
// right one.
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

// fetch gets the payload from its source. It needs no key.
func (s *secret) fetch(ctx context.Context) error {
	version, err := s.boot.host.Secrets.Staged(s.Secret)
	if version != "" || err != nil {
		return err
	}
	return s.fetchNow(ctx)
}

func (s *secret) fetchNow(ctx context.Context) error {
	payload, err := s.boot.host.Secrets.Fetch(ctx, s.Secret)
	if err != nil {
		return err
	}
	graph.Warn(ctx, payload.Stale)
	s.payload, s.when = payload, time.Now()
	return nil
}

// open decrypts the secret in memory, and stages it where systemd gives it to the
// services that it is for. What was staged in this boot stays: a service that runs
// has been given it.
func (s *secret) open(ctx context.Context) error {
	version, err := s.boot.host.Secrets.Staged(s.Secret)
	if version != "" || err != nil {
		return err
	}
	return s.boot.awaitKey(ctx, func(ctx context.Context) error {
		if time.Since(s.when) > fetchAgainAfter {
			if err := s.fetchNow(ctx); err != nil {
				s.boot.log.Warn("decrypts a secret as it was fetched before", "secret", s.Name, "error", err)
			}
		}
		return s.boot.host.Secrets.Open(ctx, s.Secret, s.payload)
	})
}
