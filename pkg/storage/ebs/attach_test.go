package ebs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
)

// TestMain sees to it that times of day are the same wherever the tests run. A
// clock of testing/synctest begins on 2000-01-01 at midnight UTC.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

func TestAttachRoundByRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		v := New(c, Instance{ID: me, Zone: zone})
		err := v.Attach(t.Context(), vol)
		expect(t, err, waiting, "volume vol-00000000000000001 to be attached as /dev/sdf, asked for at 00:00:00", "")
		equal(t, "first round", c.took(), []string{DescribeVolumes, DescribeInstances, AttachVolume + " /dev/sdf"})

		time.Sleep(time.Second)
		err = v.Attach(t.Context(), vol)
		expect(t, err, waiting, "volume vol-00000000000000001 to be attached as /dev/sdf, asked for at 00:00:00", "")
		time.Sleep(time.Second)
		ok(t, v.Attach(t.Context(), vol))
		if got := c.volumes[vol].Attachments[0]; got.Device != "/dev/sdf" || got.Instance != me || got.State != Attached {
			t.Errorf("got %+v", got)
		}
		equal(t, "later rounds", c.took(), []string{DescribeVolumes, DescribeVolumes})
	})
}

// How the volume is found, and what is done about it: nothing but asking.
func TestAttachOfAVolumeThatIsNotFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(10*time.Hour + 4*time.Minute + 11*time.Second)
		since := time.Now()
		time.Sleep(time.Minute)
		describe, both := []string{DescribeVolumes}, []string{DescribeVolumes, DescribeInstances}
		for _, test := range []struct {
			name              string
			world             func(*cloud)
			kind, words, hint string
			calls             []string
		}{
			{
				name:  "already attached to this instance",
				world: func(c *cloud) { c.volumes[vol] = held(me, "/dev/xvdq", Attached, since) }, calls: describe,
			},
			{
				name:  "being made",
				world: func(c *cloud) { c.volumes[vol].State = Creating },
				kind:  waiting, words: "volume vol-00000000000000001 to be available (it is creating)", calls: describe,
			},
			{
				name:  "in use by nobody that is named",
				world: func(c *cloud) { c.volumes[vol].State = InUse },
				kind:  waiting, words: "volume vol-00000000000000001 to be available (it is in-use)", calls: describe,
			},
			{
				name: "no longer attached to another",
				world: func(c *cloud) {
					c.volumes[vol] = held(other, "/dev/sdf", Detached, since)
				},
				kind: waiting, words: "volume vol-00000000000000001 to be available (it is in-use)", calls: describe,
			},
			{
				name:  "unknown",
				world: func(c *cloud) { c.hidden[vol] = true },
				kind:  waiting,
				words: "EC2 to know volume vol-00000000000000001: " +
					"InvalidVolume.NotFound: The volume 'vol-00000000000000001' does not exist.",
				hint: "check the id, and that the volume is of this account and region", calls: describe,
			},
			{
				name:  "being detached from this instance",
				world: func(c *cloud) { c.volumes[vol] = held(me, "/dev/sdf", Detaching, since) },
				kind:  waiting, words: "volume vol-00000000000000001 to be detached from this instance (detaching), and then attached again",
				calls: describe,
			},
			{
				name:  "detached from this instance while it is mounted",
				world: func(c *cloud) { c.volumes[vol] = held(me, "/dev/sdf", Busy, since) },
				kind:  waiting, words: "volume vol-00000000000000001 to be detached from this instance, which still uses it (busy)",
				hint:  "someone detached it while it was mounted: unmount it; the agent attaches it again when it is free",
				calls: describe,
			},
			{
				name:  "held by another",
				world: func(c *cloud) { c.volumes[vol] = held(other, "/dev/sdf", Attached, since) },
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (running), attached there since 10:04:11",
				hint: "to move it here, stop the services on i-00000000000000002, unmount the volume there, and then detach it, with your own credentials: " +
					"aws ec2 detach-volume --volume-id vol-00000000000000001",
				calls: both,
			},
			{
				name: "held by another since yesterday, which is stopped",
				world: func(c *cloud) {
					c.volumes[vol] = held(other, "/dev/sdf", Attached, since.Add(-24*time.Hour))
					c.instances[other].State = "stopped"
				},
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (stopped), attached there since 1999-12-31 10:04:11",
				hint:  "a stopped instance keeps its volumes: detach it, with your own credentials: aws ec2 detach-volume --volume-id vol-00000000000000001",
				calls: both,
			},
			{
				name: "held by another that goes",
				world: func(c *cloud) {
					c.volumes[vol] = held(other, "/dev/sdf", Detaching, since)
					c.instances[other].State = "shutting-down"
				},
				kind: waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (shutting-down), " +
					"attached there since 10:04:11 and is letting it go",
				calls: both,
			},
			{
				name:  "held by another that does not unmount it",
				world: func(c *cloud) { c.volumes[vol] = held(other, "/dev/sdf", Busy, since) },
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (running), " +
					"attached there since 10:04:11 and is to let it go, but still uses it (busy)",
				hint: "unmount it on i-00000000000000002, or stop that instance, with your own credentials: " +
					"aws ec2 stop-instances --instance-ids i-00000000000000002",
				calls: both,
			},
			{
				name:  "held by another that lets it go and hangs",
				world: func(c *cloud) { c.volumes[vol] = held(other, "/dev/sdf", Detaching, since) },
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (running), " +
					"attached there since 10:04:11 and is letting it go",
				hint: "that takes seconds; if it takes minutes, it hangs: stop that instance, with your own credentials: " +
					"aws ec2 stop-instances --instance-ids i-00000000000000002",
				calls: both,
			},
			{
				name: "held by another to which its attach hangs",
				world: func(c *cloud) {
					c.takes = 24 * time.Hour
					c.volumes[vol] = held(other, "/dev/sdf", Attaching, since.Add(-time.Minute))
				},
				kind: waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (running), " +
					"attached there since 10:03:11 and is still attaching it",
				hint:  "that attach hangs: detach it, with your own credentials: aws ec2 detach-volume --volume-id vol-00000000000000001",
				calls: both,
			},
			{
				name: "held by another that is being stopped",
				world: func(c *cloud) {
					c.volumes[vol] = held(other, "/dev/sdf", Attached, since)
					c.instances[other].State = "stopping"
				},
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (stopping), attached there since 10:04:11",
				hint: "an instance that is stopped keeps its volumes: when it is stopped, detach it, with your own credentials: " +
					"aws ec2 detach-volume --volume-id vol-00000000000000001",
				calls: both,
			},
			{
				name: "held by another that is terminated",
				world: func(c *cloud) {
					c.volumes[vol] = held(other, "/dev/sdf", Attached, since)
					c.instances[other].State = "terminated"
				},
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (terminated), attached there since 10:04:11",
				hint: "nothing has to be done: EC2 detaches it when that instance is terminated; to see whether it did, with your own credentials: " +
					"aws ec2 describe-volumes --volume-ids vol-00000000000000001",
				calls: both,
			},
			{
				name: "held by another that is gone",
				world: func(c *cloud) {
					c.volumes[vol] = held(other, "/dev/sdf", Attached, since)
					delete(c.instances, other)
				},
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (unknown to EC2), attached there since 10:04:11",
				hint:  "see who holds it, with your own credentials: aws ec2 describe-volumes --volume-ids vol-00000000000000001",
				calls: both,
			},
			{
				name: "held by another of which nothing is to be learnt",
				world: func(c *cloud) {
					c.volumes[vol] = held(other, "/dev/sdf", Attached, since)
					c.answers[DescribeInstances] = []error{refusal(DescribeInstances, "UnauthorizedOperation", "no")}
				},
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from i-00000000000000002 (state unknown), attached there since 10:04:11",
				hint:  "see who holds it, with your own credentials: aws ec2 describe-volumes --volume-ids vol-00000000000000001",
				calls: both,
			},
			{
				name: "held by a service of AWS",
				world: func(c *cloud) {
					c.volumes[vol] = held("", "", Attached, since)
					c.volumes[vol].Attachments[0].Service = "fargate.amazonaws.com"
				},
				kind:  waiting,
				words: "volume vol-00000000000000001 to be detached from fargate.amazonaws.com, attached there since 10:04:11",
				hint:  "a service of AWS holds it; it has to be asked to let go", calls: describe,
			},
			{
				name: "attached to this instance and to another",
				world: func(c *cloud) {
					c.volumes[vol] = held(me, "/dev/sdf", Attached, since)
					c.volumes[vol].Attachments = append(c.volumes[vol].Attachments, Attachment{Instance: other, State: Attaching})
				},
				kind: final,
				words: "volume vol-00000000000000001 is attached more than once, which must not be: " +
					"vol-00000000000000001 (in-use in eu-west-1a, held by i-00000000000000001, held by i-00000000000000002)",
				hint: "detach it from all but one, then: bootagent retry", calls: describe,
			},
			{
				name: "made for several instances since it was claimed, and attached here",
				world: func(c *cloud) {
					c.volumes[vol] = held(me, "/dev/sdf", Attached, since)
					c.volumes[vol].MultiAttach = true
				},
				kind:  final,
				words: "volume vol-00000000000000001 has multi-attach enabled: two instances could mount one filesystem, which destroys it",
				hint:  "turn multi-attach off, with your own credentials: aws ec2 modify-volume --volume-id vol-00000000000000001 --no-multi-attach-enabled; then: bootagent retry",
				calls: describe,
			},
			{
				name:  "in another zone",
				world: func(c *cloud) { c.volumes[vol].Zone = "eu-west-1b" },
				kind:  final,
				words: "volume vol-00000000000000001 is in zone eu-west-1b and this instance is in eu-west-1a: a volume can be attached in its own zone only",
				hint:  "start the instance in eu-west-1b, or make a volume in eu-west-1a from a snapshot of this one",
				calls: describe,
			},
			{
				name:  "this instance is not running yet",
				world: func(c *cloud) { c.instances[me].State = "pending" },
				kind:  waiting, words: "EC2 to say of this instance, i-00000000000000001, that it is running (it says pending)",
				calls: both,
			},
			{
				name:  "this instance is not known yet",
				world: func(c *cloud) { c.hidden[me] = true },
				kind:  waiting,
				words: "EC2 to know this instance, i-00000000000000001: " +
					"InvalidInstanceID.NotFound: The instance ID 'i-00000000000000001' does not exist",
				calls: both,
			},
			{
				name: "this instance may not ask about itself",
				world: func(c *cloud) {
					c.answers[DescribeInstances] = []error{refusal(DescribeInstances, "UnauthorizedOperation", "no")}
				},
				kind: final, words: "the instance's IAM role does not allow ec2:DescribeInstances: no",
				hint:  "bootagent iam --role ROLE prints the policy that the IAM role needs; add it, then: bootagent retry",
				calls: both,
			},
			{
				name:  "the instance's own mapping is ahead",
				world: func(c *cloud) { c.instances[me].Devices["/dev/sdg"] = vol },
				kind:  waiting, words: "EC2 to say of volume vol-00000000000000001, too, that this instance has it as /dev/sdg",
				calls: both,
			},
		} {
			c := newCloud()
			test.world(c)
			err := New(c, Instance{ID: me, Zone: zone}).Attach(t.Context(), vol)
			got, hint := kind(err)
			if got != test.kind || hint != test.hint || text(err) != test.words {
				t.Errorf("%s: got  %s: %v\nhint %s\nwant %s: %s\nhint %s", test.name, got, err, hint, test.kind, test.words, test.hint)
			}
			equal(t, test.name, c.took(), test.calls)
		}
	})
}

