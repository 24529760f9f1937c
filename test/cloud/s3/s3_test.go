package s3_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"bootagent/pkg/aws/diagnose"
	agents3 "bootagent/pkg/aws/s3"
	"bootagent/pkg/fault"
	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/service"
)

func TestObjectsAreForThoseWhoMay(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	cloudtest.Must(t, c.S3.Put("secrets", "root.sql.age", []byte("ciphertext")))
	cloudtest.Must(t, c.S3.Put("secrets", "a b/ü+&.age", []byte("odd")))
	cloudtest.Must(t, c.S3.Put("others", "root.sql.age", []byte("ciphertext")))
	c.IAM.Allow("all", "s3:*")
	cloudtest.Must(t, c.IAM.SetPolicy("get", []byte(`{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::secrets/*"}]}`)))
	cloudtest.Must(t, c.IAM.SetPolicy("list", []byte(`{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::secrets/*"},
		{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::secrets"}]}`)))

	for _, test := range []struct{ role, bucket, key, want, code, words string }{
		{"get", "secrets", "root.sql.age", "ciphertext", "", ""},
		{"get", "secrets", "a b/ü+&.age", "odd", "", ""},
		{"get", "secrets", "missing", "", "AccessDenied", `is not authorized to perform: s3:ListBucket on resource: "arn:aws:s3:::secrets" because no identity-based policy allows the s3:ListBucket action`},
		{"list", "secrets", "missing", "", "NoSuchKey", ""},
		{"get", "others", "root.sql.age", "", "AccessDenied", `User: arn:aws:sts::123456789012:assumed-role/get/tester is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::others/root.sql.age" because`},
		{"get", "nowhere", "x", "", "AccessDenied", "s3:GetObject"},
		{"all", "nowhere", "x", "", "NoSuchBucket", ""},
		{"none", "secrets", "root.sql.age", "", "AccessDenied", "s3:GetObject"},
	} {
		got, err := cloudtest.GetObject(t.Context(), cloudtest.S3Client(c, test.role), test.bucket, test.key)
		if test.code != "" {
			cloudtest.WantError(t, err, test.code, test.words)
		} else if err != nil || got != test.want {
			t.Errorf("%s of %s: %q, %v", test.key, test.bucket, got, err)
		}
	}

	answer, err := cloudtest.Direct{Handler: c.S3}.RoundTrip(unsignedRequest(t, "http://s3.test/secrets/root.sql.age"))
	cloudtest.Must(t, err)
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != 403 || !strings.Contains(string(body), "<Code>AccessDenied</Code>") {
		t.Errorf("unsigned: %s", body)
	}
	cloudtest.Must(t, c.S3.Delete("secrets", "root.sql.age"))
	_, err = cloudtest.GetObject(t.Context(), cloudtest.S3Client(c, "list"), "secrets", "root.sql.age")
	cloudtest.WantError(t, err, "NoSuchKey", "")
}

func TestETagAndVersions(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "s3:*")
	client := cloudtest.S3Client(c, "db")
	cloudtest.Must(t, c.S3.KeepVersions("secrets"))
	head := func(in *s3.HeadObjectInput) *s3.HeadObjectOutput {
		in.Bucket, in.Key = aws.String("secrets"), aws.String("k")
		out, err := client.HeadObject(t.Context(), in)
		cloudtest.Must(t, err)
		return out
	}
	cloudtest.Must(t, c.S3.Put("secrets", "k", []byte("one")))
	one := head(&s3.HeadObjectInput{})
	cloudtest.Must(t, c.S3.Put("secrets", "k", []byte("two!")))
	two := head(&s3.HeadObjectInput{})
	if *one.ETag != `"f97c5d29941bfb1b2fdab0874906ab82"` || *one.ContentLength != 3 || *two.ContentLength != 4 {
		t.Errorf("one has %s and %d bytes, two %d", *one.ETag, *one.ContentLength, *two.ContentLength)
	}
	if one.VersionId == nil || *one.VersionId == *two.VersionId {
		t.Fatalf("versions %v and %v", one.VersionId, two.VersionId)
	}
	if old := head(&s3.HeadObjectInput{VersionId: one.VersionId}); *old.ETag != *one.ETag {
		t.Errorf("the old version has %s", *old.ETag)
	}
	if needs := strings.Join(c.Calls.Needs(), " "); needs != "s3:GetObject s3:GetObjectVersion" {
		t.Errorf("needs %s", needs)
	}
	_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("secrets"), Key: aws.String("k"), IfNoneMatch: two.ETag})
	if err == nil || !strings.Contains(err.Error(), "StatusCode: 304") {
		t.Errorf("unchanged: %v", err)
	}
}

func TestObjectsAreListedAndWritten(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "s3:*")
	client := cloudtest.S3Client(c, "db")
	cloudtest.Must(t, c.S3.Put("b", "x/1", nil))
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("x/2"), Body: strings.NewReader("data")})
	cloudtest.Must(t, err)
	out, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("b"), Prefix: aws.String("x/")})
	cloudtest.Must(t, err)
	if len(out.Contents) != 2 || *out.Contents[1].Key != "x/2" {
		t.Errorf("listed %v", out.Contents)
	}
	if got, err := cloudtest.GetObject(t.Context(), client, "b", "x/2"); got != "data" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// pkg/secret explains the errors of the fake to a person.
