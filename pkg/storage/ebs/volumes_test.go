package ebs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

var orders = host.Find{Tags: map[string]string{"cluster": "orders"}}

// add adds volumes of cluster orders.
func (c *cloud) add(volumes ...*Volume) {
	for _, v := range volumes {
		tags := map[string]string{"cluster": "orders"}
		for key, value := range v.Tags {
			tags[key] = value
		}
		v.Tags = tags
		c.volumes[v.ID] = v
	}
}

func TestFind(t *testing.T) {
	const none1a = "tag the volume, or make one with these tags in zone eu-west-1a; the agent goes on as soon as it is there"
	for _, test := range []struct {
		name              string
		want              host.Find
		world             func(*cloud)
		id                name.VolumeID
		kind, words, hint string
	}{
		{name: "the one with the tags", want: orders, id: vol},
		{name: "the one with the id", want: host.Find{ID: vol}, id: vol},
		{
			name: "the one in another zone, held by another", want: orders, id: vol,
			world: func(c *cloud) {
				c.volumes[vol].Zone = "eu-west-1b"
				c.volumes[vol].Attachments = []Attachment{{Instance: other}}
			},
		},
		{
			name: "one that failed", want: orders, id: vol,
			world: func(c *cloud) { c.volumes[vol].State = Failed },
		},
		{
			name: "all tags have to fit", want: host.Find{Tags: map[string]string{"cluster": "orders", "part": "log"}},
			kind: waiting, words: "a volume with the tags cluster=orders, part=log", hint: none1a,
		},
		{
			name: "an empty tag is there, and empty", want: host.Find{Tags: map[string]string{"cluster": "orders", "part": ""}},
			kind: waiting, words: `a volume with the tags cluster=orders, part=""`, hint: none1a,
		},
		{
			name: "none", want: host.Find{Tags: map[string]string{"cluster": "billing"}},
			kind: waiting, words: "a volume with the tags cluster=billing", hint: none1a,
		},
		{
			name: "what fits a wildcard is not what was asked for", want: host.Find{Tags: map[string]string{"cluster": "*"}},
			kind: waiting, words: "a volume with the tags cluster=*", hint: none1a,
		},
		{
			name: "neither id nor tags, which would be any volume", want: host.Find{},
			kind: final, words: "the volume has neither an id nor tags to be found by", hint: "give it an id or tags in the role file",
		},
		{
			name: "the deleted ones do not count", want: orders, id: vol,
			world: func(c *cloud) { c.add(&Volume{ID: vol2, State: Deleting}, &Volume{ID: vol3, State: Deleted}) },
		},
		{
			name: "only one that is being deleted", want: orders,
			world: func(c *cloud) { c.volumes[vol].State = Deleting },
			kind:  waiting, words: "a volume with the tags cluster=orders (there is vol-00000000000000001 (deleting in eu-west-1a))",
			hint: "make a volume with these tags in zone eu-west-1a",
		},
		{
			name: "a copy does not count", want: orders, id: vol,
			world: func(c *cloud) { c.add(&Volume{ID: vol2, Tags: map[string]string{TagSelf: vol}}) },
		},
		{
			name: "a copy alone", want: orders,
			world: func(c *cloud) { c.volumes[vol].Tags[TagSelf] = vol3 },
			kind:  final,
			words: "volume vol-00000000000000001 is a copy of volume vol-00000000000000003: its tag bootagent:volume says so",
			hint:  "if it is to be a volume of its own, take the tag off, with your own credentials: aws ec2 delete-tags --resources vol-00000000000000001 --tags Key=bootagent:volume",
		},
		{
			name: "two", want: orders,
			world: func(c *cloud) {
				c.add(&Volume{ID: vol2, State: InUse, Zone: "eu-west-1b", Attachments: []Attachment{{Instance: other}}})
			},
			kind: retried,
			words: "2 volumes have the tags cluster=orders, and one is meant: " +
				"vol-00000000000000001 (available in eu-west-1a), vol-00000000000000002 (in-use in eu-west-1b, held by i-00000000000000002)",
			hint: "take the tags off those that are not meant, or name the id of the one below volumes in the user-data",
		},
		{
			name: "an id that EC2 does not know", want: host.Find{ID: vol3},
			kind: waiting,
			words: "EC2 to know volume vol-00000000000000003: " +
				"InvalidVolume.NotFound: The volume 'vol-00000000000000003' does not exist.",
			hint: "check the id, and that the volume is of this account and region",
		},
		{
			name: "an id that is none", want: host.Find{ID: "vol-x"},
			world: func(c *cloud) {
				c.answers[DescribeVolumes] = []error{refusal(DescribeVolumes, "InvalidParameterValue", "Value (vol-x) for parameter volumes is invalid.")}
			},
			kind: final, words: `"vol-x" is not a volume ID, as EC2 says`, hint: "correct the id, then: bootagent retry",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCloud()
			if test.world != nil {
				test.world(c)
			}
			got, err := New(c, Instance{ID: me, Zone: zone}).FindVolume(t.Context(), test.want)
			expect(t, err, test.kind, test.words, test.hint)
			if got != test.id {
				t.Errorf("got %q, want %q", got, test.id)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	for _, test := range []struct {
		name              string
		change            func(*Volume)
		kind, words, hint string
		calls             []string
	}{
		{name: "a free volume", change: func(*Volume) {}, calls: []string{DescribeVolumes, CreateTags}},
		{name: "a claimed volume", change: func(v *Volume) { v.Tags[TagSelf] = vol }},
		{
			name: "one in another zone", change: func(v *Volume) { v.Zone = "eu-west-1b" },
			kind:  final,
			words: "volume vol-00000000000000001 is in zone eu-west-1b and this instance is in eu-west-1a: a volume can be attached in its own zone only",
			hint:  "start the instance in eu-west-1b, or make a volume in eu-west-1a from a snapshot of this one",
		},
		{
			name: "one for several instances", change: func(v *Volume) { v.MultiAttach = true },
			kind:  final,
			words: "volume vol-00000000000000001 has multi-attach enabled: two instances could mount one filesystem, which destroys it",
			hint:  "turn multi-attach off, with your own credentials: aws ec2 modify-volume --volume-id vol-00000000000000001 --no-multi-attach-enabled; then: bootagent retry",
		},
		{
			name: "one that failed", change: func(v *Volume) { v.State = Failed },
			kind:  final,
			words: "volume vol-00000000000000001 is in state error: EC2 says that its hardware failed",
			hint:  "restore it from a snapshot, and take the tags off this one",
		},
		{
			name: "one that is being deleted", change: func(v *Volume) { v.State = Deleting },
			kind: final, words: "volume vol-00000000000000001 is deleting",
		},
		{
			name: "one that is deleted", change: func(v *Volume) { v.State = Deleted },
			kind: final, words: "volume vol-00000000000000001 is deleted",
		},
		{
			name: "a copy", change: func(v *Volume) { v.Tags[TagSelf] = vol2 },
			kind:  final,
			words: "volume vol-00000000000000001 is a copy of volume vol-00000000000000002: its tag bootagent:volume says so",
			hint:  "if it is to be a volume of its own, take the tag off, with your own credentials: aws ec2 delete-tags --resources vol-00000000000000001 --tags Key=bootagent:volume",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCloud()
			test.change(c.volumes[vol])
			err := New(c, Instance{ID: me, Zone: zone}).Claim(t.Context(), vol)
			expect(t, err, test.kind, test.words, test.hint)
			if test.calls == nil {
				test.calls = []string{DescribeVolumes}
			}
			equal(t, "calls", c.took(), test.calls)
			if test.kind == none && c.volumes[vol].Tags[TagSelf] != vol {
				t.Errorf("tags: %v", c.volumes[vol].Tags)
			}
		})
	}
}

// What can go wrong with any call.
func TestWhatEC2Answers(t *testing.T) {
	unavailable := &diagnose.Error{Action: DescribeVolumes, Status: 503, Code: "Unavailable", Message: "The server is overloaded"}
	for _, test := range []struct {
		name              string
		answer            error
		kind, words, hint string
	}{
		{
			"no answer", &diagnose.Error{Action: DescribeVolumes, Err: errors.New("dial tcp 10.0.0.1:443: i/o timeout")},
			waiting, "EC2 to answer ec2:DescribeVolumes: no answer: dial tcp 10.0.0.1:443: i/o timeout",
			"check the network from this instance to EC2: DNS, route, VPC endpoint or NAT gateway, security group, network ACL",
		},
		{
			"a fault of EC2", unavailable,
			waiting, "EC2 to answer ec2:DescribeVolumes: Unavailable: The server is overloaded", "",
		},
		{
			"throttled", refusal(DescribeVolumes, "RequestLimitExceeded", "Request limit exceeded."),
			waiting, "EC2 to answer ec2:DescribeVolumes: RequestLimitExceeded: Request limit exceeded.",
			"look in CloudTrail who in the account calls EC2 so often; the agent tries again",
		},
		{
			"not EC2", &diagnose.Error{Action: DescribeVolumes, Status: 407, Err: errors.New("not XML")},
			waiting, "EC2 to answer ec2:DescribeVolumes: HTTP status 407: not XML",
			"something else than EC2 answered: check the endpoint in agent.yaml and the proxies on the way",
		},
		{
			"not allowed", refusal(DescribeVolumes, "UnauthorizedOperation", "You are not authorized to perform this operation."),
			final, "the instance's IAM role does not allow ec2:DescribeVolumes: You are not authorized to perform this operation.",
			"bootagent iam --role ROLE prints the policy that the IAM role needs; add it, then: bootagent retry",
		},
		{
			"not who it says", refusal(DescribeVolumes, "AuthFailure", "AWS was not able to validate the provided access credentials"),
			retried, "ec2:DescribeVolumes: AuthFailure: AWS was not able to validate the provided access credentials",
			"check that the clock is right and that the instance's IAM role was not deleted",
		},
		{
			"signed too long ago, or with what has expired", refusal(DescribeVolumes, "RequestExpired", "Request has expired."),
			retried, "ec2:DescribeVolumes: RequestExpired: Request has expired.",
			"check the clock of this machine with timedatectl (EC2's time source is 169.254.169.123); if it is right, " +
				"the credentials of the instance's IAM role have expired; the agent tries again",
		},
		{
			"what nobody has thought of", refusal(DescribeVolumes, "OptInRequired", "You are not subscribed"),
			retried, "ec2:DescribeVolumes: OptInRequired: You are not subscribed", "",
		},
		{"no credentials", fmt.Errorf("cannot call ec2:DescribeVolumes: %w", errRole), retried, "cannot call ec2:DescribeVolumes: no role", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for what, ask := range map[string]func(context.Context, *Volumes) error{
				"find by tags": func(ctx context.Context, v *Volumes) error { _, err := v.FindVolume(ctx, orders); return err },
				"find by id": func(ctx context.Context, v *Volumes) error {
					_, err := v.FindVolume(ctx, host.Find{ID: vol})
					return err
				},
				"attach": func(ctx context.Context, v *Volumes) error { err := v.Attach(ctx, vol); return err },
				"claim":  func(ctx context.Context, v *Volumes) error { return v.Claim(ctx, vol) },
				"origin": func(ctx context.Context, v *Volumes) error { _, err := v.Origin(ctx, vol); return err },
				"intent": func(ctx context.Context, v *Volumes) error { _, err := v.Intent(ctx, vol); return err },
				"tags":   func(ctx context.Context, v *Volumes) error { _, err := v.Tags(ctx, vol); return err },
			} {
				t.Run(what, func(t *testing.T) {
					c := newCloud()
					c.answers[DescribeVolumes] = []error{test.answer}
					err := ask(t.Context(), New(c, Instance{ID: me, Zone: zone}))
					expect(t, err, test.kind, test.words, test.hint)
					if test.kind == retried && !errors.Is(err, test.answer) {
						t.Errorf("%v does not wrap its cause", err)
					}
					if pending := (*fault.Pending)(nil); errors.As(err, &pending) && !pending.Unanswered {
						t.Errorf("%v: EC2 is not said to have left the question unanswered", err)
					}
					equal(t, "calls", c.took(), []string{DescribeVolumes})
				})
			}
		})
	}
}

var errRole = errors.New("no role")

func TestATagThatIsNotSet(t *testing.T) {
	for _, test := range []struct {
		code              string
		kind, words, hint string
	}{
		{
			"UnauthorizedOperation", final, "the instance's IAM role does not allow ec2:CreateTags: no",
			"bootagent iam --role ROLE prints the policy that the IAM role needs; add it, then: bootagent retry",
		},
		{
			"InvalidVolume.NotFound", waiting,
			"EC2 to know volume vol-00000000000000001: InvalidVolume.NotFound: no", "",
		},
		{
			"TagLimitExceeded", final,
			"volume vol-00000000000000001 can't be tagged bootagent:filesystem: it has as many tags as EC2 allows",
			"take a tag off that nobody needs, then: bootagent retry",
		},
		{
			"RequestLimitExceeded", waiting, "EC2 to answer ec2:CreateTags: RequestLimitExceeded: no",
			"look in CloudTrail who in the account calls EC2 so often; the agent tries again",
		},
	} {
		t.Run(test.code, func(t *testing.T) {
			c := newCloud()
			c.answers[CreateTags] = []error{refusal(CreateTags, test.code, "no")}
			err := New(c, Instance{ID: me, Zone: zone}).Intend(t.Context(), vol, host.Intent{UUID: uuid})
			expect(t, err, test.kind, test.words, test.hint)
			equal(t, "calls", c.took(), []string{CreateTags})
		})
	}
}

const uuid = "0f0b9c3e-7d1f-4b64-8f4e-5b8a3f1b2c3d"

func TestTheOriginOfAVolumeIsWhatEC2KnowsOfIt(t *testing.T) {
	for _, test := range []struct {
		snapshot string
		source   name.VolumeID
		from     string
	}{
		{"", "", ""},
		{"snap-1", "", "snapshot snap-1"},
		{"", vol2, "volume " + vol2},
		{"snap-1", vol2, "snapshot snap-1"},
	} {
		c := newCloud()
		c.volumes[vol].Snapshot, c.volumes[vol].Source = test.snapshot, test.source
		want := host.Origin{From: test.from, Size: 8 << 30}
		if got, err := New(c, Instance{ID: me, Zone: zone}).Origin(t.Context(), vol); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestAnIntentIsWhatTheTagSays(t *testing.T) {
	c := newCloud()
	v := New(c, Instance{ID: me, Zone: zone})
	for tag, want := range map[string]host.Intent{"": {}, "making " + uuid: {UUID: uuid}, "made " + uuid: {UUID: uuid, Made: true}} {
		if want != (host.Intent{}) {
			ok(t, v.Intend(t.Context(), vol, want))
		} else {
			delete(c.volumes[vol].Tags, TagFilesystem)
		}
		if got := c.volumes[vol].Tags[TagFilesystem]; got != tag {
			t.Errorf("the tag is %q, want %q", got, tag)
		}
		if got, err := v.Intent(t.Context(), vol); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestATagOfAFilesystemThatIsNotUnderstoodIsNotNone(t *testing.T) {
	for _, tag := range []string{
		"", "made", "made ", "making", "formatted " + uuid, uuid, "made " + uuid + " ", " made " + uuid, "made  " + uuid,
		"made " + strings.ToUpper(uuid), "made " + uuid[1:], "making " + strings.ReplaceAll(uuid, "-", "0"), "made " + strings.ReplaceAll(uuid, "4", "-"),
	} {
		c := newCloud()
		c.volumes[vol].Tags[TagFilesystem] = tag
		_, err := New(c, Instance{ID: me, Zone: zone}).Intent(t.Context(), vol)
		expect(t, err, final,
			fmt.Sprintf(`the tag bootagent:filesystem of volume vol-00000000000000001 has to be "making UUID" or "made UUID", not %q`, tag),
			"look what is on the volume, and set the tag right, then: bootagent retry")
	}
}

func TestACallOfAContextThatEndedSaysWhy(t *testing.T) {
	why := errors.New("the deadline of the volume")
	ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now(), why)
	defer cancel()
	c := newCloud()
	v := New(c, Instance{ID: me, Zone: zone})
	_, find := v.FindVolume(ctx, orders)
	attach := v.Attach(ctx, vol)
	c.volumes[vol] = held(other, "/dev/sdf", Attached, time.Now())
	for what, err := range map[string]error{
		"find": find, "attach": attach, "claim": v.Claim(ctx, vol),
		"holder": v.heldBy(ctx, *c.volumes[vol], c.volumes[vol].Attachments[0]),
	} {
		if !errors.Is(err, why) {
			t.Errorf("%s: got %v", what, err)
		}
		if got, _ := kind(err); got != retried {
			t.Errorf("%s: %s", what, got)
		}
	}
}
