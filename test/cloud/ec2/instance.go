package ec2

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"bootagent/test/cloud/imds"
	"bootagent/test/cloud/service"
)

// The states of an instance.
const (
	Pending      = "pending"
	Running      = "running"
	Stopping     = "stopping"
	Stopped      = "stopped"
	ShuttingDown = "shutting-down"
	Terminated   = "terminated"
)

// What all instances have in common.
const (
	RootDevice = "/dev/xvda" // of the root volume
	ImageID    = "ami-0b00tb00tb00tb00t"
	ProfileID  = "AIPAB00TAGENTB00TAGENT" // of the instance profile
)

// A Launch is what an instance is launched with. All fields are optional.
type Launch struct {
	ID       string // i- and 17 digits; a random one by default
	Type     string // m7i.large by default
	Zone     string // eu-central-1a by default
	Role     string // the IAM role; by default there is none, and no credentials
	Tags     map[string]string
	UserData []byte

	// TagsInIMDS lets the instance read its own tags, which is not EC2's default.
	TagsInIMDS bool

	// Volumes is how many volumes may be attached, including the root volume; 27 by default.
	Volumes int

	// Mapping is the block device mapping beside the root: by device name, the size, the snapshot and the tags of a
	// volume that is made with the instance, attached to it, and deleted with it.
	Mapping map[string]Volume

	// Hardware is the machine, if there is one. SetHardware sets it later.
	Hardware Hardware
}

// An Instance is an EC2 instance with its own IMDS.
type Instance struct {
	ID   string
	IMDS *imds.IMDS

	ec2 *EC2

	mu      sync.Mutex
	machine Hardware
}

// An InstanceState is everything that EC2 knows about an instance.
type InstanceState struct {
	ID, Type, Zone, State string
	Role                  string // the IAM role; "" if there is none
	Tags                  map[string]string
	Launched              time.Time // or started, if that was later
	Address               string    // private

	tagsInIMDS bool
	userData   []byte
	limit      int      // of attached volumes
	atStart    []string // the devices at the last start, without the root device
}

// devices returns the names of the devices that are attached to the instance, sorted.
func (i InstanceState) devices(s *State) []string {
	var out []string
	for _, v := range s.Volumes {
		if a := v.AttachmentTo(i.ID); a != nil {
			out = append(out, a.Device)
		}
	}
	slices.Sort(out)
	return out
}

// Run launches an instance with a new root volume. It becomes running after the delay.
func (e *EC2) Run(l Launch) (*Instance, error) {
	i := InstanceState{
		ID:         cmp.Or(l.ID, newID("i")),
		Type:       cmp.Or(l.Type, "m7i.large"),
		Zone:       cmp.Or(l.Zone, e.env.Region+"a"),
		Role:       l.Role,
		State:      Pending,
		Tags:       maps.Clone(l.Tags),
		tagsInIMDS: l.TagsInIMDS,
		Launched:   time.Now(),
		limit:      cmp.Or(l.Volumes, 27),
		userData:   slices.Clone(l.UserData),
	}
	if err := e.checkInstance(i); err != nil {
		return nil, err
	}
	instance := &Instance{ID: i.ID, ec2: e, machine: l.Hardware}
	instance.IMDS = imds.New(e.env, e.iam, i.ID, instance.metadata)
	root := Volume{
		ID: newID("vol"), Zone: i.Zone, State: InUse, Size: 8, Type: "gp3", Created: i.Launched,
		Attachments: []Attachment{{i.ID, RootDevice, Attached, i.Launched, true}},
	}
	mapped := map[string]Volume{}
	for device, v := range l.Mapping {
		a := Attachment{i.ID, device, Attaching, i.Launched, true}
		mapped[device] = Volume{
			ID: newID("vol"), Zone: i.Zone, State: InUse, Size: cmp.Or(v.Size, 1), Type: "gp3", SnapshotID: v.SnapshotID,
			Tags: maps.Clone(v.Tags), Created: i.Launched, Attachments: []Attachment{a},
		}
		i.atStart = append(i.atStart, device)
	}
	slices.Sort(i.atStart)
	err := e.change(func(s *State) error {
		if _, ok := s.Instances[i.ID]; ok {
			return fmt.Errorf("cannot run %s: it already exists", i.ID)
		}
		i.Address = fmt.Sprintf("10.0.%d.%d", len(s.Instances)/200, 10+len(s.Instances)%200)
		s.Instances[i.ID] = i
		s.Volumes[root.ID] = root
		for _, v := range mapped {
			s.Volumes[v.ID] = v
		}
		e.instances[i.ID] = instance
		return nil
	})
	if err != nil {
		return nil, err
	}
	instance.becomes(Running, e.delay().Start, nil)
	for _, v := range mapped {
		e.env.Later(e.delay().Attach, func(ctx context.Context) { e.finishAttach(ctx, ends{v.ID, i.ID}) })
	}
	return instance, nil
}