func TestObjectsThatS3DoesNotGive(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "s3:GetObject", "s3:ListBucket")
	for _, bucket := range []string{"secrets", "virginia", "milan", "ireland"} {
		cloudtest.Must(t, c.S3.Put(bucket, "k", []byte("ciphertext")))
	}
	c.S3.SetRegion("virginia", "us-east-1")
	c.S3.SetRegion("milan", "eu-south-1")
	cloudtest.Must(t, c.S3.Put("secrets", "old", []byte("ciphertext")))
	c.S3.Archive("secrets", "old")
	cloudtest.Must(t, c.S3.Put("secrets", "own-key", []byte("ciphertext")))
	c.S3.KeepWithCustomerKey("secrets", "own-key")
	url, err := c.Listen(c.S3)
	cloudtest.Must(t, err)
	client := func(region, role string) *agents3.Client {
		return agents3.New(agents3.Config{
			Caller: diagnose.Caller{Region: region}, Endpoint: url,
			Credentials: cloudtest.Provider(c.IAM.Credentials(role, "tester")), Max: 1 << 20,
		})
	}
	asked, wrong, refused := client(c.Region(), "db"), client("eu-west-1", "db"), client(c.Region(), "nobody")

	for _, test := range []struct {
		s3          *agents3.Client
		bucket, key string
		final       bool
		words, hint string
	}{
		{asked, "virginia", "k", true, "the bucket is in us-east-1, and this instance asks in eu-central-1", "own region"},
		{asked, "milan", "k", true, "the bucket is in eu-south-1, and this instance asks in eu-central-1", "own region"},
		{refused, "milan", "k", true, "the bucket is in eu-south-1, and this instance asks in eu-central-1", "own region"},
		{wrong, "secrets", "k", true, "the bucket is in eu-central-1, and this instance asks in eu-west-1", "own region"},
		{asked, "Secrets_", "k", true, `"Secrets_" is not a valid bucket name`, "role file"},
		{asked, "secrets", "old", false, "it is archived", "s3api restore-object --region eu-central-1 --bucket secrets --key old "},
		{asked, "secrets", "own-key", false, "(SSE-C)", "s3 cp --region eu-central-1 FILE s3://secrets/own-key"},
		{refused, "secrets", "old", false, "access denied: s3:GetObject is missing", "head-object --region eu-central-1 --bucket secrets --key old"},
		{asked, "nowhere", "k", false, "the bucket nowhere does not exist", ""},
	} {
		_, _, err := test.s3.Get(t.Context(), test.bucket, test.key)
		if err == nil || !strings.Contains(err.Error(), test.words) || !strings.Contains(fault.HintOf(err), test.hint) || fault.IsPermanent(err) != test.final {
			t.Errorf("%s of %s: %v", test.key, test.bucket, err)
		}
	}
}

// S3 in an opt-in region does not redirect. A bucket without a location is in us-east-1.
func TestARegionThatHasToBeOptedInToRedirectsNobody(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{Region: "eu-south-1"})
	c.IAM.Allow("db", "s3:*")
	cloudtest.Must(t, c.S3.Put("virginia", "k", nil))
	c.S3.SetRegion("virginia", "us-east-1")
	_, err := cloudtest.GetObject(t.Context(), cloudtest.S3Client(c, "db"), "virginia", "k")
	cloudtest.WantError(t, err, "IllegalLocationConstraintException", "The unspecified location constraint is incompatible")
}

func TestFaultsOfS3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{})
		c.IAM.Allow("db", "s3:*")
		cloudtest.Must(t, c.S3.Put("b", "k", []byte("data")))
		client := cloudtest.S3Client(c, "db")
		c.S3.Fail("GetObject", service.SlowDown, 1)
		_, err := cloudtest.GetObject(t.Context(), client, "b", "k")
		cloudtest.WantError(t, err, "SlowDown", "Please reduce your request rate.")
		c.S3.Blackhole()
		if _, err := cloudtest.GetObject(cloudtest.Within(t, time.Hour), client, "b", "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in a black hole: %v", err)
		}
		c.S3.Heal()
		if got, err := cloudtest.GetObject(t.Context(), client, "b", "k"); got != "data" || err != nil {
			t.Errorf("healed: %q, %v", got, err)
		}
	})
}

func TestBodyThatIsCut(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "s3:*")
	cloudtest.Must(t, c.S3.Put("b", "k", make([]byte, 1000)))
	url, err := c.Listen(c.S3)
	cloudtest.Must(t, err)
	client := s3.New(s3.Options{
		Region: c.Region(), BaseEndpoint: &url, UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: cloudtest.Provider(c.IAM.Credentials("db", "tester")),
	})
	c.S3.Fail("GetObject", service.Fault{Cut: 100}, 1)
	got, err := cloudtest.GetObject(t.Context(), client, "b", "k")
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 100 {
		t.Errorf("read %d bytes: %v", len(got), err)
	}
	if calls := c.Calls.All(); calls[0].Code != service.Unanswered {
		t.Errorf("recorded %v", calls)
	}
	if got, err := cloudtest.GetObject(t.Context(), client, "b", "k"); len(got) != 1000 || err != nil {
		t.Errorf("the second time %d bytes, %v", len(got), err)
	}
}

func unsignedRequest(t *testing.T, url string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	cloudtest.Must(t, err)
	return r
}
