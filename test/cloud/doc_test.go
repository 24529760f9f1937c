package cloud_test

import (
	"context"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	awsimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"bootagent/test/cloud"
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
)

// counter is a machine that counts its disks.
type counter struct{ disks atomic.Int32 }

func (c *counter) Plug(context.Context, ec2.Volume) error {
	c.disks.Add(1)
	return nil
}

func (c *counter) Unplug(context.Context, ec2.Volume) error {
	c.disks.Add(-1)
	return nil
}

// The example in the package's documentation works over the network, with an agent that makes the calls of ours.
func TestAsDocumented(t *testing.T) {
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c := cloud.New(cloud.Config{Dir: t.TempDir()})
	defer c.Close()
	c.IAM.Allow("db", "ec2:Describe*", "ec2:AttachVolume", "ec2:CreateTags", "s3:GetObject")
	i, err := c.EC2.Run(ec2.Launch{Role: "db", UserData: []byte("#bootagent")})
	ok(err)
	imdsURL, err := c.Listen(i.IMDS)
	ok(err)
	ec2URL, err := c.Listen(c.EC2)
	ok(err)
	s3URL, err := c.Listen(c.S3)
	ok(err)
	machine := &counter{}
	i.SetHardware(machine)
	v, err := c.EC2.CreateVolume(ec2.Volume{Tags: map[string]string{"cluster": "orders"}})
	ok(err)
	ok(c.S3.Put("orders-secrets", "root.sql.age", []byte("ciphertext")))
	ok(i.Wait(ctx, ec2.Running))
	ok(c.EC2.WaitVolume(ctx, v.ID, ec2.Available))

	// The agent. Its first answers are errors, which the SDK tries again.
	c.EC2.Fail("Describe*", service.Throttled, 1)
	i.IMDS.Throttle(1)
	c.S3.Fail("GetObject", service.SlowDown, 1)
	metadata := awsimds.New(awsimds.Options{Endpoint: imdsURL, EnableFallback: aws.FalseTernary})
	document, err := metadata.GetInstanceIdentityDocument(ctx, nil)
	ok(err)
	role := aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = metadata }))
	api := awsec2.New(awsec2.Options{Region: document.Region, BaseEndpoint: &ec2URL, Credentials: role})
	found, err := api.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{
		Filters: []types.Filter{{Name: aws.String("tag:cluster"), Values: []string{"orders"}}},
	})
	ok(err)
	_, err = api.AttachVolume(ctx, &awsec2.AttachVolumeInput{
		VolumeId: found.Volumes[0].VolumeId, InstanceId: &document.InstanceID, Device: aws.String("/dev/sdf"),
	})
	ok(err)
	objects := s3.New(s3.Options{Region: document.Region, BaseEndpoint: &s3URL, UsePathStyle: true, Credentials: role})
	object, err := objects.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("orders-secrets"), Key: aws.String("root.sql.age")})
	ok(err)
	body, err := io.ReadAll(object.Body)
	ok(err)
	if string(body) != "ciphertext" {
		t.Errorf("read %q", body)
	}

	ok(c.EC2.WaitVolume(ctx, v.ID, ec2.Attached))
	if disks := machine.disks.Load(); disks != 1 {
		t.Errorf("the machine has %d disks", disks)
	}
	calls := c.Calls.Of("ec2:AttachVolume")
	if len(calls) != 1 || calls[0].Principal != i.ID || calls[0].Params["Device"] != "/dev/sdf" {
		t.Errorf("recorded %v", calls)
	}
	if needs := c.Calls.Needs(); !slices.Equal(needs, []string{"ec2:AttachVolume", "ec2:DescribeVolumes", "s3:GetObject"}) {
		t.Errorf("needs %q", needs)
	}
	if calls := c.Calls.Of("*:DescribeVolumes"); len(calls) != 2 || calls[0].Code != "RequestLimitExceeded" {
		t.Errorf("recorded %v", calls)
	}
}
