package boot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
)

const (
	gib      = 1 << 30
	volumeID = "vol-0123456789abcdef0"
)

// A cloud is EC2 in memory, with what it knows of volumes.
type cloud struct {
	*machine
	volumes map[name.VolumeID]*ebs
	asked   int
	last    name.VolumeID // that was asked for as the last one
	silent  bool          // it does not answer
	resizes error         // what it says of the modification of a volume, where it is not that there is none
}

// An ebs is a volume of a cloud.
type ebs struct {
	tags   map[string]string
	holder string // instance that has it attached
	device string // that it is attached as, by somebody else
	from   string
	size   int64
	intent host.Intent
	doomed string    // what it says of a volume that goes with the instance
	named  bool      // it has the tag of its own name
	untold time.Time // until then the cloud does not tell of the intent
}

func (c *cloud) ask() error {
	c.asked++
	if c.silent {
		return errors.New("EC2 does not answer")
	}
	return nil
}

func (c *cloud) FindVolume(_ context.Context, find host.Find) (name.VolumeID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask(); err != nil {
		return "", err
	}
	c.last = find.Last
	for id, v := range c.volumes {
		if id == find.ID || find.ID == "" && find.Device == v.device && maps.Equal(v.tags, find.Tags) {
			return id, nil
		}
	}
	return "", &fault.Pending{For: "a volume to match", Hint: "make one"}
}

func (c *cloud) Claim(_ context.Context, id name.VolumeID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask(); err != nil {
		return err
	}
	c.volumes[id].named = true
	return c.does("claim %s", id)
}

func (c *cloud) Attach(_ context.Context, id name.VolumeID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask(); err != nil {
		return err
	}
	v := c.volumes[id]
	switch v.holder {
	case "":
		v.holder = "machine"
		c.disks[id.Serial()].plugged = true
		return c.does("attach %s", id)
	case "machine":
		return nil
	}
	return &fault.Pending{For: fmt.Sprintf("volume %s to be detached from %s", id, v.holder), Hint: "stop " + v.holder}
}

func (c *cloud) Held(_ context.Context, id name.VolumeID, device string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask(); err != nil {
		return err
	}
	switch v := c.volumes[id]; {
	case v.device != device:
		return fmt.Errorf("%s is not attached as %s", id, device)
	case !c.disks[id.Serial()].plugged:
		return &fault.Pending{For: fmt.Sprintf("volume %s to be attached as %s", id, device)}
	}
	return nil
}

func (c *cloud) DeletedWithInstance(id name.VolumeID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.volumes[id].doomed
}

func (c *cloud) Origin(_ context.Context, id name.VolumeID) (host.Origin, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return host.Origin{From: c.volumes[id].from, Size: c.volumes[id].size}, c.ask()
}

func (c *cloud) Intent(_ context.Context, id name.VolumeID) (host.Intent, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.volumes[id].untold) {
		return host.Intent{}, c.ask()
	}
	return c.volumes[id].intent, c.ask()
}

func (c *cloud) Intend(_ context.Context, id name.VolumeID, intent host.Intent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := errors.Join(c.ask(), c.does("intend %v", intent.Made)); err != nil {
		return err
	}
	c.volumes[id].intent = intent
	return nil
}

func (c *cloud) Resized(_ context.Context, id name.VolumeID, size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask(); err != nil {
		return err
	}
	if c.resizes != nil {
		return c.resizes
	}
	if has := c.volumes[id].size; has < size {
		return &fault.Pending{For: fmt.Sprintf("EC2 to have modified %s (it has %d bytes)", id, has)}
	}
	return nil
}

func (c *cloud) Tags(_ context.Context, id name.VolumeID) (map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.volumes[id].tags), c.ask()
}

func (m *machine) RecordedTag(id name.VolumeID, key string) (value string, there bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, there = m.tags[string(id)+" "+key]
	return value, there, nil
}

func (m *machine) RecordTag(id name.VolumeID, key, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tags[string(id)+" "+key] = value
	return m.does("record tag %s of %s", key, id)
}

func (m *machine) Recorded(volume string, _ host.Find) (name.VolumeID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records[volume], nil
}

