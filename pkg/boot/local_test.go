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
	"bootagent/pkg/storage"
)

const fsUUID = "0f0b9c3e-7d1f-4b64-8f4e-5b8a3f1b2c3d"

// marked is the plan with its volume found by what is on it.
func marked(by find.Find) role.Plan {
	p := plan()
	p.Volumes[0].Find, p.Volumes[0].Format = by, role.FormatNever
	return p
}

// holding is a disk that the role had before, under a serial number.
func holding(t *testing.T, dev uint64, volume string) *disk {
	t.Helper()
	src, err := (&storage.Ledger{Volume: volume, Role: "mysql", UUID: fsUUID, Made: moment()}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &disk{
		dev: dev, plugged: true, label: "orders", content: host.Content{Filesystem: "xfs", UUID: fsUUID}, ledger: src,
		names: map[string]host.DirectoryState{"mysql": host.Ready},
	}
}

var byContent = map[string]find.Find{"its UUID": {UUID: fsUUID}, "its label": {Label: "orders"}}

func TestADiskIsFoundByItsFilesystemWhenItComes(t *testing.T) {
	for what, by := range byContent {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks["other"] = blank()
				m.disks["disk7"] = holding(t, 7, "disk7")
				m.disks["disk7"].plugged = false
				r := start(t, marked(by), m)
				time.Sleep(time.Minute)
				synctest.Wait()
				r.is("volume data: device", graph.Waiting, "a disk with ", "xfs filesystem")
				m.mu.Lock()
				m.disks["disk7"].plugged = true
				m.mu.Unlock()
				time.Sleep(20 * time.Second)
				synctest.Wait()
				r.isUp()
				r.stop()
			})
		})
	}
}

// A copy has what its original has: nothing but the disk itself tells them apart.
func TestOfTwoDisksWithTheSameFilesystemNoneIsTaken(t *testing.T) {
	for what, by := range byContent {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks["disk7"], m.disks["disk8"] = holding(t, 7, "disk7"), holding(t, 8, "disk7")
				r := start(t, marked(by), m)
				time.Sleep(time.Minute)
				synctest.Wait()
				r.is("volume data: device", graph.Failed, "2 disks have ", "one is meant: disk7, disk8")
				for _, effect := range m.effects {
					if strings.HasPrefix(effect, "read ") || strings.HasPrefix(effect, "mount ") {
						t.Errorf("it does %q", effect)
					}
				}
				m.mu.Lock()
				m.disks["disk8"].plugged = false
				m.mu.Unlock()
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				r.isUp()
				r.stop()

				// A copy that comes later changes nothing for the one that is mounted.
				m.disks["disk8"].plugged = true
				r = start(t, marked(by), m)
				time.Sleep(time.Minute)
				synctest.Wait()
				r.isUp()
				r.stop()
			})
		})
	}
}

// The only disk with the filesystem may be a copy on another disk.
func TestACopyOfTheFilesystemThatIsNamedIsRefused(t *testing.T) {
	for what, by := range byContent {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks["disk8"] = holding(t, 8, "disk7")
				r := start(t, marked(by), m)
				time.Sleep(time.Hour)
				synctest.Wait()
				r.is("volume data: prepare", graph.Failed, "disk disk8 is a copy of volume disk7")
				r.stop()
			})
		})
	}
}

// Between the look and the proof, somebody may have put another filesystem there.
func TestAFilesystemThatIsAnotherWhenItIsReadIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks["disk7"] = holding(t, 7, "disk7")
		m.fail = func(effect string) error {
			if effect == "read disk7" {
				m.disks["disk7"].content.UUID = "another"
			}
			return nil
		}
		r := start(t, marked(find.Find{UUID: fsUUID}), m)
		r.is("volume data: prove", graph.Failed, "disk disk7 has the filesystem another now, and not "+fsUUID)
		r.stop()
	})
}

// Not even a role that says otherwise has a filesystem made there.
func TestNothingIsMadeOnADiskThatIsFoundByItsFilesystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks["disk7"] = holding(t, 7, "disk7")
		m.fail = func(effect string) error {
			if effect == "read disk7" {
				m.disks["disk7"].content = host.Content{Blank: true, Words: "is blank"}
			}
			return nil
		}
		p := marked(find.Find{UUID: fsUUID})
		p.Volumes[0].Format = role.FormatIfBlank
		r := start(t, p, m)
		time.Sleep(time.Hour)
		synctest.Wait()
		r.stop()
		if m.made > 0 {
			t.Errorf("it did %q", m.effects)
		}
	})
}
