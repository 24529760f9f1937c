package ebs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
)

// A cloud is an EC2 in memory: it has volumes and instances, attaches in its
// time, refuses as EC2 does, and keeps what it was asked.
type cloud struct {
	mu        sync.Mutex
	volumes   map[name.VolumeID]*Volume
	instances map[string]*Instance
	takes     time.Duration      // an attach
	hidden    map[string]bool    // ids that EC2 does not know yet
	baked     map[string]bool    // device names in use that the block device mapping does not tell
	answers   map[string][]error // to the next calls of an action, instead of doing it
	late      map[string]bool    // actions that are done though their answer is an error
	calls     []string           // actions, and of an attach the device name
	tagged    []string           // keys of the tags that were set
	modified  map[name.VolumeID]Modification
	letting   map[name.VolumeID]time.Time // since when volumes are being detached
	clings    bool                        // what is being detached stays so
}

const (
	zone  = "eu-west-1a"
	me    = "i-00000000000000001"
	other = "i-00000000000000002"
	vol   = "vol-00000000000000001"
	vol2  = "vol-00000000000000002"
	vol3  = "vol-00000000000000003"
)

// newCloud has this instance, another one, both running, and one free volume
// of cluster orders.
func newCloud() *cloud {
	return &cloud{
		volumes: map[name.VolumeID]*Volume{
			vol: {ID: vol, Zone: zone, State: Available, Size: 8 << 30, Tags: map[string]string{"cluster": "orders"}},
		},
		instances: map[string]*Instance{
			me:    {ID: me, Zone: zone, Type: "m7g.large", State: "running", Devices: map[string]name.VolumeID{"/dev/xvda": "vol-0000000000000root"}},
			other: {ID: other, Zone: zone, State: "running", Devices: map[string]name.VolumeID{}},
		},
		takes:   2 * time.Second,
		hidden:  map[string]bool{},
		baked:   map[string]bool{},
		answers: map[string][]error{},
		late:    map[string]bool{},
		letting: map[name.VolumeID]time.Time{},
	}
}

