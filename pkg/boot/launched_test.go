package boot

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
)

// failed is why steps have failed.
func failed(r *run) (why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.progress {
		if s.Err != nil {
			why += s.Err.Error() + "\n"
		}
	}
	return why
}

// launched is the plan with its volume attached by the launch of the instance.
func launched() (*machine, role.Plan) {
	m, p := inEC2()
	p.Volumes[0].Find = find.Find{Attached: "/dev/sdf"}
	v := m.cloud.volumes[volumeID]
	v.tags, v.device, v.holder = nil, "/dev/sdf", "machine"
	return m, p
}

func TestAVolumeOfTheLaunchIsWaitedForAndNotAttachedByTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := launched()
		r := start(t, p, m)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is("volume data: attach", graph.Waiting, "volume "+volumeID+" to be attached as /dev/sdf")
		m.mu.Lock()
		m.disks[serial].plugged = true
		m.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
		if slices.ContainsFunc(m.effects, func(e string) bool { return strings.HasPrefix(e, "attach ") }) {
			t.Errorf("it did %q", m.effects)
		}
		for _, effect := range []string{"claim " + volumeID, "record " + volumeID} {
			if !slices.Contains(m.effects, effect) {
				t.Errorf("it did %q, and not %q", m.effects, effect)
			}
		}
	})
}

// The proofs are those of any EBS volume, whoever attached it.
func TestAVolumeOfTheLaunchIsNotMadeUnlessItIsNew(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine)
		words  string
	}{
		"of a snapshot":         {func(m *machine) { m.cloud.volumes[volumeID].from = "snapshot snap-1" }, "is blank, but was made from snapshot snap-1"},
		"of another size":       {func(m *machine) { m.cloud.volumes[volumeID].size = 2 * gib }, "they are not the same"},
		"that was made before":  {func(m *machine) { m.cloud.volumes[volumeID].intent = host.Intent{UUID: fsUUID, Made: true} }, "was made on it before"},
		"that holds something":  {func(m *machine) { m.disks[serial].content = host.Content{Words: "has an LVM2 signature"} }, "has an LVM2 signature"},
		"with a database on it": {func(m *machine) { m.disks[serial].content = host.Content{Filesystem: "xfs", UUID: fsUUID} }, "without a ledger"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := launched()
				m.disks[serial].plugged = true
				c.change(m)
				r := start(t, p, m)
				time.Sleep(time.Minute)
				synctest.Wait()
				if !strings.Contains(failed(r), c.words) {
					t.Errorf("it says %q", failed(r))
				}
				if m.made != 0 || m.initialised != 0 {
					t.Errorf("%d filesystems, %d databases were made", m.made, m.initialised)
				}
				r.stop()
			})
		})
	}
}

// Whatever else has the device name when the instance starts again: the volume that the
// ledger names is another one.
func TestAnotherVolumeUnderTheSameDeviceNameIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := launched()
		m.disks[serial].plugged = true
		firstBoot(t, p, m).stop()
		const copied = "vol-0123456789abcdef1"
		m.disks[serial].plugged, m.cloud.volumes[volumeID].device = false, ""
		m.cloud.volumes[copied] = &ebs{device: "/dev/sdf", holder: "machine", size: gib}
		m.disks["vol0123456789abcdef1"] = holding(t, 9, volumeID)
		m.reboot()
		r := start(t, p, m)
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := "is a copy of volume " + volumeID; !strings.Contains(failed(r), want) {
			t.Errorf("it says %q, not %q", failed(r), want)
		}
		r.stop()
	})
}