// What AttachVolume answers: section "Error codes for the Amazon EC2 API" of
// its reference, with the messages that users report.
func TestAttachThatEC2Refuses(t *testing.T) {
	const (
		cannot  = "volume vol-00000000000000001 can't be attached to this instance, i-00000000000000001"
		key     = "EC2 to be able to use the KMS key of volume vol-00000000000000001: "
		arn     = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
		keyHint = "the KMS key has to be enabled, and the instance's IAM role has to be allowed kms:CreateGrant, kms:Decrypt and kms:DescribeKey on it; " +
			"look at it, with your own credentials: aws kms describe-key --key-id " + arn
	)
	for _, test := range []struct {
		code, message     string
		kind, words, hint string
	}{
		{
			"VolumeInUse", "vol-00000000000000001 is already attached to an instance", waiting,
			"EC2 to say who holds volume vol-00000000000000001: " +
				"VolumeInUse: vol-00000000000000001 is already attached to an instance", "",
		},
		{
			"IncorrectState", "vol-00000000000000001 is not 'available'.", waiting,
			"volume vol-00000000000000001 to be available: " +
				"IncorrectState: vol-00000000000000001 is not 'available'.", "",
		},
		{
			"IncorrectState", "Instance 'i-00000000000000001' is not 'running'.", waiting,
			"EC2 to say of this instance, i-00000000000000001, that it is running: " +
				"IncorrectState: Instance 'i-00000000000000001' is not 'running'.", "",
		},
		{
			"InvalidParameterValue", "Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use", waiting,
			"another device name for volume vol-00000000000000001 than /dev/sdf, which is in use: " +
				"InvalidParameterValue: Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use", "",
		},
		{
			"InvalidParameterValue", "Value (/dev/sdf) for parameter device is invalid. /dev/sdf is not a valid EBS device name.", final,
			cannot + ", as /dev/sdf: Value (/dev/sdf) for parameter device is invalid. /dev/sdf is not a valid EBS device name.", "",
		},
		{
			"InvalidVolume.ZoneMismatch", "The volume 'vol-00000000000000001' is not in the same availability zone as instance 'i-00000000000000001'", final,
			cannot + ": InvalidVolume.ZoneMismatch: The volume 'vol-00000000000000001' is not in the same availability zone as instance 'i-00000000000000001'",
			"see which zone the volume is in, with your own credentials: aws ec2 describe-volumes --volume-ids vol-00000000000000001",
		},
		{
			"InvalidVolume.NotFound", "The volume 'vol-00000000000000001' does not exist.", waiting,
			"EC2 to know volume vol-00000000000000001: " +
				"InvalidVolume.NotFound: The volume 'vol-00000000000000001' does not exist.", "",
		},
		{
			"InvalidInstanceID.NotFound", "The instance ID 'i-00000000000000001' does not exist", waiting,
			"EC2 to know this instance, i-00000000000000001: " +
				"InvalidInstanceID.NotFound: The instance ID 'i-00000000000000001' does not exist", "",
		},
		{
			"AttachmentLimitExceeded", "Instance has reached its limit of 27 attachments", final,
			cannot + ": it has as many attachments as its type, m7g.large, allows, with 1 volumes: Instance has reached its limit of 27 attachments",
			"detach what it does not need, or take a larger instance type, then: bootagent retry",
		},
		{
			"IncorrectInstanceState", "A Marketplace volume can only be attached to a stopped instance", final,
			cannot + ": A Marketplace volume can only be attached to a stopped instance",
			"a volume with a Marketplace product code can be attached to a stopped instance only: copy its data to one without",
		},
		{
			"UnsupportedOperation", "The instance type does not support encrypted volumes", final,
			cannot + ": UnsupportedOperation: The instance type does not support encrypted volumes",
			"the instance type and the volume do not fit, as EC2 says: change one of them",
		},
		{
			"OperationNotPermitted", "managed by another", final,
			cannot + ": OperationNotPermitted: managed by another",
			"see whether a service of AWS manages the volume, with your own credentials: aws ec2 describe-volumes --volume-ids vol-00000000000000001" +
				"; what it manages nobody else may attach: take another volume",
		},
		{
			"UnauthorizedOperation", "You are not authorized to perform this operation.", final,
			"the instance's IAM role does not allow ec2:AttachVolume: You are not authorized to perform this operation.",
			"bootagent iam --role ROLE prints the policy that the IAM role needs; add it, then: bootagent retry",
		},
		{
			"RequestLimitExceeded", "Request limit exceeded.", waiting,
			"EC2 to answer ec2:AttachVolume: RequestLimitExceeded: Request limit exceeded.",
			"look in CloudTrail who in the account calls EC2 so often; the agent tries again",
		},
		{"CustomerKeyHasBeenRevoked", "The encrypted volume was unable to access the KMS key", waiting, key + "CustomerKeyHasBeenRevoked: The encrypted volume was unable to access the KMS key", keyHint},
		{"InvalidKMSKey.InvalidState", "The KMS key provided is in an incorrect state", waiting, key + "InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state", keyHint},
		{"InvalidKMSKey.NotFound", "no such key", waiting, key + "InvalidKMSKey.NotFound: no such key", keyHint},
		{"KmsKeyNotAccessible", "no", waiting, key + "KmsKeyNotAccessible: no", keyHint},
		{
			"Blocked", "Your account is blocked", retried, "ec2:AttachVolume: Blocked: Your account is blocked",
			"AWS has blocked the account, or has not verified it yet: see the mail to its owner; the agent tries again",
		},
	} {
		t.Run(test.code, func(t *testing.T) {
			c := newCloud()
			c.volumes[vol].Encrypted, c.volumes[vol].Key = true, arn
			c.answers[AttachVolume] = []error{refusal(AttachVolume, test.code, "%s", test.message)}
			err := New(c, Instance{ID: me, Zone: zone}).Attach(t.Context(), vol)
			expect(t, err, test.kind, test.words, test.hint)
			equal(t, "calls", c.took(), []string{DescribeVolumes, DescribeInstances, AttachVolume + " /dev/sdf"})
		})
	}
}

