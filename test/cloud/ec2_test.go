package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

func describe(ctx context.Context, client *ec2.Client) error {
	_, err := client.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{})
	return err
}

func TestCredentialsAreChecked(t *testing.T) {
	c := newCloud(t, Config{})
	c.IAM.Allow("db", "*")
	must(t, c.S3.Put("b", "k", nil))
	spoiled := func(spoil func(*Credentials)) Credentials {
		who := c.IAM.Credentials("db", "tester")
		spoil(&who)
		return who
	}
	for _, test := range []struct {
		what     string
		who      Credentials
		ec2, s3  string // the codes
		ec2Words string
	}{
		{"good ones", spoiled(func(*Credentials) {}), "", "", ""},
		{"a key that nobody has", spoiled(func(w *Credentials) { w.AccessKeyID = "ASIAX" }), "AuthFailure", "InvalidAccessKeyId", "not able to validate the provided access credentials"},
		{"another secret", spoiled(func(w *Credentials) { w.SecretAccessKey = "x" }), "AuthFailure", "SignatureDoesNotMatch", "not able to validate"},
		{"no session token", spoiled(func(w *Credentials) { w.SessionToken = "" }), "AuthFailure", "InvalidToken", "not able to validate"},
		{"another session token", spoiled(func(w *Credentials) { w.SessionToken = "x" }), "AuthFailure", "InvalidToken", "not able to validate"},
		{"expired ones", spoiled(func(w *Credentials) { c.IAM.sessions[w.AccessKeyID].Expires = time.Now().Add(-time.Second) }), "RequestExpired", "ExpiredToken", "Request has expired."},
	} {
		check := func(err error, code, words string) {
			t.Helper()
			if code == "" {
				must(t, err)
			} else {
				wantError(t, err, code, words)
			}
		}
		t.Run(test.what, func(t *testing.T) {
			check(describe(t.Context(), ec2ClientOf(c, test.who)), test.ec2, test.ec2Words)
			_, err := getObject(t.Context(), s3ClientOf(c, test.who), "b", "k")
			check(err, test.s3, "")
		})
	}
	t.Run("another region", func(t *testing.T) {
		elsewhere := func(o *ec2.Options) { o.Region = "us-east-1" }
		_, err := ec2Client(c, "db").DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{}, elsewhere)
		wantError(t, err, "AuthFailure", "scoped to a valid region")
	})
	t.Run("a clock that is late", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCloud(t, Config{})
			c.IAM.Allow("db", "*")
			late := lateTransport{direct{c.EC2}}
			client := ec2.New(ec2.Options{
				Region: c.Region(), BaseEndpoint: aws.String("http://ec2.test"), Credentials: provider(c.IAM.Credentials("db", "tester")),
				HTTPClient: &http.Client{Transport: late}, RetryMaxAttempts: 1,
			})
			wantError(t, describe(t.Context(), client), "RequestExpired", "")
		})
	})
	t.Run("unsigned", func(t *testing.T) {
		r, err := http.NewRequest("POST", "http://ec2.test/", strings.NewReader("Action=DescribeVolumes&Version=2016-11-15"))
		must(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := direct{c.EC2}.RoundTrip(r)
		must(t, err)
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("answered %d", answer.StatusCode)
		}
	})
}

// lateTransport delivers requests 16 minutes after they were signed.
type lateTransport struct{ direct }

func (l lateTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(16 * time.Minute)
	return l.direct.RoundTrip(r)
}

