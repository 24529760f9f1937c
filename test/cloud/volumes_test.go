package cloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	agentec2 "bootagent/pkg/aws/ec2"
	agentvolume "bootagent/pkg/volume"
)

// machine is hardware that notes what is plugged.
type machine struct {
	took time.Duration // for each

	mu      sync.Mutex
	plugged []string // serials
	refuse  error    // of Plug and Unplug
}

func (m *machine) Plug(ctx context.Context, v Volume) error {
	return m.do(ctx, func() { m.plugged = append(m.plugged, v.Serial()) })
}

func (m *machine) Unplug(ctx context.Context, v Volume) error {
	return m.do(ctx, func() {
		m.plugged = slices.DeleteFunc(m.plugged, func(serial string) bool { return serial == v.Serial() })
	})
}

func (m *machine) do(ctx context.Context, do func()) error {
	if !sleep(ctx, m.took) {
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse == nil {
		do()
	}
	return m.refuse
}

func (m *machine) set(refuse error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = refuse
}

func (m *machine) has(v Volume) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.plugged, v.Serial())
}

// state is "in-use attached /dev/sdf", as DescribeVolumes tells.
func state(t *testing.T, client *ec2.Client, id string) string {
	t.Helper()
	out, err := client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	must(t, err)
	if len(out.Volumes) != 1 || *out.Volumes[0].VolumeId != id {
		t.Fatalf("%d volumes for one id", len(out.Volumes))
	}
	words := string(out.Volumes[0].State)
	for _, a := range out.Volumes[0].Attachments {
		words += fmt.Sprintf(" %s %s", a.State, *a.Device)
	}
	return words
}

func TestVolumeGoesThroughItsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, Config{Delays: Delays{Create: 2 * time.Second, Attach: 3 * time.Second, Detach: 4 * time.Second, Start: 5 * time.Second}})
		c.IAM.Allow("db", "*")
		client := ec2Client(c, "db")
		m := &machine{took: time.Second}
		i, err := c.EC2.Run(Launch{Hardware: m})
		must(t, err)
		v, err := c.EC2.CreateVolume(Volume{})
		must(t, err)
		attach := func() error {
			out, err := client.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &v.ID, InstanceId: &i.ID, Device: aws.String("/dev/sdf")})
			if err == nil && (out.State != types.VolumeAttachmentStateAttaching || *out.Device != "/dev/sdf") {
				t.Errorf("AttachVolume says %s at %s", out.State, *out.Device)
			}
			return err
		}
		after := func(d time.Duration, want string, plugged bool) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := state(t, client, v.ID); got != want || m.has(v) != plugged {
				t.Errorf("%s, plugged: %v; want %s", got, m.has(v), want)
			}
		}
		after(time.Second, "creating", false)
		wantError(t, attach(), "IncorrectState", "Instance '"+i.ID+"' is not 'running'.")
		after(time.Second, "available", false)
		wantError(t, attach(), "IncorrectState", "Instance '"+i.ID+"' is not 'running'.")
		must(t, i.Wait(t.Context(), Running))
		must(t, attach())
		after(0, "in-use attaching /dev/sdf", false)
		after(3*time.Second, "in-use attaching /dev/sdf", false)
		after(time.Second, "in-use attached /dev/sdf", true)
		wantError(t, attach(), "VolumeInUse", v.ID+" is already attached to an instance")

		detach := func() error {
			_, err := client.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &v.ID})
			return err
		}
		must(t, detach())
		wantError(t, detach(), "IncorrectState", "is in the 'detaching' state")
		wantError(t, attach(), "VolumeInUse", "")
		after(4*time.Second, "in-use detaching /dev/sdf", true)
		m.set(ErrBusy)
		after(time.Second, "in-use busy /dev/sdf", true)
		after(time.Minute, "in-use busy /dev/sdf", true)
		m.set(nil)
		after(2*time.Second, "available", false)
		wantError(t, detach(), "IncorrectState", "Volume '"+v.ID+"' is in the 'available' state.")
	})
}

func TestVolumeThatIsNotAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, Config{})
		i := launch(t, c, Launch{})
		c.EC2.SetDelays(Delays{Create: time.Minute})
		v, err := c.EC2.CreateVolume(Volume{})
		must(t, err)
		wantWords(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"), "IncorrectState: "+v.ID+" is not 'available'.")
	})
}

func wantWords(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || err.Error() != words {
		t.Errorf("%v, want %s", err, words)
	}
}

func TestAttachIsRefused(t *testing.T) {
	c := newCloud(t, Config{})
	i := launch(t, c, Launch{ID: "i-0123456789abcdef0", Volumes: 3})
	other := launch(t, c, Launch{})
	far := launch(t, c, Launch{ID: "i-0123456789abcdef2", Zone: "eu-central-1b"})
	gone := launch(t, c, Launch{ID: "i-0123456789abcdef3"})
	must(t, gone.Terminate())
	must(t, gone.Wait(t.Context(), Terminated))
	if far.Zone() != "eu-central-1b" || gone.State() != Terminated {
		t.Errorf("%s is in %s, %s is %s", far.ID, far.Zone(), gone.ID, gone.State())
	}
	v := volume(t, c, Volume{ID: "vol-0123456789abcdef0"})
	held := volume(t, c, Volume{ID: "vol-0123456789abcdef1"})
	must(t, c.EC2.Attach(held.ID, other.ID, "/dev/sdf"))
	must(t, c.EC2.Attach(volume(t, c, Volume{}).ID, i.ID, "/dev/sdf"))

	for _, test := range []struct{ volume, instance, device, want string }{
		{"vol-00000000", i.ID, "/dev/sdg", "InvalidVolume.NotFound: The volume 'vol-00000000' does not exist."},
		{v.ID, "i-00000000", "/dev/sdg", "InvalidInstanceID.NotFound: The instance ID 'i-00000000' does not exist"},
		{v.ID, i.ID, "/dev/sdg1", "InvalidParameterValue: Value (/dev/sdg1) for parameter device is invalid. /dev/sdg1 is not a valid EBS device name."},
		{v.ID, i.ID, "/dev/xvdea", "InvalidParameterValue: Value (/dev/xvdea) for parameter device is invalid. /dev/xvdea is not a valid EBS device name."},
		{v.ID, i.ID, "/dev/nvme1n1", "InvalidParameterValue: Value (/dev/nvme1n1) for parameter device is invalid. /dev/nvme1n1 is not a valid EBS device name."},
		{v.ID, i.ID, "/dev/sdf", "InvalidParameterValue: Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use"},
		{v.ID, i.ID, "/dev/xvda", "InvalidParameterValue: Invalid value '/dev/xvda' for unixDevice. Attachment point /dev/xvda is already in use"},
		{v.ID, far.ID, "/dev/sdg", "InvalidVolume.ZoneMismatch: The volume 'vol-0123456789abcdef0' is not in the same availability zone as instance 'i-0123456789abcdef2'"},
		{v.ID, gone.ID, "/dev/sdg", "IncorrectState: Instance 'i-0123456789abcdef3' is not 'running'."},
		{held.ID, i.ID, "/dev/sdg", "VolumeInUse: vol-0123456789abcdef1 is already attached to an instance"},
	} {
		wantWords(t, c.EC2.Attach(test.volume, test.instance, test.device), test.want)
	}
	must(t, c.EC2.Attach(v.ID, i.ID, "/dev/xvdda"))
	wantWords(t, c.EC2.Attach(volume(t, c, Volume{}).ID, i.ID, "/dev/sdh"),
		"AttachmentLimitExceeded: You may attach up to 3 devices for this instance type. Please use a larger instance size to attach more volumes.")
}