func TestAnAttachThatFailedAndYetSucceededIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		v := New(c, Instance{ID: me, Zone: zone})
		c.answers[AttachVolume] = []error{&diagnose.Error{Action: AttachVolume, Status: 500, Code: "InternalError", Message: "An internal error has occurred"}}
		c.late[AttachVolume] = true
		err := v.Attach(t.Context(), vol)
		expect(t, err, waiting,
			"EC2 to answer ec2:AttachVolume: InternalError: An internal error has occurred", "")
		time.Sleep(c.takes)
		err = v.Attach(t.Context(), vol)
		ok(t, err)
		equal(t, "calls", c.took(), []string{DescribeVolumes, DescribeInstances, AttachVolume + " /dev/sdf", DescribeVolumes})
	})
}

func TestAnAttachThatFailedIsAskedForAgainByTheSameName(t *testing.T) {
	c := newCloud()
	v := New(c, Instance{ID: me, Zone: zone})
	c.answers[AttachVolume] = []error{&diagnose.Error{Action: AttachVolume, Status: 500, Code: "InternalError", Message: "An internal error has occurred"}}
	for range 2 {
		err := v.Attach(t.Context(), vol)
		if got, _ := kind(err); got != waiting {
			t.Fatal(err)
		}
	}
	equal(t, "attaches", attaches(c), []string{"/dev/sdf", "/dev/sdf"})
}

