package boot

import (
	"strings"
	"testing"
	"testing/synctest"

	"bootagent/pkg/graph"
	"bootagent/pkg/role"
)

// boundTo is the plan of a role with bind: auto, whose engine said where that is.
func boundTo(path string) role.Plan {
	p := plan()
	p.Data[0].Auto, p.Data[0].Bind = true, path
	return p
}

func TestTheBindThatAnEngineSaidIsInTheLedgerAndAnotherIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, boundTo("/var/lib/mysql"), m)
		r.isUp()
		if p := r.step("data mysql: directory"); p.Warning != "" {
			t.Errorf("of a new database it says %q", p.Warning)
		}
		r.stop()
		if got := m.ledgerOf(t, serial).Data["mysql"].Bind; got != "/var/lib/mysql" {
			t.Errorf("the ledger says that it was bound to %q", got)
		}

		// The next image has another engine, or other settings.
		m.reboot()
		m.engine = "/var/lib/mariadb"
		r = start(t, boundTo("/var/lib/mariadb"), m)
		r.isUp()
		if p := r.step("data mysql: directory"); !strings.Contains(p.Warning, "mariadb keeps its data in /var/lib/mariadb on this machine") || !strings.Contains(p.Warning, "it was bound to /var/lib/mysql before") {
			t.Errorf("it says %q", p.Warning)
		}
		r.stop()
		if got := m.ledgerOf(t, serial).Data["mysql"].Bind; got != "/var/lib/mariadb" {
			t.Errorf("the ledger says that it was bound to %q", got)
		}
	})
}

func TestAPathOfTheRoleFileIsNotInTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		r.stop()
		if got := m.ledgerOf(t, serial).Data["mysql"].Bind; got != "" {
			t.Errorf("the ledger says that it was bound to %q", got)
		}
	})
}

// Nothing is bound to a second place while the machine runs.
func TestAnEngineThatSaysAnotherPathThanBeforeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.engine = "/var/lib/mariadb"
		r := start(t, boundTo("/var/lib/mysql"), m)
		r.is("data mysql: engine", graph.Failed, "mariadb uses the data directory /var/lib/mariadb, by its own settings, and used /var/lib/mysql when bootagent asked it", "systemctl reboot")
		r.is("data mysql: bind", graph.Skipped)
		r.is("service mariadb.service: grant", graph.Skipped)
		if err := r.Takes(t.Context(), boundTo("/var/lib/mariadb")); err != nil {
			t.Errorf("nothing is mounted, and the new path has to wait: %v", err)
		}
		r.stop()
	})
}
