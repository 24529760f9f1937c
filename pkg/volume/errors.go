package volume

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"bootagent/pkg/aws/cli"
	"bootagent/pkg/fault"
	"bootagent/pkg/shell"
)

// pending returns the error for what EC2's answer says is not there yet. What
// EC2 said is part of its text.
func pending(what, hint string, err error) *fault.Pending {
	p := &fault.Pending{For: what, Hint: hint}
	if e := (*APIError)(nil); errors.As(err, &e) {
		p.For += ": " + e.why()
		p.Unanswered = e.Trouble()
	}
	return p
}

// An APIError is a call of EC2's API that failed.
type APIError struct {
	Action  string // as IAM calls it: "ec2:AttachVolume"
	Status  int    // of HTTP; 0 where there was no answer
	Code    string // EC2's; "" where it was not EC2 that answered
	Message string
	Encoded string // what led to a denial, which only AWS can read: see sts:DecodeAuthorizationMessage
	Err     error  // why there was no answer
}

func (e *APIError) Error() string { return e.Action + ": " + e.why() }

func (e *APIError) why() string {
	switch {
	case e.Code != "":
		return e.Code + ": " + e.Message
	case e.Status != 0:
		return fmt.Sprintf("HTTP status %d: %v", e.Status, e.Err)
	}
	return fmt.Sprintf("no answer: %v", e.Err)
}

func (e *APIError) Unwrap() error { return e.Err }

// throttles are the codes by which EC2 says that it was asked too often.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
var throttles = []string{"RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException", "RequestThrottled"}

// Trouble tells whether the call says nothing about what was asked: there was
// no answer, it was not from EC2, EC2 has a fault of its own, or was asked too
// often. A call that changes something may have done so all the same.
func (e *APIError) Trouble() bool {
	return e.Code == "" || e.Status >= http.StatusInternalServerError || e.Throttled()
}

// Throttled tells whether EC2 was asked too often, by this instance or another
// one of the account.
func (e *APIError) Throttled() bool { return slices.Contains(throttles, e.Code) }

// hint says what a person can do about trouble.
func (e *APIError) hint() string {
	switch {
	case e.Throttled():
		return "see in CloudTrail who in the account calls EC2 so often; the agent asks again"
	case e.Code != "":
		return "" // AWS's to mend
	case e.Status != 0:
		return "something else than EC2 answered: check the endpoint in agent.yaml and proxies on the way"
	}
	return "check the instance's way to EC2: DNS, route, security group, network ACL, VPC endpoint"
}

// denials are the codes by which EC2 says that the credentials do not allow
// an action.
var denials = []string{"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}

// stale are the codes by which EC2 says that a call was signed too long ago, or
// with credentials that have expired. It tells no difference.
var stale = []string{"RequestExpired", "ExpiredToken", "ExpiredTokenException", "RequestInTheFuture"}

// unknown are the codes by which EC2 says that it does not know the caller.
var unknown = []string{"AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"}

// answer makes of an error of the API, whichever the action was, what a caller
// can act on: trouble is pending,
// and what is not allowed is permanent.
func (v *Volumes) answer(err error) error {
	e := (*APIError)(nil)
	switch {
	case !errors.As(err, &e):
		return err
	case e.Trouble():
		return pending("EC2 to answer "+e.Action, e.hint(), err)
	case slices.Contains(denials, e.Code):
		return fault.Refuse(v.policyHint(e), "the instance's IAM role does not allow %s: %s", e.Action, e.Message)
	case slices.Contains(stale, e.Code):
		return fault.WithHint(err, "the clock of this machine is wrong, which timedatectl shows (EC2's time source is 169.254.169.123), "+
			"or the credentials of the instance's IAM role have expired; the agent asks again")
	case slices.Contains(unknown, e.Code):
		return fault.WithHint(err, "check that the clock is right and that the instance's IAM role was not deleted")
	case e.Code == "Blocked" || e.Code == "PendingVerification":
		return fault.WithHint(err, "AWS has blocked the account, or not verified it yet: see the mail to its owner; the agent asks again")
	}
	return err
}

// policyHint says what a person can do about a denial.
func (v *Volumes) policyHint(e *APIError) string {
	name := v.self.Role
	if name == "" {
		name = "ROLE"
	}
	hint := "bootagent iam --role " + shell.Quote(name) + " prints the policy that the IAM role needs; add it, then: bootagent retry"
	if e.Encoded != "" {
		hint += "; if it is there already, another policy denies it, and this finds the command that says which: " +
			"journalctl --unit bootagent.service --grep decode-authorization-message"
	}
	return hint
}

// byKey tells whether a code says that the key of KMS can't be used with which
// a volume is encrypted.
func byKey(code string) bool {
	return code == "CustomerKeyHasBeenRevoked" || strings.Contains(strings.ToLower(code), "kms")
}

// keyHint says what to see to where a key of KMS can't be used.
func (v *Volumes) keyHint(vol Volume) string {
	hint := "the key of KMS has to be enabled, and to let the instance's IAM role do kms:CreateGrant, kms:Decrypt and kms:DescribeKey"
	if vol.Key != "" {
		hint += "; see it, " + v.person("kms describe-key", "--key-id", vol.Key)
	}
	return hint
}

// person is a command for a person, as the instance's IAM role may not run it.
func (v *Volumes) person(command string, args ...string) string {
	return cli.Own + cli.Command(v.self.Region, command, args...)
}
