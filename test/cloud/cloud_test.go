package cloud

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// newCloud makes a cloud that ends with the test.
func newCloud(t *testing.T, config Config) *Cloud {
	t.Helper()
	c := New(config)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// direct brings requests to a handler without a network, so that it works in a synctest bubble.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
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
	answer := &buffer{header: http.Header{}, status: http.StatusOK}
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
		d.handler.ServeHTTP(answer, r)
		ended <- nil
	}()
	if err := <-ended; err != nil {
		return nil, cmp.Or(r.Context().Err(), err)
	}
	return &http.Response{
		StatusCode: answer.status, Header: answer.header, Request: r, ContentLength: int64(answer.body.Len()),
		Body: io.NopCloser(&answer.body), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// provider gives the SDK what was handed out.
func provider(c Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

// ec2Client is the SDK's, in the name of a role, and tries once.
func ec2Client(c *Cloud, role string) *ec2.Client {
	return ec2ClientOf(c, c.IAM.Credentials(role, "tester"))
}

func ec2ClientOf(c *Cloud, who Credentials) *ec2.Client {
	return ec2.New(ec2.Options{
		Region: c.Region(), BaseEndpoint: aws.String("http://ec2.test"), Credentials: provider(who),
		HTTPClient: &http.Client{Transport: direct{c.EC2}}, RetryMaxAttempts: 1,
	})
}

func s3Client(c *Cloud, role string) *s3.Client {
	return s3ClientOf(c, c.IAM.Credentials(role, "tester"))
}

func s3ClientOf(c *Cloud, who Credentials) *s3.Client {
	return s3.New(s3.Options{
		Region: c.Region(), BaseEndpoint: aws.String("http://s3.test"), Credentials: provider(who), UsePathStyle: true,
		HTTPClient: &http.Client{Transport: direct{c.S3}}, RetryMaxAttempts: 1,
	})
}

// wantError wants an error of AWS with a code, and words in its message.
func wantError(t *testing.T, err error, code, words string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want %s of AWS", err, code)
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), words) {
		t.Errorf("got %s: %s\nwant %s: ...%s...", api.ErrorCode(), api.ErrorMessage(), code, words)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// launch gives an instance that runs.
func launch(t *testing.T, c *Cloud, l Launch) *Instance {
	t.Helper()
	i, err := c.EC2.Run(l)
	must(t, err)
	must(t, i.Wait(t.Context(), Running))
	return i
}

// volume gives a volume that is available.
func volume(t *testing.T, c *Cloud, v Volume) Volume {
	t.Helper()
	v, err := c.EC2.CreateVolume(v)
	must(t, err)
	must(t, c.EC2.WaitVolume(t.Context(), v.ID, Available))
	return v
}

func TestServesOnLoopbackAndUnixSocketsOnly(t *testing.T) {
	c := newCloud(t, Config{})
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = t.TempDir() + "/socket"
		}
		l := listen(t, network, address)
		must(t, c.Serve(l, c.EC2))
		client := &http.Client{Transport: &http.Transport{DialContext: dialer(l)}}
		answer, err := client.Get("http://ec2.test/?Action=DescribeVolumes")
		must(t, err)
		body, err := io.ReadAll(answer.Body)
		must(t, err)
		if answer.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "<Code>AuthFailure</Code>") {
			t.Errorf("on %s: %s\n%s", network, answer.Status, body)
		}
		answer.Body.Close()
	}
	if err := c.Serve(listen(t, "tcp", "0.0.0.0:0"), c.EC2); err == nil || !strings.Contains(err.Error(), "not of the loopback interface") {
		t.Errorf("serving on all addresses: %v", err)
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	c := New(Config{})
	c.EC2.Blackhole()
	url, err := c.Listen(c.EC2)
	must(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := http.Post(url, "application/x-www-form-urlencoded", strings.NewReader("Action=DescribeVolumes"))
		ended <- err
	}()
	for len(c.Calls.All()) == 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-ended:
		t.Fatalf("answered before the end: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	must(t, c.Close())
	if err := <-ended; err == nil {
		t.Error("a call that hung was answered")
	}
	if calls := c.Calls.All(); calls[0].Code != Unanswered || calls[0].Action != "DescribeVolumes" {
		t.Errorf("recorded %v", calls)
	}
	if _, err := c.Listen(c.EC2); err == nil || !strings.Contains(err.Error(), "the cloud is closed") {
		t.Errorf("listening after the end: %v", err)
	}
}

func TestRecorderTellsWhatWasCalled(t *testing.T) {
	c := newCloud(t, Config{})
	c.IAM.Allow("db", "ec2:Describe*", "s3:GetObject")
	must(t, c.S3.Put("b", "k", []byte("data")))
	_, err := ec2Client(c, "db").DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{"vol-00000000"}})
	wantError(t, err, "InvalidVolume.NotFound", "'vol-00000000' does not exist")
	_, err = s3Client(c, "db").GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	must(t, err)

	want := []string{"ec2:DescribeVolumes", "s3:GetObject"}
	if got := c.Calls.Actions(); !slices.Equal(got, want) {
		t.Errorf("actions %q, want %q", got, want)
	}
	if got := c.Calls.Needs(); !slices.Equal(got, want) {
		t.Errorf("needs %q, want %q", got, want)
	}
	calls := c.Calls.Of("ec2:Describe*")
	if len(calls) != 1 || calls[0].Role != "db" || calls[0].Principal != "tester" || calls[0].Params["VolumeId.1"] != "vol-00000000" {
		t.Fatalf("recorded %v", calls)
	}
	var printed strings.Builder
	must(t, c.Calls.Print(&printed))
	for _, line := range []string{
		"tester ec2:DescribeVolumes VolumeId.1=vol-00000000 -> 400 InvalidVolume.NotFound\n",
		"tester s3:GetObject Bucket=b Key=k -> 200\n",
	} {
		if !strings.Contains(printed.String(), line) {
			t.Errorf("printed\n%s\nwithout %s", printed.String(), line)
		}
	}
	c.Calls.Reset()
	if calls := c.Calls.All(); len(calls) != 0 {
		t.Errorf("after the reset: %v", calls)
	}
}