// attaches returns the device names that were asked for.
func attaches(c *cloud) (devices []string) {
	for _, call := range c.took() {
		if device, ok := strings.CutPrefix(call, AttachVolume+" "); ok {
			devices = append(devices, device)
		}
	}
	return devices
}

func TestNamesThatAreInUseAreNotAskedFor(t *testing.T) {
	c := newCloud()
	for _, device := range []string{"/dev/sdf", "/dev/xvdg", "xvdh", "sdi1"} { // in all the ways they are written
		c.instances[me].Devices[device] = "vol-1"
	}
	c.baked["/dev/sdj"] = true
	v := New(c, Instance{ID: me, Zone: zone})
	for range 2 {
		err := v.Attach(t.Context(), vol)
		if got, _ := kind(err); got != waiting {
			t.Fatal(err)
		}
	}
	equal(t, "attaches", attaches(c), []string{"/dev/sdj", "/dev/sdk"})
}

func TestVolumesThatAttachSideBySideHaveNamesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.add(&Volume{ID: vol2, Zone: zone, State: Available})
		v := New(c, Instance{ID: me, Zone: zone})
		// The first call has no answer, so its name may be in use.
		c.answers[AttachVolume] = []error{&diagnose.Error{Action: AttachVolume, Err: errors.New("EC2 did not answer within 10s")}}
		for _, id := range []name.VolumeID{vol, vol2, vol} {
			err := v.Attach(t.Context(), id)
			if got, _ := kind(err); got != waiting {
				t.Fatal(err)
			}
		}
		equal(t, "attaches", attaches(c), []string{"/dev/sdf", "/dev/sdg", "/dev/sdf"})
	})
}

