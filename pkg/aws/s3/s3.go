// Package s3 gets objects of S3, and says in words why one can't be had. It is
// the only package that knows S3, of which it calls GetObject alone.
package s3

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/fault"
)

// How long S3 may take, to connect and in all. A firewall that cuts S3 off
// drops packets, so that only a clock tells.
const (
	connectWithin = 3 * time.Second
	fetchWithin   = 10 * time.Second
)

// Config says which S3 to call, and as who.
type Config struct {
	Caller diagnose.Caller // its region is the one of the buckets

	// Endpoint is a URL that is called instead of AWS, with the bucket in the
	// path; "" is S3 of the region.
	Endpoint string

	// Credentials are asked for at each call; nil calls without, which is
	// enough for public objects.
	Credentials aws.CredentialsProvider

	Max int // the largest object, in bytes
}

// A Client gets objects.
type Client struct {
	sdk    *sdk.Client
	caller diagnose.Caller
	host   string // what is called, for a person
	within time.Duration
	max    int
}

// New returns a client.
func New(c Config) *Client {
	options := sdk.Options{
		Region: c.Caller.Region,
		// The caller tries again, and counts that; a second count here would
		// multiply with it.
		Retryer: aws.NopRetryer{},
		HTTPClient: boundedClient{awshttp.NewBuildableClient().
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectWithin }).
			WithTransportOptions(func(t *http.Transport) { t.TLSHandshakeTimeout = connectWithin }), c.Max},
		// Whoever uses an object checks it.
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		Credentials:                aws.AnonymousCredentials{},
	}
	if c.Credentials != nil {
		options.Credentials = markedCredentials{c.Credentials}
	}
	host := "S3 in " + c.Caller.Region
	if c.Endpoint != "" {
		options.BaseEndpoint, options.UsePathStyle = &c.Endpoint, true
		options.Region = cmp.Or(c.Caller.Region, "us-east-1") // it is signed for, and means nothing
		host = c.Endpoint
	}
	c.Caller.Region = options.Region
	return &Client{sdk: sdk.New(options), caller: c.Caller, host: host, within: fetchWithin, max: c.Max}
}

// Get gets an object, within 10 seconds, and the version of it: the version id
// where the bucket keeps versions, and otherwise the ETag.
func (c *Client) Get(ctx context.Context, bucket, key string) (content []byte, version string, err error) {
	o := Object{Bucket: bucket, Key: key, Caller: c.caller}
	if c.caller.Region == "" {
		return nil, "", fault.Refuse("it comes from the metadata service: leave user-data: out of agent.yaml on an instance of EC2",
			"cannot fetch %s: the region of this machine is not known", o)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, c.within, fmt.Errorf("no whole answer within %s", c.within))
	defer cancel()
	content, version, err = c.get(bounded, o)
	switch {
	case err == nil:
		return content, version, nil
	case ctx.Err() != nil:
		return nil, "", fmt.Errorf("cannot fetch %s: %w", o, context.Cause(ctx))
	case bounded.Err() != nil:
		return nil, "", c.unreachable(o, context.Cause(bounded))
	}
	return nil, "", err
}

func (c *Client) get(ctx context.Context, o Object) (content []byte, version string, err error) {
	var extra extra
	out, err := c.sdk.GetObject(context.WithValue(ctx, extraKey{}, &extra), &sdk.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		return nil, "", c.failed(o, err, extra)
	}
	defer out.Body.Close()
	tooLarge := fmt.Errorf("cannot fetch %s: it has more than %d bytes, which is too large", o, c.max)
	if out.ContentLength != nil && *out.ContentLength > int64(c.max) {
		return nil, "", tooLarge
	}
	content, err = io.ReadAll(out.Body)
	switch {
	case len(content) > c.max:
		return nil, "", tooLarge
	case out.ContentLength != nil && int64(len(content)) < *out.ContentLength:
		return nil, "", fmt.Errorf("cannot fetch %s: it was cut off after %d of %d bytes", o, len(content), *out.ContentLength)
	case err != nil:
		return nil, "", fmt.Errorf("cannot fetch %s: it was cut off after %d bytes", o, len(content))
	}
	return content, versionOf(out), nil
}

// versionOf returns the version of an object. An object that was stored while
// the bucket kept no versions has the version id "null":
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html
func versionOf(out *sdk.GetObjectOutput) string {
	if id := aws.ToString(out.VersionId); id != "" && id != "null" {
		return id
	}
	return strings.Trim(aws.ToString(out.ETag), `"`)
}

// failed returns the error for what the SDK could not get.
func (c *Client) failed(o Object, err error, extra extra) error {
	if missing := (*credentialsError)(nil); errors.As(err, &missing) {
		return fmt.Errorf("cannot fetch %s: no credentials to call S3 with: %w", o, missing.error)
	}
	var answered *awshttp.ResponseError
	if !errors.As(err, &answered) || answered.HTTPStatusCode() == 0 {
		return c.unreachable(o, innermost(err))
	}
	a := Answer{Status: answered.HTTPStatusCode(), Region: answered.Response.Header.Get("X-Amz-Bucket-Region")}
	if api := smithy.APIError(nil); errors.As(err, &api) {
		a.Code, a.Message = api.ErrorCode(), api.ErrorMessage()
	}
	if a.Region == "" {
		a.Region = extra.region()
	}
	return o.Refused(a)
}

func (c *Client) unreachable(o Object, why error) error {
	return fault.WithHint(fmt.Errorf("cannot fetch %s: cannot reach %s: %w", o, c.host, why),
		c.caller.Hint(&diagnose.Error{Action: getObject, Err: why}))
}

// innermost returns an error without what the SDK and net/http say around it.
func innermost(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// markedCredentials tells errors of the credentials from those of S3.
type markedCredentials struct{ aws.CredentialsProvider }

type credentialsError struct{ error }

func (e *credentialsError) Unwrap() error { return e.error }

func (m markedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := m.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = &credentialsError{err}
	}
	return c, err
}

// extra is what an error of S3 says that the SDK does not hand on.
type extra struct{ Region, Endpoint string }

type extraKey struct{}

// endpointRegion is the region in the name of an endpoint of S3.
var endpointRegion = regexp.MustCompile(`(?:^|\.)s3[.-](?:fips[.-])?(?:dualstack\.)?([a-z]+(?:-[a-z]+)+-[0-9]+)\.`)

// region returns the bucket's region, or "".
func (x extra) region() string {
	m := endpointRegion.FindStringSubmatch(x.Endpoint)
	switch {
	case x.Region != "":
		return x.Region
	case m != nil && m[1] == "external-1", strings.HasSuffix(x.Endpoint, "s3.amazonaws.com"):
		return "us-east-1"
	case m != nil:
		return m[1]
	}
	return ""
}

// boundedClient hands out no more than max bytes of a response, and one. The
// SDK reads an error to its end, however long that is.
type boundedClient struct {
	*awshttp.BuildableClient
	max int
}

func (c boundedClient) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.BuildableClient.Do(req)
	if err != nil {
		return resp, err
	}
	var body io.Reader = io.LimitReader(resp.Body, int64(c.max)+1)
	if extra, ok := req.Context().Value(extraKey{}).(*extra); ok && resp.StatusCode >= http.StatusMultipleChoices {
		const most = 64 << 10
		seen, _ := io.ReadAll(io.LimitReader(body, most)) // what breaks off here breaks off for the SDK
		_ = xml.Unmarshal(seen, extra)                    // an answer that is not XML has nothing to add
		body = io.MultiReader(bytes.NewReader(seen), body)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return resp, nil
}
