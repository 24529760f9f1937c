package api_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	agentec2 "bootagent/pkg/aws/ec2"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/storage/ebs"
	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
)

func TestFaultsOfEC2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{})
		c.IAM.Allow("db", "*")
		client := cloudtest.EC2Client(c, "db")
		i, v := cloudtest.Launch(t, c, ec2.Launch{}), cloudtest.Volume(t, c, ec2.Volume{})
		attach := func() error {
			_, err := client.AttachVolume(t.Context(), &awsec2.AttachVolumeInput{VolumeId: &v.ID, InstanceId: &i.ID, Device: aws.String("/dev/sdf")})
			return err
		}
		c.EC2.Fail("AttachVolume", service.InternalError, 1)
		cloudtest.WantError(t, attach(), "InternalError", "An internal error has occurred")
		if v, _ := c.EC2.Volume(v.ID); len(v.Attachments) != 0 {
			t.Error("an error without effect has one")
		}
		c.EC2.Fail("Attach*", service.DoneButUnavailable, 1)
		cloudtest.WantError(t, attach(), "Unavailable", "")
		cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), v.ID, ec2.Attached))
		cloudtest.WantError(t, attach(), "VolumeInUse", v.ID+" is already attached to an instance")

		c.EC2.Fail("Describe*", service.Throttled, 1)
		err := cloudtest.DescribeVolumes(t.Context(), client)
		cloudtest.WantError(t, err, "RequestLimitExceeded", "Request limit exceeded.")
		cloudtest.Must(t, cloudtest.DescribeVolumes(t.Context(), client))

		c.EC2.Fail("*", service.Fault{Delay: time.Minute}, 1)
		if err := cloudtest.DescribeVolumes(cloudtest.Within(t, time.Second), client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("late: %v", err)
		}
		c.EC2.Blackhole()
		if err := cloudtest.DescribeVolumes(cloudtest.Within(t, time.Hour), client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in a black hole: %v", err)
		}
		c.EC2.Heal()
		cloudtest.Must(t, cloudtest.DescribeVolumes(t.Context(), client))
	})
}

func TestBucketsOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{})
		c.IAM.Allow("db", "*")
		client := cloudtest.EC2Client(c, "db")
		filtered := &awsec2.DescribeVolumesInput{Filters: []types.Filter{{Name: aws.String("status"), Values: []string{ec2.Available}}}}
		calls := map[string]func() error{
			"of all":   func() error { return cloudtest.DescribeVolumes(t.Context(), client) },
			"filtered": func() error { _, err := client.DescribeVolumes(t.Context(), filtered); return err },
			"tags": func() error {
				return cloudtest.CreateTags(t.Context(), client, "vol-00000000", map[string]string{"a": "b"})
			},
			"detach": func() error {
				_, err := client.DetachVolume(t.Context(), &awsec2.DetachVolumeInput{VolumeId: aws.String("vol-00000000")})
				return err
			},
		}
		through := func(call func() error) (n int) {
			for {
				var api smithy.APIError
				if err := call(); errors.As(err, &api) && api.ErrorCode() == "RequestLimitExceeded" {
					return n
				}
				n++
			}
		}
		full := map[string]int{"of all": 50, "filtered": 100, "tags": 100, "detach": 50}
		second := map[string]int{"of all": 10, "filtered": 20, "tags": 10, "detach": 5}
		for _, name := range slices.Sorted(maps.Keys(calls)) {
			if got := through(calls[name]); got != full[name] {
				t.Errorf("%s: %d at once, want %d", name, got, full[name])
			}
			time.Sleep(time.Second)
			if got := through(calls[name]); got != second[name] {
				t.Errorf("%s: %d after a second, want %d", name, got, second[name])
			}
		}
		c.EC2.Throttle("DescribeVolumes", 1, 0.1)
		cloudtest.Must(t, calls["filtered"]())
		cloudtest.WantError(t, calls["filtered"](), "RequestLimitExceeded", "")
		time.Sleep(10 * time.Second)
		cloudtest.Must(t, calls["filtered"]())
	})
}

