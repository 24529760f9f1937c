// Package imds says who this instance is: its identity, its user-data, its
// tags and the credentials of its IAM role, as EC2's instance metadata service
// (IMDS) tells them. It speaks version 2 of that service only, and nothing in
// the environment leads it elsewhere.
//
// It also keeps the last good answers in a file, for a boot in which the
// service is silent, and reads the DMI identifiers and the machine id that
// tell whether they are this machine's.
package imds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdk "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Endpoint is where the instance metadata service is on EC2.
const Endpoint = "http://169.254.169.254"

// RoleTag is the instance tag that gives a role to an instance whose user-data
// gives none.
const RoleTag = "bootagent:role"

// An Identity is what EC2 calls an instance, and where it put it.
type Identity struct {
	ID     string `json:"id"`   // i-0123456789abcdef0
	Type   string `json:"type"` // m7g.large
	Zone   string `json:"zone"` // eu-central-1a
	Region string `json:"region"`

	PrivateIPv4 string `json:"privateIPv4,omitempty"` // 10.0.0.17, the primary one; "" if the service did not tell it
}

// Metadata are all that the choice of a role needs to know of an instance.
type Metadata struct {
	Identity    Identity `json:"identity"`
	UserData    []byte   `json:"userData"`
	HasUserData bool     `json:"hasUserData"`
	RoleTag     string   `json:"roleTag"` // the tag bootagent:role, or ""
}

// ErrNoUserData says that the instance was started without user-data.
var ErrNoUserData = errors.New("the instance has no user-data")

// maxUserData is how many bytes user-data may have, before it is put into
// base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
const maxUserData = 16 << 10

// A Client asks the instance metadata service. Each of its errors is an
// *Error, but for ErrNoUserData and the end of a context.
type Client struct {
	endpoint    string
	imds        *sdk.Client
	credentials aws.CredentialsProvider

	mu   sync.Mutex
	self Identity // as far as it is known, for hints
}

// New makes a client. The endpoint is a scheme and a host, or "" for EC2's.
func New(endpoint string) *Client {
	return newClient(endpoint, deadlines{connect: 2 * time.Second, answer: 2 * time.Second})
}

func newClient(endpoint string, d deadlines) *Client {
	if endpoint == "" {
		endpoint = Endpoint
	}
	c := &Client{
		endpoint: endpoint,
		imds: sdk.New(sdk.Options{
			Endpoint:          endpoint,
			ClientEnableState: sdk.ClientEnabled,
			EnableFallback:    aws.FalseTernary, // never version 1
			HTTPClient:        newTransport(d),
			Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
				// Callers try again as they see fit. Here only a token that
				// the service does not know any more is replaced, once.
				o.MaxAttempts = 2
				o.Retryables = []retry.IsErrorRetryable{retry.NoRetryCanceledError{}, retry.RetryableError{}}
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
				o.RateLimiter = ratelimit.None
			}),
			DisableDefaultMaxBackoff: true,
		}),
	}
	c.credentials = newCredentials(c)
	return c
}

// Metadata asks for all that the choice of a role needs.
func (c *Client) Metadata(ctx context.Context) (Metadata, error) {
	var f Metadata
	var err error
	if f.Identity, err = c.Identity(ctx); err != nil {
		return Metadata{}, err
	}
	f.UserData, err = c.UserData(ctx)
	if err != nil && !errors.Is(err, ErrNoUserData) {
		return Metadata{}, err
	}
	f.HasUserData = err == nil
	if f.RoleTag, _, err = c.Tag(ctx, RoleTag); err != nil {
		return Metadata{}, err
	}
	return f, nil
}

