package boot

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
)

const storeSerial = "AWS22F6E3B7A0E6F6B1"

// onStore is the plan with its volume on instance store, and a machine whose other disk is
// a blank EBS volume.
func onStore() (*machine, role.Plan) {
	m, p := newMachine(), plan()
	p.Volumes[0].Find = find.Find{Store: find.OneStore}
	m.disks[serial] = blank()
	m.disks[serial].model = "Amazon Elastic Block Store"
	m.disks[storeSerial] = store()
	return m, p
}

func store() *disk {
	d := blank()
	d.dev, d.model = 0x10310, host.InstanceStore
	return d
}

// bootFor runs an agent for some minutes, and returns why steps have failed.
func bootFor(t *testing.T, p role.Plan, m *machine) (r *run, why string) {
	t.Helper()
	r = start(t, p, m)
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	return r, failed(r)
}

// made fails the test unless so many filesystems and databases were made, and none on the
// EBS volume.
func (m *machine) hasMade(t *testing.T, n int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made != n || m.initialised != n {
		t.Errorf("%d filesystems and %d databases were made, not %d", m.made, m.initialised, n)
	}
	for _, effect := range m.effects {
		if strings.Contains(effect, serial) {
			t.Errorf("it does %q", effect)
		}
	}
}

func TestNothingButBlankInstanceStoreIsMade(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine)
		words  string // of what it waits for, or of why it failed
	}{
		"there is none":                {func(m *machine) { delete(m.disks, storeSerial) }, "a disk of the model Amazon EC2 NVMe Instance Storage"},
		"an EBS volume":                {func(m *machine) { m.disks[storeSerial].model = "Amazon Elastic Block Store" }, "a disk of the model Amazon EC2 NVMe Instance Storage"},
		"a disk of nobody's model":     {func(m *machine) { m.disks[storeSerial].model = "" }, "a disk of the model Amazon EC2 NVMe Instance Storage"},
		"two of them":                  {func(m *machine) { m.disks["AWS2"] = store() }, "this instance has 2 disks of instance store, and one is meant: AWS2, " + storeSerial},
		"it holds something":           {func(m *machine) { m.disks[storeSerial].content = host.Content{Words: "has an LVM2 signature"} }, "has an LVM2 signature"},
		"it has a filesystem":          {func(m *machine) { m.disks[storeSerial].content = host.Content{Filesystem: "xfs", UUID: fsUUID} }, "without a ledger"},
		"it has another type":          {func(m *machine) { m.disks[storeSerial].content = host.Content{Filesystem: "ext4", UUID: fsUUID} }, "does not hold the xfs filesystem"},
		"it has the ledger of another": {func(m *machine) { foreignLedger(t, m) }, "is a copy of volume " + volumeID},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := onStore()
				c.change(m)
				r, why := bootFor(t, p, m)
				if words := why + r.step("volume data: device").String(); !strings.Contains(words, c.words) {
					t.Errorf("it says %q, not %q", words, c.words)
				}
				r.stop()
				m.hasMade(t, 0)
			})
		})
	}
}

func foreignLedger(t *testing.T, m *machine) {
	d := holding(t, 0x10310, volumeID)
	d.model = host.InstanceStore
	m.disks[storeSerial] = d
}

func TestInstanceStoreIsMadeAtALaunchFoundAfterARebootAndMadeAgainAfterAStop(t *testing.T) {
	for name, after := range map[string]string{"on other hardware": "AWS33333333333333333", "on the same hardware": storeSerial} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := onStore()
				r := firstBoot(t, p, m)
				if got, want := r.step("volume data: device").Warning, "disk "+storeSerial+" is instance store: what is on it is lost when this instance stops or is terminated"; got != want {
					t.Errorf("it warns of %q", got)
				}
				r.stop()
				m.hasMade(t, 1)

				m.reboot()
				r = firstBoot(t, p, m)
				r.stop()
				m.hasMade(t, 1)

				delete(m.disks, storeSerial) // EC2 wipes it
				m.disks[after] = store()
				m.reboot()
				r = firstBoot(t, p, m)
				r.is("service mariadb.service: up", graph.Done)
				r.stop()
				m.hasMade(t, 2)
			})
		})
	}
}

// After a crash within mkfs nobody knows what is on it.
func TestInstanceStoreThatIsHalfMadeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := onStore()
		m.intents[storeSerial] = host.Intent{UUID: fsUUID}
		m.disks[storeSerial].content = host.Content{Words: "has part of an XFS filesystem"}
		r, why := bootFor(t, p, m)
		if want := "a filesystem was being made on it and was not finished"; !strings.Contains(why, want) {
			t.Errorf("it says %q", why)
		}
		r.stop()
		m.hasMade(t, 0)
	})
}

// A filesystem that was made, and whose ledger is gone, is not blank.
func TestInstanceStoreThatLostItsLedgerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := onStore()
		m.intents[storeSerial] = host.Intent{UUID: fsUUID, Made: true}
		m.disks[storeSerial].content = host.Content{Filesystem: "xfs", UUID: fsUUID}
		r, why := bootFor(t, p, m)
		if want := "ledger"; !strings.Contains(why, want) {
			t.Errorf("it says %q", why)
		}
		r.stop()
		m.hasMade(t, 0)
	})
}