// checkInstance refuses what EC2 refuses of a new instance.
func (e *EC2) checkInstance(i InstanceState) error {
	if err := CheckInstanceID(i.ID); err != nil {
		return err
	}
	if !slices.Contains(e.zones(), i.Zone) {
		return Errorf("InvalidZone.NotFound", "The zone '%s' does not exist.", i.Zone)
	}
	if err := checkUserData(i.userData); err != nil {
		return err
	}
	if err := checkTags(i.Tags); err != nil {
		return err
	}
	if i.tagsInIMDS {
		return checkIMDSTags(i.Tags)
	}
	return nil
}

// CheckInstanceID refuses a text that is not the ID of an instance.
func CheckInstanceID(id string) error {
	if !validID(id, "i-") {
		return Errorf("InvalidInstanceID.Malformed", "Invalid id: \"%s\"", id)
	}
	return nil
}

// ProfileARN returns the ARN of the instance profile of an IAM role. Both have the same name.
func (e *EC2) ProfileARN(role string) string {
	return fmt.Sprintf("arn:aws:iam::%s:instance-profile/%s", e.env.Account, role)
}

// metadata returns what the instance's IMDS says about it.
func (i *Instance) metadata() imds.Instance {
	s := i.now()
	m := imds.Instance{
		ID: s.ID, Type: s.Type, Zone: s.Zone, ImageID: ImageID, Address: s.Address, Launched: s.Launched, UserData: s.userData,
		Role: s.Role, ProfileARN: i.ec2.ProfileARN(s.Role), ProfileID: ProfileID, RootDevice: RootDevice, Devices: s.atStart,
	}
	if s.tagsInIMDS {
		m.Tags = s.Tags
	}
	return m
}

// becomes changes the state of the instance after a delay, and then calls then, unless it is nil.
func (i *Instance) becomes(state string, after time.Duration, then func(ctx context.Context)) {
	i.ec2.env.Later(after, func(ctx context.Context) {
		if i.change(func(s *InstanceState) error {
			s.State = state
			return nil
		}) == nil && then != nil {
			then(ctx)
		}
	})
}

// change changes the instance; do gets a copy of its state.
func (i *Instance) change(do func(s *InstanceState) error) error {
	return i.ec2.change(func(state *State) error {
		s := state.Instances[i.ID]
		err := do(&s)
		state.Instances[i.ID] = s
		return err
	})
}

func (i *Instance) now() InstanceState { return i.ec2.Now().Instances[i.ID] }

// leaves changes the state of an instance that has one of the states in from.
func (i *Instance) leaves(from []string, to string) error {
	return i.change(func(s *InstanceState) error {
		if !slices.Contains(from, s.State) {
			return Errorf("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be %s.", i.ID, to)
		}
		s.State = to
		return nil
	})
}

// State returns the current state of the instance.
func (i *Instance) State() string { return i.now().State }

// Zone returns the availability zone of the instance.
func (i *Instance) Zone() string { return i.now().Zone }

