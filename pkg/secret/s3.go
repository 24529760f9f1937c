package secret

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
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"bootagent/pkg/aws/cli"
)

// An Object names an object of S3, and the region that it is asked for in.
type Object struct{ Bucket, Key, Region string }

func (o Object) String() string { return "s3://" + o.Bucket + "/" + o.Key }

// An Answer is how S3 answered that did not hand out an object: see "Error
// responses" in https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
type Answer struct {
	Status        int
	Code, Message string
	Region        string // of the bucket, where S3 tells it
}

// Refused is the error for an answer of S3. It is final where the bucket is in
// another region, because a bucket does not move, and where its name can't be
// one.
func (o Object) Refused(a Answer) error {
	p := &problem{}
	switch a.Code {
	case "NoSuchKey":
		p.text = "there is no such key in the bucket"
		p.hint = "upload the sealed secret, " + o.own("s3 cp", "FILE", o.String())
	case "NoSuchBucket":
		p.text, p.hint = "there is no bucket "+o.Bucket, "see that the role file names the right one"
	case "InvalidBucketName":
		p.text, p.final = fmt.Sprintf("%q is no name that a bucket can have", o.Bucket), true
		p.hint = "correct it in the role file, or in the user-data where it comes from a parameter"
	case "InvalidObjectState":
		p.text = "it is archived"
		p.hint = "restore it, " + o.own("s3api restore-object", "--bucket", o.Bucket, "--key", o.Key, "--restore-request", "Days=7") +
			"; and see what lifecycle rule archives it"
	case "RequestTimeTooSkewed":
		p.text, p.hint = "the clock of this machine is wrong, S3 says", "see timedatectl; EC2's time source is 169.254.169.123"
	case "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired",
		"RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException":
		p.text, p.hint = "S3 does not accept the credentials of this machine ("+a.Code+")", "they come from the instance's role; see that it is attached and exists"
	default:
		o.explain(a, p)
	}
	p.text = fmt.Sprintf("cannot fetch %s: %s", o, p.text)
	return p
}

// own is a command that the instance's role may not run.
func (o Object) own(command string, args ...string) string {
	return cli.Own + cli.Command(o.Region, command, args...)
}

// kmsKey is how a key of KMS is named in a message.
var kmsKey = regexp.MustCompile(`arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]+:key/[A-Za-z0-9-]+`)

// explain says what is wrong where it takes more than the code.
func (o Object) explain(a Answer, p *problem) {
	region, elsewhere := a.elsewhere(o.Region)
	kms, byKMS := strings.CutPrefix(a.Code, "KMS.")
	switch {
	case elsewhere && region == o.Region && region != "":
		p.text = fmt.Sprintf("the bucket is in %s, and the endpoint of S3 that is asked is another region's", region)
		p.hint, p.final = "see endpoints: s3: in agent.yaml", true
	case elsewhere:
		p.text = fmt.Sprintf("the bucket is not in %s, where this instance asks", o.Region)
		if region != "" {
			p.text = fmt.Sprintf("the bucket is in %s, and this instance asks in %s", region, o.Region)
		}
		p.hint, p.final = "name a bucket of the instance's own region in the role file", true
	case byKMS:
		p.text = fmt.Sprintf("it is encrypted with a key of KMS that can't be used (%s)%s", kms, a.said())
		p.hint = "see that the key is enabled; age protects the secret already, so the bucket need not"
		if key := kmsKey.FindString(a.Message); key != "" {
			p.hint = "see how the key is, " + o.own("kms describe-key", "--key-id", key) + "; age protects the secret already, so the bucket need not"
		}
	case a.Status == http.StatusForbidden && strings.Contains(a.Message, "kms:Decrypt"):
		p.text = fmt.Sprintf("the bucket %s encrypts with a key of KMS, and kms:Decrypt is not allowed%s", o.Bucket, a.said())
		p.hint = "allow the instance's role kms:Decrypt on that key; age protects the secret already, so the bucket need not"
	case a.Status == http.StatusForbidden:
		p.text = fmt.Sprintf("S3 refuses it: either s3:GetObject is not allowed on the key %s of the bucket %s, or there is no such key, which S3 tells only to whom s3:ListBucket is allowed%s", o.Key, o.Bucket, a.said())
		p.hint = "see whether it is there, " + o.own("s3api head-object", "--bucket", o.Bucket, "--key", o.Key) + "; if so, allow the instance's role s3:GetObject"
	case a.Status == http.StatusBadRequest && strings.Contains(strings.ToLower(a.Message), "server side encryption"):
		p.text = "it was stored with a key that only its owner has (SSE-C), and that S3 does not keep" + a.said()
		p.hint = "upload the sealed secret without such a key, " + o.own("s3 cp", "FILE", o.String()) + "; age protects it already"
	case a.Status == http.StatusServiceUnavailable || a.Status == http.StatusTooManyRequests:
		p.text = fmt.Sprintf("S3 asks to slow down (%s)", cmp.Or(a.Code, http.StatusText(a.Status)))
	case a.Status >= 500:
		p.text = fmt.Sprintf("S3 has trouble of its own (%s)", cmp.Or(a.Code, http.StatusText(a.Status)))
	default:
		p.text = fmt.Sprintf("S3 answers %d %s%s", a.Status, cmp.Or(a.Code, http.StatusText(a.Status)), a.said())
	}
}

