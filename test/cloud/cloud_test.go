package cloud_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/service"
)

func TestServesOnLoopbackAndUnixSocketsOnly(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = t.TempDir() + "/socket"
		}
		l := listen(t, network, address)
		cloudtest.Must(t, c.Serve(l, c.EC2))
		client := &http.Client{Transport: &http.Transport{DialContext: dialer(l)}}
		answer, err := client.Get("http://ec2.test/?Action=DescribeVolumes")
		cloudtest.Must(t, err)
		body, err := io.ReadAll(answer.Body)
		cloudtest.Must(t, err)
		if answer.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "<Code>AuthFailure</Code>") {
			t.Errorf("on %s: %s\n%s", network, answer.Status, body)
		}
		answer.Body.Close()
	}
	if err := c.Serve(listen(t, "tcp", "0.0.0.0:0"), c.EC2); err == nil || !strings.Contains(err.Error(), "not of the loopback interface") {
		t.Errorf("serving on all addresses: %v", err)
	}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	cloudtest.Must(t, err)
	return l
}

// dialer dials a listener and ignores the address.
func dialer(l net.Listener) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, l.Addr().Network(), l.Addr().String())
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	c := cloud.New(cloud.Config{})
	c.EC2.Blackhole()
	url, err := c.Listen(c.EC2)
	cloudtest.Must(t, err)
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
	cloudtest.Must(t, c.Close())
	if err := <-ended; err == nil {
		t.Error("a call that hung was answered")
	}
	if calls := c.Calls.All(); calls[0].Code != service.Unanswered || calls[0].Action != "DescribeVolumes" {
		t.Errorf("recorded %v", calls)
	}
	if _, err := c.Listen(c.EC2); err == nil || !strings.Contains(err.Error(), "the cloud is closed") {
		t.Errorf("listening after the end: %v", err)
	}
}

func TestRecorderTellsWhatWasCalled(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "ec2:Describe*", "s3:GetObject")
	cloudtest.Must(t, c.S3.Put("b", "k", []byte("data")))
	_, err := cloudtest.EC2Client(c, "db").DescribeVolumes(t.Context(), &awsec2.DescribeVolumesInput{VolumeIds: []string{"vol-00000000"}})
	cloudtest.WantError(t, err, "InvalidVolume.NotFound", "'vol-00000000' does not exist")
	_, err = cloudtest.S3Client(c, "db").GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	cloudtest.Must(t, err)

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
	cloudtest.Must(t, c.Calls.Print(&printed))
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
