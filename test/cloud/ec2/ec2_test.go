package ec2_test

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
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
)

// machine is hardware that records which volumes are plugged in.
type machine struct {
	took time.Duration // by each Plug and Unplug

	mu      sync.Mutex
	plugged []string // serials
	refuse  error    // the error of Plug and Unplug
}

func (m *machine) Plug(ctx context.Context, v ec2.Volume) error {
	return m.do(ctx, func() { m.plugged = append(m.plugged, v.Serial()) })
}

func (m *machine) Unplug(ctx context.Context, v ec2.Volume) error {
	return m.do(ctx, func() {
		m.plugged = slices.DeleteFunc(m.plugged, func(serial string) bool { return serial == v.Serial() })
	})
}

func (m *machine) do(ctx context.Context, do func()) error {
	if !service.Sleep(ctx, m.took) {
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

func (m *machine) has(v ec2.Volume) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.plugged, v.Serial())
}

// state returns the state of a volume as DescribeVolumes returns it, such as "in-use attached /dev/sdf".
func state(t *testing.T, client *awsec2.Client, id string) string {
	t.Helper()
	out, err := client.DescribeVolumes(t.Context(), &awsec2.DescribeVolumesInput{VolumeIds: []string{id}})
	cloudtest.Must(t, err)
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
		c := cloudtest.New(t, cloud.Config{Delays: ec2.Delays{Create: 2 * time.Second, Attach: 3 * time.Second, Detach: 4 * time.Second, Start: 5 * time.Second}})
		c.IAM.Allow("db", "*")
		client := cloudtest.EC2Client(c, "db")
		m := &machine{took: time.Second}
		i, err := c.EC2.Run(ec2.Launch{Hardware: m})
		cloudtest.Must(t, err)
		v, err := c.EC2.CreateVolume(ec2.Volume{})
		cloudtest.Must(t, err)
		attach := func() error {
			out, err := client.AttachVolume(t.Context(), &awsec2.AttachVolumeInput{VolumeId: &v.ID, InstanceId: &i.ID, Device: aws.String("/dev/sdf")})
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
		cloudtest.WantError(t, attach(), "IncorrectState", "Instance '"+i.ID+"' is not 'running'.")
		after(time.Second, "available", false)
		cloudtest.WantError(t, attach(), "IncorrectState", "Instance '"+i.ID+"' is not 'running'.")
		cloudtest.Must(t, i.Wait(t.Context(), ec2.Running))
		cloudtest.Must(t, attach())
		after(0, "in-use attaching /dev/sdf", false)
		after(3*time.Second, "in-use attaching /dev/sdf", false)
		after(time.Second, "in-use attached /dev/sdf", true)
		cloudtest.WantError(t, attach(), "VolumeInUse", v.ID+" is already attached to an instance")

		detach := func() error {
			_, err := client.DetachVolume(t.Context(), &awsec2.DetachVolumeInput{VolumeId: &v.ID})
			return err
		}
		cloudtest.Must(t, detach())
		cloudtest.WantError(t, detach(), "IncorrectState", "is in the 'detaching' state")
		cloudtest.WantError(t, attach(), "VolumeInUse", "")
		after(4*time.Second, "in-use detaching /dev/sdf", true)
		m.set(ec2.ErrBusy)
		after(time.Second, "in-use busy /dev/sdf", true)
		after(time.Minute, "in-use busy /dev/sdf", true)
		m.set(nil)
		after(2*time.Second, "available", false)
		cloudtest.WantError(t, detach(), "IncorrectState", "Volume '"+v.ID+"' is in the 'available' state.")
	})
}

func TestVolumeThatIsNotAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{})
		i := cloudtest.Launch(t, c, ec2.Launch{})
		c.EC2.SetDelays(ec2.Delays{Create: time.Minute})
		v, err := c.EC2.CreateVolume(ec2.Volume{})
		cloudtest.Must(t, err)
		cloudtest.WantText(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"), "IncorrectState: "+v.ID+" is not 'available'.")
	})
}

