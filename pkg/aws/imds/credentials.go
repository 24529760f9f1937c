package imds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go"

	"bootagent/pkg/aws/cli"
)

// refreshBefore is how long before they expire credentials are replaced. IMDS
// has new ones at least five minutes ahead:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
const refreshBefore = 5 * time.Minute

// rolePath lists the IAM role of the instance; below it are its credentials.
const rolePath = "/latest/meta-data/iam/security-credentials/"

// Credentials gives the credentials of the instance's IAM role. They are kept
// in memory and replaced in time. Where they can't be had, the error that AWS's
// clients return has an *Error in it, and the next use asks again.
func (c *Client) Credentials() aws.CredentialsProvider { return c.credentials }

// provider is the SDK's, with our diagnosis, and without what has expired.
type provider struct {
	*ec2rolecreds.Provider
	client *Client

	mu   sync.Mutex
	good time.Time // how long the last ones are, by this machine's monotonic clock
}

func newCredentials(c *Client) aws.CredentialsProvider {
	sdk := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = c.imds })
	return aws.NewCredentialsCache(&provider{Provider: sdk, client: c}, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = refreshBefore })
}

// Retrieve asks the service for credentials.
func (p *provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	const what = "credentials"
	ctx, last := remember(ctx)
	creds, err := p.Provider.Retrieve(ctx)
	if err == nil && !creds.HasKeys() {
		err = errors.New("credentials without keys")
	}
	if err != nil {
		return aws.Credentials{}, p.client.diagnoseRole(what, *last, err)
	}
	left, expires := last.left()
	if left <= 0 {
		return aws.Credentials{}, p.client.expired(what, *last, expires)
	}
	// The SDK keeps to the clock of this machine, which may be wrong.
	good := time.Now().Add(left)
	creds.Expires = time.Now().Add(min(left, mostKept))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.good = good
	return creds, nil
}

// mostKept is how long credentials are kept at the most: as long as the SDK
// keeps those of an instance.
const mostKept = time.Hour

// HandleFailToRefresh has credentials stay that could not be replaced, as the
// SDK does, but only as long as they are good. After that, why there are no
// others is what a person has to know.
func (p *provider) HandleFailToRefresh(ctx context.Context, old aws.Credentials, err error) (aws.Credentials, error) {
	p.mu.Lock()
	left := time.Until(p.good)
	p.mu.Unlock()
	if left <= 0 {
		return aws.Credentials{}, err
	}
	old.Expires = time.Now().Add(min(left, refreshBefore))
	return old, nil
}

// left is how long the credentials of an answer are still good, by the clock
// of the service where it tells it, and when they expire.
func (x exchange) left() (left time.Duration, expires time.Time) {
	var c struct{ Expiration time.Time }
	if json.Unmarshal(x.body, &c) != nil || c.Expiration.IsZero() {
		return mostKept, time.Time{} // the SDK has read the rest of it
	}
	now := x.date
	if now.IsZero() {
		now = time.Now()
	}
	return c.Expiration.Sub(now), c.Expiration
}

// expired is the error for credentials that were good once. The service gives
// such where it gets no new ones.
func (c *Client) expired(what string, x exchange, since time.Time) *Error {
	role, _ := strings.CutPrefix(x.path, rolePath)
	return &Error{
		What: what, Endpoint: c.endpoint, Kind: CredentialsExpired, err: errors.New("expired credentials"),
		why: fmt.Sprintf("those of the IAM role %s expired at %s", role, since.UTC().Format(time.RFC3339)),
		hint: "EC2 replaces them by itself; if it does not, see that the role exists, " +
			cli.Own + cli.Command("", "iam get-role", "--role-name", role) + "; the agent asks again",
	}
}

// diagnoseRole is diagnose for what only the credentials of a role can lack.
func (c *Client) diagnoseRole(what string, x exchange, err error) *Error {
	role, known := strings.CutPrefix(x.path, rolePath)
	refused := (*smithy.GenericAPIError)(nil)
	e := &Error{What: what, Endpoint: c.endpoint, err: err}
	switch {
	case !known || x.err != nil:
		return c.diagnose(what, x, err)
	case role == "" && (x.status == http.StatusNotFound || x.status == http.StatusOK):
		e.Kind = NoRole
		e.why = "this instance has no IAM role, or EC2 does not tell it yet"
		e.hint = "attach one, " + c.command("ec2 associate-iam-instance-profile", "--iam-instance-profile", "Name=PROFILE")
	case x.status == http.StatusNotFound:
		e.Kind = CredentialsNotYet
		e.why = fmt.Sprintf("this instance has the IAM role %s, but no credentials of it yet", role)
	case errors.As(err, &refused):
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html
		e.Kind = RoleRefused
		e.why = fmt.Sprintf("EC2 has no credentials of the IAM role %s: %s", role, refused.Code)
		e.hint = "the trust policy of the role has to allow ec2.amazonaws.com the action sts:AssumeRole; see it, " +
			cli.Own + cli.Command("", "iam get-role", "--role-name", role)
	default:
		return c.diagnose(what, x, err)
	}
	return e
}
