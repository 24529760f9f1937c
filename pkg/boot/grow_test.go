package boot

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
)

const growStep = "volume data: grow"

// resize gives the disk of the volume another size, and tells of it.
func (r *run) resize(m *machine, size int64) {
	m.mu.Lock()
	m.disks[serial].size = size
	m.mu.Unlock()
	r.tell(host.DiskEvent{Name: "nvme1n1", Serial: serial})
}

// grows is a plan that lets its volume grow.
func grows(p role.Plan) role.Plan {
	p.Volumes[0].Grow = true
	return p
}

// hasGrown fails the test unless the filesystem has a size, and was grown so often.
func (m *machine) hasGrown(t *testing.T, size int64, times int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.disks[serial]; d.grown != size {
		t.Errorf("the filesystem has %d bytes, want %d", d.grown, size)
	}
	count := 0
	for _, effect := range m.effects {
		if strings.HasPrefix(effect, "grow ") {
			count++
		}
	}
	if count != times {
		t.Errorf("it was grown %d times, want %d", count, times)
	}
}

func TestAVolumeGrowsWithItsDiskWhereTheRoleSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, grows(plan()), m)
		r.isUp()
		m.hasGrown(t, 0, 0)
		r.resize(m, 3*gib)
		m.hasGrown(t, 3*gib, 1)
		if p := r.step(growStep); p.State != graph.Done || p.Answer != "it was grown from 1.0 GiB to 3.0 GiB" {
			t.Errorf("got %+v", p)
		}
		r.resize(m, 3*gib+host.GrowsFrom-1) // what a filesystem may not be able to use
		m.hasGrown(t, 3*gib, 1)
		r.isUp()
		r.stop()

		m.disks[serial].size = 5 * gib // while no agent ran
		r = start(t, grows(plan()), m)
		m.hasGrown(t, 5*gib, 2)
		r.stop()
		r = start(t, grows(plan()), m)
		m.hasGrown(t, 5*gib, 2)
		r.stop()
	})
}

func TestAVolumeThatMayNotGrowSaysHowToGrowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		if answer, err := r.Grow(t.Context(), "data", false); err != nil || answer != "volume data has nothing to grow: disk "+serial+" has 1.0 GiB, and its filesystem 1.0 GiB" {
			t.Errorf("got %q, %v", answer, err)
		}
		r.resize(m, 3*gib)
		m.hasGrown(t, 0, 0)
		if p := r.step(growStep); p.State != graph.Done || p.Warning != "disk "+serial+" has 3.0 GiB, and its filesystem 1.0 GiB; to grow it: bootagent grow data" {
			t.Errorf("got %+v", p)
		}
		answer, err := r.Grow(t.Context(), "data", true)
		if err != nil || !strings.Contains(answer, "would be grown from 1.0 GiB to 3.0 GiB") || !strings.HasSuffix(answer, "Nothing was changed; to do it: bootagent grow data") {
			t.Errorf("got %q, %v", answer, err)
		}
		synctest.Wait()
		m.hasGrown(t, 0, 0)
		answer, err = r.Grow(t.Context(), "data", false)
		if err != nil || !strings.Contains(answer, "the xfs filesystem at /srv/data is grown from 1.0 GiB to 3.0 GiB, while it is in use") {
			t.Errorf("got %q, %v", answer, err)
		}
		synctest.Wait()
		m.hasGrown(t, 3*gib, 1)
		r.resize(m, 4*gib) // an order is for once
		m.hasGrown(t, 3*gib, 1)
		if _, err := r.Grow(t.Context(), "date", false); err == nil || err.Error() != `the role has no volume "date"; its volumes are: data` {
			t.Errorf("got %v", err)
		}
		r.stop()
	})
}

// What is not proven to be the role's volume, in use here, is not grown.
func TestOnlyTheVolumeOfTheRoleInUseHereIsGrown(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine, *storage.Ledger)
		says   string
	}{
		"the copy of another volume": {func(_ *machine, l *storage.Ledger) { l.Volume = "vol-0000000000000beef" }, "it is not in use here"},
		"another role's":             {func(_ *machine, l *storage.Ledger) { l.Role = "queue" }, "it is not in use here"},
		"another machine's":          {func(_ *machine, l *storage.Ledger) { l.Instance = "another" }, "it is not in use here"},
		"that of another boot":       {func(_ *machine, l *storage.Ledger) { l.BootID = "another" }, "it is not in use here"},
		"another device":             {func(m *machine, _ *storage.Ledger) { m.mounted = 77 }, "is not disk " + serial},
		"an unmounted one":           {func(m *machine, _ *storage.Ledger) { clear(m.mounts) }, "nothing is mounted at /srv/data"},
		"one whose disk is gone":     {func(m *machine, _ *storage.Ledger) { m.disks[serial].plugged = false }, "disk " + serial + " is gone"},
		"one without a ledger":       {func(m *machine, l *storage.Ledger) { *l = storage.Ledger{} }, "has no ledger"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks[serial] = blank()
				r := start(t, grows(plan()), m)
				r.isUp()
				m.mu.Lock()
				d := m.disks[serial]
				l, err := ledger.Decode(d.ledger)
				if err != nil {
					t.Fatal(err)
				}
				c.change(m, l)
				if d.ledger = nil; l.Volume != "" {
					d.ledger, _ = l.Encode()
				}
				d.size = 3 * gib
				m.mu.Unlock()
				if _, err := r.Grow(t.Context(), "data", false); err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("ordered: got %v", err)
				}
				r.growths["data"].Again("the disk was resized")
				synctest.Wait()
				if p := r.step(growStep); p.State != graph.Failed || !strings.Contains(p.Err.Error(), c.says) {
					t.Errorf("got %s", p)
				}
				m.hasGrown(t, 0, 0)
				r.stop()
			})
		})
	}
}