func TestVolumesThatAttachAtTheSameTimeHaveNamesOfTheirOwn(t *testing.T) {
	c := newCloud()
	v := New(c, Instance{ID: me, Zone: zone})
	var ids []name.VolumeID
	for i := range 8 {
		ids = append(ids, name.VolumeID(fmt.Sprintf("vol-%d", i)))
		c.add(&Volume{ID: ids[i], Zone: zone, State: Available})
	}
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() { v.Attach(t.Context(), id) })
	}
	all.Wait()
	asked := attaches(c)
	slices.Sort(asked)
	equal(t, "attaches", asked, deviceNames()[:8])
}

// EC2 accepts an attach whose key it then can't use.
func TestAnAttachThatEC2GivesUpIsAskedForAgainAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.volumes[vol].Encrypted = true
		v := New(c, Instance{ID: me, Zone: zone})
		err := v.Attach(t.Context(), vol)
		c.release(vol)
		const words = "volume vol-00000000000000001 to be attached as /dev/sdf, asked for at 00:00:00"
		expect(t, err, waiting, words, "")

		// What EC2 says may be older than what it did.
		time.Sleep(settle - time.Second)
		err = v.Attach(t.Context(), vol)
		expect(t, err, waiting, words, "")
		time.Sleep(time.Second)
		err = v.Attach(t.Context(), vol)
		const again = "volume vol-00000000000000001 to be attached as /dev/sdg, asked for at 00:00:15, " +
			"after the attach asked for at 00:00:00 came to nothing"
		const key = "the volume is encrypted: the KMS key has to be enabled, and the instance's IAM role has to be allowed kms:CreateGrant, kms:Decrypt and kms:DescribeKey on it"
		expect(t, err, waiting, again, key)
		equal(t, "attaches", attaches(c), []string{"/dev/sdf", "/dev/sdg"})

		time.Sleep(time.Second)
		err = v.Attach(t.Context(), vol)
		expect(t, err, waiting, again, key)
		c.release(vol) // it was seen, so there is nothing to wait for
		err = v.Attach(t.Context(), vol)
		expect(t, err, waiting, "volume vol-00000000000000001 to be attached as /dev/sdh, asked for at 00:00:16, "+
			"after the attach asked for at 00:00:15 came to nothing", key)
	})
}

