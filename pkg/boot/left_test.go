package boot

import (
	"slices"
	"testing"
	"testing/synctest"

	"bootagent/pkg/role"
)

// An instance that gets another role leaves the volume of the former one alone, and
// takes it again when it gets that role back.
func TestTheVolumeOfAFormerRoleIsLeftAloneAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, mysql := inEC2()
		r := firstBoot(t, mysql, m)
		if err := r.Inspect(t.Context()); err != nil || len(r.LeftAlone()) > 0 {
			t.Errorf("while it is the role's own, it is told: %q, %v", r.LeftAlone(), err)
		}
		r.stop()
		reboot := func() {
			clear(m.mounts)
			clear(m.granted)
			clear(m.started)
			clear(m.units)
			m.effects = nil
		}

		reboot()
		ledger := string(m.disks[serial].ledger)
		r = start(t, role.Plan{Role: "web", Services: []role.Service{{Unit: "nginx.service"}}}, m)
		if err := r.Inspect(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{"volume " + volumeID + ` is attached and left alone: this instance had it as volume "data" of another role`}
		if !slices.Equal(r.LeftAlone(), want) {
			t.Errorf("it is told: %q", r.LeftAlone())
		}
		r.stop()
		if want := []string{"grant nginx.service", "start nginx.service"}; !slices.Equal(m.effects, want) || string(m.disks[serial].ledger) != ledger {
			t.Errorf("it did %q, and the ledger is %s", m.effects, m.disks[serial].ledger)
		}

		m.mu.Lock()
		m.disks[serial].plugged = false
		m.mu.Unlock()
		r = start(t, role.Plan{Role: "web", Services: []role.Service{{Unit: "nginx.service"}}}, m)
		if err := r.Inspect(t.Context()); err != nil || len(r.LeftAlone()) > 0 {
			t.Errorf("it is not attached, and told: %q, %v", r.LeftAlone(), err)
		}
		r.stop()

		reboot()
		m.mu.Lock()
		m.disks[serial].plugged = true
		m.mu.Unlock()
		firstBoot(t, mysql, m).stop()
		if m.initialised != 1 || m.made != 1 {
			t.Errorf("back in its role, it made a new database: %q", m.effects)
		}
	})
}
