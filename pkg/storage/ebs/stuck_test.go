package ebs

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/aws/diagnose"
)

// takenBack is the call by which an attach as the first name is taken back.
const takenBack = DetachVolume + " " + me + " /dev/sdf"

const stopMe = "with your own credentials: aws ec2 stop-instances --instance-ids i-00000000000000001"

func TestAnAttachThatHangsIsTakenBackAndTriedByTheNextName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.takes = 24 * time.Hour
		v := New(c, Instance{ID: me, Zone: zone})
		err := v.Attach(t.Context(), vol)
		const words = "volume vol-00000000000000001 to be attached as /dev/sdf, asked for at 00:00:00"
		expect(t, err, waiting, words, "")
		time.Sleep(90 * time.Second)
		expect(t, v.Attach(t.Context(), vol), waiting, words, "")
		equal(t, "calls", c.took(), []string{DescribeVolumes, DescribeInstances, AttachVolume + " /dev/sdf", DescribeVolumes})

		time.Sleep(time.Second)
		const free = "volume vol-00000000000000001 to be detached from this instance, since its attach as /dev/sdf hung, and then attached by another device name"
		expect(t, v.Attach(t.Context(), vol), waiting, free, "")
		time.Sleep(time.Second)
		expect(t, v.Attach(t.Context(), vol), waiting, free, "")
		equal(t, "calls", c.took(), []string{DescribeVolumes, takenBack, DescribeVolumes})

		time.Sleep(time.Second)
		c.takes = 2 * time.Second
		expect(t, v.Attach(t.Context(), vol), waiting, "volume vol-00000000000000001 to be attached as /dev/sdg, asked for at 00:01:33, "+
			"after the attach asked for at 00:00:00 came to nothing", "")
		time.Sleep(c.takes)
		ok(t, v.Attach(t.Context(), vol))
	})
}

// Two names that hang are no accident: a third one would hang, too.
func TestASecondAttachThatHangsIsLeftToAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.takes = 24 * time.Hour
		v := New(c, Instance{ID: me, Zone: zone})
		var err error
		for range 60 {
			err = v.Attach(t.Context(), vol)
			time.Sleep(10 * time.Second)
		}
		expect(t, err, waiting, "volume vol-00000000000000001 to be attached as /dev/sdg, asked for at 00:01:50, after the attach asked for at 00:00:00 came to nothing",
			"two device names hang: stop this instance and start it again, which frees them, "+stopMe)
		calls := slices.DeleteFunc(c.took(), func(call string) bool { return strings.HasPrefix(call, "ec2:Describe") })
		equal(t, "changes", calls, []string{AttachVolume + " /dev/sdf", takenBack, AttachVolume + " /dev/sdg"})
	})
}

func TestADetachThatHangsIsLeftToAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.takes, c.clings = 24*time.Hour, true
		v := New(c, Instance{ID: me, Zone: zone})
		var err error
		for range 30 {
			err = v.Attach(t.Context(), vol)
			time.Sleep(10 * time.Second)
		}
		expect(t, err, waiting, "volume vol-00000000000000001 to be detached from this instance, since its attach as /dev/sdf hung, and then attached by another device name",
			"the detach hangs as well: stop this instance and start it again, which ends it, "+stopMe)
		calls := slices.DeleteFunc(c.took(), func(call string) bool { return strings.HasPrefix(call, "ec2:Describe") })
		equal(t, "changes", calls, []string{AttachVolume + " /dev/sdf", takenBack})
	})
}