func TestWhenNoNameIsLeftThatIsFinal(t *testing.T) {
	c := newCloud()
	for _, device := range deviceNames() {
		c.instances[me].Devices[device] = "vol-1"
	}
	err := New(c, Instance{ID: me, Zone: zone}).Attach(t.Context(), vol)
	expect(t, err, final,
		"no device name is left for volume vol-00000000000000001 on this instance, i-00000000000000001: all are in use, or were in an attach that hung",
		"detach what the instance does not need, or stop and start it, which frees the names")
	equal(t, "calls", c.took(), []string{DescribeVolumes, DescribeInstances})
}

func TestANameThatServedIsTheLastToServeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		v := New(c, Instance{ID: me, Zone: zone})
		for range len(deviceNames()) + 2 {
			err := v.Attach(t.Context(), vol)
			if got, _ := kind(err); got != waiting {
				t.Fatal(err)
			}
			time.Sleep(c.takes)
			err = v.Attach(t.Context(), vol)
			ok(t, err)
			c.release(vol)
		}
		asked := attaches(c)
		want := append(deviceNames(), "/dev/sdf", "/dev/sdg")
		equal(t, "attaches", asked, want)
		if len(asked) != 11+26+26+2 {
			t.Errorf("%d names", len(asked))
		}
	})
}