// How messages of S3 name the region of a bucket: "the region 'eu-west-1' is
// wrong; expecting 'us-east-1'", in one kind of quotes or the other, and "The
// eu-south-1 location constraint is incompatible for the region specific
// endpoint this request was sent to."
var (
	expecting  = regexp.MustCompile(`expecting ['"]?([a-z0-9-]+)`)
	constraint = regexp.MustCompile(`(?i)the ['"]?([a-z0-9-]+)['"]? location constraint`)
)

// elsewhere tells whether S3 says that a bucket is in another region than the
// one that it is asked for in, and which, where S3 says that, too. Buckets of
// regions that opened after March 20, 2019 are not redirected, but refused:
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

// said is what S3 says beyond its code, in one line. That access is denied its
// code says, however it is spelled.
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

// How long S3 may take, to connect and in all. S3 that is cut off by a
// firewall swallows packets, so that nothing but a clock tells.
const (
	connectWithin = 3 * time.Second
	fetchWithin   = 10 * time.Second
)

// S3 gets objects of buckets.
type S3 struct {
	client *s3.Client
	region string
	host   string // what is asked, for a person
	within time.Duration
}

// NewS3 returns S3 as it is reached in a region. Credentials are asked for at
// each fetch; nil is nobody, who may read public objects. An endpoint that is
// not "" is asked instead of AWS, with the bucket in the path.
func NewS3(region, endpoint string, credentials aws.CredentialsProvider) *S3 {
	options := s3.Options{
		Region: region,
		// The story tries again, counts it and tells; a second count here would
		// multiply with it.
		Retryer: aws.NopRetryer{},
		HTTPClient: boundedClient{awshttp.NewBuildableClient().
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectWithin }).
			WithTransportOptions(func(t *http.Transport) { t.TLSHandshakeTimeout = connectWithin })},
		// age authenticates what is fetched.
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		Credentials:                aws.AnonymousCredentials{},
	}
	if credentials != nil {
		options.Credentials = markedCredentials{credentials}
	}
	host := "S3 in " + region
	if endpoint != "" {
		options.BaseEndpoint, options.UsePathStyle = &endpoint, true
		options.Region = cmp.Or(region, "us-east-1") // it is signed for, and means nothing
		host = endpoint
	}
	return &S3{client: s3.New(options), region: options.Region, host: host, within: fetchWithin}
}

// Object returns an object as a source.
func (s *S3) Object(bucket, key string) Source {
	return object{s, Object{Bucket: bucket, Key: key, Region: s.region}}
}

type object struct {
	s3 *S3
	Object
}

// Fetch gets the object, within 10 seconds.
func (o object) Fetch(ctx context.Context) ([]byte, error) {
	if o.Region == "" {
		return nil, &problem{
			text:  fmt.Sprintf("cannot fetch %s: no region is known to this machine", o),
			hint:  "it comes from the metadata service: leave user-data: out of agent.yaml on an instance of EC2",
			final: true,
		}
	}
	bounded, cancel := context.WithTimeoutCause(ctx, o.s3.within, fmt.Errorf("no whole answer within %s", o.s3.within))
	defer cancel()
	ciphertext, err := o.get(bounded)
	switch {
	case err == nil:
		return ciphertext, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("cannot fetch %s: %w", o, context.Cause(ctx))
	case bounded.Err() != nil:
		return nil, o.unreachable(context.Cause(bounded))
	}
	return nil, err
}

