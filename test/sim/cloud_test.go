package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	volume "bootagent/pkg/storage/ebs"
)

const (
	zone   = "eu-central-1a"
	region = "eu-central-1"
)

// A cloud is EC2: its volumes and instances, and what it says of them, which
// may be what was so some seconds ago.
type cloud struct {
	world     *World
	volumes   []*ebs
	instances map[string]*instance
	launched  int
	mapping   devices       // that an instance is launched with, beside its root
	lag       time.Duration // how long EC2 may tell what was before
	late      bool          // and does, each time
}

// devices are the volumes of an instance by the device name.
type devices map[string]name.VolumeID

// An instance is what EC2 knows of one.
type instance struct {
	id      string
	state   string
	devices devices
	cutOff  bool // somebody detached a volume that was being attached to it
}

// An ebs is a volume: what EC2 knows of it, and its blocks.
type ebs struct {
	volume.Volume
	blocks
	before  volume.Volume // what it was before it last changed
	changed time.Time
	minor   uint32 // of the disk that it was last
	stuck   bool   // its next attach does not end

	clean bool // the services that were last started on it have stopped cleanly

	size
	shrunk bool   // its disk is smaller than its filesystem
	label  string // of its filesystem

	adoptions map[adoption]bool // that people have ordered
	store     bool              // it is no volume, but instance store

	unsound     bool // its filesystem is not mended without being asked
	unmountable bool // the kernel refuses it
}

func newCloud(w *World) *cloud {
	return &cloud{world: w, instances: make(map[string]*instance), lag: 5 * time.Second}
}

// add makes a volume that fits the role.
func (c *cloud) add() *ebs {
	n := len(c.volumes) + 1
	v := &ebs{Volume: volume.Volume{
		ID: name.VolumeID(fmt.Sprintf("vol-%017x", n)), Zone: zone, State: volume.Available, Size: 8 << 30,
		Tags: map[string]string{"cluster": "orders", "holds": "mysql"},
	}, minor: uint32(n)}
	c.volumes = append(c.volumes, v)
	c.world.giveID(v, firstID)
	return v
}

// ofSerial is the volume whose disk has a serial number.
func (w *World) ofSerial(serial string) *ebs {
	for _, v := range w.cloud.volumes {
		if v.ID.Serial() == serial {
			return v
		}
	}
	return nil
}

func (c *cloud) volume(id name.VolumeID) *ebs {
	for _, v := range c.volumes {
		if v.ID == id {
			return v
		}
	}
	return nil
}

// becomes changes what EC2 says of a volume.
func (v *ebs) becomes(do func(*volume.Volume)) {
	v.before, v.changed = v.Volume, time.Now()
	v.before.Tags, v.before.Attachments = maps.Clone(v.Tags), slices.Clone(v.Attachments)
	do(&v.Volume)
}

// told is what EC2 says of a volume now.
func (c *cloud) told(v *ebs) volume.Volume {
	as := v.Volume
	recent := time.Since(v.changed) < c.lag && !v.changed.IsZero()
	if stale := c.world.oneIn(6) && c.world.faults.on; recent && (stale || c.late) {
		as = v.before
	}
	if m := v.modified; m != nil && m.State == volume.Modifying && v.early {
		as.Size = m.To
	}
	as.Tags, as.Attachments = maps.Clone(as.Tags), slices.Clone(as.Attachments)
	return as
}

// holder is the attachment of a volume, or nil.
func (v *ebs) holder() *volume.Attachment {
	if len(v.Attachments) == 0 {
		return nil
	}
	return &v.Attachments[0]
}

