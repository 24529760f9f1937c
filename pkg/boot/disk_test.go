package boot

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/storage"
)

// failing is an agent whose volume can't be read.
func failing(t *testing.T) (r *run, m *machine) {
	m = newMachine()
	m.disks[serial] = blank()
	m.fail = func(effect string) error {
		if strings.HasPrefix(effect, "read ") {
			return errors.New("input/output error")
		}
		return nil
	}
	return start(t, plan(), m), m
}

// tell tells of an event, and waits for what comes of it.
func (r *run) tell(e host.DiskEvent) {
	r.DiskChanged(r.t.Context(), e)
	synctest.Wait()
}

// An event is about a disk, and about something that is new of it. All others
// let the steps of a volume rest.
func TestOnlyWhatChangesOnItsOwnDiskWakesAVolume(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*disk)
		event  host.DiskEvent
		wakes  bool
	}{
		"a foreign disk":                     {nil, host.DiskEvent{Name: "nvme7n1", Serial: "vol7"}, false},
		"a foreign disk, while ours is new":  {func(d *disk) { d.dev++ }, host.DiskEvent{Name: "nvme7n1", Serial: "vol7"}, false},
		"a foreign disk without a serial":    {func(d *disk) { d.dev++ }, host.DiskEvent{Name: "dm-0"}, false},
		"its own disk, as it was":            {nil, host.DiskEvent{Name: "nvme1n1", Serial: serial}, false},
		"its own disk, as udev saw it":       {nil, host.DiskEvent{Name: "nvme1n1", Serial: serial, Holds: "holds x"}, false},
		"its own disk, told without serial":  {func(d *disk) { d.dev++ }, host.DiskEvent{Name: "nvme1n1"}, true},
		"its own disk is another":            {func(d *disk) { d.dev++ }, host.DiskEvent{Name: "nvme1n1", Serial: serial}, true},
		"its own disk, under another name":   {func(d *disk) { d.dev++ }, host.DiskEvent{Name: "nvme9n1", Serial: serial}, true},
		"its own disk is gone":               {func(d *disk) { d.plugged = false }, host.DiskEvent{Name: "nvme1n1"}, true},
		"its own disk holds something else":  {nil, host.DiskEvent{Name: "nvme1n1", Serial: serial, Holds: "holds y"}, true},
		"events were lost":                   {nil, host.DiskEvent{}, false},
		"events were lost, it is another":    {func(d *disk) { d.dev++ }, host.DiskEvent{}, true},
		"a partition of another, of no name": {nil, host.DiskEvent{Name: "nvme7n1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, m := failing(t)
				r.tell(host.DiskEvent{Name: "nvme1n1", Serial: serial, Holds: "holds x"}) // the first that is seen
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				p := r.step("volume data: prove")
				for time.Until(p.RetryAt) < 10*time.Second { // it rests for long
					time.Sleep(10 * time.Second)
					synctest.Wait()
					p = r.step("volume data: prove")
				}
				m.mu.Lock()
				if c.before != nil {
					c.before(m.disks[serial])
				}
				m.mu.Unlock()
				r.tell(c.event)
				now := r.step("volume data: prove")
				if woken := now.Failures != p.Failures || now.State != graph.Failed; woken != c.wakes {
					t.Errorf("it was woken: %t; %s", woken, now)
				}
				if !now.FailingSince.Equal(p.FailingSince) {
					t.Errorf("it fails since %s, and before since %s", now.FailingSince, p.FailingSince)
				}
				r.stop()
			})
		})
	}
}

// The checker of a filesystem has the disk open for writing, and udev tells that
// it was closed.
func TestACheckThatFailsIsNotRunAgainForItsOwnEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = &disk{dev: 1, plugged: true, content: host.Content{Filesystem: "xfs", UUID: "u"}}
		ledger, err := (&storage.Ledger{Volume: volumeID, UUID: "u", Role: "mysql"}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		m.disks[serial].ledger = ledger
		var told atomic.Pointer[run]
		checks := 0 // guarded by m.mu
		m.fail = func(effect string) error {
			if effect != "check" {
				return nil
			}
			checks++
			go func() {
				for r := told.Load(); r != nil; r = nil {
					r.DiskChanged(t.Context(), host.DiskEvent{Name: "nvme1n1", Serial: serial, Holds: "holds xfs"})
				}
			}()
			return errors.New("e2fsck found errors that it does not mend")
		}
		r := start(t, plan(), m)
		told.Store(r)
		time.Sleep(time.Hour)
		synctest.Wait()
		r.is("volume data: prepare", r.step("volume data: prepare").State, "does not mend", "tries since")
		if p := r.step("volume data: prepare"); !p.CountsAsFailed {
			t.Errorf("it has not failed after an hour: %+v", p)
		}
		r.stop()
		if checks > 70 {
			t.Errorf("it was checked %d times in an hour", checks)
		}
		time.Sleep(5 * time.Second)
	})
}

