package boot

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// comesBack has a disk pulled and plugged again, while a process holds what was
// mounted of it, so that it stays mounted.
func (m *machine) comesBack(gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.disks[serial]
	m.mounted, m.stale = d.dev, gone
	d.dev++
	clear(m.granted)
	clear(m.started)
	m.units["mariadb.service"] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Ran: true}}
	m.fail = func(effect string) error {
		if effect == "unmount /srv/data" { // the last
			m.mounted, m.stale = 0, false
		}
		return nil
	}
	m.effects = nil
}

func (r *run) lostDisk() {
	r.volumes["data"].Lost("the disk was pulled")
	time.Sleep(time.Second)
	synctest.Wait()
}

func unmounts(effects []string) []string {
	return slices.DeleteFunc(slices.Clone(effects), func(e string) bool {
		return !strings.HasPrefix(e, "unmount ") || strings.Contains(e, "/inspect/")
	})
}

func TestWhatIsMountedOfADiskThatIsGoneIsUnmountedWhenItComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		m.comesBack(true)
		r.lostDisk()
		r.isUp()
		if got := unmounts(m.effects); !slices.Equal(got, []string{"unmount /var/lib/mysql", "unmount /srv/data"}) {
			t.Errorf("it did %q", got)
		}
		r.stop()
	})
}

// systemd unmounts it, unless somebody starts a service of it while it does so.
func TestWhatIsStillMountedWhenTheDiskComesBackIsUnmounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		m.comesBack(true)
		r.DiskChanged(t.Context(), host.DiskEvent{Name: "nvme1n1", Serial: serial})
		time.Sleep(time.Second)
		synctest.Wait()
		r.isUp()
		if got := unmounts(m.effects); !slices.Equal(got, []string{"unmount /var/lib/mysql", "unmount /srv/data"}) {
			t.Errorf("it did %q", got)
		}
		r.stop()
	})
}

// A process in the data directory holds what is bound there, and not the volume.
func TestWhatIsBoundOfADiskThatIsGoneIsUnmountedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		m.comesBack(true)
		m.mu.Lock()
		delete(m.mounts, "/srv/data")
		m.held = "/var/lib/mysql"
		m.mu.Unlock()
		r.lostDisk()
		r.isUp()
		if got := unmounts(m.effects); !slices.Equal(got, []string{"unmount /var/lib/mysql"}) {
			t.Errorf("it did %q", got)
		}
		r.stop()
	})
}

// What a person mounted there, or the distribution, is none of the agent's.
func TestADeviceThatIsThereIsNeverUnmounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		m.comesBack(false)
		r.lostDisk()
		r.is("volume data: prove", graph.Failed, "the device that is mounted at /srv/data", "is not disk "+serial, "findmnt /srv/data", "bootagent retry")
		if got := unmounts(m.effects); len(got) > 0 {
			t.Errorf("it did %q", got)
		}
		r.stop()
	})
}

// The mount of a disk that was pulled stays where a process holds it, and
// systemd tells nothing of it.
func TestNothingIsGrantedOnADiskThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		m.mu.Lock()
		m.stale, m.disks[serial].plugged = true, false
		clear(m.granted)
		m.mu.Unlock()
		if err := r.services[0].Grant(t.Context()); err == nil || err.Error() != "the disk is gone that is mounted at /srv/data" {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		r.is("volume data: device", graph.Waiting, "the disk with serial "+serial)
		if m.granted["mariadb.service"] {
			t.Error("it is granted")
		}
		r.stop()
	})
}

type heldError struct{ error }

func (heldError) Hint() string { return "have it leave" }

func TestAnUnmountThatFailsIsTriedAgainAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		m.comesBack(true)
		works, held := m.fail, true
		m.fail = func(effect string) error {
			if held && strings.HasPrefix(effect, "unmount /var") {
				return heldError{errors.New("held by bash (pid 7)")}
			}
			return works(effect)
		}
		r.lostDisk()
		r.is("volume data: prove", graph.Failed, "held by bash (pid 7)", "have it leave")
		m.mu.Lock()
		held = false
		m.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

func TestAnUnmountThatTakesLongIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		m.comesBack(true)
		m.slow = time.Minute
		r.lostDisk()
		r.is("volume data: prove", graph.Running)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		r.is("volume data: prove", graph.Waiting, "/var/lib/mysql to be unmounted", "bootagent holders /var/lib/mysql")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

func TestMountOptions(t *testing.T) {
	for fs, want := range map[role.FilesystemType]string{
		role.XFS:  "mount /srv/data nosuid,nodev,nouuid,noatime,discard",
		role.Ext4: "mount /srv/data nosuid,nodev,errors=remount-ro,noatime,discard",
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			m.disks[serial] = blank()
			p := plan()
			p.Volumes[0].Filesystem, p.Volumes[0].Options = fs, []string{"noatime", "discard"}
			r := start(t, p, m)
			r.isUp()
			if !slices.Contains(m.effects, want) {
				t.Errorf("it did not %q, but %q", want, m.effects)
			}
			r.stop()
		})
	}
}
