package boot

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/service"
)

func asked(withoutProof bool) host.Bypass {
	return host.Bypass{Unit: mariadb, Reason: "the secrets are away", By: "alice", WithoutProof: withoutProof}
}

// stops tells the boot that a unit has stopped.
func (r *run) stops(name string) {
	r.t.Helper()
	if err := r.Changed(r.t.Context(), service.Change{Unit: name, Active: "inactive"}); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

// settle lets time pass, in which disks are found and steps are tried again.
func settle() {
	time.Sleep(10 * time.Second)
	synctest.Wait()
}

// refused fails the test unless an error has these words, and is permanent.
func refused(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) || !fault.IsPermanent(err) {
		t.Errorf("got %v, want a refusal that says %q", err, words)
	}
}

func TestABypassStartsAServiceWithoutItsSecretOnProvenData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), withSecret()
		m.disks[serial] = blank()
		r := start(t, p, m)
		r.is("key", graph.Waiting, "a key")
		if err := r.Bypass(t.Context(), asked(false)); err != nil {
			t.Fatal(err)
		}
		r.stop()
		if m.granted[mariadb] {
			t.Fatal("it is granted by the boot that did not know of it")
		}
		r = start(t, p, m)
		r.is("service mariadb.service: up", graph.Done)
		nothing, granted := slices.Index(m.effects, "stage nothing in place of root-sql for mariadb.service"), slices.Index(m.effects, "grant mariadb.service")
		if nothing < 0 || granted < nothing {
			t.Errorf("it did %q", m.effects)
		}
		if all := r.Bypassed(r.progress); len(all) != 1 || len(all[0].Steps) != 1 || !strings.Contains(all[0].Steps[0], "key: waiting") {
			t.Errorf("it is told to lack %+v", all)
		}
		if held := r.Held(r.progress, ungranted); len(held) > 0 {
			t.Errorf("it is told to be held: %v", held)
		}
		refused(t, r.Bypass(t.Context(), asked(false)), "is in force already")

		// The disk goes, and comes back: the bypass is still in force.
		m.pull(serial)
		for _, where := range []string{"srv-data.mount", "bootagent-grant-mariadb.service", mariadb} {
			r.stops(where)
		}
		r.is("volume data: device", graph.Waiting, serial)
		m.mu.Lock()
		m.disks[serial].plugged = true
		m.mu.Unlock()
		settle()
		r.is("service mariadb.service: up", graph.Done)

		missing, err := r.EndBypass(t.Context(), mariadb)
		if err != nil || !slices.Equal(missing, []string{"secret root-sql: decrypt"}) || m.granted[mariadb] {
			t.Errorf("it ends with %q, %v; granted: %t", missing, err, m.granted[mariadb])
		}
		r.stops("bootagent-grant-mariadb.service")
		r.stop()
		if byHand, _ := m.StoppedByHand(mariadb); byHand {
			t.Error("the agent stopped it, and takes that for a person's stop")
		}
		r = start(t, p, m)
		r.is("service mariadb.service: grant", graph.Skipped)
		_, err = r.EndBypass(t.Context(), mariadb)
		refused(t, err, "no bypass of mariadb.service is in force")
		r.stop()
	})
}

func TestABypassThatIsEndedWhenAllIsThereLeavesTheServiceRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), withSecret()
		m.disks[serial], m.bypasses = blank(), map[string]host.Bypass{mariadb: asked(false)}
		r := start(t, p, m)
		r.is("service mariadb.service: up", graph.Done)
		m.mu.Lock()
		m.safe.staged["root-sql"] = true
		m.mu.Unlock()
		r.Retry()
		r.stop()
		r = start(t, p, m)
		r.isUp()
		if missing, err := r.EndBypass(t.Context(), mariadb); missing != nil || err != nil || !m.granted[mariadb] {
			t.Errorf("got %q, %v; granted: %t", missing, err, m.granted[mariadb])
		}
		r.stop()
	})
}

func TestABypassIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		r := start(t, withSecret(), m)
		r.is("volume data: device", graph.Waiting, serial)
		refused(t, r.Bypass(t.Context(), asked(false)), "the data of mariadb.service is not proven: not done: data mysql: bind, volume data: ledger")
		m.mu.Lock()
		m.disks[serial] = &disk{dev: 1, plugged: true, content: host.Content{Words: "has an LVM2 signature at 0x218"}}
		m.mu.Unlock()
		settle()
		r.is("volume data: prove", graph.Failed, "LVM2")
		refused(t, r.Bypass(t.Context(), asked(false)), "is not proven")
		r.stop()
		if len(m.bypasses) > 0 || m.granted[mariadb] {
			t.Errorf("in force: %v, granted: %t", m.bypasses, m.granted[mariadb])
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		refused(t, r.Bypass(t.Context(), asked(true)), "is not held: it has its grant")
		r.stop()
	})
}

// Without proof, the service uses what is at its paths: nothing may be mounted over it.
func TestNothingIsMountedUnderAServiceThatStartedWithoutProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.bypasses = map[string]host.Bypass{mariadb: asked(true)}
		r := start(t, withSecret(), m)
		r.is("service mariadb.service: up", graph.Done)
		m.mu.Lock()
		m.disks[serial] = blank()
		m.mu.Unlock()
		settle()
		r.is("volume data: mount", graph.Failed, "cannot mount /srv/data: mariadb.service was started there by a bypass without proof")
		if _, mounted, _ := m.At("/srv/data"); mounted {
			t.Error("it is mounted")
		}
		if missing, err := r.EndBypass(t.Context(), mariadb); err != nil || missing == nil || m.granted[mariadb] {
			t.Errorf("it ends with %q, %v; granted: %t", missing, err, m.granted[mariadb])
		}
		r.stop()
	})
}

// What is mounted when a service starts without proof has to stay until it stops.
func TestAServiceWithoutProofIsBoundToWhatIsMounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, withSecret(), m)
		r.is("key", graph.Waiting, "a key")
		if err := r.Bypass(t.Context(), asked(true)); err != nil {
			t.Fatal(err)
		}
		r.stop()
		r = start(t, withSecret(), m)
		r.is("service mariadb.service: up", graph.Done)
		if !slices.Equal(m.boundTo, []string{"/srv/data", "/var/lib/mysql"}) {
			t.Errorf("the grant is bound to %q", m.boundTo)
		}
		r.stop()
		m.stopping = true
		m.units[mariadb] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Ran: true}}
		if err := r.StoppedServices(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := "; mariadb.service is started by a bypass without proof of its data, by alice: the secrets are away"
		if l := ledgerOf(t, m.disks[serial]); l.Stopped == nil || !strings.Contains(l.Stopped.String(), want) {
			t.Errorf("the ledger says %s", m.disks[serial].ledger)
		}
	})
}