func TestAnEBSVolumeIsGrownOnlyOnceEC2SaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		r := start(t, grows(p), m)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.resize(m, 3*gib) // the kernel sees it before
		r.is(growStep, graph.Waiting, "EC2 to have modified "+volumeID)
		r.isUp()
		m.hasGrown(t, 0, 0)
		m.mu.Lock()
		m.cloud.volumes[volumeID].size = 3 * gib
		m.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		m.hasGrown(t, 3*gib, 1)
		r.stop()
	})
}

// A filesystem that is made while its volume is modified ends up larger than the volume,
// if the modification fails.
func TestNoFilesystemIsMadeWhileItsVolumeIsModified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		m.cloud.resizes = &fault.Pending{For: "EC2 to have modified " + volumeID}
		r := start(t, p, m)
		time.Sleep(time.Hour)
		synctest.Wait()
		r.is("volume data: prepare", graph.Failed, "in vain for EC2 to have modified "+volumeID)
		if m.made > 0 {
			t.Errorf("a filesystem is made: %q", m.effects)
		}
		m.mu.Lock()
		m.cloud.resizes = nil
		m.mu.Unlock()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// A policy that an earlier version was enough for does not keep a new volume from its
// filesystem: EC2 tells its size all the same.
func TestAFilesystemIsMadeWhereEC2MayNotBeAskedForModifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		m.cloud.resizes = fault.Permanent(&host.Denied{Action: "ec2:DescribeVolumesModifications", Message: "no"})
		r := firstBoot(t, p, m)
		if got := r.step("volume data: prepare").Warning; !strings.Contains(got, "the instance's IAM role does not allow ec2:DescribeVolumesModifications") {
			t.Errorf("the warning is %q", got)
		}
		r.stop()
	})
}

// The size that EC2 tells otherwise is compared once more.
func TestWhereEC2MayNotBeAskedASizeThatIsAnotherByNowIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		m.cloud.resizes = fault.Permanent(&host.Denied{Action: "ec2:DescribeVolumesModifications", Message: "no"})
		m.fail = func(effect string) error {
			if effect == "intend false" { // EC2 takes the modification back after the proof
				m.cloud.volumes[volumeID].size = gib / 2
			}
			return nil
		}
		r := start(t, p, m)
		time.Sleep(time.Hour)
		synctest.Wait()
		r.is("volume data: prove", graph.Failed, "they are not the same")
		if m.made > 0 {
			t.Errorf("a filesystem is made: %q", m.effects)
		}
		r.stop()
	})
}

func TestWhereEC2DoesNotAnswerNothingIsGrown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		r := start(t, p, m)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		m.mu.Lock()
		m.cloud.silent = true
		m.cloud.volumes[volumeID].size = 3 * gib
		m.mu.Unlock()
		r.resize(m, 3*gib)
		if answer, err := r.Grow(t.Context(), "data", false); err == nil || err.Error() != "EC2 does not answer" {
			t.Errorf("got %q, %v", answer, err)
		}
		synctest.Wait()
		m.hasGrown(t, 0, 0)
		r.stop()
	})
}

// A growth never begins while a step of the volume has yet to end.
func TestAVolumeThatAStepHoldsIsNotGrown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.disks[serial].size = 3 * gib
		m.fail = func(effect string) error {
			if strings.HasPrefix(effect, "initialize") {
				return errors.New("no space left on device")
			}
			return nil
		}
		r := start(t, grows(plan()), m)
		r.is(growStep, graph.Skipped)
		if _, err := r.Grow(t.Context(), "data", false); err == nil || !strings.Contains(err.Error(), "not before this is done: data mysql: ") || fault.HintOf(err) == "" {
			t.Errorf("got %v", err)
		}
		m.hasGrown(t, 0, 0)
		r.stop()
	})
}

// A growth that fails is tried again, and takes nothing from the role.
func TestAGrowthThatFailsLeavesTheRoleAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		fails := true
		m.fail = func(effect string) error {
			if fails && strings.HasPrefix(effect, "grow ") {
				return errors.New("input/output error")
			}
			return nil
		}
		r := start(t, grows(plan()), m)
		r.resize(m, 3*gib)
		r.is(growStep, graph.Failed, "input/output error")
		if p := r.step(growStep); !p.Aside {
			t.Error("the role needs it")
		}
		r.isUp()
		m.mu.Lock()
		fails = false
		m.mu.Unlock()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		r.is(growStep, graph.Done)
		r.stop()
	})
}

func TestADiskThatIsSmallerThanItsFilesystemIsNotMounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = &disk{dev: 1, plugged: true, content: host.Content{Filesystem: "xfs", UUID: "u", Size: 3 * gib, Words: "has xfs"}}
		r := start(t, plan(), m)
		r.is("volume data: prove", graph.Failed, "disk "+serial+" is smaller than its xfs filesystem: it has 1073741824 bytes, and the filesystem 3221225472")
		if p := r.step("volume data: prove"); !p.CountsAsFailed || !fault.IsPermanent(p.Err) {
			t.Errorf("it is tried again: %s", p)
		}
		if len(m.mounts) > 0 {
			t.Errorf("it is mounted: %v", m.mounts)
		}
		r.stop()
	})
}
