package s3

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"bootagent/test/cloud/iam"
	"bootagent/test/cloud/sigv4"
)

// A refusal is an error in S3's words.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
type refusal struct {
	XMLName   xml.Name `xml:"Error"`
	status    int
	Code      string
	Message   string
	Region    string `xml:",omitempty"` // the right one, if the request is signed for a wrong one
	Endpoint  string `xml:",omitempty"` // the right one, if the bucket is in another region
	Bucket    string `xml:",omitempty"`
	header    string // the region of the bucket; not every error has the header
	RequestID string `xml:"RequestId"`
	HostID    string `xml:"HostId"`
}

// refuse returns why S3 refuses a request, or nil.
func (s *S3) refuse(who iam.Caller, problem sigv4.Problem, bucket, key, action string, requests []iam.Request) *refusal {
	if refused := s.badSignature(problem); refused != nil {
		return refused
	}
	if refused := s.misdirected(bucket); refused != nil {
		return refused
	}

	// S3 does not say that an object does not exist to a caller who is not allowed to list the bucket.
	// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
	if (action == "GetObject" || action == "HeadObject") && s.exists(bucket) {
		if _, err := s.backend.HeadObject(bucket, key); err != nil && s.iam.Denied(who, requests) == "" {
			requests = []iam.Request{{Action: "s3:ListBucket", Resource: "arn:aws:s3:::" + bucket}}
		}
	}
	if denied := s.iam.Denied(who, requests); denied != "" {
		return &refusal{status: http.StatusForbidden, Code: "AccessDenied", Message: denied}
	}
	return nil
}

// badSignature returns S3's words for a problem of a signature, or nil.
func (s *S3) badSignature(problem sigv4.Problem) *refusal {
	switch problem {
	case 0:
		return nil
	case sigv4.Unsigned:
		return &refusal{status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}
	case sigv4.UnknownKey:
		return &refusal{status: http.StatusForbidden, Code: "InvalidAccessKeyId", Message: "The AWS Access Key Id you provided does not exist in our records."}
	case sigv4.WrongToken:
		return &refusal{status: http.StatusBadRequest, Code: "InvalidToken", Message: "The provided token is malformed or otherwise invalid."}
	case sigv4.ExpiredToken:
		return &refusal{status: http.StatusBadRequest, Code: "ExpiredToken", Message: "The provided token has expired."}
	case sigv4.Skewed:
		return &refusal{status: http.StatusForbidden, Code: "RequestTimeTooSkewed", Message: "The difference between the request time and the current time is too large."}
	case sigv4.WrongScope:
		return &refusal{
			status: http.StatusBadRequest, Code: "AuthorizationHeaderMalformed", Region: s.env.Region,
			Message: fmt.Sprintf("The authorization header is malformed; the region is wrong; expecting '%s'", s.env.Region),
		}
	default:
		return &refusal{status: http.StatusForbidden, Code: "SignatureDoesNotMatch", Message: "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
	}
}

// bucketName matches the name of every bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*[a-z0-9]$`)

// redirected are the regions to which S3 redirects requests from other regions. It does not redirect to
// regions that opened after March 20, 2019, which an account has to opt in to.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingRouting.html
var redirected = []string{
	"us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1", "eu-central-1", "eu-west-1", "eu-west-2",
	"eu-west-3", "eu-north-1", "ap-south-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-southeast-1", "ap-southeast-2",
}

// misdirected returns why S3 refuses a request for a bucket whose name is not valid or that is in another
// region, or nil. It does not depend on the caller's permissions.
func (s *S3) misdirected(bucket string) *refusal {
	if bucket != "" && (len(bucket) < 3 || len(bucket) > 63 || !bucketName.MatchString(bucket)) && !s.exists(bucket) {
		return &refusal{status: http.StatusBadRequest, Code: "InvalidBucketName", Message: "The specified bucket is not valid.", Bucket: bucket}
	}
	s.mu.Lock()
	region := s.elsewhere[bucket]
	s.mu.Unlock()
	switch {
	case region == "" || region == s.env.Region:
		return nil
	case slices.Contains(redirected, region) && slices.Contains(redirected, s.env.Region):
		return &refusal{
			status: http.StatusMovedPermanently, Code: "PermanentRedirect", Bucket: bucket, header: region,
			Endpoint: fmt.Sprintf("%s.s3.%s.amazonaws.com", bucket, region),
			Message: "The bucket you are attempting to access must be addressed using the specified endpoint. " +
				"Please send all future requests to this endpoint.",
		}
	}
	constraint := region
	if region == "us-east-1" {
		constraint = "unspecified"
	}
	return &refusal{
		status: http.StatusBadRequest, Code: "IllegalLocationConstraintException",
		Message: fmt.Sprintf("The %s location constraint is incompatible for the region specific endpoint this request was sent to.", constraint),
	}
}

func (s *S3) exists(bucket string) bool {
	exists, err := s.backend.BucketExists(bucket)
	return exists && err == nil
}

// withheld returns why S3 does not return an object to a caller who is allowed to read it, or nil.
func (s *S3) withheld(r *http.Request, bucket, key, action string) *refusal {
	s.mu.Lock()
	how := s.kept[bucket+"/"+key]
	s.mu.Unlock()
	switch {
	case how == archived && action == "GetObject":
		return &refusal{status: http.StatusForbidden, Code: "InvalidObjectState", Message: "The operation is not valid for the object's storage class"}
	case how == customerKey && (action == "GetObject" || action == "HeadObject") &&
		r.Header.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") == "":
		return &refusal{
			status: http.StatusBadRequest, Code: "InvalidRequest",
			Message: "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
		}
	}
	return nil
}
