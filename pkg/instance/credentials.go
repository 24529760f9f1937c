package instance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go"
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

// provider is the SDK's, with our diagnosis. What else the SDK's can do for a
// cache, it can do still.
type provider struct {
	*ec2rolecreds.Provider
	client *Client
}

func newCredentials(c *Client) aws.CredentialsProvider {
	sdk := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = c.imds })
	return aws.NewCredentialsCache(provider{sdk, c}, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = refreshBefore })
}

// Retrieve asks the service for credentials.
func (p provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	const what = "credentials"
	ctx, last := remember(ctx)
	creds, err := p.Provider.Retrieve(ctx)
	if err == nil && !creds.HasKeys() {
		err = errors.New("credentials without keys")
	}
	if err != nil {
		return aws.Credentials{}, p.client.diagnoseRole(what, *last, err)
	}
	return creds, nil
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
		e.hint = "attach one: aws ec2 associate-iam-instance-profile --instance-id ID --iam-instance-profile Name=PROFILE"
	case x.status == http.StatusNotFound:
		e.Kind = CredentialsNotYet
		e.why = fmt.Sprintf("this instance has the IAM role %s, but no credentials of it yet", role)
	case errors.As(err, &refused):
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html
		e.Kind = RoleRefused
		e.why = fmt.Sprintf("EC2 has no credentials of the IAM role %s: %s", role, refused.Code)
		e.hint = "the trust policy of the role has to allow ec2.amazonaws.com the action sts:AssumeRole"
	default:
		return c.diagnose(what, x, err)
	}
	return e
}