func TestThatAVolumeGoesWithTheInstanceIsKnownOnceItIsAttached(t *testing.T) {
	c := newCloud()
	c.volumes[vol] = held(me, "/dev/sdg", Attached, time.Now())
	at := &c.volumes[vol].Attachments[0]
	v := New(c, Instance{ID: me, Zone: zone})
	for _, doomed := range []bool{false, true, false} {
		at.DeleteOnTermination = doomed
		if err := v.Attach(t.Context(), vol); err != nil {
			t.Fatal(err)
		}
		want := ""
		if doomed {
			want = "EC2 deletes volume vol-00000000000000001 when this instance is terminated (DeleteOnTermination); to keep it: with your own credentials: " +
				"aws ec2 modify-instance-attribute --instance-id i-00000000000000001 " +
				`--block-device-mappings '[{"DeviceName":"/dev/sdg","Ebs":{"DeleteOnTermination":false}}]'`
		}
		if got := v.DeletedWithInstance(vol); got != want {
			t.Errorf("it says\n%q, not\n%q", got, want)
		}
	}
}

func TestAVolumeIsTakenOverWhenItsHolderLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.volumes[vol] = held(other, "/dev/sdf", Attached, time.Now())
		v := New(c, Instance{ID: me, Zone: zone})
		for range 3 {
			err := v.Attach(t.Context(), vol)
			if got, _ := kind(err); got != waiting {
				t.Fatal(err)
			}
		}
		equal(t, "attaches", attaches(c), nil)
		c.release(vol)
		err := v.Attach(t.Context(), vol)
		if got, _ := kind(err); got != waiting {
			t.Fatal(err)
		}
		time.Sleep(c.takes)
		err = v.Attach(t.Context(), vol)
		ok(t, err)
		equal(t, "attaches", attaches(c), []string{"/dev/sdf"})
	})
}

// What EC2 says of times is compared with what EC2 says is the time: the clock
// of this machine may be wrong, and be set while the agent waits.
func TestAnAttachIsStuckByEC2sClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			name        string
			asked, asOf time.Duration // from now on
			stuck       bool
		}{
			{"a clock that is a day ahead", -24 * time.Hour, -24*time.Hour + time.Second, false},
			{"a clock that is a day behind", 24 * time.Hour, 24*time.Hour + 91*time.Second, true},
			{"a clock that is right", -time.Second, 0, false},
			{"and later", -91 * time.Second, 0, true},
		} {
			c := newCloud()
			c.takes = time.Hour * 1000
			c.volumes[vol] = held(me, "/dev/sdf", Attaching, time.Now().Add(test.asked))
			c.volumes[vol].AsOf = time.Now().Add(test.asOf)
			err := New(c, Instance{ID: me, Zone: zone}).Attach(t.Context(), vol)
			if got, _ := kind(err); got != waiting || slices.Contains(c.took(), takenBack) != test.stuck {
				t.Errorf("%s: %s: %v", test.name, got, err)
			}
		}
	})
}