func TestRequestsThatAreNone(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "*")
	client := cloudtest.EC2Client(c, "db")
	_, err := client.RunInstances(t.Context(), &awsec2.RunInstancesInput{MaxCount: aws.Int32(1), MinCount: aws.Int32(1)})
	cloudtest.WantError(t, err, "InvalidAction", "The action RunInstances is not valid for this web service.")
	_, err = client.DescribeVolumes(t.Context(), &awsec2.DescribeVolumesInput{DryRun: aws.Bool(true)})
	cloudtest.WantError(t, err, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	_, err = client.DescribeVolumes(t.Context(), &awsec2.DescribeVolumesInput{VolumeIds: []string{"data"}})
	cloudtest.WantError(t, err, "InvalidParameterValue", "Value (data) for parameter volumeId is invalid. Expected: 'vol-...'.")
	attach := &awsec2.AttachVolumeInput{VolumeId: aws.String("vol-0000000x"), InstanceId: aws.String("i-00000000"), Device: aws.String("/dev/sdf")}
	_, err = client.AttachVolume(t.Context(), attach)
	cloudtest.WantError(t, err, "InvalidParameterValue", "Value (vol-0000000x) for parameter volumeId is invalid.")
	attach.VolumeId, attach.InstanceId = aws.String("vol-00000000"), aws.String("db1")
	_, err = client.AttachVolume(t.Context(), attach)
	cloudtest.WantError(t, err, "InvalidInstanceID.Malformed", `Invalid id: "db1"`)
	attach.Device = aws.String("")
	_, err = client.AttachVolume(t.Context(), attach)
	cloudtest.WantError(t, err, "MissingParameter", "The request must contain the parameter device")
	_, err = client.DescribeInstances(t.Context(), &awsec2.DescribeInstancesInput{InstanceIds: []string{"db1"}})
	cloudtest.WantError(t, err, "InvalidInstanceID.Malformed", `Invalid id: "db1"`)
	_, err = client.DescribeInstances(t.Context(), &awsec2.DescribeInstancesInput{InstanceIds: []string{"i-00000000"}})
	cloudtest.WantError(t, err, "InvalidInstanceID.NotFound", "The instance ID 'i-00000000' does not exist")
	_, err = client.DescribeSnapshots(t.Context(), &awsec2.DescribeSnapshotsInput{SnapshotIds: []string{"snap-00000000"}})
	cloudtest.WantError(t, err, "InvalidSnapshot.NotFound", "The snapshot 'snap-00000000' does not exist.")
}

func TestFilters(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "*")
	client := cloudtest.EC2Client(c, "db")
	i := cloudtest.Launch(t, c, ec2.Launch{})
	names := map[string]string{}
	for name, v := range map[string]ec2.Volume{
		"orders": {Tags: map[string]string{"cluster": "orders", "empty": ""}},
		"star":   {Tags: map[string]string{"cluster": "ord*"}, Zone: "eu-central-1b"},
		"web":    {Tags: map[string]string{"cluster": "web"}, Encrypted: true, Size: 7},
		"held":   {Type: "io2", MultiAttach: true},
	} {
		v = cloudtest.Volume(t, c, v)
		names[v.ID] = name
		if name == "held" {
			cloudtest.Must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
			cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), v.ID, ec2.Attached))
		}
	}
	for _, test := range []struct{ filters, want string }{
		{"tag:cluster=orders", "orders"},
		{"tag:cluster=ord*", "orders star"},
		{`tag:cluster=ord\*`, "star"},
		{"tag:cluster=ORDERS", ""},
		{"tag:cluster=orders,web", "orders web"},
		{"tag:cluster=* encrypted=true", "web"},
		{"tag:empty=", "orders"},
		{"tag:nothing=", ""},
		{"tag-key=clu?ter", "orders star web"},
		{"availability-zone=eu-central-1b", "star"},
		{"status=in-use", "held root"},
		{"attachment.status=attached attachment.device=/dev/sdf", "held"},
		{"attachment.instance-id=" + i.ID, "held root"},
		{"attachment.delete-on-termination=true", "root"},
		{"multi-attach-enabled=true", "held"},
		{"size=7", "web"},
		{"volume-type=io2", "held"},
	} {
		got, err := filtered(t.Context(), client, test.filters)
		cloudtest.Must(t, err)
		var found []string
		for _, v := range got {
			name, ok := names[*v.VolumeId]
			if !ok {
				name = "root"
			}
			found = append(found, name)
		}
		slices.Sort(found)
		if strings.Join(found, " ") != test.want {
			t.Errorf("%s: %q, want %q", test.filters, found, test.want)
		}
	}
	_, err := filtered(t.Context(), client, "tags=x")
	cloudtest.WantError(t, err, "InvalidParameterValue", "The filter 'tags' is invalid")
	_, err = filtered(t.Context(), client, "size="+strings.Repeat("1,", 200)+"1")
	cloudtest.WantError(t, err, "FilterLimitExceeded", "200")
}