func (m *machine) Record(volume string, _ host.Find, id name.VolumeID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[volume] = id
	return m.does("record %s", id)
}

func (m *machine) All() map[string]host.Recorded {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]host.Recorded)
	for volume, id := range m.records {
		all[volume] = host.Recorded{ID: id, Find: host.Find{Tags: map[string]string{"cluster": "orders"}}}
	}
	return all
}

// inEC2 is the plan with its volume found by a tag, and a cloud that has a new
// one.
func inEC2() (*machine, role.Plan) {
	m, p := newMachine(), plan()
	p.Volumes[0].Find = find.Find{Tags: map[string]string{"cluster": "orders"}}
	m.cloud.volumes[volumeID] = &ebs{tags: p.Volumes[0].Find.Tags, size: gib}
	m.disks[serial] = blank()
	m.disks[serial].plugged = false
	return m, p
}

// firstBoot runs an agent until the role is up.
func firstBoot(t *testing.T, p role.Plan, m *machine) *run {
	r := start(t, p, m)
	time.Sleep(5 * time.Second)
	synctest.Wait()
	r.isUp()
	return r
}

func TestAVolumeOfTheCloudIsFoundClaimedAndAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		firstBoot(t, p, m).stop()
		for _, effect := range []string{"claim " + volumeID, "attach " + volumeID, "record " + volumeID} {
			if !slices.Contains(m.effects, effect) {
				t.Errorf("it did %q, and not %q", m.effects, effect)
			}
		}
		if v := m.cloud.volumes[volumeID]; !v.intent.Made || len(m.intents) > 0 {
			t.Errorf("the intent is %+v on the volume, and %v on the machine", v.intent, m.intents)
		}
	})
}

func TestAPlainRebootAsksTheCloudForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		firstBoot(t, p, m).stop()
		m.reboot()
		m.cloud.silent, m.cloud.asked = true, 0
		r := start(t, p, m)
		r.isUp()
		r.stop()
		if m.cloud.asked > 0 {
			t.Errorf("the cloud was asked %d times", m.cloud.asked)
		}
		if m.made != 1 || m.initialised != 1 {
			t.Errorf("%d filesystems, %d databases were made", m.made, m.initialised)
		}
	})
}

func TestAVolumeThatGoesWithTheInstanceIsSaidUnlessItIsDisposable(t *testing.T) {
	for name, disposable := range map[string]bool{"of data": false, "of a pool of caches": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := inEC2()
				m.cloud.volumes[volumeID].doomed = "EC2 deletes it"
				p.Volumes[0].Disposable = disposable
				r := firstBoot(t, p, m)
				if got := r.step("volume data: attach").Warning; (got == "EC2 deletes it") == disposable {
					t.Errorf("it says %q", got)
				}
				r.stop()
			})
		})
	}
}

// A record alone is no reason: the volume may have been moved while the
// instance was off.
func TestAVolumeThatIsNotThereAnyMoreIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		firstBoot(t, p, m).stop()
		m.reboot()
		m.disks[serial].plugged = false
		m.cloud.volumes[volumeID].holder = "i-2"
		r := start(t, p, m)
		r.is("volume data: attach", graph.Waiting, "to be detached from i-2", "stop i-2")
		m.mu.Lock()
		m.cloud.volumes[volumeID].holder = ""
		if m.cloud.last != volumeID {
			t.Errorf("EC2 is asked without the volume that the instance had last, but for %q", m.cloud.last)
		}
		m.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// What is waited for may be told in other words, as more is known of it.
func TestAWaitIsToldSinceItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		m.cloud.volumes[volumeID].holder = "i-2"
		r := start(t, p, m)
		began := r.step("volume data: attach").Since
		time.Sleep(5 * time.Minute)
		m.mu.Lock()
		m.cloud.volumes[volumeID].holder = "i-3"
		m.mu.Unlock()
		time.Sleep(2 * time.Minute) // a rest is at most a minute, and a quarter of it
		synctest.Wait()
		r.is("volume data: attach", graph.Waiting, "to be detached from i-3")
		if since := r.step("volume data: attach").Since; !since.Equal(began) {
			t.Errorf("it is told since %s, and began at %s", since, began)
		}
		r.stop()
	})
}

