// Package sealed is what the story of pkg/boot asks of secrets, as pkg/secret
// opens them. It is apart from the program so that the simulated world runs the
// very same.
package sealed

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
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
	"bootagent/pkg/settings"
)

// Secrets are opened with the keys that the agent has, and staged where
// systemd takes them from.
type Secrets struct {
	Keys   *secret.Keys
	From   []settings.Key
	Run    secret.Run // a command for keys
	Source func(role.Secret) secret.Source
	Kept   Kept
	Store  Store
	Log    *slog.Logger

	mu    sync.Mutex
	asked time.Time // when the sources of keys were, the last time
}

var _ host.Secrets = (*Secrets)(nil)

// Kept is the last good ciphertext of each secret, as a secret.Cache has it.
type Kept interface {
	Keep(name, source string, p *secret.Plaintext) error
	Kept(name, source string) (ciphertext []byte, when time.Time, err error)
}

// Store is where systemd takes credentials from, as a secret.Store is.
type Store interface {
	Stage(unit, name string, p *secret.Plaintext) error
	Staged(unit, name string) (bool, error)
}

// askAgainAfter is how old the keys may be that do not fit, before their
// sources are asked again: somebody may have put the right one there.
const askAgainAfter = time.Minute

// relyAfter is how long a source may take to give a secret of which a good
// copy is here.
const relyAfter = 4 * time.Second

// Staged tells whether every service that a secret is for is given it.
func (s *Secrets) Staged(of role.Secret) (bool, error) {
	for _, unit := range of.Services {
		if staged, err := s.Store.Staged(unit, of.Credential); err != nil || !staged {
			return false, err
		}
	}
	return true, nil
}

// Unlock gets the keys that come without a person. What does not come is told,
// and tried again while no key is there.
func (s *Secrets) Unlock(ctx context.Context) error {
	s.mu.Lock()
	s.asked = time.Now()
	s.mu.Unlock()
	var errs []error
	for _, key := range s.From {
		var err error
		switch {
		case key.File != "":
			_, err = s.Keys.AddFile(key.File)
		case len(key.Command) > 0:
			_, err = s.Keys.AddCommand(ctx, s.Run, key.Command)
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	switch {
	case len(s.Keys.Recipients()) > 0:
		if err != nil {
			s.Log.Warn("not every source of keys gave one", "error", err, "hint", fault.HintOf(err))
		}
		return nil
	case s.byOperator() && err != nil:
		return &fault.Pending{For: fmt.Sprintf("a key, after %v", err), Hint: "bootagent unlock"}
	case s.byOperator():
		return &fault.Pending{For: "a key for the secrets", Hint: "bring it: bootagent unlock"}
	}
	return err
}

func (s *Secrets) byOperator() bool {
	return slices.ContainsFunc(s.From, func(k settings.Key) bool { return k.Operator })
}

// Fetch gets the ciphertext from its source, or the last good one where the
// source does not give it.
func (s *Secrets) Fetch(ctx context.Context, of role.Secret) (host.Sealed, error) {
	source := s.Source(of)
	kept, when, keptErr := s.Kept.Kept(of.Name, source.String())
	fetch := ctx
	if keptErr == nil {
		var cancel context.CancelFunc
		fetch, cancel = context.WithTimeoutCause(ctx, relyAfter, fmt.Errorf("%s gave nothing within %s", source, relyAfter))
		defer cancel()
	}
	sealed, err := source.Fetch(fetch)
	switch {
	case err == nil:
		return host.Sealed{Bytes: sealed}, nil
	case keptErr == nil && ctx.Err() == nil:
		s.Log.Warn("relies on a copy of a secret", "secret", of.Name, "error", err)
		return host.Sealed{Bytes: kept, Stale: fmt.Sprintf("relies on the ciphertext that was good at %s: %v",
			when.Local().Format(time.DateTime), err)}, nil
	case !errors.Is(keptErr, secret.ErrNotKept):
		err = errors.Join(err, keptErr)
	}
	return host.Sealed{}, err
}

// Open decrypts a secret, and keeps the ciphertext, now that it is known to be
// good.
func (s *Secrets) Open(ctx context.Context, of role.Secret, sealed []byte) error {
	source := s.Source(of)
	plaintext, err := secret.Decrypt(sealed, s.Keys)
	if errors.As(err, new(*secret.NoKeyError)) && s.stale() && s.Unlock(ctx) == nil {
		plaintext, err = secret.Decrypt(sealed, s.Keys)
	}
	if err != nil {
		return s.unopened(fmt.Errorf("%s %w", source, err))
	}
	defer plaintext.Wipe()
	for _, unit := range of.Services {
		if err := s.Store.Stage(unit, of.Credential, plaintext); err != nil {
			return err
		}
	}
	if err := s.Kept.Keep(of.Name, source.String(), plaintext); err != nil {
		s.Log.Warn("a boot without its source will not have this secret", "secret", of.Name, "error", err)
	}
	return nil
}

// stale tells whether it is time to ask the sources of keys again.
func (s *Secrets) stale() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.asked) > askAgainAfter
}

// unopened has the story wait for a person, who may bring the right key; a
// secret that is damaged is fetched anew.
func (s *Secrets) unopened(err error) error {
	if missing := (*secret.NoKeyError)(nil); errors.As(err, &missing) && s.byOperator() {
		return &fault.Pending{For: fmt.Sprintf("another key: %v", err), Hint: missing.Hint()}
	}
	return err
}