func TestDetachIsRefused(t *testing.T) {
	c := newCloud(t, Config{})
	c.IAM.Allow("db", "*")
	i := launch(t, c, Launch{ID: "i-0123456789abcdef0"})
	v := volume(t, c, Volume{ID: "vol-0123456789abcdef0"})
	must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
	var root Volume
	for _, one := range c.EC2.Volumes() {
		if one.ID != v.ID {
			root = one
		}
	}
	wantWords(t, c.EC2.Detach("vol-00000000"), "InvalidVolume.NotFound: The volume 'vol-00000000' does not exist.")
	wantWords(t, c.EC2.Detach(root.ID), "OperationNotPermitted: Unable to detach root volume '"+root.ID+"' from instance 'i-0123456789abcdef0'")
	_, err := ec2Client(c, "db").DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &v.ID, InstanceId: aws.String("i-00000000")})
	wantError(t, err, "InvalidAttachment.NotFound", "The volume 'vol-0123456789abcdef0' is not attached to instance 'i-00000000'")
	wantWords(t, c.EC2.DeleteVolume(v.ID), "VolumeInUse: Volume vol-0123456789abcdef0 is currently attached to i-0123456789abcdef0")
	c.EC2.SetDelays(Delays{Terminate: time.Hour})
	must(t, i.Terminate())
	wantWords(t, c.EC2.Detach(v.ID), "IncorrectInstanceState: Unable to detach volume 'vol-0123456789abcdef0' from instance 'i-0123456789abcdef0'. The instance is not in a state in which volumes can be detached.")
}

func TestStuckAttachments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, Config{})
		c.IAM.Allow("db", "*")
		client := ec2Client(c, "db")
		m := &machine{}
		i, v := launch(t, c, Launch{Hardware: m}), volume(t, c, Volume{})
		c.EC2.StickAttach(v.ID)
		stays := func(want string, plugged bool) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			if got := state(t, client, v.ID); got != want || m.has(v) != plugged {
				t.Errorf("%s, plugged: %v; want %s", got, m.has(v), want)
			}
		}
		must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
		stays("in-use attaching /dev/sdf", false)
		must(t, c.EC2.Detach(v.ID))
		stays("available", false)
		must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
		stays("in-use attaching /dev/sdf", false)
		c.EC2.Release(v.ID)
		stays("in-use attached /dev/sdf", true)
		c.EC2.StickDetach(v.ID)
		must(t, c.EC2.Detach(v.ID))
		stays("in-use detaching /dev/sdf", true)
		c.EC2.Release(v.ID)
		stays("available", false)

		// The same slot by another name is accepted, and never comes.
		must(t, c.EC2.Attach(volume(t, c, Volume{}).ID, i.ID, "/dev/sdg"))
		must(t, c.EC2.Attach(v.ID, i.ID, "/dev/xvdg"))
		stays("in-use attaching /dev/xvdg", false)

		m.set(errors.New("no port is free"))
		bad := volume(t, c, Volume{})
		must(t, c.EC2.Attach(bad.ID, i.ID, "/dev/sdh"))
		time.Sleep(10 * time.Minute)
		if got := state(t, client, bad.ID); got != "in-use attaching /dev/sdh" {
			t.Errorf("not plugged, but %s", got)
		}
	})
}

func TestStopKeepsVolumesAndTerminateLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, Config{Delays: Delays{Stop: time.Second, Start: time.Second, Terminate: time.Second, Detach: time.Second}})
		c.IAM.Allow("db", "*")
		client := ec2Client(c, "db")
		m := &machine{}
		i, v := launch(t, c, Launch{}), volume(t, c, Volume{})
		i.SetHardware(m)
		must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
		must(t, c.EC2.WaitVolume(t.Context(), v.ID, Attached))

		must(t, i.Stop())
		wantWords(t, i.Stop(), "IncorrectInstanceState: The instance '"+i.ID+"' is not in a state from which it can be stopping.")
		must(t, i.Wait(t.Context(), Stopped))
		if got := state(t, client, v.ID); got != "in-use attached /dev/sdf" || !m.has(v) {
			t.Errorf("stopped: %s", got)
		}
		must(t, i.Start())
		must(t, i.Wait(t.Context(), Running))
		if devices := devicesOf(t, client, i.ID); devices != "running /dev/sdf=attached /dev/xvda=attached" {
			t.Errorf("running: %s", devices)
		}
		must(t, i.Terminate())
		must(t, i.Wait(t.Context(), Terminated))
		if got := state(t, client, v.ID); got != "in-use attached /dev/sdf" {
			t.Errorf("just terminated: %s", got)
		}
		must(t, c.EC2.WaitVolume(t.Context(), v.ID, Available))
		synctest.Wait()
		if m.has(v) || len(c.EC2.Volumes()) != 1 {
			t.Errorf("terminated: plugged %v, volumes %v", m.has(v), c.EC2.Volumes())
		}
		if devices := devicesOf(t, client, i.ID); devices != "terminated" {
			t.Errorf("terminated: %s", devices)
		}
		err := i.Wait(ctxOf(t, time.Minute), Running)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), i.ID+" is not running but terminated") {
			t.Errorf("waiting for what won't come: %v", err)
		}
		err = c.EC2.WaitVolume(ctxOf(t, time.Minute), v.ID, Attached)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), v.ID+" is not attached but available") {
			t.Errorf("waiting for what won't come: %v", err)
		}
	})
}

func devicesOf(t *testing.T, client *ec2.Client, id string) string {
	t.Helper()
	out, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	i := out.Reservations[0].Instances[0]
	words := string(i.State.Name)
	for _, d := range i.BlockDeviceMappings {
		words += fmt.Sprintf(" %s=%s", *d.DeviceName, d.Ebs.Status)
	}
	return words
}

func TestMultiAttach(t *testing.T) {
	c := newCloud(t, Config{})
	one, two := launch(t, c, Launch{}), launch(t, c, Launch{})
	_, err := c.EC2.CreateVolume(Volume{MultiAttach: true})
	wantWords(t, err, "InvalidParameterCombination: The parameter MultiAttachEnabled is not supported for volume type gp3.")
	v := volume(t, c, Volume{MultiAttach: true, Type: "io2"})
	must(t, c.EC2.Attach(v.ID, one.ID, "/dev/sdf"))
	must(t, c.EC2.Attach(v.ID, two.ID, "/dev/sdf"))
	wantWords(t, c.EC2.Attach(v.ID, two.ID, "/dev/sdg"), "VolumeInUse: "+v.ID+" is already attached to an instance")
	if err := c.EC2.Detach(v.ID); err == nil || !strings.Contains(err.Error(), "instanceId is required") {
		t.Errorf("from whom? %v", err)
	}
}

