package s3

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/fault"
)

// getObject is the call as IAM names it.
const getObject = "s3:GetObject"

// An Object names an object of S3, and who asks for it.
type Object struct {
	Bucket, Key string
	Caller      diagnose.Caller // its region is the one whose S3 is asked
}

func (o Object) String() string { return "s3://" + o.Bucket + "/" + o.Key }

// An Answer is an answer of S3 that is an error: see "Error responses" in
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
type Answer struct {
	Status        int
	Code, Message string
	Region        string // of the bucket, where S3 names it
}

// Refused returns the error for an answer of S3, with a hint. It is permanent
// where the bucket is in another region, because a bucket does not move, and
// where the name is not that of a bucket. All else a person can change while
// the agent tries again.
func (o Object) Refused(a Answer) error {
	p := o.explain(a)
	err := fmt.Errorf("cannot fetch %s: %s", o, p.text)
	if p.hint != "" {
		err = fault.WithHint(err, p.hint)
	}
	if p.permanent {
		err = fault.Permanent(err)
	}
	return err
}

// A problem is what an answer means for a person.
type problem struct {
	text, hint string
	permanent  bool
}

// kmsKey is the ARN of a KMS key in a message.
var kmsKey = regexp.MustCompile(`arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]+:key/[A-Za-z0-9-]+`)

// withoutKMS is what can be done instead of mending the use of a KMS key.
const withoutKMS = "; or encrypt the objects of the bucket with S3's own key (SSE-S3)"

func (o Object) explain(a Answer) problem {
	e := &diagnose.Error{Action: getObject, Status: a.Status, Code: a.Code, Message: a.Message}
	code := cmp.Or(a.Code, http.StatusText(a.Status))
	hint := o.Caller.Hint(e)
	if p, isKnown := o.known(a); isKnown {
		return p
	}
	if p, isElsewhere := o.elsewhere(a); isElsewhere {
		return p
	}
	switch kind := e.Kind(); {
	case kind == diagnose.WrongClock:
		return problem{text: "the clock of this machine is wrong (" + code + ")", hint: hint}
	case kind == diagnose.Expired, kind == diagnose.Unknown:
		return problem{text: "S3 does not accept the credentials of the instance's IAM role (" + code + ")", hint: hint}
	case kind == diagnose.Blocked:
		return problem{text: "S3 does not serve the account (" + code + ")", hint: hint}
	case kind == diagnose.KMSKey:
		return problem{
			text: fmt.Sprintf("it is encrypted with a KMS key that can't be used (%s)%s", strings.TrimPrefix(a.Code, "KMS."), a.said()),
			hint: o.Caller.Key(kmsKey.FindString(a.Message), "kms:Decrypt") + withoutKMS,
		}
	case a.Status == http.StatusForbidden && strings.Contains(a.Message, "kms:Decrypt"):
		return problem{
			text: "access denied: it is encrypted with a KMS key, and kms:Decrypt on that key is missing" + a.said(),
			hint: "allow the instance's IAM role kms:Decrypt on that key" + withoutKMS,
		}
	case kind == diagnose.Denied, a.Status == http.StatusForbidden:
		denied := &diagnose.Error{Action: getObject, Code: "AccessDenied"}
		return problem{
			text: "access denied: s3:GetObject is missing, or the object does not exist (S3 hides that without s3:ListBucket)" + a.said(),
			hint: "check whether the object exists, " + o.Caller.Own("s3api head-object", "--bucket", o.Bucket, "--key", o.Key) +
				"; if it does, " + o.Caller.Hint(denied),
		}
	case a.Status == http.StatusBadRequest && strings.Contains(strings.ToLower(a.Message), "server side encryption"):
		return problem{
			text: "it is encrypted with a key that only the uploader has (SSE-C)" + a.said(),
			hint: "upload the encrypted secret without such a key, " + o.Caller.Own("s3 cp", "FILE", o.String()),
		}
	case kind == diagnose.Throttled:
		return problem{text: "S3 throttles the requests (" + code + ")", hint: hint}
	case kind == diagnose.Trouble:
		return problem{text: "S3 has an internal error (" + code + ")", hint: hint}
	}
	return problem{text: fmt.Sprintf("S3 answers %d %s%s", a.Status, code, a.said())}
}