func TestAVolumeThatNobodyLetsGoHasFailedAtTheDeadlineAndIsTakenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		m.cloud.volumes[volumeID].holder = "i-2"
		r := start(t, p, m)
		time.Sleep(19 * time.Minute)
		synctest.Wait()
		r.is("volume data: attach", graph.Waiting, "to be detached from i-2")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.is("volume data: attach", graph.Failed, "waited 20m0s in vain for volume "+volumeID+" to be detached from i-2", "stop i-2")
		r.is("volume data: device", graph.Skipped)
		since, asked := r.step("volume data: attach").Since, m.cloud.asked
		hold := func(holder string) {
			m.mu.Lock()
			m.cloud.volumes[volumeID].holder = holder
			m.mu.Unlock()
			time.Sleep(20 * time.Minute)
			synctest.Wait()
		}
		hold("i-3")
		r.is("volume data: attach", graph.Failed, "waited 20m0s in vain for volume "+volumeID+" to be detached from i-3", "stop i-3")
		time.Sleep(time.Hour)
		synctest.Wait()
		if again := r.step("volume data: attach").Since; !again.Equal(since) {
			t.Errorf("it has failed since %s, and at last since %s", since, again)
		}
		if times := m.cloud.asked - asked; times < 10 || times > 30 {
			t.Errorf("EC2 was asked %d times in an hour and a half", times)
		}
		hold("")
		r.isUp()
		r.stop()
	})
}

// The cloud knows what the disk itself can't tell.
func TestAVolumeThatTheCloudDoesNotCallNewIsNeverFormatted(t *testing.T) {
	for name, c := range map[string]struct {
		volume ebs
		words  string
	}{
		"made from a snapshot": {ebs{from: "snapshot snap-1", size: gib}, "was made from snapshot snap-1"},
		"of another size":      {ebs{size: 2 * gib}, "they are not the same"},
		"made before":          {ebs{size: gib, intent: host.Intent{UUID: "u", Made: true}}, "filesystem u was made on it before"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := inEC2()
				c.volume.tags = p.Volumes[0].Find.Tags
				m.cloud.volumes[volumeID] = &c.volume
				r := start(t, p, m)
				time.Sleep(time.Hour)
				synctest.Wait()
				r.is("volume data: prove", graph.Failed, c.words)
				r.stop()
				if m.made > 0 {
					t.Errorf("it did %q", m.effects)
				}
			})
		})
	}
}

// EC2 may tell of a tag some seconds after it was written, and an agent that
// died comes back sooner than that.
func TestAFilesystemThatBootagentMadeIsItsOwnAsSoonAsTheCloudTells(t *testing.T) {
	for name, c := range map[string]struct {
		intent host.Intent
		state  graph.State
		words  string
	}{
		"its own":     {host.Intent{UUID: "u"}, graph.Done, ""},
		"another's":   {host.Intent{UUID: "v"}, graph.Failed, "holds the xfs filesystem u without a ledger"},
		"nobody says": {host.Intent{}, graph.Failed, "holds the xfs filesystem u without a ledger"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := inEC2()
				v := m.cloud.volumes[volumeID]
				v.intent, v.untold = c.intent, time.Now().Add(5*time.Second)
				m.disks[serial].content = host.Content{Filesystem: "xfs", UUID: "u", Words: "has a filesystem"}
				m.disks[serial].names = make(map[string]host.DirectoryState)
				r := start(t, p, m)
				r.is("volume data: prepare", graph.Waiting, "EC2 to tell that the filesystem u was made by bootagent")
				time.Sleep(time.Minute)
				synctest.Wait()
				r.is("volume data: prepare", c.state, c.words)
				r.stop()
				if m.made > 0 {
					t.Errorf("it did %q", m.effects)
				}
			})
		})
	}
}

// reboot is a plain one: the disks stay attached.
func (m *machine) reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.mounts)
	clear(m.granted)
	clear(m.started)
	clear(m.units)
	clear(m.safe.staged)
	clear(m.files)
	m.safe.keys = nil
}