func TestPermissions(t *testing.T) {
	const (
		mine   = `{"Version": "2012-10-17", "Statement": [%s]}`
		read   = `{"Effect": "Allow", "Action": "ec2:DescribeVolumes", "Resource": "*"}`
		attach = `{"Effect": "Allow", "Action": ["ec2:AttachVolume", "ec2:DetachVolume"], "Resource": "arn:aws:ec2:*:*:volume/*", "Condition": {"StringEquals": {"ec2:ResourceTag/cluster": "orders"}}}`
		self   = `{"Effect": "Allow", "Action": "ec2:AttachVolume", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"ArnEquals": {"ec2:SourceInstanceARN": "arn:aws:ec2:*:*:instance/i-0123456789abcdef0"}}}`
		tags   = `{"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "arn:aws:ec2:*:*:volume/*", "Condition": {"ForAllValues:StringLike": {"aws:TagKeys": "bootagent:*"}}}`
		itself = `{"Effect": "Allow", "Action": "ec2:AttachVolume", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"ArnLike": {"ec2:SourceInstanceARN": "arn:aws:ec2:*:*:instance/${ec2:InstanceID}"}}}`
		cased  = `{"Effect": "Allow", "Action": "ec2:AttachVolume", "Resource": "arn:aws:ec2:*:*:volume/*", "Condition": {"StringEquals": {"aws:resourcetag/CLUSTER": "orders"}}}`
		value  = `{"Effect": "Allow", "Action": "ec2:AttachVolume", "Resource": "arn:aws:ec2:*:*:volume/*", "Condition": {"StringEquals": {"aws:ResourceTag/cluster": "Orders"}}}`
		some   = `{"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": "bootagent:volume"}, "Null": {"aws:TagKeys": "false"}}}`
		deny   = `{"Effect": "Deny", "Action": "ec2:*", "Resource": "*"}`
	)
	for _, test := range []struct {
		name   string
		policy string
		do     string
		words  string // of the refusal; none if it is allowed
	}{
		{"reads", read, "describe", ""},
		{"reads nothing", attach, "describe", "User: arn:aws:sts::123456789012:assumed-role/db/i-0123456789abcdef0 is not authorized to perform: ec2:DescribeVolumes because no identity-based policy allows the ec2:DescribeVolumes action"},
		{"denied", read + "," + deny, "describe", "with an explicit deny in an identity-based policy"},
		{"attaches", attach + "," + self, "attach", ""},
		{"lacks the instance", attach, "attach", "is not authorized to perform: ec2:AttachVolume on resource: arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0 because no identity-based"},
		{"lacks the volume", self, "attach", "on resource: arn:aws:ec2:eu-central-1:123456789012:volume/vol-0123456789abcdef0 because"},
		{"another's volume", attach + "," + self, "attach other", "volume/vol-0123456789abcdef1 because"},
		{"attaches to itself", attach + "," + itself, "attach", ""},
		{"attaches to another", attach + "," + itself, "attach elsewhere", "instance/i-0123456789abcdef1 because"},
		{"the key of a tag in another case", cased + "," + self, "attach", ""},
		{"the value of a tag in another case", value + "," + self, "attach", "volume/vol-0123456789abcdef0 because"},
		{"tags with some keys", some, "tag bootagent:volume", ""},
		{"tags with no keys, of which all are right", some, "tag", "not authorized to perform: ec2:CreateTags"},
		{"tags its own", tags, "tag bootagent:volume", ""},
		{"tags others", tags, "tag cluster", "not authorized to perform: ec2:CreateTags"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCloud(t, Config{})
			i := launch(t, c, Launch{ID: "i-0123456789abcdef0", Role: "db"})
			volume(t, c, Volume{ID: "vol-0123456789abcdef0", Tags: map[string]string{"cluster": "orders"}})
			volume(t, c, Volume{ID: "vol-0123456789abcdef1", Tags: map[string]string{"cluster": "web"}})
			must(t, c.IAM.SetPolicy("db", fmt.Appendf(nil, mine, test.policy)))
			client := ec2ClientOf(c, c.IAM.Credentials("db", i.ID))
			to := i.ID
			attach := func(id string) error {
				_, err := client.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &to, Device: aws.String("/dev/sdf")})
				return err
			}
			var err error
			switch what, key, _ := strings.Cut(test.do, " "); {
			case what == "describe":
				err = describe(t.Context(), client)
			case test.do == "attach":
				err = attach("vol-0123456789abcdef0")
			case test.do == "attach elsewhere":
				to = launch(t, c, Launch{ID: "i-0123456789abcdef1", Role: "db"}).ID
				err = attach("vol-0123456789abcdef0")
			case test.do == "tag":
				err = createTags(t.Context(), client, "vol-0123456789abcdef0", nil)
			case test.do == "attach other":
				err = attach("vol-0123456789abcdef1")
			case what == "tag":
				err = createTags(t.Context(), client, "vol-0123456789abcdef0", map[string]string{key: "x"})
			}
			if test.words == "" {
				must(t, err)
				return
			}
			wantError(t, err, "UnauthorizedOperation", "You are not authorized to perform this operation. ")
			wantError(t, err, "UnauthorizedOperation", test.words)
		})
	}
}

