package diagnose

import (
	"errors"
	"strings"
	"testing"
)

func TestEveryServiceIsDiagnosedAlike(t *testing.T) {
	refused := errors.New("connection refused")
	for _, test := range []struct {
		err        Error
		kind       Kind
		unanswered bool
		hint       string // a part of it
	}{
		{Error{Action: "ec2:DescribeVolumes", Err: refused}, NoAnswer, true, "to EC2: DNS"},
		{Error{Action: "s3:GetObject", Err: refused}, NoAnswer, true, "to S3: DNS"},
		{Error{Action: "ec2:DescribeVolumes", Status: 407, Err: refused}, NotAWS, true, "something else than EC2"},
		{Error{Action: "ec2:DescribeVolumes", Status: 502, Err: refused}, NotAWS, true, "proxies"},
		{Error{Action: "s3:GetObject", Status: 502}, Trouble, true, ""},
		{Error{Action: "ec2:DescribeVolumes", Status: 503, Code: "Unavailable"}, Trouble, true, ""},
		{Error{Action: "s3:GetObject", Status: 500, Code: "InternalError"}, Trouble, true, ""},
		{Error{Action: "ec2:DescribeVolumes", Status: 503, Code: "RequestLimitExceeded"}, Throttled, true, "CloudTrail who in the account calls EC2"},
		{Error{Action: "s3:GetObject", Status: 503, Code: "SlowDown"}, Throttled, true, "S3 limits"},
		{Error{Action: "s3:GetObject", Status: 503}, Throttled, true, "S3 limits"},
		{Error{Action: "s3:GetObject", Status: 429}, Throttled, true, "S3 limits"},
		{Error{Action: "ec2:DescribeVolumes", Status: 403, Code: "UnauthorizedOperation"}, Denied, false, "bootagent iam --role mysql prints"},
		{Error{Action: "s3:GetObject", Status: 403, Code: "AccessDenied"}, Denied, false, "bootagent iam --role mysql prints"},
		{Error{Action: "ec2:DescribeVolumes", Status: 400, Code: "RequestExpired"}, Expired, false, "timedatectl (EC2's time source is 169.254.169.123); if it is right"},
		{Error{Action: "s3:GetObject", Status: 400, Code: "ExpiredToken"}, Expired, false, "have expired"},
		{Error{Action: "s3:GetObject", Status: 403, Code: "RequestTimeTooSkewed"}, WrongClock, false, "timedatectl"},
		{Error{Action: "ec2:DescribeVolumes", Status: 401, Code: "AuthFailure"}, Unknown, false, "was not deleted"},
		{Error{Action: "s3:GetObject", Status: 403, Code: "InvalidAccessKeyId"}, Unknown, false, "was not deleted"},
		{Error{Action: "ec2:AttachVolume", Status: 400, Code: "PendingVerification"}, Blocked, false, "its owner"},
		{Error{Action: "s3:GetObject", Status: 403, Code: "AccountProblem"}, Blocked, false, "its owner"},
		{Error{Action: "s3:GetObject", Status: 400, Code: "KMS.DisabledException"}, KMSKey, false, ""},
		{Error{Action: "ec2:AttachVolume", Status: 400, Code: "InvalidKmsKey.InvalidState"}, KMSKey, false, ""},
		{Error{Action: "ec2:AttachVolume", Status: 400, Code: "VolumeInUse"}, Other, false, ""},
		{Error{Action: "s3:GetObject", Status: 404, Code: "NoSuchKey"}, Other, false, ""},
	} {
		hint := Caller{Role: "mysql"}.Hint(&test.err)
		if got := test.err.Kind(); got != test.kind || test.err.Unanswered() != test.unanswered ||
			!strings.Contains(hint, test.hint) || (hint == "") != (test.hint == "") {
			t.Errorf("%v: %q, hint %q; want %q, %q", &test.err, got, hint, test.kind, test.hint)
		}
	}
}

func TestADenialNamesTheCommandThatSaysWhichPolicyDenies(t *testing.T) {
	got := Caller{}.Hint(&Error{Action: "ec2:AttachVolume", Code: "UnauthorizedOperation", Encoded: "abc"})
	if !strings.Contains(got, "--role ROLE ") || !strings.Contains(got, "--grep decode-authorization-message") {
		t.Error(got)
	}
}

func TestAnErrorSaysWhatAWSAnswered(t *testing.T) {
	for want, err := range map[string]Error{
		"ec2:AttachVolume: VolumeInUse: it is in use":     {Action: "ec2:AttachVolume", Status: 400, Code: "VolumeInUse", Message: "it is in use"},
		"ec2:AttachVolume: HTTP status 407: no XML":       {Action: "ec2:AttachVolume", Status: 407, Err: errors.New("no XML")},
		"ec2:AttachVolume: no answer: connection refused": {Action: "ec2:AttachVolume", Err: errors.New("connection refused")},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
