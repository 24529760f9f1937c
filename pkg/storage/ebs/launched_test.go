package ebs

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/policy"
)

var atSdf = host.Find{Device: "/dev/sdf"}

// mapped has the volume attached to this instance, not by its agent.
func mapped(c *cloud, device, state string) {
	c.volumes[vol] = held(me, device, state, time.Now())
	c.instances[me].Devices[device] = vol
}

func TestTheVolumeOfADeviceNameIsTheOneThatEC2Names(t *testing.T) {
	const hint = "launch the instance with a volume as /dev/sdf in its block device mapping, or attach one under this name; " +
		"the agent attaches none where the role says attached"
	for _, test := range []struct {
		name              string
		world             func(*cloud)
		id                name.VolumeID
		kind, words, hint string
	}{
		{name: "it is attached", world: func(c *cloud) { mapped(c, "/dev/sdf", Attached) }, id: vol},
		{name: "it is being attached", world: func(c *cloud) { mapped(c, "/dev/sdf", Attaching) }, id: vol},
		{name: "sdX and xvdX are one slot", world: func(c *cloud) { mapped(c, "/dev/xvdf", Attached) }, id: vol},
		{name: "without /dev/", world: func(c *cloud) { mapped(c, "sdf", Attached) }, id: vol},
		{
			name: "it has other names", world: func(c *cloud) { mapped(c, "/dev/sdg", Attached) },
			kind: waiting, words: "a volume of this instance as /dev/sdf (it has /dev/sdg vol-00000000000000001, /dev/xvda vol-0000000000000root)", hint: hint,
		},
		{
			name: "it has none", world: func(c *cloud) { clear(c.instances[me].Devices) },
			kind: waiting, words: "a volume of this instance as /dev/sdf (it has none)", hint: hint,
		},
		{
			name: "something that is no EBS volume", world: func(c *cloud) { c.instances[me].Devices["/dev/sdf"] = "" },
			kind: waiting, words: "a volume of this instance as /dev/sdf (it has /dev/sdf, /dev/xvda vol-0000000000000root)", hint: hint,
		},
		{
			name: "another instance has the name", world: func(c *cloud) { c.instances[other].Devices["/dev/sdf"] = vol },
			kind: waiting, words: "a volume of this instance as /dev/sdf (it has /dev/xvda vol-0000000000000root)", hint: hint,
		},
		{
			name: "two of one slot", world: func(c *cloud) {
				mapped(c, "/dev/sdf", Attached)
				c.instances[me].Devices["/dev/xvdf"] = vol2
			},
			kind: retried, words: "this instance has several volumes as /dev/sdf: /dev/sdf vol-00000000000000001, /dev/xvdf vol-00000000000000002",
			hint: "detach those that are not meant",
		},
		{
			name: "EC2 does not know the instance", world: func(c *cloud) { c.hidden[me] = true },
			kind: waiting, words: "EC2 to know this instance, i-00000000000000001: InvalidInstanceID.NotFound: The instance ID 'i-00000000000000001' does not exist",
		},
		{
			name: "the call is not allowed", world: func(c *cloud) {
				c.answers[DescribeInstances] = []error{refusal(DescribeInstances, "UnauthorizedOperation", "no")}
			},
			kind: final, words: "the instance's IAM role does not allow ec2:DescribeInstances: no",
			hint: "bootagent iam --role ROLE prints the policy that the IAM role needs; add it, then: bootagent retry",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCloud()
			test.world(c)
			id, err := New(c, Instance{ID: me, Zone: zone}).FindVolume(t.Context(), atSdf)
			expect(t, err, test.kind, test.words, test.hint)
			if id != test.id {
				t.Errorf("got %q, want %q", id, test.id)
			}
			equal(t, "calls", c.took(), []string{DescribeInstances})
		})
	}
}