// Identity asks what EC2 calls this instance, and where it put it.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	const what = "the identity of this instance"
	var doc *sdk.GetInstanceIdentityDocumentOutput
	x, err := c.ask(ctx, what, func(ctx context.Context) (err error) {
		doc, err = c.imds.GetInstanceIdentityDocument(ctx, nil)
		return err
	})
	if err != nil {
		return Identity{}, err
	}
	id := Identity{ID: doc.InstanceID, Type: doc.InstanceType, Zone: doc.AvailabilityZone, Region: doc.Region, PrivateIPv4: doc.PrivateIP}
	if err := id.check(); err != nil {
		return Identity{}, c.badAnswer(what, x, err)
	}
	c.Assume(id)
	return id, nil
}

// Assume has hints name this instance before the service has told which it is.
// An identity that lacks an instance id is left out.
func (c *Client) Assume(id Identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if isInstanceID(id.ID) {
		c.self = id
	}
}

func (c *Client) known() Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.self
}

// check says what is wrong with an identity. Its parts get into requests and
// into names of objects, so they have to be of what EC2's are made of.
func (id Identity) check() error {
	if !isInstanceID(id.ID) {
		return errors.New("it has no instance id")
	}
	for _, part := range []struct{ name, text string }{
		{"instance type", id.Type}, {"availability zone", id.Zone}, {"region", id.Region},
	} {
		if part.text == "" || strings.Trim(part.text, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			return errors.New("it has no " + part.name)
		}
	}
	if addr, err := netip.ParseAddr(id.PrivateIPv4); id.PrivateIPv4 != "" && (err != nil || !addr.Is4()) {
		return errors.New("its private address is no IPv4 address")
	}
	return nil
}

// isInstanceID reports whether a text looks like i-0123456789abcdef0.
func isInstanceID(text string) bool {
	digits, ok := strings.CutPrefix(text, "i-")
	return ok && len(digits) >= 8 && strings.Trim(digits, "0123456789abcdef") == ""
}

// UserData asks for the user-data of this instance, as it was given to EC2.
func (c *Client) UserData(ctx context.Context) ([]byte, error) {
	const what = "the user-data"
	var out *sdk.GetUserDataOutput
	x, err := c.ask(ctx, what, func(ctx context.Context) (err error) {
		out, err = c.imds.GetUserData(ctx, nil)
		return err
	})
	if x.absent() {
		return nil, ErrNoUserData
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(out.Content)
	if err == nil && len(data) > maxUserData {
		err = fmt.Errorf("it has %d bytes, and EC2's user-data has at most %d", len(data), maxUserData)
	}
	if err != nil {
		return nil, c.badAnswer(what, x, err)
	}
	return data, nil
}

// Tag asks for the value of a tag of this instance. There is none, ok is false,
// where the instance has no such tag, and where it may not read its tags here:
// the service tells no difference (InstanceMetadataTags, disabled by default).
// The key has to be one that EC2 lets into the metadata: it has no slash, and
// is not ".", ".." or "_index".
func (c *Client) Tag(ctx context.Context, key string) (value string, ok bool, err error) {
	what := "the instance tag " + key
	var out *sdk.GetMetadataOutput
	x, err := c.ask(ctx, what, func(ctx context.Context) (err error) {
		out, err = c.imds.GetMetadata(ctx, &sdk.GetMetadataInput{Path: "tags/instance/" + key})
		return err
	})
	if x.absent() {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	text, err := io.ReadAll(out.Content)
	if err != nil {
		return "", false, c.badAnswer(what, x, err)
	}
	return string(text), true, nil
}

// ask makes a call and says in words what is wrong when it fails. The SDK's
// own errors hide what happened, so each call keeps the last exchange with the
// service that it led to.
func (c *Client) ask(ctx context.Context, what string, call func(context.Context) error) (exchange, error) {
	ctx, last := remember(ctx)
	err := call(ctx)
	switch {
	case err == nil:
		return *last, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return exchange{}, fmt.Errorf("cannot get %s: %w", what, context.Cause(ctx))
	}
	return *last, c.diagnose(what, *last, err)
}

// absent reports whether the service answered that there is no such item. A
// service that has no tokens to give is no such answer.
func (x exchange) absent() bool { return x.method == http.MethodGet && x.status == http.StatusNotFound }
