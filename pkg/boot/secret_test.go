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
}

func (s *safe) Staged(sec role.Secret) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.staged[sec.Name], nil
}

func (s *safe) Unlock(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) == 0 {
		return &fault.Pending{For: "a key", Hint: "bootagent unlock"}
	}
	return nil
}

func (s *safe) Fetch(_ context.Context, sec role.Secret) (host.Sealed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sealed := s.sources[sec.Name]; sealed != "" {
		return host.Sealed{Bytes: []byte(sealed)}, nil
	}
	if sealed := s.kept[sec.Name]; sealed != "" {
		return host.Sealed{Bytes: []byte(sealed), Stale: "relies on the copy kept"}, nil
	}
	return host.Sealed{}, errors.New("S3 does not answer")
}

func (s *safe) Open(_ context.Context, sec role.Secret, sealed []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var key string
	if _, err := fmt.Sscanf(string(sealed), "%1s:", &key); err != nil {
		return errors.New("the secret is damaged")
	}
	if !slices.Contains(s.keys, key) {
		return &fault.Pending{For: "a key that fits", Hint: "bootagent unlock"}
	}
	s.kept[sec.Name], s.staged[sec.Name] = string(sealed), true
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

func TestASecretWhoseSourceIsAwayComesFromTheCopyThatWasKept(t *testing.T) {
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
		if p := r.step("secret root-sql: fetch"); p.Warning != "relies on the copy kept" {
			t.Errorf("it says %q", p.Warning)
		}
		r.stop()
	})
}