func TestAttachIsRefused(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	i := cloudtest.Launch(t, c, ec2.Launch{ID: "i-0123456789abcdef0", Volumes: 3})
	other := cloudtest.Launch(t, c, ec2.Launch{})
	far := cloudtest.Launch(t, c, ec2.Launch{ID: "i-0123456789abcdef2", Zone: "eu-central-1b"})
	gone := cloudtest.Launch(t, c, ec2.Launch{ID: "i-0123456789abcdef3"})
	cloudtest.Must(t, gone.Terminate())
	cloudtest.Must(t, gone.Wait(t.Context(), ec2.Terminated))
	if far.Zone() != "eu-central-1b" || gone.State() != ec2.Terminated {
		t.Errorf("%s is in %s, %s is %s", far.ID, far.Zone(), gone.ID, gone.State())
	}
	v := cloudtest.Volume(t, c, ec2.Volume{ID: "vol-0123456789abcdef0"})
	held := cloudtest.Volume(t, c, ec2.Volume{ID: "vol-0123456789abcdef1"})
	cloudtest.Must(t, c.EC2.Attach(held.ID, other.ID, "/dev/sdf"))
	cloudtest.Must(t, c.EC2.Attach(cloudtest.Volume(t, c, ec2.Volume{}).ID, i.ID, "/dev/sdf"))

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
		cloudtest.WantText(t, c.EC2.Attach(test.volume, test.instance, test.device), test.want)
	}
	cloudtest.Must(t, c.EC2.Attach(v.ID, i.ID, "/dev/xvdda"))
	cloudtest.WantText(t, c.EC2.Attach(cloudtest.Volume(t, c, ec2.Volume{}).ID, i.ID, "/dev/sdh"),
		"AttachmentLimitExceeded: You may attach up to 3 devices for this instance type. Please use a larger instance size to attach more volumes.")
}

func TestDetachIsRefused(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "*")
	i := cloudtest.Launch(t, c, ec2.Launch{ID: "i-0123456789abcdef0"})
	v := cloudtest.Volume(t, c, ec2.Volume{ID: "vol-0123456789abcdef0"})
	cloudtest.Must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
	var root ec2.Volume
	for _, one := range c.EC2.Volumes() {
		if one.ID != v.ID {
			root = one
		}
	}
	cloudtest.WantText(t, c.EC2.Detach("vol-00000000"), "InvalidVolume.NotFound: The volume 'vol-00000000' does not exist.")
	cloudtest.WantText(t, c.EC2.Detach(root.ID), "OperationNotPermitted: Unable to detach root volume '"+root.ID+"' from instance 'i-0123456789abcdef0'")
	_, err := cloudtest.EC2Client(c, "db").DetachVolume(t.Context(), &awsec2.DetachVolumeInput{VolumeId: &v.ID, InstanceId: aws.String("i-00000000")})
	cloudtest.WantError(t, err, "InvalidAttachment.NotFound", "The volume 'vol-0123456789abcdef0' is not attached to instance 'i-00000000'")
	cloudtest.WantText(t, c.EC2.DeleteVolume(v.ID), "VolumeInUse: Volume vol-0123456789abcdef0 is currently attached to i-0123456789abcdef0")
	c.EC2.SetDelays(ec2.Delays{Terminate: time.Hour})
	cloudtest.Must(t, i.Terminate())
	cloudtest.WantText(t, c.EC2.Detach(v.ID), "IncorrectInstanceState: Unable to detach volume 'vol-0123456789abcdef0' from instance 'i-0123456789abcdef0'. The instance is not in a state in which volumes can be detached.")
}

func TestStuckAttachments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{})
		c.IAM.Allow("db", "*")
		client := cloudtest.EC2Client(c, "db")
		m := &machine{}
		i, v := cloudtest.Launch(t, c, ec2.Launch{Hardware: m}), cloudtest.Volume(t, c, ec2.Volume{})
		c.EC2.StickAttach(v.ID)
		stays := func(want string, plugged bool) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			if got := state(t, client, v.ID); got != want || m.has(v) != plugged {
				t.Errorf("%s, plugged: %v; want %s", got, m.has(v), want)
			}
		}
		cloudtest.Must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
		stays("in-use attaching /dev/sdf", false)
		cloudtest.Must(t, c.EC2.Detach(v.ID))
		stays("available", false)
		cloudtest.Must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
		stays("in-use attaching /dev/sdf", false)
		c.EC2.Release(v.ID)
		stays("in-use attached /dev/sdf", true)
		c.EC2.StickDetach(v.ID)
		cloudtest.Must(t, c.EC2.Detach(v.ID))
		stays("in-use detaching /dev/sdf", true)
		c.EC2.Release(v.ID)
		stays("available", false)

		// EC2 accepts another name of a device that is taken, but the volume stays attaching.
		cloudtest.Must(t, c.EC2.Attach(cloudtest.Volume(t, c, ec2.Volume{}).ID, i.ID, "/dev/sdg"))
		cloudtest.Must(t, c.EC2.Attach(v.ID, i.ID, "/dev/xvdg"))
		stays("in-use attaching /dev/xvdg", false)

		m.set(errors.New("no port is free"))
		bad := cloudtest.Volume(t, c, ec2.Volume{})
		cloudtest.Must(t, c.EC2.Attach(bad.ID, i.ID, "/dev/sdh"))
		time.Sleep(10 * time.Minute)
		if got := state(t, client, bad.ID); got != "in-use attaching /dev/sdh" {
			t.Errorf("not plugged, but %s", got)
		}
	})
}

func TestStopKeepsVolumesAndTerminateLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{Delays: ec2.Delays{Stop: time.Second, Start: time.Second, Terminate: time.Second, Detach: time.Second}})
		c.IAM.Allow("db", "*")
		client := cloudtest.EC2Client(c, "db")
		m := &machine{}
		i, v := cloudtest.Launch(t, c, ec2.Launch{}), cloudtest.Volume(t, c, ec2.Volume{})
		i.SetHardware(m)
		cloudtest.Must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
		cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), v.ID, ec2.Attached))

		cloudtest.Must(t, i.Stop())
		cloudtest.WantText(t, i.Stop(), "IncorrectInstanceState: The instance '"+i.ID+"' is not in a state from which it can be stopping.")
		cloudtest.Must(t, i.Wait(t.Context(), ec2.Stopped))
		if got := state(t, client, v.ID); got != "in-use attached /dev/sdf" || !m.has(v) {
			t.Errorf("stopped: %s", got)
		}
		cloudtest.Must(t, i.Start())
		cloudtest.Must(t, i.Wait(t.Context(), ec2.Running))
		if devices := devicesOf(t, client, i.ID); devices != "running /dev/sdf=attached /dev/xvda=attached" {
			t.Errorf("running: %s", devices)
		}
		cloudtest.Must(t, i.Terminate())
		cloudtest.Must(t, i.Wait(t.Context(), ec2.Terminated))
		if got := state(t, client, v.ID); got != "in-use attached /dev/sdf" {
			t.Errorf("just terminated: %s", got)
		}
		cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), v.ID, ec2.Available))
		synctest.Wait()
		if m.has(v) || len(c.EC2.Volumes()) != 1 {
			t.Errorf("terminated: plugged %v, volumes %v", m.has(v), c.EC2.Volumes())
		}
		if devices := devicesOf(t, client, i.ID); devices != "terminated" {
			t.Errorf("terminated: %s", devices)
		}
		err := i.Wait(cloudtest.Within(t, time.Minute), ec2.Running)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), i.ID+" is not running but terminated") {
			t.Errorf("waiting for what won't come: %v", err)
		}
		err = c.EC2.WaitVolume(cloudtest.Within(t, time.Minute), v.ID, ec2.Attached)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), v.ID+" is not attached but available") {
			t.Errorf("waiting for what won't come: %v", err)
		}
	})
}

func devicesOf(t *testing.T, client *awsec2.Client, id string) string {
	t.Helper()
	out, err := client.DescribeInstances(t.Context(), &awsec2.DescribeInstancesInput{InstanceIds: []string{id}})
	cloudtest.Must(t, err)
	i := out.Reservations[0].Instances[0]
	words := string(i.State.Name)
	for _, d := range i.BlockDeviceMappings {
		words += fmt.Sprintf(" %s=%s", *d.DeviceName, d.Ebs.Status)
	}
	return words
}

func TestMultiAttach(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	one, two := cloudtest.Launch(t, c, ec2.Launch{}), cloudtest.Launch(t, c, ec2.Launch{})
	_, err := c.EC2.CreateVolume(ec2.Volume{MultiAttach: true})
	cloudtest.WantText(t, err, "InvalidParameterCombination: The parameter MultiAttachEnabled is not supported for volume type gp3.")
	v := cloudtest.Volume(t, c, ec2.Volume{MultiAttach: true, Type: "io2"})
	cloudtest.Must(t, c.EC2.Attach(v.ID, one.ID, "/dev/sdf"))
	cloudtest.Must(t, c.EC2.Attach(v.ID, two.ID, "/dev/sdf"))
	cloudtest.WantText(t, c.EC2.Attach(v.ID, two.ID, "/dev/sdg"), "VolumeInUse: "+v.ID+" is already attached to an instance")
	if err := c.EC2.Detach(v.ID); err == nil || !strings.Contains(err.Error(), "instanceId is required") {
		t.Errorf("from whom? %v", err)
	}
}