// Wait waits until the instance has a state.
func (i *Instance) Wait(ctx context.Context, state string) error {
	has := ""
	err := i.ec2.wait(ctx, func(s State) bool {
		has = s.Instances[i.ID].State
		return has == state
	})
	if err != nil {
		return fmt.Errorf("%s is not %s but %s: %w", i.ID, state, has, err)
	}
	return nil
}

// Stop stops a running instance; its volumes stay attached. The test has to turn off the machine.
func (i *Instance) Stop() error {
	if err := i.leaves([]string{Running}, Stopping); err != nil {
		return err
	}
	i.becomes(Stopped, i.ec2.delay().Stop, nil)
	return nil
}

// Start starts a stopped instance.
func (i *Instance) Start() error {
	err := i.ec2.change(func(state *State) error {
		s := state.Instances[i.ID]
		if s.State != Stopped {
			return Errorf("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started.", i.ID)
		}
		s.State = Pending
		s.Launched = time.Now()
		s.atStart = slices.DeleteFunc(s.devices(state), func(device string) bool { return device == RootDevice })
		state.Instances[i.ID] = s
		return nil
	})
	if err != nil {
		return err
	}
	i.becomes(Running, i.ec2.delay().Start, nil)
	return nil
}

// Terminate terminates an instance. When it is terminated, its volumes are detached, and its root volume is
// deleted. The test has to turn off the machine before.
func (i *Instance) Terminate() error {
	if err := i.leaves([]string{Pending, Running, Stopping, Stopped}, ShuttingDown); err != nil {
		return err
	}
	i.becomes(Terminated, i.ec2.delay().Terminate, func(ctx context.Context) {
		if !service.Sleep(ctx, i.ec2.delay().Detach) {
			return
		}
		for _, v := range i.ec2.Volumes() {
			if v.AttachmentTo(i.ID) != nil {
				i.ec2.env.Later(0, func(ctx context.Context) { i.ec2.finishDetach(ctx, ends{v.ID, i.ID}) })
			}
		}
	})
	return nil
}

// SetHardware sets the machine of an instance whose machine needs the URL of its IMDS first. Volumes that are
// attached from then on are plugged into it.
func (i *Instance) SetHardware(h Hardware) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.machine = h
}

func (i *Instance) hardware() Hardware {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.machine
}

// SetUserData replaces the user-data; nil removes it. As on EC2, the instance has to be stopped.
func (i *Instance) SetUserData(data []byte) error {
	if err := checkUserData(data); err != nil {
		return err
	}
	return i.change(func(s *InstanceState) error {
		if s.State != Stopped {
			return Errorf("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", i.ID)
		}
		s.userData = slices.Clone(data)
		return nil
	})
}

// checkUserData refuses user-data of more than 16 KiB.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
func checkUserData(data []byte) error {
	if len(data) > 16<<10 {
		return Errorf("InvalidParameterValue", "User data is limited to 16384 bytes")
	}
	return nil
}

// SetRole replaces the IAM role of the instance; "" removes it.
func (i *Instance) SetRole(role string) error {
	return i.change(func(s *InstanceState) error {
		s.Role = role
		return nil
	})
}

// SetTagsInIMDS sets whether the instance may read its own tags.
func (i *Instance) SetTagsInIMDS(on bool) error {
	return i.change(func(s *InstanceState) error {
		s.tagsInIMDS = on
		if on {
			return checkIMDSTags(s.Tags)
		}
		return nil
	})
}

// imdsTag matches the keys of tags that IMDS can show.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html
var imdsTag = regexp.MustCompile(`^[0-9a-zA-Z_+=,.@:-]{1,255}$`)

func checkIMDSTags(tags map[string]string) error {
	for key := range tags {
		if !imdsTag.MatchString(key) || key == "." || key == ".." || key == "_index" {
			return Errorf("InvalidParameterValue", "'%s' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{1,255}), and must not be a reserved name ('.', '..', '_index')", key)
		}
	}
	return nil
}