func (o object) get(ctx context.Context) ([]byte, error) {
	var told told
	out, err := o.s3.client.GetObject(context.WithValue(ctx, toldKey{}, &told), &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		return nil, o.failed(err, told)
	}
	defer out.Body.Close()
	if out.ContentLength != nil && *out.ContentLength > CiphertextMax {
		return nil, fmt.Errorf("cannot fetch %s: %w", o, tooLarge(CiphertextMax))
	}
	ciphertext, err := io.ReadAll(out.Body)
	switch {
	case len(ciphertext) > CiphertextMax:
		return nil, fmt.Errorf("cannot fetch %s: %w", o, tooLarge(CiphertextMax))
	case out.ContentLength != nil && int64(len(ciphertext)) < *out.ContentLength:
		return nil, fmt.Errorf("cannot fetch %s: it was cut off after %d of %d bytes", o, len(ciphertext), *out.ContentLength)
	case err != nil:
		return nil, fmt.Errorf("cannot fetch %s: it was cut off after %d bytes", o, len(ciphertext))
	}
	return ciphertext, nil
}

// failed is the error for what the SDK could not get.
func (o object) failed(err error, told told) error {
	if c := (*credentialsError)(nil); errors.As(err, &c) {
		return fmt.Errorf("cannot fetch %s: no credentials to ask for it with: %w", o, c.error)
	}
	var answered *awshttp.ResponseError
	if !errors.As(err, &answered) || answered.HTTPStatusCode() == 0 {
		return o.unreachable(innermost(err))
	}
	a := Answer{Status: answered.HTTPStatusCode(), Region: answered.Response.Header.Get("X-Amz-Bucket-Region")}
	if api := smithy.APIError(nil); errors.As(err, &api) {
		a.Code, a.Message = api.ErrorCode(), api.ErrorMessage()
	}
	if a.Region == "" {
		a.Region = told.region()
	}
	return o.Refused(a)
}

func (o object) unreachable(why error) error {
	return &problem{
		text: fmt.Sprintf("cannot fetch %s: cannot reach %s: %v", o, o.s3.host, why),
		hint: "see that a route leads there, by an endpoint of the VPC or a NAT gateway, and that the security group lets HTTPS out",
		fact: why,
	}
}

// innermost is an error without what the SDK and net/http say around it.
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

// told is what an error of S3 says that the SDK does not hand on.
type told struct{ Region, Endpoint string }

type toldKey struct{}

// endpointRegion is the region in the name of an endpoint of S3.
var endpointRegion = regexp.MustCompile(`(?:^|\.)s3[.-](?:fips[.-])?(?:dualstack\.)?([a-z]+(?:-[a-z]+)+-[0-9]+)\.`)

// region is the bucket's, or "".
func (t told) region() string {
	m := endpointRegion.FindStringSubmatch(t.Endpoint)
	switch {
	case t.Region != "":
		return t.Region
	case m != nil && m[1] == "external-1", strings.HasSuffix(t.Endpoint, "s3.amazonaws.com"):
		return "us-east-1"
	case m != nil:
		return m[1]
	}
	return ""
}

// boundedClient hands out no more of a response than a secret may have. The
// SDK reads an error to its end, however long that is.
type boundedClient struct{ *awshttp.BuildableClient }

func (c boundedClient) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.BuildableClient.Do(req)
	if err != nil {
		return resp, err
	}
	var body io.Reader = io.LimitReader(resp.Body, CiphertextMax+1)
	if told, ok := req.Context().Value(toldKey{}).(*told); ok && resp.StatusCode >= http.StatusMultipleChoices {
		const most = 64 << 10
		seen, _ := io.ReadAll(io.LimitReader(body, most)) // what breaks off here breaks off for the SDK
		_ = xml.Unmarshal(seen, told)                     // what is no XML tells nothing
		body = io.MultiReader(bytes.NewReader(seen), body)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return resp, nil
}
