package sigv4_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"

	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/iam"
)

func TestCredentialsAreChecked(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "*")
	cloudtest.Must(t, c.S3.Put("b", "k", nil))
	spoiled := func(spoil func(*iam.Credentials)) iam.Credentials {
		who := c.IAM.Credentials("db", "tester")
		spoil(&who)
		return who
	}
	c.IAM.SetLifetime(-time.Second)
	expired := c.IAM.Credentials("db", "tester")
	c.IAM.SetLifetime(time.Hour)
	for _, test := range []struct {
		what     string
		who      iam.Credentials
		ec2, s3  string // the codes
		ec2Words string
	}{
		{"good ones", spoiled(func(*iam.Credentials) {}), "", "", ""},
		{"a key that nobody has", spoiled(func(w *iam.Credentials) { w.AccessKeyID = "ASIAX" }), "AuthFailure", "InvalidAccessKeyId", "not able to validate the provided access credentials"},
		{"another secret", spoiled(func(w *iam.Credentials) { w.SecretAccessKey = "x" }), "AuthFailure", "SignatureDoesNotMatch", "not able to validate"},
		{"no session token", spoiled(func(w *iam.Credentials) { w.SessionToken = "" }), "AuthFailure", "InvalidToken", "not able to validate"},
		{"another session token", spoiled(func(w *iam.Credentials) { w.SessionToken = "x" }), "AuthFailure", "InvalidToken", "not able to validate"},
		{"expired ones", expired, "RequestExpired", "ExpiredToken", "Request has expired."},
	} {
		check := func(err error, code, words string) {
			t.Helper()
			if code == "" {
				cloudtest.Must(t, err)
			} else {
				cloudtest.WantError(t, err, code, words)
			}
		}
		t.Run(test.what, func(t *testing.T) {
			check(cloudtest.DescribeVolumes(t.Context(), cloudtest.EC2ClientOf(c, test.who)), test.ec2, test.ec2Words)
			_, err := cloudtest.GetObject(t.Context(), cloudtest.S3ClientOf(c, test.who), "b", "k")
			check(err, test.s3, "")
		})
	}
	t.Run("another region", func(t *testing.T) {
		elsewhere := func(o *awsec2.Options) { o.Region = "us-east-1" }
		_, err := cloudtest.EC2Client(c, "db").DescribeVolumes(t.Context(), &awsec2.DescribeVolumesInput{}, elsewhere)
		cloudtest.WantError(t, err, "AuthFailure", "scoped to a valid region")
	})
	t.Run("a clock that is late", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := cloudtest.New(t, cloud.Config{})
			c.IAM.Allow("db", "*")
			late := lateTransport{cloudtest.Direct{Handler: c.EC2}}
			client := awsec2.New(awsec2.Options{
				Region: c.Region(), BaseEndpoint: aws.String("http://ec2.test"), Credentials: cloudtest.Provider(c.IAM.Credentials("db", "tester")),
				HTTPClient: &http.Client{Transport: late}, RetryMaxAttempts: 1,
			})
			cloudtest.WantError(t, cloudtest.DescribeVolumes(t.Context(), client), "RequestExpired", "")
		})
	})
	t.Run("unsigned", func(t *testing.T) {
		r, err := http.NewRequest("POST", "http://ec2.test/", strings.NewReader("Action=DescribeVolumes&Version=2016-11-15"))
		cloudtest.Must(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := cloudtest.Direct{Handler: c.EC2}.RoundTrip(r)
		cloudtest.Must(t, err)
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("answered %d", answer.StatusCode)
		}
	})
}

// lateTransport delivers requests 16 minutes after they were signed.
type lateTransport struct{ cloudtest.Direct }

func (l lateTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(16 * time.Minute)
	return l.Direct.RoundTrip(r)
}