// filtered describes the volumes that pass filters, written as name=value,value name=value.
func filtered(ctx context.Context, client *awsec2.Client, filters string) ([]types.Volume, error) {
	in := &awsec2.DescribeVolumesInput{}
	for filter := range strings.FieldsSeq(filters) {
		name, values, _ := strings.Cut(filter, "=")
		in.Filters = append(in.Filters, types.Filter{Name: &name, Values: strings.Split(values, ",")})
	}
	out, err := client.DescribeVolumes(ctx, in)
	if err != nil {
		return nil, err
	}
	return out.Volumes, nil
}

func TestPages(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "*")
	client := cloudtest.EC2Client(c, "db")
	want := map[string]bool{}
	for range 12 {
		want[cloudtest.Volume(t, c, ec2.Volume{}).ID] = true
	}
	pages, ordered, last := 0, true, ""
	for pager := awsec2.NewDescribeVolumesPaginator(client, &awsec2.DescribeVolumesInput{MaxResults: aws.Int32(5)}); pager.HasMorePages(); pages++ {
		page, err := pager.NextPage(t.Context())
		cloudtest.Must(t, err)
		for _, v := range page.Volumes {
			if !want[*v.VolumeId] {
				t.Errorf("%s comes twice, or from nowhere", *v.VolumeId)
			}
			delete(want, *v.VolumeId)
			ordered = ordered && last < *v.VolumeId
			last = *v.VolumeId
		}
	}
	if pages != 3 || len(want) != 0 || ordered {
		t.Errorf("%d pages, %d volumes left out, in order: %v", pages, len(want), ordered)
	}

	// Two volumes fit, so most pages are empty but have a token.
	var fitting []name.VolumeID
	for range 2 {
		fitting = append(fitting, name.VolumeID(cloudtest.Volume(t, c, ec2.Volume{Tags: map[string]string{"cluster": "orders"}}).ID))
	}
	c.Calls.Reset()
	url, err := c.Listen(c.EC2)
	cloudtest.Must(t, err)
	api := agentec2.New(agentec2.Config{Region: c.Region(), Endpoint: url, Credentials: cloudtest.Provider(c.IAM.Credentials("db", "tester"))})
	for range 1000 {
		cloudtest.Volume(t, c, ec2.Volume{})
	}
	c.EC2.SetShortPages(true)
	found, err := api.Volumes(t.Context(), ebs.Query{Tags: map[string]string{"cluster": "orders"}})
	cloudtest.Must(t, err)
	if len(found) != 2 || !slices.Contains(fitting, found[0].ID) || !slices.Contains(fitting, found[1].ID) || len(c.Calls.Of("ec2:DescribeVolumes")) != 3 {
		t.Errorf("by %d calls it found %v, not %v", len(c.Calls.Of("ec2:DescribeVolumes")), found, fitting)
	}

	for _, test := range []struct {
		in          awsec2.DescribeVolumesInput
		code, words string
	}{
		{awsec2.DescribeVolumesInput{MaxResults: aws.Int32(4)}, "InvalidParameterValue", "Value ( 4 ) for parameter maxResults is invalid"},
		{awsec2.DescribeVolumesInput{NextToken: aws.String("x")}, "InvalidPaginationToken", ""},
		{awsec2.DescribeVolumesInput{MaxResults: aws.Int32(5), VolumeIds: []string{last}}, "InvalidParameterCombination", "The parameter volumeSet cannot be used with the parameter maxResults"},
	} {
		_, err := client.DescribeVolumes(t.Context(), &test.in)
		cloudtest.WantError(t, err, test.code, test.words)
	}
}

