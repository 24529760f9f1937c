// Package cloudtest helps the tests of the fake cloud: clients of the AWS SDK that need no network, and checks of
// errors.
package cloudtest

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"bootagent/test/cloud"
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/iam"
)

// New returns a cloud that is closed at the end of the test.
func New(t *testing.T, config cloud.Config) *cloud.Cloud {
	t.Helper()
	c := cloud.New(config)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Direct is a transport that calls a handler without a network, so that it works in a bubble of testing/synctest.
type Direct struct{ Handler http.Handler }

// RoundTrip fails if the handler ends the connection.
func (d Direct) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	if r.ContentLength > 0 {
		r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10)) // as the server does
	}
	w := httptest.NewRecorder()
	ended := make(chan error, 1)
	go func() {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				ended <- errors.New("the connection ended")
			default:
				panic(p)
			}
		}()
		d.Handler.ServeHTTP(w, r)
		ended <- nil
	}()
	if err := <-ended; err != nil {
		return nil, cmp.Or(r.Context().Err(), err)
	}
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

// Provider gives credentials to the SDK.
func Provider(c iam.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

// EC2Client returns the SDK's client for EC2 with the permissions of an IAM role. It does not retry.
func EC2Client(c *cloud.Cloud, role string) *awsec2.Client {
	return EC2ClientOf(c, c.IAM.Credentials(role, "tester"))
}

// EC2ClientOf returns the SDK's client for EC2 with these credentials. It does not retry.
func EC2ClientOf(c *cloud.Cloud, who iam.Credentials) *awsec2.Client {
	return awsec2.New(awsec2.Options{
		Region: c.Region(), BaseEndpoint: aws.String("http://ec2.test"), Credentials: Provider(who),
		HTTPClient: &http.Client{Transport: Direct{Handler: c.EC2}}, RetryMaxAttempts: 1,
	})
}

// S3Client returns the SDK's client for S3 with the permissions of an IAM role. It does not retry.
func S3Client(c *cloud.Cloud, role string) *awss3.Client {
	return S3ClientOf(c, c.IAM.Credentials(role, "tester"))
}

// S3ClientOf returns the SDK's client for S3 with these credentials. It does not retry.
func S3ClientOf(c *cloud.Cloud, who iam.Credentials) *awss3.Client {
	return awss3.New(awss3.Options{
		Region: c.Region(), BaseEndpoint: aws.String("http://s3.test"), Credentials: Provider(who), UsePathStyle: true,
		HTTPClient: &http.Client{Transport: Direct{Handler: c.S3}}, RetryMaxAttempts: 1,
	})
}

// DescribeVolumes asks for all volumes.
func DescribeVolumes(ctx context.Context, client *awsec2.Client) error {
	_, err := client.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{})
	return err
}

// CreateTags adds tags to a resource.
func CreateTags(ctx context.Context, client *awsec2.Client, id string, tags map[string]string) error {
	in := &awsec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{}}
	for key, value := range tags {
		in.Tags = append(in.Tags, types.Tag{Key: &key, Value: &value})
	}
	_, err := client.CreateTags(ctx, in)
	return err
}

// GetObject reads an object. With an error in the middle, it returns the part before.
func GetObject(ctx context.Context, client *awss3.Client, bucket, key string) (string, error) {
	out, err := client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return string(body), err
}

// Launch returns an instance that is running.
func Launch(t *testing.T, c *cloud.Cloud, l ec2.Launch) *ec2.Instance {
	t.Helper()
	i, err := c.EC2.Run(l)
	Must(t, err)
	Must(t, i.Wait(t.Context(), ec2.Running))
	return i
}

// Volume returns a volume that is available.
func Volume(t *testing.T, c *cloud.Cloud, v ec2.Volume) ec2.Volume {
	t.Helper()
	v, err := c.EC2.CreateVolume(v)
	Must(t, err)
	Must(t, c.EC2.WaitVolume(t.Context(), v.ID, ec2.Available))
	return v
}

// Must ends the test if there is an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// WantError checks that an error is one of AWS with this code, and with these words in its message.
func WantError(t *testing.T, err error, code, words string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want %s of AWS", err, code)
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), words) {
		t.Errorf("got %s: %s\nwant %s: ...%s...", api.ErrorCode(), api.ErrorMessage(), code, words)
	}
}

// WantText checks the whole text of an error.
func WantText(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || err.Error() != text {
		t.Errorf("%v, want %s", err, text)
	}
}

// Within returns a context that ends after a time; in a bubble of testing/synctest, after the bubble's time.
func Within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