func TestOnlyWhatHangsOnThisInstanceIsDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		since := time.Now()
		time.Sleep(time.Hour)
		for _, vol := range []*Volume{
			held(me, "/dev/sdf", Attached, since), held(me, "/dev/sdf", Detaching, since), held(me, "/dev/sdf", Busy, since),
			held(me, "/dev/sdf", Attaching, time.Now()), held(me, "/dev/sdf", Attaching, time.Time{}),
			held(other, "/dev/sdf", Attaching, since), held(other, "/dev/sdf", Attached, since),
			held(other, "/dev/sdf", Detaching, since), held(other, "/dev/sdf", Busy, since), held("", "/dev/sdf", Attaching, since),
		} {
			c := newCloud()
			c.takes = 24 * time.Hour
			c.volumes[vol.ID] = vol
			_ = New(c, Instance{ID: me, Zone: zone}).Attach(t.Context(), vol.ID)
			for _, call := range c.took() {
				if !strings.HasPrefix(call, "ec2:Describe") {
					t.Errorf("%+v: it calls %s", vol.Attachments[0], call)
				}
			}
		}
	})
}

func TestWhatEC2AnswersToADetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		const hangs = "volume vol-00000000000000001 to be attached as /dev/sdf, asked for at 00:58:00"
		const byHand = "detach it, with your own credentials: aws ec2 detach-volume --volume-id vol-00000000000000001" +
			"; the agent then tries another device name; if that hangs as well, stop and start the instance"
		cannot, changed := hangs+", which hangs, and this instance can't detach it: ", hangs+", which has changed meanwhile: "
		for _, test := range []struct{ code, kind, words, hint string }{
			{"UnauthorizedOperation", waiting, cannot, byHand},
			{"OperationNotPermitted", waiting, cannot, byHand},
			{"IncorrectInstanceState", waiting, cannot, byHand},
			{"UnsupportedOperation", waiting, cannot, byHand},
			{"IncorrectState", waiting, changed, ""},
			{"InvalidAttachment.NotFound", waiting, changed, ""},
			{"InvalidVolume.NotFound", waiting, changed, ""},
			{"InvalidInstanceID.NotFound", waiting, changed, ""},
			{"RequestLimitExceeded", waiting, "EC2 to answer ec2:DetachVolume: ", "look in CloudTrail who in the account calls EC2 so often; the agent tries again"},
			{"AuthFailure", retried, "ec2:DetachVolume: ", "check that the clock is right and that the instance's IAM role was not deleted"},
		} {
			c := newCloud()
			c.takes = 24 * time.Hour
			c.volumes[vol] = held(me, "/dev/sdf", Attaching, time.Now().Add(-2*time.Minute))
			c.answers[DetachVolume] = []error{refusal(DetachVolume, test.code, "no")}
			v := New(c, Instance{ID: me, Zone: zone})
			expect(t, v.Attach(t.Context(), vol), test.kind, test.words+test.code+": no", test.hint)
			equal(t, test.code, c.took(), []string{DescribeVolumes, takenBack})

			_ = v.Attach(t.Context(), vol) // EC2 accepts the next one
			equal(t, "after "+test.code, c.took(), []string{DescribeVolumes, takenBack})
		}
	})
}

func TestADetachThatFailedAndYetSucceededIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		c := newCloud()
		c.takes = 24 * time.Hour
		c.volumes[vol] = held(me, "/dev/sdf", Attaching, time.Now().Add(-2*time.Minute))
		c.instances[me].Devices["/dev/sdf"] = vol
		c.answers[DetachVolume] = []error{&diagnose.Error{Action: DetachVolume, Status: 500, Code: "InternalError", Message: "An internal error has occurred"}}
		c.late[DetachVolume] = true
		v := New(c, Instance{ID: me, Zone: zone})
		expect(t, v.Attach(t.Context(), vol), waiting, "EC2 to answer ec2:DetachVolume: InternalError: An internal error has occurred", "")
		expect(t, v.Attach(t.Context(), vol), waiting, "volume vol-00000000000000001 to be detached from this instance (detaching), and then attached again", "")
		time.Sleep(2 * time.Second)
		_ = v.Attach(t.Context(), vol)
		equal(t, "calls", c.took(), []string{DescribeVolumes, takenBack, DescribeVolumes, DescribeVolumes, DescribeInstances, AttachVolume + " /dev/sdg"})
	})
}