func TestCreateVolumeOnce(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{Dir: t.TempDir()})
	c.IAM.Allow("db", "*")
	client := cloudtest.EC2Client(c, "db")
	in := &awsec2.CreateVolumeInput{
		AvailabilityZone: aws.String("eu-central-1a"), Size: aws.Int32(2), ClientToken: aws.String("once"), Encrypted: aws.Bool(true),
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: aws.String("cluster"), Value: aws.String("orders")}},
		}},
	}
	one, err := client.CreateVolume(t.Context(), in)
	cloudtest.Must(t, err)
	again, err := client.CreateVolume(t.Context(), in)
	cloudtest.Must(t, err)
	if *one.VolumeId != *again.VolumeId || len(c.EC2.Volumes()) != 1 {
		t.Errorf("two volumes for one token: %v", c.EC2.Volumes())
	}
	in.Size = aws.Int32(3)
	_, err = client.CreateVolume(t.Context(), in)
	cloudtest.WantError(t, err, "IdempotentParameterMismatch", "once")

	v, _ := c.EC2.Volume(*one.VolumeId)
	if v.Tags["cluster"] != "orders" || !v.Encrypted || v.Size != 2 || v.Serial() != strings.Replace(v.ID, "-", "", 1) {
		t.Errorf("made %+v", v)
	}
	if info, err := os.Stat(v.Path); err != nil || info.Size() != 2<<30 {
		t.Errorf("its file: %v, %v", info, err)
	}
	if needs := strings.Join(c.Calls.Needs(), " "); needs != "ec2:CreateTags ec2:CreateVolume" {
		t.Errorf("needs %s", needs)
	}
	_, err = client.CreateVolume(t.Context(), &awsec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-central-1a")})
	cloudtest.WantError(t, err, "MissingParameter", "size/snapshot")
	_, err = client.CreateVolume(t.Context(), &awsec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1)})
	cloudtest.WantError(t, err, "InvalidZone.NotFound", "The zone 'us-east-1a' does not exist.")
}

func TestTags(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "*")
	client := cloudtest.EC2Client(c, "db")
	v := cloudtest.Volume(t, c, ec2.Volume{Tags: map[string]string{"cluster": "orders"}})
	tag := func(id, key, value string) error {
		return cloudtest.CreateTags(t.Context(), client, id, map[string]string{key: value})
	}
	cloudtest.Must(t, tag(v.ID, "bootagent:volume", v.ID))
	cloudtest.Must(t, tag(v.ID, "cluster", "web"))
	if now, _ := c.EC2.Volume(v.ID); len(now.Tags) != 2 || now.Tags["cluster"] != "web" || now.Tags["bootagent:volume"] != v.ID {
		t.Errorf("tags %v", now.Tags)
	}
	if v.Tags["cluster"] != "orders" {
		t.Error("a copy of a volume changed")
	}
	cloudtest.WantError(t, tag("vol-00000000", "a", "b"), "InvalidVolume.NotFound", "")
	cloudtest.WantError(t, tag("i-00000000", "a", "b"), "InvalidInstanceID.NotFound", "")
	cloudtest.WantError(t, tag("data", "a", "b"), "InvalidID", "The ID 'data' is not valid")
	cloudtest.WantError(t, tag(v.ID, "AWS:x", "b"), "InvalidParameterValue", "reserved for internal use")
	cloudtest.WantError(t, tag(v.ID, strings.Repeat("é", 129), "b"), "InvalidParameterValue", "maximum length of 128")
	cloudtest.WantError(t, tag(v.ID, "a", strings.Repeat("é", 257)), "InvalidParameterValue", "maximum length of 256")
	for n := range 48 {
		cloudtest.Must(t, tag(v.ID, fmt.Sprint(n), ""))
	}
	cloudtest.WantError(t, tag(v.ID, "one too many", ""), "TagLimitExceeded", "")
	cloudtest.Must(t, c.EC2.Untag(v.ID, "cluster"))
	cloudtest.Must(t, tag(v.ID, "one more", ""))
}
