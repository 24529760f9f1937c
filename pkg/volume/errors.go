package volume

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Waiting is the error of what is not there yet, and may come without anybody
// doing a thing or because a person does what the hint says. Ask again.
type Waiting struct {
	For  string // what is waited for, to be read after "waiting for"
	Hint string // what a person can do, or ""
	Err  error  // what EC2 said, or nil
}

func (w *Waiting) Error() string {
	if e := (*APIError)(nil); errors.As(w.Err, &e) {
		return fmt.Sprintf("waiting for %s: %s", w.For, e.why())
	}
	return "waiting for " + w.For
}

func (w *Waiting) Unwrap() error { return w.Err }

// An APIError is a call of EC2's API that failed.
type APIError struct {
	Action  string // as IAM calls it: "ec2:AttachVolume"
	Status  int    // of HTTP; 0 where there was no answer
	Code    string // EC2's; "" where it was not EC2 that answered
	Message string
	Err     error // why there was no answer
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
	return e.Code == "" || e.Status >= http.StatusInternalServerError || slices.Contains(throttles, e.Code)
}

// hint says what a person can do about trouble.
func (e *APIError) hint() string {
	switch {
	case slices.Contains(throttles, e.Code):
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

// answer makes of an error of the API, whichever the action was, what a caller
// can act on: trouble is *Waiting, and what is not allowed is final.
func answer(err error) error {
	e := (*APIError)(nil)
	switch {
	case !errors.As(err, &e):
		return err
	case e.Trouble():
		return &Waiting{For: "EC2 to answer " + e.Action, Hint: e.hint(), Err: err}
	case slices.Contains(denials, e.Code):
		return refuse(hintPolicy, "the instance's IAM role does not allow %s: %s", e.Action, e.Message)
	case e.Code == "AuthFailure":
		return &failure{err: err, hint: "check that the clock is right and that the instance's IAM role was not deleted"}
	}
	return err
}

const hintPolicy = "bootagent iam --role ROLE prints the policy that the IAM role needs; add it, then: bootagent retry"

// A failure is an error with what a person can do about it, and whether no
// trying again will mend it.
type failure struct {
	err   error
	hint  string
	final bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }
func (f *failure) Hint() string  { return f.hint }
func (f *failure) Final() bool   { return f.final }

// refuse makes a final error.
func refuse(hint, format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), hint: hint, final: true}
}
