package ebs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
)

var brokers = host.Find{Tags: map[string]string{"pool": "brokers"}, Any: true}

// poolOf is a cloud with so many free volumes of a pool.
func poolOf(n int) *cloud {
	c := newCloud()
	for i := range n {
		c.add(&Volume{ID: poolID(i), Zone: zone, State: Available, Size: 8 << 30, Tags: map[string]string{"pool": "brokers"}})
	}
	return c
}

func poolID(i int) name.VolumeID { return name.VolumeID(fmt.Sprintf("vol-0000000000000b%03d", i)) }

// has attaches a volume of the pool.
func (c *cloud) has(i int, instance, device, state string) {
	v := c.volumes[poolID(i)]
	v.State, v.Attachments = InUse, []Attachment{{Instance: instance, Device: device, State: state, Since: time.Now()}}
	c.instances[instance].Devices[device] = v.ID
}

func TestOfAPoolItsOwnVolumeComesFirstThenItsLastThenAFreeOne(t *testing.T) {
	for _, test := range []struct {
		name  string
		world func(*cloud)
		last  name.VolumeID
		want  name.VolumeID // "" for a free one
	}{
		{"a free one", func(*cloud) {}, "", ""},
		{"its last one", func(*cloud) {}, poolID(3), poolID(3)},
		{"its own one", func(c *cloud) { c.has(5, me, "/dev/sdf", Attached) }, poolID(3), poolID(5)},
		{"its own one, which is attaching", func(c *cloud) { c.has(5, me, "/dev/sdf", Attaching) }, "", poolID(5)},
		{"its own one, which somebody detaches", func(c *cloud) { c.has(5, me, "/dev/sdf", Detaching) }, "", poolID(5)},
		{"of its own two the last one", func(c *cloud) { c.has(5, me, "/dev/sdf", Attached); c.has(3, me, "/dev/sdg", Attached) }, poolID(3), poolID(3)},
		{"another one, since another instance has its last one", func(c *cloud) { c.has(3, other, "/dev/sdf", Attached) }, poolID(3), ""},
		{"another one, since its last one is in another zone", func(c *cloud) { c.volumes[poolID(3)].Zone = "eu-west-1b" }, poolID(3), ""},
	} {
		c := poolOf(6)
		test.world(c)
		want := brokers
		want.Last = test.last
		got, err := New(c, Instance{ID: me, Zone: zone}).FindVolume(t.Context(), want)
		if err != nil || test.want != "" && got != test.want || test.want == "" && (got == test.last || len(c.volumes[got].Attachments) > 0) {
			t.Errorf("%s: got %s, %v", test.name, got, err)
		}
	}
}

func TestOfAPoolOnlyWhatCanBeHadIsTaken(t *testing.T) {
	c := poolOf(8)
	c.has(0, other, "/dev/sdf", Attached)
	c.has(1, other, "/dev/sdg", Detaching)
	c.volumes[poolID(2)].Zone = "eu-west-1b"
	c.volumes[poolID(3)].State = Creating
	c.volumes[poolID(4)].State = Failed
	c.volumes[poolID(5)].MultiAttach = true
	c.volumes[poolID(6)].Tags[TagSelf] = vol
	c.volumes[poolID(7)].State = Deleting
	v := New(c, Instance{ID: me, Zone: zone})
	_, err := v.FindVolume(t.Context(), brokers)
	expect(t, err, waiting, "a free volume with the tags pool=brokers in zone eu-west-1a (7 have them: 2 attached to other instances, 1 in other zones, 4 not to be used)",
		"make one more volume with these tags in zone eu-west-1a, or have an instance let one go that it does not need; the agent goes on as soon as one is free")
	c.release(poolID(1))
	got, err := v.FindVolume(t.Context(), brokers)
	if got != poolID(1) || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestInstancesOfAPoolPreferVolumesOfTheirOwn(t *testing.T) {
	c := poolOf(40)
	first := map[name.VolumeID]int{}
	for i := range 40 {
		id := fmt.Sprintf("i-%017x", i)
		got, err := New(c, Instance{ID: id, Zone: zone}).FindVolume(t.Context(), brokers)
		ok(t, err)
		again, err := New(c, Instance{ID: id, Zone: zone}).FindVolume(t.Context(), brokers)
		if ok(t, err); again != got {
			t.Errorf("%s wants %s, and then %s", id, got, again)
		}
		first[got]++
	}
	if len(first) < 20 {
		t.Errorf("40 instances want only %d of 40 volumes", len(first))
	}
}

func TestWhoComesTooLateTakesAnotherVolumeOfThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := poolOf(2)
		v := New(c, Instance{ID: me, Zone: zone})
		first, err := v.FindVolume(t.Context(), brokers)
		ok(t, err)
		ok(t, v.Claim(t.Context(), first))
		ok(t, c.attach(first, other, "/dev/sdf")) // it was quicker
		err = v.Attach(t.Context(), first)
		expect(t, err, retried, "another volume with the same tags is looked for: volume "+string(first)+" is attached to "+other, "")
		second, err := v.FindVolume(t.Context(), brokers)
		if ok(t, err); second == first {
			t.Fatalf("it wants %s again", second)
		}
		for err = v.Attach(t.Context(), second); err != nil; err = v.Attach(t.Context(), second) {
			if got, _ := kind(err); got != waiting {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if slices.Contains(c.took(), DetachVolume+" "+other+" /dev/sdf") || c.volumes[first].Attachments[0].Instance != other {
			t.Error("the volume was taken away")
		}
	})
}