func TestFaultsComeInOrderAndEnd(t *testing.T) {
	var f faults
	a, b := Fault{Status: 500}, Fault{Status: 503}
	f.Fail("Attach*", a, 2)
	f.Fail("AttachVolume", b, 1)
	f.Fail("*", Fault{Delay: time.Second}, Always)
	late := func(fault Fault) Fault {
		fault.Delay = time.Second
		return fault
	}
	for n, want := range []Fault{late(a), late(a), late(b), late(Fault{})} {
		if got := f.next("AttachVolume"); got != want {
			t.Errorf("call %d: %+v, want %+v", n+1, got, want)
		}
	}
	f.Fail("*", a, Always)
	f.Blackhole()
	if got := f.next("DetachVolume"); got != Silence {
		t.Errorf("in a black hole: %+v", got)
	}
	f.Heal()
	if got := f.next("DetachVolume"); got != (Fault{}) {
		t.Errorf("healed: %+v", got)
	}
}

func TestWildcards(t *testing.T) {
	for _, test := range []struct {
		pattern, s   string
		like, filter bool
	}{
		{"", "", true, true},
		{"orders", "orders", true, true},
		{"orders", "Orders", false, false},
		{"*", "", true, true},
		{"ord*", "orders", true, true},
		{"*d*s", "orders", true, true},
		{"*d*x", "orders", false, false},
		{"order?", "orders", true, true},
		{"order?", "order", false, false},
		{"orders?", "orders", false, false},
		{`\*`, "*", false, true},
		{`\*`, `\anything`, true, false},
		{`\*amazon\?\\`, `*amazon?\`, false, true},
		{`\*amazon\?\\`, `xamazon?\`, false, false},
		{`é?`, "éà", true, true},
	} {
		if got := like(test.pattern, test.s); got != test.like {
			t.Errorf("like(%q, %q) = %v", test.pattern, test.s, got)
		}
		if got := likeFilter(test.pattern, test.s); got != test.filter {
			t.Errorf("likeFilter(%q, %q) = %v", test.pattern, test.s, got)
		}
	}
}

// ctxOf gives a context that ends after a while, in a bubble's time too.
func ctxOf(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
