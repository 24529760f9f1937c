package secret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/secret/credential"
	"bootagent/pkg/secret/sources"
)

// Secrets fetches secrets from their sources, decrypts them with the age
// identities that the agent has, and stages them for systemd.
type Secrets struct {
	Keys      *Keys
	Providers []Provider
	Sources   []sources.Source
	Cache     Ciphertexts
	Store     Staging
	Log       *slog.Logger

	mu    sync.Mutex
	asked time.Time // when the providers were, the last time
}

var _ host.Secrets = (*Secrets)(nil)

// Ciphertexts are the last good ciphertexts, as a Cache has them.
type Ciphertexts interface {
	Put(name, source string, p *Plaintext) error
	Get(name, source string) (ciphertext []byte, when time.Time, err error)
}

// Staging is where systemd takes credentials from, as a credential.Store is.
type Staging interface {
	Stage(unit, name string, plaintext []byte, version string) error
	Staged(unit, name string) (version string, err error)
}

// askAgainAfter is how old the age identities may be before the providers are
// asked again because none decrypts a secret: somebody may have changed one.
const askAgainAfter = time.Minute

// useCacheAfter is how long a source may take to give a secret whose ciphertext
// is cached.
const useCacheAfter = 4 * time.Second

// Staged returns the version of a secret that every service it is for is given,
// credential.UnknownVersion where they are given several, or "" where one is given none.
func (s *Secrets) Staged(of host.Secret) (version string, err error) {
	for i, unit := range of.Services {
		staged, err := s.Store.Staged(unit, of.Credential)
		switch {
		case err != nil || staged == "" || staged == credential.Nothing:
			return "", err
		case i > 0 && staged != version:
			staged = credential.UnknownVersion
		}
		version = staged
	}
	return version, nil
}

// StageNothing stages an empty line for a unit in place of a secret, unless the
// secret is staged.
func (s *Secrets) StageNothing(of host.Secret, unit string) error {
	if staged, err := s.Store.Staged(unit, of.Credential); err != nil || staged != "" {
		return err
	}
	return s.Store.Stage(unit, of.Credential, []byte("\n"), credential.Nothing)
}

// NeedsKey reports whether the payloads of a secret's source are encrypted, so that
// it takes an age identity.
func (s *Secrets) NeedsKey(of host.Secret) bool {
	source, err := s.source(of)
	return err != nil || source.Encrypted()
}

// source returns where a secret comes from.
func (s *Secrets) source(of host.Secret) (sources.Source, error) {
	return sources.Of(s.Sources, of.From)
}

// Unlock gets the age identities that come without a person. It logs what does not
// come, and tries that again while there is none.
func (s *Secrets) Unlock(ctx context.Context) error {
	s.mu.Lock()
	s.asked = time.Now()
	s.mu.Unlock()
	var person *fault.Pending
	var errs []error
	for _, provider := range s.Providers {
		if _, err := provider.Provide(ctx, s.Keys); !errors.As(err, &person) {
			errs = append(errs, err)
		}
	}
	err := errors.Join(errs...)
	switch {
	case len(s.Keys.Recipients()) > 0:
		if err != nil {
			s.Log.Warn("not every provider gave an age identity", "error", err, "hint", fault.HintOf(err))
		}
		return nil
	case person != nil && err != nil:
		return &fault.Pending{For: fmt.Sprintf("%s, after %v", person.For, err), Hint: person.Hint}
	case person != nil:
		return person
	}
	return err
}

// Fetch gets the payload of a secret from its source, or the last good ciphertext
// where the source does not give one.
func (s *Secrets) Fetch(ctx context.Context, of host.Secret) (host.Payload, error) {
	source, err := s.source(of)
	if err != nil {
		return host.Payload{}, fault.Permanent(err)
	}
	place := of.From.String()
	cached, when, cacheErr := s.Cache.Get(of.Name, place)
	fetch := ctx
	if cacheErr == nil {
		var cancel context.CancelFunc
		fetch, cancel = context.WithTimeoutCause(ctx, useCacheAfter, fmt.Errorf("%s gave nothing within %s", place, useCacheAfter))
		defer cancel()
	}
	payload, err := source.Fetch(fetch, of.From.Ref)
	switch {
	case err == nil:
		return payload, nil
	case cacheErr == nil && ctx.Err() == nil:
		s.Log.Warn("uses the cached ciphertext of a secret", "secret", of.Name, "error", err)
		payload = sources.EncryptedPayload(cached, "")
		payload.Stale = fmt.Sprintf("uses the ciphertext cached at %s: %v", when.Local().Format(time.DateTime), err)
		return payload, nil
	case !errors.Is(cacheErr, ErrNotCached):
		err = errors.Join(err, cacheErr)
	}
	return host.Payload{}, err
}

// Open decrypts the payload of a secret, stages the secret, and caches the
// ciphertext, which is now known to be good.
func (s *Secrets) Open(ctx context.Context, of host.Secret, payload host.Payload) error {
	place := of.From.String()
	plaintext, err := s.open(ctx, payload)
	if err != nil {
		return s.notOpened(fmt.Errorf("%s %w", place, err))
	}
	defer plaintext.Wipe()
	for _, unit := range of.Services {
		if err := s.Store.Stage(unit, of.Credential, plaintext.Bytes(), payload.Version); err != nil {
			return err
		}
	}
	if err := s.Cache.Put(of.Name, place, plaintext); err != nil {
		s.Log.Warn("a boot without its source will not have this secret", "secret", of.Name, "error", err)
	}
	return nil
}

func (s *Secrets) open(ctx context.Context, payload host.Payload) (*Plaintext, error) {
	if !payload.Encrypted {
		return newPlaintext(slices.Clone(payload.Bytes()), nil)
	}
	plaintext, err := Decrypt(payload.Bytes(), s.Keys)
	if errors.As(err, new(*NoKeyError)) && s.askAgain() && s.Unlock(ctx) == nil {
		plaintext, err = Decrypt(payload.Bytes(), s.Keys)
	}
	return plaintext, err
}

// askAgain reports whether it is time to ask the providers again.
func (s *Secrets) askAgain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.asked) > askAgainAfter
}

// notOpened waits for a person where one may bring the right age identity; a
// secret that is damaged is fetched again.
func (s *Secrets) notOpened(err error) error {
	byPerson := slices.ContainsFunc(s.Providers, func(p Provider) bool { _, is := p.(OperatorKeys); return is })
	if missing := (*NoKeyError)(nil); errors.As(err, &missing) && byPerson {
		return &fault.Pending{For: fmt.Sprintf("another age identity: %v", err), Hint: missing.Hint()}
	}
	return err
}