func (c *cloud) Volumes(ctx context.Context, q Query) (all []Volume, err error) {
	done, err := c.begin(ctx, DescribeVolumes)
	defer done()
	if err != nil {
		return nil, err
	}
	for _, id := range q.IDs {
		if c.volumes[id] == nil || c.hidden[string(id)] {
			return nil, refusal(DescribeVolumes, "InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.volumes)) {
		v := *c.volumes[id]
		fits := !c.hidden[string(id)] && (len(q.IDs) == 0 || slices.Contains(q.IDs, id))
		for key, value := range q.Tags {
			match, _ := path.Match(value, v.Tags[key]) // a filter as it is
			fits = fits && match
		}
		if fits {
			v.Tags, v.Attachments = maps.Clone(v.Tags), slices.Clone(v.Attachments)
			all = append(all, v)
		}
	}
	return all, nil
}

func (c *cloud) Instance(ctx context.Context, id string) (Instance, error) {
	done, err := c.begin(ctx, DescribeInstances)
	defer done()
	if err != nil {
		return Instance{}, err
	}
	i := c.instances[id]
	if i == nil || c.hidden[id] {
		return Instance{}, refusal(DescribeInstances, "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	instance := *i
	instance.Devices = maps.Clone(i.Devices)
	return instance, nil
}

func (c *cloud) Modification(ctx context.Context, id name.VolumeID) (Modification, error) {
	done, err := c.begin(ctx, DescribeVolumesModifications)
	defer done()
	if err != nil {
		return Modification{}, err
	}
	m, there := c.modified[id]
	if !there {
		return m, refusal(DescribeVolumesModifications, "InvalidVolumeModification.NotFound", "Modification for volume '%s' does not exist.", id)
	}
	return m, nil
}

func (c *cloud) Attach(ctx context.Context, volume name.VolumeID, instance, device string) error {
	done, err := c.begin(ctx, AttachVolume)
	defer done()
	c.calls[len(c.calls)-1] += " " + device
	if err != nil && !c.late[AttachVolume] {
		return err
	}
	return errors.Join(err, c.attach(volume, instance, device))
}

// attach attaches, or refuses as EC2 does.
func (c *cloud) attach(volume name.VolumeID, instance, device string) error {
	v, i := c.volumes[volume], c.instances[instance]
	switch {
	case v == nil:
		return refusal(AttachVolume, "InvalidVolume.NotFound", "The volume '%s' does not exist.", volume)
	case v.Zone != i.Zone:
		return refusal(AttachVolume, "InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", volume, instance)
	case len(v.Attachments) > 0:
		return refusal(AttachVolume, "VolumeInUse", "%s is already attached to an instance", volume)
	case v.State != Available:
		return refusal(AttachVolume, "IncorrectState", "%s is not 'available'.", volume)
	case i.State != "running" && i.State != "stopped":
		return refusal(AttachVolume, "IncorrectState", "Instance '%s' is not 'running'.", instance)
	case i.Devices[device] != "" || c.baked[device]:
		return refusal(AttachVolume, "InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
	}
	v.State = InUse
	v.Attachments = []Attachment{{Instance: instance, Device: device, State: Attaching, Since: time.Now()}}
	i.Devices[device] = volume
	return nil
}

func (c *cloud) Detach(ctx context.Context, volume name.VolumeID, instance, device string) error {
	done, err := c.begin(ctx, DetachVolume)
	defer done()
	c.calls[len(c.calls)-1] += " " + instance + " " + device
	if err != nil && !c.late[DetachVolume] {
		return err
	}
	return errors.Join(err, c.detach(volume, instance, device))
}

// detach detaches in its time, or refuses as EC2 does.
func (c *cloud) detach(volume name.VolumeID, instance, device string) error {
	v := c.volumes[volume]
	switch {
	case v == nil:
		return refusal(DetachVolume, "InvalidVolume.NotFound", "The volume '%s' does not exist.", volume)
	case len(v.Attachments) == 0:
		return refusal(DetachVolume, "IncorrectState", "Volume '%s' is in the '%s' state.", volume, v.State)
	case v.Attachments[0].Instance != instance || v.Attachments[0].Device != device:
		return refusal(DetachVolume, "InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s'", volume, instance)
	}
	v.Attachments[0].State = Detaching
	c.letting[volume] = time.Now()
	return nil
}

func (c *cloud) Tag(ctx context.Context, volume name.VolumeID, tags map[string]string) error {
	done, err := c.begin(ctx, CreateTags)
	defer done()
	if err != nil {
		return err
	}
	v := c.volumes[volume]
	if v.Tags == nil {
		v.Tags = map[string]string{}
	}
	maps.Copy(v.Tags, tags)
	c.tagged = append(c.tagged, slices.Sorted(maps.Keys(tags))...)
	return nil
}

// begin begins a call: what takes time has gone on since the last one.
func (c *cloud) begin(ctx context.Context, action string) (done func(), err error) {
	c.mu.Lock()
	for _, v := range c.volumes {
		if since, is := c.letting[v.ID]; is && time.Since(since) >= 2*time.Second && !c.clings {
			c.free(v)
		}
		for i, a := range v.Attachments {
			if a.State == Attaching && time.Since(a.Since) >= c.takes {
				v.Attachments[i].State = Attached
			}
		}
	}
	c.calls = append(c.calls, action)
	if ctx.Err() != nil {
		return c.mu.Unlock, context.Cause(ctx)
	}
	if next := c.answers[action]; len(next) > 0 {
		c.answers[action] = next[1:]
		err = next[0]
	}
	return c.mu.Unlock, err
}

// release has a volume let go, as a person does with detach-volume.
func (c *cloud) release(volume name.VolumeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free(c.volumes[volume])
}

func (c *cloud) free(v *Volume) {
	for _, a := range v.Attachments {
		delete(c.instances[a.Instance].Devices, a.Device)
	}
	delete(c.letting, v.ID)
	v.Attachments, v.State = nil, Available
}

// took returns what was asked since the last time.
func (c *cloud) took() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}

func refusal(action, code, format string, args ...any) error {
	return &diagnose.Error{Action: action, Status: 400, Code: code, Message: fmt.Sprintf(format, args...)}
}

// held is a volume with one attachment.
func held(instance, device, state string, since time.Time) *Volume {
	return &Volume{
		ID: vol, Zone: zone, State: InUse, Size: 8 << 30,
		Tags:        map[string]string{"cluster": "orders"},
		Attachments: []Attachment{{Instance: instance, Device: device, State: state, Since: since}},
	}
}

// The kinds of errors that a caller tells apart.
const (
	none    = ""
	waiting = "waiting"
	final   = "final"
	retried = "to be tried again"
)

// kind tells which kind an error is, and what its hint is.
func kind(err error) (kind, hint string) {
	pending := (*fault.Pending)(nil)
	switch {
	case err == nil:
		return none, ""
	case errors.As(err, &pending):
		return waiting, pending.Hint
	case fault.IsPermanent(err):
		return final, fault.HintOf(err)
	}
	return retried, fault.HintOf(err)
}

// text is the text of an error, or what is waited for.
func text(err error) string {
	pending := (*fault.Pending)(nil)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &pending):
		return pending.For
	}
	return err.Error()
}

// expect compares an error with what it has to be.
func expect(t *testing.T, err error, wantKind, words, hint string) {
	t.Helper()
	got, gotHint := kind(err)
	if got != wantKind || text(err) != words || gotHint != hint {
		t.Errorf("got  %s: %s\nhint %s\nwant %s: %s\nhint %s", got, text(err), gotHint, wantKind, words, hint)
	}
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