// known explains what the code alone says.
func (o Object) known(a Answer) (p problem, is bool) {
	switch a.Code {
	case "NoSuchKey":
		return problem{text: "the object does not exist", hint: "upload the encrypted secret, " + o.Caller.Own("s3 cp", "FILE", o.String())}, true
	case "NoSuchBucket":
		return problem{text: "the bucket " + o.Bucket + " does not exist", hint: "check the name of the bucket in the role file"}, true
	case "InvalidBucketName":
		return problem{
			text: fmt.Sprintf("%q is not a valid bucket name", o.Bucket), permanent: true,
			hint: "correct it in the role file, or in the user-data where it comes from a parameter",
		}, true
	case "InvalidObjectState":
		return problem{
			text: "it is archived",
			hint: "restore it, " + o.Caller.Own("s3api restore-object", "--bucket", o.Bucket, "--key", o.Key, "--restore-request", "Days=7") +
				"; and check which lifecycle rule archives it",
		}, true
	}
	return problem{}, false
}

// elsewhere explains that a bucket is in another region.
func (o Object) elsewhere(a Answer) (p problem, is bool) {
	region, is := a.elsewhere(o.Caller.Region)
	if !is {
		return problem{}, false
	}
	p = problem{hint: "use a bucket in the instance's own region in the role file", permanent: true}
	switch region {
	case "":
		p.text = fmt.Sprintf("the bucket is not in %s, where this instance asks", o.Caller.Region)
	case o.Caller.Region:
		p.text = fmt.Sprintf("the bucket is in %s, and the S3 endpoint in agent.yaml is another region's", region)
		p.hint = "correct endpoints: s3: in agent.yaml"
	default:
		p.text = fmt.Sprintf("the bucket is in %s, and this instance asks in %s", region, o.Caller.Region)
	}
	return p, true
}

// How messages of S3 name the region of a bucket: "the region 'eu-west-1' is
// wrong; expecting 'us-east-1'", in one kind of quotes or the other, and "The
// eu-south-1 location constraint is incompatible for the region specific
// endpoint this request was sent to."
var (
	expecting  = regexp.MustCompile(`expecting ['"]?([a-z0-9-]+)`)
	constraint = regexp.MustCompile(`(?i)the ['"]?([a-z0-9-]+)['"]? location constraint`)
)

// elsewhere reports whether S3 says that a bucket is in another region than the
// one that was asked, and which, if S3 names it. Buckets of regions that opened
// after March 20, 2019 are not redirected, but refused:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingRouting.html
func (a Answer) elsewhere(asked string) (region string, is bool) {
	region = a.Region
	for _, how := range []*regexp.Regexp{expecting, constraint} {
		if m := how.FindStringSubmatch(a.Message); region == "" && m != nil {
			region = m[1]
		}
	}
	if region == "unspecified" { // the location of a bucket that was made without one
		region = "us-east-1"
	}
	switch {
	case a.Code == "PermanentRedirect", a.Code == "IllegalLocationConstraintException", a.Status == http.StatusMovedPermanently:
		return region, true
	}
	return region, region != "" && region != asked
}

// said returns what S3 says beyond its code, in one line. A message that only
// repeats that access is denied adds nothing, however it is spelled.
func (a Answer) said() string {
	const most = 300
	text := strings.Join(strings.Fields(a.Message), " ")
	switch strings.ToLower(strings.ReplaceAll(strings.Trim(text, ".!"), " ", "")) {
	case "", "accessdenied", "forbidden":
		return ""
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return "; S3 says: " + text
}