func TestPoliciesThatAreNotUnderstoodAreRefused(t *testing.T) {
	c := newCloud(t, Config{})
	for _, test := range []struct{ policy, words string }{
		{`{"Statement": []}`, `version is ""`},
		{`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "NotAction": "x", "Resource": "*"}]}`, `unknown field "NotAction"`},
		{`{"Version": "2012-10-17", "Statement": [{"Sid": "A", "Effect": "Allow", "Action": "x"}]}`, `"A" lacks`},
		{`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "x", "Resource": "*", "Condition": {"NumericEquals": {}}}]}`, "NumericEquals is not known"},
		{`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "x", "Resource": "*", "Condition": {"StringLike": {"aws:SourceIp": "x"}}}]}`, "aws:SourceIp is not known"},
		{`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "x", "Resource": "*", "Condition": {"StringLike": {"aws:TagKeys": "${x}"}}}]}`, `variable in "${x}"`},
	} {
		if err := c.IAM.SetPolicy("db", []byte(test.policy)); err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v, want %s", test.policy, err, test.words)
		}
	}
}

func TestForbiddenIsForbidden(t *testing.T) {
	c := newCloud(t, Config{})
	c.IAM.Allow("db", "*")
	c.IAM.Forbid("db", "ec2:DescribeVolumes")
	wantError(t, describe(t.Context(), ec2Client(c, "db")), "UnauthorizedOperation", "explicit deny")
}

func createTags(ctx context.Context, client *ec2.Client, id string, tags map[string]string) error {
	in := &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{}}
	for key, value := range tags {
		in.Tags = append(in.Tags, types.Tag{Key: &key, Value: &value})
	}
	_, err := client.CreateTags(ctx, in)
	return err
}

func TestFaultsOfEC2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, Config{})
		c.IAM.Allow("db", "*")
		client := ec2Client(c, "db")
		i, v := launch(t, c, Launch{}), volume(t, c, Volume{})
		attach := func() error {
			_, err := client.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &v.ID, InstanceId: &i.ID, Device: aws.String("/dev/sdf")})
			return err
		}
		c.EC2.Fail("AttachVolume", InternalError, 1)
		wantError(t, attach(), "InternalError", "An internal error has occurred")
		if v, _ := c.EC2.Volume(v.ID); len(v.Attachments) != 0 {
			t.Error("an error without effect has one")
		}
		c.EC2.Fail("Attach*", DoneButUnavailable, 1)
		wantError(t, attach(), "Unavailable", "")
		must(t, c.EC2.WaitVolume(t.Context(), v.ID, Attached))
		wantError(t, attach(), "VolumeInUse", v.ID+" is already attached to an instance")

		c.EC2.Fail("Describe*", Throttled, 1)
		err := describe(t.Context(), client)
		wantError(t, err, "RequestLimitExceeded", "Request limit exceeded.")
		must(t, describe(t.Context(), client))

		c.EC2.Fail("*", Fault{Delay: time.Minute}, 1)
		if err := describe(ctxOf(t, time.Second), client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("late: %v", err)
		}
		c.EC2.Blackhole()
		if err := describe(ctxOf(t, time.Hour), client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in a black hole: %v", err)
		}
		c.EC2.Heal()
		must(t, describe(t.Context(), client))
	})
}

func TestBucketsOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, Config{})
		c.IAM.Allow("db", "*")
		client := ec2Client(c, "db")
		filtered := &ec2.DescribeVolumesInput{Filters: []types.Filter{{Name: aws.String("status"), Values: []string{Available}}}}
		calls := map[string]func() error{
			"of all":   func() error { return describe(t.Context(), client) },
			"filtered": func() error { _, err := client.DescribeVolumes(t.Context(), filtered); return err },
			"tags":     func() error { return createTags(t.Context(), client, "vol-00000000", map[string]string{"a": "b"}) },
			"detach": func() error {
				_, err := client.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: aws.String("vol-00000000")})
				return err
			},
		}
		through := func(call func() error) (n int) {
			for {
				var api smithy.APIError
				if err := call(); errors.As(err, &api) && api.ErrorCode() == "RequestLimitExceeded" {
					return n
				}
				n++
			}
		}
		full := map[string]int{"of all": 50, "filtered": 100, "tags": 100, "detach": 50}
		second := map[string]int{"of all": 10, "filtered": 20, "tags": 10, "detach": 5}
		for _, name := range slices.Sorted(maps.Keys(calls)) {
			if got := through(calls[name]); got != full[name] {
				t.Errorf("%s: %d at once, want %d", name, got, full[name])
			}
			time.Sleep(time.Second)
			if got := through(calls[name]); got != second[name] {
				t.Errorf("%s: %d after a second, want %d", name, got, second[name])
			}
		}
		c.EC2.Throttle("DescribeVolumes", 1, 0.1)
		must(t, calls["filtered"]())
		wantError(t, calls["filtered"](), "RequestLimitExceeded", "")
		time.Sleep(10 * time.Second)
		must(t, calls["filtered"]())
	})
}

func TestDescribeLagsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, Config{})
		c.IAM.Allow("db", "*")
		client := ec2Client(c, "db")
		i, v := launch(t, c, Launch{}), volume(t, c, Volume{})
		c.EC2.SetLag(3 * time.Second)
		must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
		must(t, c.EC2.WaitVolume(t.Context(), v.ID, Attached))
		young, err := c.EC2.CreateVolume(Volume{})
		must(t, err)

		state := func(id string) string {
			out, err := client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
			if err != nil {
				wantError(t, err, "InvalidVolume.NotFound", "")
				return "not found"
			}
			return string(out.Volumes[0].State)
		}
		if got := state(v.ID); got != Available {
			t.Errorf("at once: %s", got)
		}
		if got := state(young.ID); got != "not found" {
			t.Errorf("a new one, at once: %s", got)
		}
		wantWords(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdg"), "VolumeInUse: "+v.ID+" is already attached to an instance")
		time.Sleep(3 * time.Second)
		if got := state(v.ID); got != InUse {
			t.Errorf("later: %s", got)
		}
		if got := state(young.ID); got != Available {
			t.Errorf("a new one, later: %s", got)
		}
	})
}

func TestRequestsThatAreNone(t *testing.T) {
	c := newCloud(t, Config{})
	c.IAM.Allow("db", "*")
	client := ec2Client(c, "db")
	_, err := client.RunInstances(t.Context(), &ec2.RunInstancesInput{MaxCount: aws.Int32(1), MinCount: aws.Int32(1)})
	wantError(t, err, "InvalidAction", "The action RunInstances is not valid for this web service.")
	_, err = client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{DryRun: aws.Bool(true)})
	wantError(t, err, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	_, err = client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{"data"}})
	wantError(t, err, "InvalidParameterValue", "Value (data) for parameter volumeId is invalid. Expected: 'vol-...'.")
	attach := &ec2.AttachVolumeInput{VolumeId: aws.String("vol-0000000x"), InstanceId: aws.String("i-00000000"), Device: aws.String("/dev/sdf")}
	_, err = client.AttachVolume(t.Context(), attach)
	wantError(t, err, "InvalidParameterValue", "Value (vol-0000000x) for parameter volumeId is invalid.")
	attach.VolumeId, attach.InstanceId = aws.String("vol-00000000"), aws.String("db1")
	_, err = client.AttachVolume(t.Context(), attach)
	wantError(t, err, "InvalidInstanceID.Malformed", `Invalid id: "db1"`)
	attach.Device = aws.String("")
	_, err = client.AttachVolume(t.Context(), attach)
	wantError(t, err, "MissingParameter", "The request must contain the parameter device")
	_, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"db1"}})
	wantError(t, err, "InvalidInstanceID.Malformed", `Invalid id: "db1"`)
	_, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"i-00000000"}})
	wantError(t, err, "InvalidInstanceID.NotFound", "The instance ID 'i-00000000' does not exist")
	_, err = client.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{"snap-00000000"}})
	wantError(t, err, "InvalidSnapshot.NotFound", "The snapshot 'snap-00000000' does not exist.")
}