func TestVolumeOfSnapshot(t *testing.T) {
	dir := t.TempDir()
	c := cloudtest.New(t, cloud.Config{Dir: dir})
	c.IAM.Allow("db", "*")
	client := cloudtest.EC2Client(c, "db")
	cloudtest.Must(t, os.WriteFile(dir+"/base.raw", []byte("data"), 0o600))
	s, err := c.EC2.AddSnapshot(ec2.Snapshot{VolumeID: "vol-00000001", Size: 2, Encrypted: true, Tags: map[string]string{"cluster": "orders"}, Path: dir + "/base.raw"})
	cloudtest.Must(t, err)
	_, err = c.EC2.AddSnapshot(ec2.Snapshot{ID: "snap-00000001", State: "pending"})
	cloudtest.Must(t, err)

	out, err := client.DescribeSnapshots(t.Context(), &awsec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"}, Filters: []types.Filter{
			{Name: aws.String("tag:cluster"), Values: []string{"orders"}}, {Name: aws.String("status"), Values: []string{"completed"}},
		},
	})
	cloudtest.Must(t, err)
	if len(out.Snapshots) != 1 || *out.Snapshots[0].SnapshotId != s.ID || *out.Snapshots[0].VolumeId != "vol-00000001" || *out.Snapshots[0].VolumeSize != 2 {
		t.Errorf("found %+v", out.Snapshots)
	}
	made, err := client.CreateVolume(t.Context(), &awsec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-central-1a"), SnapshotId: &s.ID})
	cloudtest.Must(t, err)
	v, _ := c.EC2.Volume(*made.VolumeId)
	f, err := os.Open(v.Path)
	cloudtest.Must(t, err)
	defer f.Close()
	data := make([]byte, 5)
	if _, err := f.Read(data); err != nil || string(data) != "data\x00" || v.Size != 2 || !v.Encrypted || *made.SnapshotId != s.ID {
		t.Errorf("made %+v, %v", v, err)
	}
	_, err = c.EC2.CreateVolume(ec2.Volume{SnapshotID: "snap-00000001"})
	cloudtest.WantText(t, err, "IncorrectState: Snapshot is in invalid state - pending")
	_, err = c.EC2.CreateVolume(ec2.Volume{SnapshotID: "snap-00000002"})
	cloudtest.WantText(t, err, "InvalidSnapshot.NotFound: The snapshot 'snap-00000002' does not exist.")
}

func TestDescribeLagsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{})
		c.IAM.Allow("db", "*")
		client := cloudtest.EC2Client(c, "db")
		i, v := cloudtest.Launch(t, c, ec2.Launch{}), cloudtest.Volume(t, c, ec2.Volume{})
		c.EC2.SetLag(3 * time.Second)
		cloudtest.Must(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdf"))
		cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), v.ID, ec2.Attached))
		young, err := c.EC2.CreateVolume(ec2.Volume{})
		cloudtest.Must(t, err)

		state := func(id string) string {
			out, err := client.DescribeVolumes(t.Context(), &awsec2.DescribeVolumesInput{VolumeIds: []string{id}})
			if err != nil {
				cloudtest.WantError(t, err, "InvalidVolume.NotFound", "")
				return "not found"
			}
			return string(out.Volumes[0].State)
		}
		if got := state(v.ID); got != ec2.Available {
			t.Errorf("at once: %s", got)
		}
		if got := state(young.ID); got != "not found" {
			t.Errorf("a new one, at once: %s", got)
		}
		cloudtest.WantText(t, c.EC2.Attach(v.ID, i.ID, "/dev/sdg"), "VolumeInUse: "+v.ID+" is already attached to an instance")
		time.Sleep(3 * time.Second)
		if got := state(v.ID); got != ec2.InUse {
			t.Errorf("later: %s", got)
		}
		if got := state(young.ID); got != ec2.Available {
			t.Errorf("a new one, later: %s", got)
		}
	})
}