func TestAVolumeOfTheLaunchIsHeldOnceEC2SaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := "EC2 does not say of volume vol-00000000000000001 that this instance has it as /dev/sdf: it is "
		for _, test := range []struct {
			name              string
			world             func(*cloud)
			after             time.Duration
			kind, words, hint string
		}{
			{name: "attached", world: func(c *cloud) { mapped(c, "/dev/sdf", Attached) }},
			{name: "attached as another name of the slot", world: func(c *cloud) { mapped(c, "/dev/xvdf", Attached) }},
			{
				name: "attaching", world: func(c *cloud) { mapped(c, "/dev/sdf", Attaching) },
				kind: waiting, words: "volume vol-00000000000000001 to be attached as /dev/sdf (attaching since CLOCK)",
			},
			{
				name: "attaching for long", world: func(c *cloud) { mapped(c, "/dev/sdf", Attaching) }, after: 2 * time.Minute,
				kind: waiting, words: "volume vol-00000000000000001 to be attached as /dev/sdf (attaching since CLOCK)",
				hint: "that attach hangs: stop this instance and start it again, with your own credentials: aws ec2 stop-instances --instance-ids i-00000000000000001",
			},
			{
				name: "being detached", world: func(c *cloud) { mapped(c, "/dev/sdf", Busy) },
				kind: waiting, words: "volume vol-00000000000000001 to be detached from this instance (busy)",
				hint: "somebody detaches it: attach it, or another one, as /dev/sdf again; the agent does not",
			},
			{
				name: "detached", world: func(c *cloud) { mapped(c, "/dev/sdf", Attached); c.release(vol) },
				kind: retried, words: gone + "vol-00000000000000001 (available in eu-west-1a)",
			},
			{
				name: "under another name", world: func(c *cloud) { mapped(c, "/dev/sdg", Attached) },
				kind: retried, words: gone + "vol-00000000000000001 (in-use in eu-west-1a, held by i-00000000000000001)",
			},
			{
				name: "another instance has it", world: func(c *cloud) { c.volumes[vol] = held(other, "/dev/sdf", Attached, time.Now()) },
				kind: retried, words: gone + "vol-00000000000000001 (in-use in eu-west-1a, held by i-00000000000000002)",
			},
			{
				name: "several instances may have it", world: func(c *cloud) {
					mapped(c, "/dev/sdf", Attached)
					c.volumes[vol].MultiAttach = true
				},
				kind: final, words: "volume vol-00000000000000001 has multi-attach enabled: two instances could mount one filesystem, which destroys it",
				hint: "turn multi-attach off, with your own credentials: aws ec2 modify-volume --volume-id vol-00000000000000001 --no-multi-attach-enabled; then: bootagent retry",
			},
		} {
			c := newCloud()
			c.takes = 24 * time.Hour
			began := time.Now()
			test.world(c)
			time.Sleep(test.after)
			for i := range c.volumes[vol].Attachments { // all are told of the same time
				c.volumes[vol].Attachments[i].Since = time.Now().Add(-test.after)
			}
			if test.words != "" && test.kind == waiting {
				test.words = strings.Replace(test.words, "CLOCK", clock(began), 1)
			}
			err := New(c, Instance{ID: me, Zone: zone}).Held(t.Context(), vol, "/dev/sdf")
			t.Log(test.name)
			expect(t, err, test.kind, test.words, test.hint)
			equal(t, "calls", c.took(), []string{DescribeVolumes})
		}
	})
}

// Whoever launches the instance attaches the volume: the agent calls for neither.
func TestAVolumeOfTheLaunchIsNeitherAttachedNorDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		mapped(c, "/dev/sdf", Attaching)
		c.volumes[vol].Attachments[0].DeleteOnTermination = true
		v := New(c, Instance{ID: me, Zone: zone})
		for range 100 {
			id, err := v.FindVolume(t.Context(), atSdf)
			ok(t, err)
			ok(t, v.Claim(t.Context(), id))
			if v.Held(t.Context(), id, atSdf.Device) == nil {
				break
			}
			time.Sleep(time.Second)
		}
		if v.DeletedWithInstance(vol) == "" {
			t.Error("it does not say that the volume goes with the instance")
		}
		ok(t, v.Resized(t.Context(), vol, 8<<30))
		c.release(vol)
		for range 100 {
			if err := v.Held(t.Context(), vol, atSdf.Device); err == nil {
				t.Fatal("it is held by nobody")
			}
			time.Sleep(time.Second)
		}
		asked := set(c.took())
		var allowed []string
		for _, s := range policy.Of(policy.Needs{Volumes: []policy.Volume{{Name: "data", Device: "/dev/sdf"}}, Tagged: Tags()}).Statement {
			allowed = append(allowed, s.Action...)
		}
		equal(t, "actions", asked, set(allowed))
		if slices.Contains(asked, AttachVolume) || slices.Contains(asked, DetachVolume) {
			t.Errorf("it called %q", asked)
		}
	})
}