func TestFilters(t *testing.T) {
	c := newCloud(t, Config{})
	c.IAM.Allow("db", "*")
	client := ec2Client(c, "db")
	i := launch(t, c, Launch{})
	names := map[string]string{}
	for name, v := range map[string]Volume{
		"orders": {Tags: map[string]string{"cluster": "orders", "empty": ""}},
		"star":   {Tags: map[string]string{"cluster": "ord*"}, Zone: "eu-central-1b"},
		"web":    {Tags: map[string]string{"cluster": "web"}, Encrypted: true, Size: 7},
		"held":   {Type: "io2", MultiAttach: true},
	} {
		v = volume(t, c, v)
		names[v.ID] = name
		if name == "held" {
			must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
			must(t, c.EC2.WaitVolume(t.Context(), v.ID, Attached))
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
		must(t, err)
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
	wantError(t, err, "InvalidParameterValue", "The filter 'tags' is invalid")
	_, err = filtered(t.Context(), client, "size="+strings.Repeat("1,", 200)+"1")
	wantError(t, err, "FilterLimitExceeded", "200")
}

// filtered asks for name=value,value name=value.
func filtered(ctx context.Context, client *ec2.Client, filters string) ([]types.Volume, error) {
	in := &ec2.DescribeVolumesInput{}
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
	c := newCloud(t, Config{})
	c.IAM.Allow("db", "*")
	client := ec2Client(c, "db")
	want := map[string]bool{}
	for range 12 {
		want[volume(t, c, Volume{}).ID] = true
	}
	pages, ordered, last := 0, true, ""
	for pager := ec2.NewDescribeVolumesPaginator(client, &ec2.DescribeVolumesInput{MaxResults: aws.Int32(5)}); pager.HasMorePages(); pages++ {
		page, err := pager.NextPage(t.Context())
		must(t, err)
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

	// Of two that fit, most pages with a token have none.
	var fitting []string
	for range 2 {
		fitting = append(fitting, volume(t, c, Volume{Tags: map[string]string{"cluster": "orders"}}).ID)
	}
	c.Calls.Reset()
	url, err := c.Listen(c.EC2)
	must(t, err)
	api := agentec2.New(agentec2.Config{Region: c.Region(), Endpoint: url, Credentials: provider(c.IAM.Credentials("db", "tester"))})
	for range 1000 {
		volume(t, c, Volume{})
	}
	c.EC2.SetShortPages(true)
	found, err := api.Volumes(t.Context(), agentvolume.Query{Tags: map[string]string{"cluster": "orders"}})
	must(t, err)
	if len(found) != 2 || !slices.Contains(fitting, found[0].ID) || !slices.Contains(fitting, found[1].ID) || len(c.Calls.Of("ec2:DescribeVolumes")) != 3 {
		t.Errorf("by %d calls it found %v, not %v", len(c.Calls.Of("ec2:DescribeVolumes")), found, fitting)
	}

	for _, test := range []struct {
		in          ec2.DescribeVolumesInput
		code, words string
	}{
		{ec2.DescribeVolumesInput{MaxResults: aws.Int32(4)}, "InvalidParameterValue", "Value ( 4 ) for parameter maxResults is invalid"},
		{ec2.DescribeVolumesInput{NextToken: aws.String("x")}, "InvalidPaginationToken", ""},
		{ec2.DescribeVolumesInput{MaxResults: aws.Int32(5), VolumeIds: []string{last}}, "InvalidParameterCombination", "The parameter volumeSet cannot be used with the parameter maxResults"},
	} {
		_, err := client.DescribeVolumes(t.Context(), &test.in)
		wantError(t, err, test.code, test.words)
	}
}

func TestCreateVolumeOnce(t *testing.T) {
	c := newCloud(t, Config{Dir: t.TempDir()})
	c.IAM.Allow("db", "*")
	client := ec2Client(c, "db")
	in := &ec2.CreateVolumeInput{
		AvailabilityZone: aws.String("eu-central-1a"), Size: aws.Int32(2), ClientToken: aws.String("once"), Encrypted: aws.Bool(true),
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: aws.String("cluster"), Value: aws.String("orders")}},
		}},
	}
	one, err := client.CreateVolume(t.Context(), in)
	must(t, err)
	again, err := client.CreateVolume(t.Context(), in)
	must(t, err)
	if *one.VolumeId != *again.VolumeId || len(c.EC2.Volumes()) != 1 {
		t.Errorf("two volumes for one token: %v", c.EC2.Volumes())
	}
	in.Size = aws.Int32(3)
	_, err = client.CreateVolume(t.Context(), in)
	wantError(t, err, "IdempotentParameterMismatch", "once")

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
	_, err = client.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-central-1a")})
	wantError(t, err, "MissingParameter", "size/snapshot")
	_, err = client.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1)})
	wantError(t, err, "InvalidZone.NotFound", "The zone 'us-east-1a' does not exist.")
}

