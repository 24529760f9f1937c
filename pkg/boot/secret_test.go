package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/source"
)

// A safe keeps secrets in memory. What is sealed is a text "KEY:secret".
type safe struct {
	*machine
	sources map[string]string // by secret
	kept    map[string]string
	staged  map[string]bool
	keys    []string
	open    map[string]bool // secrets that are not encrypted
}

func (s *safe) Staged(sec host.Secret) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.staged[sec.Name] {
		return "", nil
	}
	return "1", nil
}

func (s *safe) StageNothing(sec host.Secret, unit string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.staged[sec.Name] {
		return nil
	}
	return s.does("stage nothing in place of %s for %s", sec.Name, unit)
}

func (s *safe) NeedsKey(sec host.Secret) bool { return !s.open[sec.Name] }

func (s *safe) Unlock(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) == 0 {
		return &fault.Pending{For: "a key", Hint: "bootagent unlock"}
	}
	return nil
}

func (s *safe) Fetch(_ context.Context, sec host.Secret) (host.Payload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	payload := func(text, stale string) host.Payload {
		return host.Payload{Bytes: func() []byte { return []byte(text) }, Version: "1", Encrypted: !s.open[sec.Name], Stale: stale}
	}
	if text := s.sources[sec.Name]; text != "" {
		return payload(text, ""), nil
	}
	if text := s.kept[sec.Name]; text != "" {
		return payload(text, "uses the cached ciphertext"), nil
	}
	return host.Payload{}, errors.New("S3 does not answer")
}

func (s *safe) Open(_ context.Context, sec host.Secret, payload host.Payload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sealed := string(payload.Bytes())
	if !payload.Encrypted {
		s.staged[sec.Name] = true
		return s.does("stage %s", sec.Name)
	}
	var key string
	if _, err := fmt.Sscanf(sealed, "%1s:", &key); err != nil {
		return errors.New("the secret is damaged")
	}
	if !slices.Contains(s.keys, key) {
		return &fault.Pending{For: "a key that fits", Hint: "bootagent unlock"}
	}
	s.kept[sec.Name], s.staged[sec.Name] = sealed, true
	return s.does("stage %s", sec.Name)
}

// withSecret is the plan with a secret for its service.
func withSecret() role.Plan {
	p := plan()
	p.Secrets = []role.Secret{{
		Name: "root-sql", From: source.Source{Scheme: "s3", Ref: "orders/root.sql.age"},
		Credential: "root-sql", Services: []string{"mariadb.service"},
	}}
	p.Services[0].Needs = append(p.Services[0].Needs, role.Need{Kind: role.KindSecret, Name: "root-sql"})
	return p
}

func (r *run) bring(m *machine, key string) {
	m.mu.Lock()
	m.safe.keys = append(m.safe.keys, key)
	m.mu.Unlock()
	r.Unlocked()
	synctest.Wait()
}

func TestAServiceWaitsForItsSecretWhileAllElseGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.safe.sources["root-sql"] = "A:hush"
		r := start(t, withSecret(), m)
		time.Sleep(time.Hour)
		synctest.Wait()
		r.is("key", graph.Waiting, "until 2000-01-0", "for a key", "bootagent unlock")
		r.is("secret root-sql: fetch", graph.Done)
		r.is("data mysql: bind", graph.Done)
		r.is("service mariadb.service: grant", graph.Pending)

		r.bring(m, "B") // another's
		r.is("secret root-sql: decrypt", graph.Waiting, "a key that fits")
		r.is("service mariadb.service: grant", graph.Pending)
		r.bring(m, "A")
		r.isUp()

		r.stop() // an agent that is started again needs no key for what is staged
		m.safe.keys = nil
		delete(m.safe.sources, "root-sql")
		r = start(t, withSecret(), m)
		r.isUp()
		r.stop()
	})
}

func TestASecretThatIsNotEncryptedWaitsForNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.safe.open = map[string]bool{"root-sql": true}
		m.safe.sources["root-sql"] = "hush"
		r := start(t, withSecret(), m)
		r.isUp()
		if r.HasSecrets() {
			t.Error("a key is of use")
		}
		r.Unlocked() // is no hindrance

		r.lookAgain(m, func() { delete(m.safe.staged, "root-sql") })
		r.isUp()
		if !m.safe.staged["root-sql"] {
			t.Error("it is not staged again")
		}
		r.stop()
	})
}

// A key that only one of two secrets needs holds up that one alone.
func TestOnlyTheEncryptedSecretWaitsForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.safe.open = map[string]bool{"token": true}
		m.safe.sources["root-sql"], m.safe.sources["token"] = "A:hush", "hush"
		p := withSecret()
		p.Secrets = append(p.Secrets, role.Secret{
			Name: "token", From: source.Source{Scheme: "s3", Ref: "orders/token"},
			Credential: "token", Services: []string{"mariadb.service"},
		})
		p.Services[0].Needs = append(p.Services[0].Needs, role.Need{Kind: role.KindSecret, Name: "token"})
		r := start(t, p, m)
		r.is("key", graph.Waiting, "for a key")
		r.is("secret token: decrypt", graph.Done)
		r.is("secret root-sql: decrypt", graph.Pending)
		r.bring(m, "A")
		r.isUp()
		r.stop()
	})
}

func TestASecretIsFetchedAgainWhenItIsSealedAnew(t *testing.T) {
	for name, sealed := range map[string]string{"for another key": "B:hush", "damaged": "damage"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks[serial] = blank()
				m.safe.keys = []string{"A"}
				m.safe.sources["root-sql"] = sealed
				r := start(t, withSecret(), m)
				if r.step("service mariadb.service: up").State == graph.Done {
					t.Error("it is up")
				}
				m.mu.Lock()
				m.safe.sources["root-sql"] = "A:hush"
				m.mu.Unlock()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				r.isUp()
				r.stop()
			})
		})
	}
}

func TestAKeyThatNobodyBringsIsGivenUpAndStillTakenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.safe.sources["root-sql"] = "A:hush"
		r := start(t, withSecret(), m)
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		r.is("key", graph.Failed, "waited 24h0m0s in vain for a key", "bootagent unlock")
		r.is("service mariadb.service: grant", graph.Skipped)
		r.bring(m, "A")
		r.isUp()
		r.stop()
	})
}

func TestASecretWhoseSourceIsAwayComesFromTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.safe.keys = []string{"A"}
		r := start(t, withSecret(), m)
		r.is("secret root-sql: fetch", graph.Failed, "S3 does not answer")
		m.mu.Lock()
		m.safe.sources["root-sql"] = "A:hush"
		m.mu.Unlock()
		time.Sleep(2 * time.Minute) // it is back
		synctest.Wait()
		r.isUp()
		if p := r.step("secret root-sql: fetch"); p.Warning != "" {
			t.Errorf("it says %q", p.Warning)
		}
		r.stop()

		m.reboot()
		m.safe.keys = []string{"A"}
		delete(m.safe.sources, "root-sql")
		r = start(t, withSecret(), m)
		r.isUp()
		if p := r.step("secret root-sql: fetch"); p.Warning != "uses the cached ciphertext" {
			t.Errorf("it says %q", p.Warning)
		}
		r.stop()
	})
}