// Another disk's event had a volume that had failed at its deadline wait for
// all of its time again.
func TestAVolumeThatWasWaitedForInVainDoesNotWaitAnewForAnotherDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		m.cloud.volumes[volumeID].holder = "i-other"
		r := start(t, p, m)
		time.Sleep(p.Volumes[0].Timeout + time.Second)
		synctest.Wait()
		r.is("volume data: attach", graph.Failed, "waited 20m0s in vain")
		for i := range 5 {
			r.tell(host.DiskEvent{Name: fmt.Sprintf("nvme%dn1", 5+i), Serial: "vol5"})
			r.tell(host.DiskEvent{})
			time.Sleep(time.Minute)
			synctest.Wait()
			r.is("volume data: attach", graph.Failed, "waited 20m0s in vain")
		}
		r.stop()
	})
}

// A disk that comes after its deadline is taken, also where no event told of it.
func TestADiskThatComesAfterItsDeadlineIsTakenWithoutAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		r := start(t, plan(), m)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		r.is("volume data: device", graph.Failed, "no disk with serial "+serial+" appeared within 20m0s", "attach it")
		m.mu.Lock()
		m.disks[serial] = blank()
		m.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// A mount that no time mends has failed when the volume's time is over.
func TestAMountThatFailsForEverHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.fail = func(effect string) error {
			if strings.HasPrefix(effect, "mount /srv/data ") {
				return errors.New("wrong fs type, bad option, bad superblock")
			}
			return nil
		}
		r := start(t, plan(), m)
		time.Sleep(19 * time.Minute)
		synctest.Wait()
		if p := r.step("volume data: mount"); p.CountsAsFailed {
			t.Errorf("it has failed before its time: %+v", p)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		p := r.step("volume data: mount")
		if !p.CountsAsFailed || p.Failures < 24*60/2 {
			t.Errorf("it has not failed after a day: %+v", p)
		}
		r.stop()
	})
}

// What is mounted has to be the disk that was proven, by its number, and not
// whatever is mounted there.
func TestAnotherDeviceUnderTheMountPointIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		r.stop()

		m.mounted = 0x999
		r = start(t, plan(), m)
		r.is("volume data: prove", graph.Failed, "the device that is mounted at /srv/data (0x999) is not disk "+serial+" (0x10300)")
		r.is("service mariadb.service: grant", graph.Skipped)
		r.stop()
	})
}

// A volume that was found mounted was not proven: if it is unmounted meanwhile,
// it may not be mounted again as if it had been.
func TestWhatWasFoundMountedAndIsUnmountedMeanwhileIsProvenFirst(t *testing.T) {
	said := false
	for looks := range 12 {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			m.disks[serial] = blank()
			r := start(t, plan(), m)
			r.isUp()
			r.stop()

			m.unmountAfter = 1 + looks // at one of these moments
			before := len(m.effects)
			r = start(t, plan(), m)
			said = said || strings.Contains(r.step("volume data: mount").String(), "/srv/data was unmounted after it was found mounted")
			time.Sleep(time.Minute)
			synctest.Wait()
			r.isUp()
			afterAll := r.step("volume data: grow").State == graph.Failed // the last look; later, systemd tells of it
			r.stop()
			read, mounted := false, false
			for _, effect := range m.effects[before:] {
				read = read || effect == "read "+serial
				if strings.HasPrefix(effect, "mount /srv/data ") {
					mounted = true
					if !read {
						t.Errorf("it is mounted and was not read: %q", m.effects[before:])
					}
				}
			}
			if gone := m.unmountAfter == 0; gone && !mounted && !afterAll {
				t.Errorf("it is not mounted again: %q", m.effects[before:])
			}
		})
	}
	if !said {
		t.Error("in none of these moments is the mount the step that sees it")
	}
}