func TestVolumeOfSnapshot(t *testing.T) {
	dir := t.TempDir()
	c := newCloud(t, Config{Dir: dir})
	c.IAM.Allow("db", "*")
	client := ec2Client(c, "db")
	must(t, os.WriteFile(dir+"/base.raw", []byte("data"), 0o600))
	s, err := c.EC2.AddSnapshot(Snapshot{VolumeID: "vol-00000001", Size: 2, Encrypted: true, Tags: map[string]string{"cluster": "orders"}, Path: dir + "/base.raw"})
	must(t, err)
	_, err = c.EC2.AddSnapshot(Snapshot{ID: "snap-00000001", State: "pending"})
	must(t, err)

	out, err := client.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"}, Filters: []types.Filter{
			{Name: aws.String("tag:cluster"), Values: []string{"orders"}}, {Name: aws.String("status"), Values: []string{"completed"}},
		},
	})
	must(t, err)
	if len(out.Snapshots) != 1 || *out.Snapshots[0].SnapshotId != s.ID || *out.Snapshots[0].VolumeId != "vol-00000001" || *out.Snapshots[0].VolumeSize != 2 {
		t.Errorf("found %+v", out.Snapshots)
	}
	made, err := client.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-central-1a"), SnapshotId: &s.ID})
	must(t, err)
	v, _ := c.EC2.Volume(*made.VolumeId)
	f, err := os.Open(v.Path)
	must(t, err)
	defer f.Close()
	data := make([]byte, 5)
	if _, err := f.Read(data); err != nil || string(data) != "data\x00" || v.Size != 2 || !v.Encrypted || *made.SnapshotId != s.ID {
		t.Errorf("made %+v, %v", v, err)
	}
	_, err = c.EC2.CreateVolume(Volume{SnapshotID: "snap-00000001"})
	wantWords(t, err, "IncorrectState: Snapshot is in invalid state - pending")
	_, err = c.EC2.CreateVolume(Volume{SnapshotID: "snap-00000002"})
	wantWords(t, err, "InvalidSnapshot.NotFound: The snapshot 'snap-00000002' does not exist.")
}

func TestTags(t *testing.T) {
	c := newCloud(t, Config{})
	c.IAM.Allow("db", "*")
	client := ec2Client(c, "db")
	v := volume(t, c, Volume{Tags: map[string]string{"cluster": "orders"}})
	tag := func(id, key, value string) error {
		return createTags(t.Context(), client, id, map[string]string{key: value})
	}
	must(t, tag(v.ID, "bootagent:volume", v.ID))
	must(t, tag(v.ID, "cluster", "web"))
	if now, _ := c.EC2.Volume(v.ID); len(now.Tags) != 2 || now.Tags["cluster"] != "web" || now.Tags["bootagent:volume"] != v.ID {
		t.Errorf("tags %v", now.Tags)
	}
	if v.Tags["cluster"] != "orders" {
		t.Error("a copy of a volume changed")
	}
	wantError(t, tag("vol-00000000", "a", "b"), "InvalidVolume.NotFound", "")
	wantError(t, tag("i-00000000", "a", "b"), "InvalidInstanceID.NotFound", "")
	wantError(t, tag("data", "a", "b"), "InvalidID", "The ID 'data' is not valid")
	wantError(t, tag(v.ID, "AWS:x", "b"), "InvalidParameterValue", "reserved for internal use")
	wantError(t, tag(v.ID, strings.Repeat("é", 129), "b"), "InvalidParameterValue", "maximum length of 128")
	wantError(t, tag(v.ID, "a", strings.Repeat("é", 257)), "InvalidParameterValue", "maximum length of 256")
	for n := range 48 {
		must(t, tag(v.ID, fmt.Sprint(n), ""))
	}
	wantError(t, tag(v.ID, "one too many", ""), "TagLimitExceeded", "")
	must(t, c.EC2.Untag(v.ID, "cluster"))
	must(t, tag(v.ID, "one more", ""))
}