// EC2 says "in use" of a volume whose attach it had accepted, too.
func TestAVolumeThatMayBeOursIsNotGivenUpForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := poolOf(3)
		v := New(c, Instance{ID: me, Zone: zone})
		id, err := v.FindVolume(t.Context(), brokers)
		ok(t, err)
		c.answers[AttachVolume] = []error{&diagnose.Error{Action: AttachVolume, Status: 500, Code: "InternalError", Message: "An internal error has occurred"}}
		c.late[AttachVolume] = true
		expect(t, v.Attach(t.Context(), id), waiting, "EC2 to answer ec2:AttachVolume: InternalError: An internal error has occurred", "")
		delete(c.late, AttachVolume)
		stale := c.volumes[id].Attachments
		c.volumes[id].State, c.volumes[id].Attachments = Available, nil // as it was before
		delete(c.instances[me].Devices, "/dev/sdf")
		const inUse = "VolumeInUse: it is already attached to an instance"
		c.answers[AttachVolume] = []error{refusal(AttachVolume, "VolumeInUse", "it is already attached to an instance")}
		expect(t, v.Attach(t.Context(), id), waiting, "EC2 to say who holds volume "+string(id)+": "+inUse, "")
		again, err := v.FindVolume(t.Context(), brokers)
		if ok(t, err); again != id {
			t.Errorf("it wants %s, and may have %s", again, id)
		}
		c.volumes[id].State, c.volumes[id].Attachments = InUse, stale
		time.Sleep(c.takes)
		ok(t, v.Attach(t.Context(), id))
	})
}

func TestWhoIsToldThatItComesTooLateLooksForAnotherAtOnce(t *testing.T) {
	c := poolOf(2)
	v := New(c, Instance{ID: me, Zone: zone})
	id, err := v.FindVolume(t.Context(), brokers)
	ok(t, err)
	c.answers[AttachVolume] = []error{refusal(AttachVolume, "VolumeInUse", "it is already attached to an instance")}
	expect(t, v.Attach(t.Context(), id), retried, "another volume with the same tags is looked for: ec2:AttachVolume: VolumeInUse: it is already attached to an instance", "")
}

func TestASecondVolumeOfAPoolIsNotAttachedBesideTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := poolOf(2)
		v := New(c, Instance{ID: me, Zone: zone}) // a new agent, to which EC2 does not tell yet what the last one did
		id, err := v.FindVolume(t.Context(), brokers)
		ok(t, err)
		first := poolID(0)
		if id == first {
			first = poolID(1)
		}
		c.instances[me].Devices["/dev/sdf"] = first
		err = v.Attach(t.Context(), id)
		expect(t, err, retried, "another volume with the same tags is looked for: this instance has volume "+string(first)+", so it does not take volume "+string(id), "")
		for _, call := range c.took() {
			if strings.HasPrefix(call, AttachVolume) {
				t.Errorf("it calls %s", call)
			}
		}
	})
}

// What is final of a volume that is named is not final of one of a pool.
func TestAVolumeOfAPoolThatCanNotBeHadAnyMoreIsGivenUp(t *testing.T) {
	for what, change := range map[string]func(c *cloud, v *Volume){
		"is deleted":                    func(_ *cloud, v *Volume) { v.State = Deleting },
		"failed":                        func(_ *cloud, v *Volume) { v.State = Failed },
		"is a copy":                     func(_ *cloud, v *Volume) { v.Tags[TagSelf] = vol },
		"can be attached several times": func(_ *cloud, v *Volume) { v.MultiAttach = true },
		"is not known any more":         func(c *cloud, v *Volume) { c.hidden[string(v.ID)] = true },
		"is held by a service of AWS":   func(_ *cloud, v *Volume) { v.Attachments = []Attachment{{Service: "rds", State: Attached}} },
	} {
		for _, ask := range []string{"claim", "attach"} {
			c := poolOf(2)
			v := New(c, Instance{ID: me, Zone: zone})
			id, err := v.FindVolume(t.Context(), brokers)
			ok(t, err)
			change(c, c.volumes[id])
			if ask == "claim" && !strings.Contains(what, "held") {
				err = v.Claim(t.Context(), id)
			} else {
				err = v.Attach(t.Context(), id)
			}
			if got, _ := kind(err); got != retried || !strings.HasPrefix(err.Error(), "another volume with the same tags is looked for: ") {
				t.Errorf("%s of one that %s: %s %v", ask, what, got, err)
			}
			if again, err := v.FindVolume(t.Context(), brokers); err != nil || again == id {
				t.Errorf("after one that %s: got %s, %v", what, again, err)
			}
		}
	}
}

func TestTwoVolumesOfARoleAreNotTheSameOneOfTheirPools(t *testing.T) {
	c := poolOf(2)
	for i := range 2 {
		c.volumes[poolID(i)].Tags["holds"] = "logs"
	}
	v := New(c, Instance{ID: me, Zone: zone})
	logs := host.Find{Tags: map[string]string{"pool": "brokers", "holds": "logs"}, Any: true}
	first, err := v.FindVolume(t.Context(), brokers)
	ok(t, err)
	second, err := v.FindVolume(t.Context(), logs)
	if ok(t, err); first == second {
		t.Errorf("both are %s", first)
	}
}