// A fleet that waits asks of each volume, and of its holder once.
func TestAHolderIsAskedAboutOnlyWhenItHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const third = "i-00000000000000003"
		c := newCloud()
		c.volumes[vol] = held(other, "/dev/sdf", Attached, time.Now())
		c.instances[third] = &Instance{ID: third, State: "stopped", Devices: map[string]name.VolumeID{}}
		v := New(c, Instance{ID: me, Zone: zone})
		asks := func(rounds int, words string) (asked int) {
			t.Helper()
			for range rounds {
				err := v.Attach(t.Context(), vol)
				if got, _ := kind(err); got != waiting || !strings.Contains(err.Error(), words) {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
			}
			for _, call := range c.took() {
				if call == DescribeInstances {
					asked++
				}
			}
			return asked
		}
		for _, step := range []struct {
			what   string
			change func()
			words  string
			want   int
		}{
			{"at first", func() {}, other + " (running)", 1},
			{"while nothing changes", func() {}, other + " (running)", 0},
			{"when it is let go", func() { c.volumes[vol].Attachments[0].State = Detaching }, other + " (running)", 1},
			{"when another has it", func() { c.volumes[vol] = held(third, "/dev/sdf", Attached, time.Now()) }, third + " (stopped)", 1},
			{"when EC2 is in trouble", func() {
				c.volumes[vol] = held(other, "/dev/sdg", Attached, time.Now())
				c.answers[DescribeInstances] = []error{refusal(DescribeInstances, "RequestLimitExceeded", "no")}
			}, other, 2},
			{"when that may be old", func() { time.Sleep(holderAgain) }, other + " (running)", 1},
		} {
			step.change()
			if got := asks(20, step.words); got != step.want {
				t.Errorf("%s it asked %d times, want %d", step.what, got, step.want)
			}
		}
	})
}

// What the agent knows stands in the commands that it gives to a person.
func TestCommandsInHintsAreComplete(t *testing.T) {
	self := Instance{ID: me, Zone: zone, Region: "eu-west-1", Role: "mysql"}
	ask := func(change func(*cloud)) string {
		c := newCloud()
		change(c)
		err := New(c, self).Attach(t.Context(), vol)
		_, hint := kind(err)
		return hint
	}
	for _, test := range []struct {
		change func(*cloud)
		want   string
	}{
		{
			func(c *cloud) { c.volumes[vol] = held(other, "/dev/sdf", Attached, time.Now()) },
			"with your own credentials: aws ec2 detach-volume --region eu-west-1 --volume-id vol-00000000000000001",
		},
		{
			func(c *cloud) { c.volumes[vol].MultiAttach = true },
			"aws ec2 modify-volume --region eu-west-1 --volume-id vol-00000000000000001 --no-multi-attach-enabled; then",
		},
		{
			func(c *cloud) {
				c.answers[AttachVolume] = []error{refusal(AttachVolume, "UnauthorizedOperation", "no")}
			},
			"bootagent iam --role mysql prints the policy",
		},
		{
			func(c *cloud) {
				c.answers[AttachVolume] = []error{&diagnose.Error{Action: AttachVolume, Status: 403, Code: "UnauthorizedOperation", Encoded: "abc"}}
			},
			"journalctl --unit bootagent.service --grep decode-authorization-message",
		},
	} {
		if got := ask(test.change); !strings.Contains(got, test.want) || strings.Contains(got, "force") {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}