func refusal(action string, status int, code, format string, args ...any) error {
	return &diagnose.Error{Action: action, Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// trouble is how any call can fail without saying a thing about what it asks.
func trouble(action string) []error {
	return []error{
		refusal(action, 503, "RequestLimitExceeded", "Request limit exceeded."),
		refusal(action, 500, "InternalError", "An internal error has occurred"),
		&diagnose.Error{Action: action, Status: 502, Err: errors.New("there is no error of EC2 in the answer")},
		&diagnose.Error{Action: action, Err: errors.New("connection refused")},
		refusal(action, 403, "AuthFailure", "AWS was not able to validate the provided access credentials"),
		refusal(action, 403, "UnauthorizedOperation", "You are not authorized to perform this operation."),
	}
}

// ec2 is the API, as one agent calls it. A call ends within ten seconds.
type ec2 struct{ *agent }

const apiWithin = 10 * time.Second

func (e ec2) Volumes(ctx context.Context, q volume.Query) (all []volume.Volume, err error) {
	c := e.machine.world.cloud
	fails := trouble(volume.DescribeVolumes)
	if len(q.IDs) > 0 {
		fails = append(fails, refusal(volume.DescribeVolumes, 400, "InvalidVolume.NotFound", "The volume '%s' does not exist.", q.IDs[0]))
	}
	err = e.call(ctx, "asks", fmt.Sprint("EC2 for volumes ", q.IDs, q.Tags), effect{fails: fails, bound: apiWithin, do: func() error {
		for _, id := range q.IDs {
			if c.volume(id) == nil {
				return refusal(volume.DescribeVolumes, 400, "InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
			}
		}
		for _, v := range c.volumes {
			told := c.told(v)
			fits := len(q.IDs) == 0 || slices.Contains(q.IDs, v.ID)
			for key, value := range q.Tags {
				fits = fits && told.Tags[key] == value
			}
			if fits {
				all = append(all, told)
			}
		}
		return nil
	}})
	return all, err
}

func (e ec2) Instance(ctx context.Context, id string) (got volume.Instance, err error) {
	c := e.machine.world.cloud
	notFound := refusal(volume.DescribeInstances, 400, "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	fails := append(trouble(volume.DescribeInstances), notFound)
	err = e.call(ctx, "asks", "EC2 for instance "+id, effect{fails: fails, bound: apiWithin, do: func() error {
		i := c.instances[id]
		if i == nil {
			return notFound
		}
		got = volume.Instance{ID: id, Zone: zone, State: i.state, Devices: maps.Clone(i.devices)}
		return nil
	}})
	return got, err
}

func (e ec2) Attach(ctx context.Context, id name.VolumeID, instance, device string) error {
	c := e.machine.world.cloud
	const action = volume.AttachVolume
	fails := append(trouble(action),
		refusal(action, 400, "VolumeInUse", "%s is already attached to an instance", id),
		refusal(action, 400, "IncorrectState", "Instance '%s' is not 'running'.", instance),
		refusal(action, 400, "IncorrectState", "%s is not 'available'.", id),
		refusal(action, 400, "InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device),
		refusal(action, 400, "InvalidParameterValue", "Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", device, device),
		refusal(action, 400, "InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", id, instance),
		refusal(action, 400, "InvalidVolume.NotFound", "The volume '%s' does not exist.", id),
		refusal(action, 400, "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", instance),
		refusal(action, 400, "AttachmentLimitExceeded", "Volume attachment limit exceeded"),
		refusal(action, 400, "IncorrectInstanceState", "Instance is not in state 'stopped'"),
	)
	return e.call(ctx, "attach", fmt.Sprintf("%s as %s", id, device), effect{
		fails: fails, bound: apiWithin,
		do: func() error {
			if as := c.world.role.Volumes[0].Find.Attached; as != "" {
				c.world.breaks("%s attaches %s, although the launch of the instance attaches its volume as %s", e.machine.id, id, as)
			}
			return c.attach(id, instance, device)
		},
	})
}

// attach attaches a volume, in its time, or refuses as EC2 does.
func (c *cloud) attach(id name.VolumeID, to, device string) error {
	const action = volume.AttachVolume
	v, i := c.volume(id), c.instances[to]
	switch {
	case v == nil:
		return refusal(action, 400, "InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
	case v.Zone != zone:
		return refusal(action, 400, "InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", id, to)
	case v.holder() != nil && !v.MultiAttach:
		return refusal(action, 400, "VolumeInUse", "%s is already attached to an instance", id)
	case v.State != volume.Available && !v.MultiAttach:
		return refusal(action, 400, "IncorrectState", "%s is not 'available'.", id)
	case i.state != "running":
		return refusal(action, 400, "IncorrectState", "Instance '%s' is not 'running'.", to)
	case i.devices[device] != "":
		return refusal(action, 400, "InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
	}
	v.becomes(func(v *volume.Volume) {
		v.State = volume.InUse
		v.Attachments = append(v.Attachments, volume.Attachment{Instance: to, Device: device, State: volume.Attaching, Since: time.Now()})
	})
	i.devices[device] = id
	w := c.world
	w.count(to, "attach")
	since := v.holder().Since
	switch {
	case v.stuck:
		v.stuck = false
		w.tell("EC2", "the attach of %s hangs", id)
	case w.oneIn(25) && w.faults.act(): // as where its key of KMS can't be used
		w.in(w.between(time.Second, 8*time.Second), "EC2", fmt.Sprintf("the attach of %s to %s comes to nothing", id, to), func() {
			if a := v.holder(); a != nil && a.Instance == to && a.Since.Equal(since) {
				delete(i.devices, a.Device)
				v.becomes(func(v *volume.Volume) { v.Attachments, v.State = nil, volume.Available })
			}
		})
	default:
		w.in(w.between(time.Second, 8*time.Second), "EC2", fmt.Sprintf("%s is attached to %s", id, to), func() {
			if a := v.holder(); a == nil || a.Instance != to || !a.Since.Equal(since) {
				return
			}
			v.becomes(func(v *volume.Volume) { v.Attachments[0].State = volume.Attached })
			if m := w.machine(to); m != nil {
				m.plug(v)
			}
		})
	}
	return nil
}

func (e ec2) Detach(ctx context.Context, id name.VolumeID, instance, device string) error {
	c := e.machine.world.cloud
	const action = volume.DetachVolume
	fails := append(trouble(action),
		refusal(action, 400, "IncorrectState", "Volume '%s' is in the 'available' state.", id),
		refusal(action, 400, "InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s'", id, instance),
		refusal(action, 400, "IncorrectInstanceState", "Unable to detach volume '%s' from instance '%s'. The instance is not in a state in which volumes can be detached.", id, instance),
	)
	return e.call(ctx, "detach", fmt.Sprintf("%s from %s", id, device), effect{fails: fails, bound: apiWithin, do: func() error {
		return c.takeBack(e.machine, id, instance, device)
	}})
}

// takeBack detaches a volume, in its time, as an agent asks for it.
func (c *cloud) takeBack(by *machine, id name.VolumeID, from, device string) error {
	w, v := c.world, c.volume(id)
	a := v.holder()
	switch {
	case from != by.id:
		w.breaks("%s detaches %s from %s, another instance", by.id, id, from)
	case a == nil:
		return refusal(volume.DetachVolume, 400, "IncorrectState", "Volume '%s' is in the '%s' state.", id, v.State)
	case a.Instance != from || a.Device != device:
		return refusal(volume.DetachVolume, 400, "InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s'", id, from)
	case a.State == volume.Detaching:
		return refusal(volume.DetachVolume, 400, "IncorrectState", "Volume '%s' is in the 'detaching' state.", id)
	case a.State != volume.Attaching || by.plugged[id.Serial()] != nil:
		w.breaks("%s detaches %s, whose attach does not hang", by.id, id)
	}
	since := a.Since
	v.becomes(func(v *volume.Volume) { v.Attachments[0].State = volume.Detaching })
	if w.oneIn(8) && w.faults.act() {
		w.tell("EC2", "the detach of %s hangs", id)
		return nil
	}
	w.in(w.between(time.Second, 8*time.Second), "EC2", fmt.Sprintf("%s is detached from %s", id, from), func() {
		if a := v.holder(); a != nil && a.Instance == from && a.Since.Equal(since) {
			c.detach(v)
		}
	})
	return nil
}

// detach takes a volume from its holder, whether that still uses it or not.
func (c *cloud) detach(v *ebs) {
	a := v.holder()
	if a == nil {
		return
	}
	if i := c.instances[a.Instance]; i != nil {
		delete(i.devices, a.Device)
		i.cutOff = i.cutOff || a.State == volume.Attaching
	}
	holder := a.Instance
	v.becomes(func(v *volume.Volume) { v.Attachments, v.State = nil, volume.Available })
	if m := c.world.machine(holder); m != nil {
		m.unplug(v)
	}
}

func (e ec2) Tag(ctx context.Context, id name.VolumeID, tags map[string]string) error {
	c := e.machine.world.cloud
	fails := append(trouble(volume.CreateTags),
		refusal(volume.CreateTags, 400, "InvalidVolume.NotFound", "The volume '%s' does not exist.", id),
		refusal(volume.CreateTags, 400, "TagLimitExceeded", "The maximum number of Tags for a resource has been reached."))
	return e.call(ctx, "tag", fmt.Sprint(id, " ", tags), effect{fails: fails, bound: apiWithin, do: func() error {
		v := c.volume(id)
		v.becomes(func(v *volume.Volume) {
			v.Tags = maps.Clone(v.Tags)
			maps.Copy(v.Tags, tags)
		})
		c.world.count(e.machine.id, "tag")
		return nil
	}})
}

// launch starts a new instance with the user-data.
func (c *cloud) launch(userData string) *machine {
	c.launched++
	id := fmt.Sprintf("i-%017x", c.launched)
	c.instances[id] = &instance{id: id, state: "pending", devices: devices{"/dev/xvda": name.VolumeID("vol-root-of-" + id)}}
	w := c.world
	m := newMachine(w, id, userData)
	w.machines = append(w.machines, m)
	w.in(w.between(time.Second, 20*time.Second), "EC2", id+" runs", func() {
		if c.instances[id].state == "pending" {
			c.instances[id].state = "running"
			for _, device := range sortedKeys(c.mapping) {
				_ = c.attach(c.mapping[device], id, device)
			}
		}
	})
	m.boot()
	return m
}

// replace ends an instance without a word, and launches another one.
func (c *cloud) replace(m *machine) {
	c.terminate(m)
	w := c.world
	w.in(w.between(5*time.Second, time.Minute), "EC2", "launches another instance in place of "+m.id, func() { c.launch(m.userData) })
}

func (c *cloud) terminate(m *machine) {
	w := c.world
	w.tell("EC2", "ends %s", m.id)
	m.off()
	m.gone = true
	c.instances[m.id].state = "shutting-down"
	w.in(w.between(5*time.Second, 40*time.Second), "EC2", m.id+" is terminated, and its volumes are free", func() {
		c.instances[m.id].state = "terminated"
		for _, v := range c.volumes {
			if a := v.holder(); a != nil && a.Instance == m.id {
				c.detach(v)
			}
		}
	})
}

func (w *World) machine(id string) *machine {
	for _, m := range w.machines {
		if m.id == id && !m.gone {
			return m
		}
	}
	return nil
}
