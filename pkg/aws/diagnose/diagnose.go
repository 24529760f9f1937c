// Package diagnose says what an error of an API of AWS means: one classification
// of the codes, and one text of what a person can do, for every service that
// bootagent calls. It calls nothing itself.
package diagnose

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"bootagent/pkg/aws/cli"
	"bootagent/pkg/shell"
)

// An Error is a call of an API of AWS that failed.
type Error struct {
	Action  string // as IAM calls it: "ec2:AttachVolume"
	Status  int    // of HTTP; 0 where there was no answer
	Code    string // of AWS; "" where the answer has none
	Message string
	Encoded string // which policies denied the call; only AWS can read it: see sts:DecodeAuthorizationMessage
	Err     error  // why there was no answer, or none of AWS
}

// Error returns the action and why it failed.
func (e *Error) Error() string { return e.Action + ": " + e.Why() }

// Unwrap returns why there was no answer.
func (e *Error) Unwrap() error { return e.Err }

// Why returns what AWS answered, or why it did not answer.
func (e *Error) Why() string {
	switch {
	case e.Code != "":
		return e.Code + ": " + e.Message
	case e.Status != 0:
		return fmt.Sprintf("HTTP status %d: %v", e.Status, e.Err)
	}
	return fmt.Sprintf("no answer: %v", e.Err)
}

// Service returns the name of the service: "EC2".
func (e *Error) Service() string {
	service, _, _ := strings.Cut(e.Action, ":")
	return strings.ToUpper(service)
}

// A Kind is what an error means, whatever the call was about.
type Kind string

// The kinds. Other is an error about what was asked for: only the caller knows
// what its code means.
const (
	Other      Kind = ""
	NoAnswer   Kind = "no answer"
	NotAWS     Kind = "not an answer of AWS" // of a proxy, or of a wrong endpoint
	Trouble    Kind = "trouble of the service"
	Throttled  Kind = "throttled" // this instance, or others of the account, called too often
	Denied     Kind = "denied"
	WrongClock Kind = "wrong clock"
	Expired    Kind = "expired" // the credentials, or by a wrong clock the signature: AWS does not tell which
	Unknown    Kind = "unknown credentials"
	Blocked    Kind = "blocked account"
	KMSKey     Kind = "unusable KMS key"
)

// kinds are the kinds of codes:
//
//   - https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
//   - https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
//   - https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var kinds = map[string]Kind{
	"RequestLimitExceeded":  Throttled,
	"Throttling":            Throttled,
	"ThrottlingException":   Throttled,
	"EC2ThrottledException": Throttled,
	"RequestThrottled":      Throttled,
	"SlowDown":              Throttled,

	"UnauthorizedOperation": Denied,
	"AccessDenied":          Denied,
	"AccessDeniedException": Denied,

	"RequestTimeTooSkewed": WrongClock,
	"RequestInTheFuture":   WrongClock,

	"RequestExpired":        Expired,
	"ExpiredToken":          Expired,
	"ExpiredTokenException": Expired,
	"TokenRefreshRequired":  Expired,

	"AuthFailure":                 Unknown,
	"InvalidAccessKeyId":          Unknown,
	"InvalidClientTokenId":        Unknown,
	"InvalidToken":                Unknown,
	"SignatureDoesNotMatch":       Unknown,
	"UnrecognizedClientException": Unknown,

	"AccountProblem":      Blocked,
	"Blocked":             Blocked,
	"PendingVerification": Blocked,

	"CustomerKeyHasBeenRevoked": KMSKey,
}

// Kind returns what the error means.
func (e *Error) Kind() Kind {
	switch kind, known := kinds[e.Code]; {
	case e.Status == 0 && e.Code == "":
		return NoAnswer
	case known:
		return kind
	case e.Status == http.StatusTooManyRequests, e.Service() == "S3" && e.Status == http.StatusServiceUnavailable:
		return Throttled // S3 answers 503 to who asks too often, under several codes
	case e.Status >= http.StatusInternalServerError && (e.Code != "" || e.Service() == "S3"):
		return Trouble // the answers of S3's load balancers have no code
	case e.Code == "":
		return NotAWS
	case strings.Contains(strings.ToLower(e.Code), "kms"):
		return KMSKey
	}
	return Other
}

// Unanswered reports whether the answer says nothing about what was asked for.
// A call that changes something may have done so all the same.
func (e *Error) Unanswered() bool {
	return slices.Contains([]Kind{NoAnswer, NotAWS, Trouble, Throttled}, e.Kind())
}

// A Caller is who calls AWS. Its parts make the commands in hints complete; ""
// is what is not known.
type Caller struct {
	Region string
	Role   string // of bootagent, not of IAM
}

// Hint returns what a person can do about an error, or "" for an error of kind
// Other and one that only AWS can mend.
func (c Caller) Hint(e *Error) string {
	switch e.Kind() {
	case NoAnswer:
		return "check the network from this instance to " + e.Service() + ": DNS, route, VPC endpoint or NAT gateway, security group, network ACL"
	case NotAWS:
		return "something else than " + e.Service() + " answered: check the endpoint in agent.yaml and the proxies on the way"
	case Throttled:
		if e.Service() == "S3" {
			return "S3 limits the requests per prefix of object keys; the agent tries again"
		}
		return "look in CloudTrail who in the account calls " + e.Service() + " so often; the agent tries again"
	case Denied:
		return c.denied(e)
	case WrongClock:
		return "check the clock of this machine with timedatectl; EC2's time source is 169.254.169.123"
	case Expired:
		return "check the clock of this machine with timedatectl (EC2's time source is 169.254.169.123); if it is right, " +
			"the credentials of the instance's IAM role have expired; the agent tries again"
	case Unknown:
		return "check that the clock is right and that the instance's IAM role was not deleted"
	case Blocked:
		return "AWS has blocked the account, or has not verified it yet: see the mail to its owner; the agent tries again"
	}
	return ""
}

func (c Caller) denied(e *Error) string {
	name := c.Role
	if name == "" {
		name = "ROLE"
	}
	hint := "bootagent iam --role " + shell.Quote(name) + " prints the policy that the IAM role needs; add it, then: bootagent retry"
	if e.Encoded != "" {
		hint += "; if the IAM role has it, another policy denies the call, and the log has a command that shows which: " +
			"journalctl --unit bootagent.service --grep decode-authorization-message"
	}
	return hint
}

// Key returns what a person can check where a KMS key can't be used, by what
// the IAM role needs it for. The key is an ARN or "".
func (c Caller) Key(key, actions string) string {
	hint := "the KMS key has to be enabled, and the instance's IAM role has to be allowed " + actions + " on it"
	if key != "" {
		hint += "; look at it, " + c.Own("kms describe-key", "--key-id", key)
	}
	return hint
}

// Own returns a command that the instance's IAM role may not run, for a person.
func (c Caller) Own(command string, args ...string) string {
	return cli.Own + cli.Command(c.Region, command, args...)
}
