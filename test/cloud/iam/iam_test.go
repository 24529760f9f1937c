package iam_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"

	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
)

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
			c := cloudtest.New(t, cloud.Config{})
			i := cloudtest.Launch(t, c, ec2.Launch{ID: "i-0123456789abcdef0", Role: "db"})
			cloudtest.Volume(t, c, ec2.Volume{ID: "vol-0123456789abcdef0", Tags: map[string]string{"cluster": "orders"}})
			cloudtest.Volume(t, c, ec2.Volume{ID: "vol-0123456789abcdef1", Tags: map[string]string{"cluster": "web"}})
			cloudtest.Must(t, c.IAM.SetPolicy("db", fmt.Appendf(nil, mine, test.policy)))
			client := cloudtest.EC2ClientOf(c, c.IAM.Credentials("db", i.ID))
			to := i.ID
			attach := func(id string) error {
				_, err := client.AttachVolume(t.Context(), &awsec2.AttachVolumeInput{VolumeId: &id, InstanceId: &to, Device: aws.String("/dev/sdf")})
				return err
			}
			var err error
			switch what, key, _ := strings.Cut(test.do, " "); {
			case what == "describe":
				err = cloudtest.DescribeVolumes(t.Context(), client)
			case test.do == "attach":
				err = attach("vol-0123456789abcdef0")
			case test.do == "attach elsewhere":
				to = cloudtest.Launch(t, c, ec2.Launch{ID: "i-0123456789abcdef1", Role: "db"}).ID
				err = attach("vol-0123456789abcdef0")
			case test.do == "tag":
				err = cloudtest.CreateTags(t.Context(), client, "vol-0123456789abcdef0", nil)
			case test.do == "attach other":
				err = attach("vol-0123456789abcdef1")
			case what == "tag":
				err = cloudtest.CreateTags(t.Context(), client, "vol-0123456789abcdef0", map[string]string{key: "x"})
			}
			if test.words == "" {
				cloudtest.Must(t, err)
				return
			}
			cloudtest.WantError(t, err, "UnauthorizedOperation", "You are not authorized to perform this operation. ")
			cloudtest.WantError(t, err, "UnauthorizedOperation", test.words)
		})
	}
}

func TestPoliciesThatAreNotUnderstoodAreRefused(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
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
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "*")
	c.IAM.Forbid("db", "ec2:DescribeVolumes")
	cloudtest.WantError(t, cloudtest.DescribeVolumes(t.Context(), cloudtest.EC2Client(c, "db")), "UnauthorizedOperation", "explicit deny")
}
