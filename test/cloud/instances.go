package cloud

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
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

var stateCodes = map[string]int{Pending: 0, Running: 16, ShuttingDown: 32, Terminated: 48, Stopping: 64, Stopped: 80}

// rootDevice is where the own volume of every instance is.
const rootDevice = "/dev/xvda"

// A Launch is what an instance is made with; all of it may be left out.
type Launch struct {
	ID       string // i-, and 17 digits; chosen if it is empty
	Type     string // m7i.large by default
	Zone     string // eu-central-1a by default
	Role     string // none by default: no credentials
	Tags     map[string]string
	UserData []byte

	// TagsInIMDS lets the instance read its own tags; EC2 does not, by default.
	TagsInIMDS bool

	// Volumes is how many may be attached, its own among them; 27 by default.
	Volumes int

	// Hardware is the machine, if there is one. See SetHardware for one that comes later.
	Hardware Hardware
}

// An Instance is one of EC2, with its own IMDS.
type Instance struct {
	ID   string
	IMDS *IMDS

	ec2 *EC2

	mu      sync.Mutex
	machine Hardware
}

// instanceState is what there is to know of an instance.
type instanceState struct {
	id, kind, zone, role, state string
	tags                        map[string]string
	tagsInIMDS                  bool
	userData                    []byte
	launched                    time.Time
	address                     string // private
	limit                       int
	atStart                     []string // devices that were there at the last start, but for the root's
}

func (i instanceState) devices(w *world) []string {
	var out []string
	for _, v := range w.volumes {
		if a := v.attachedTo(i.id); a != nil {
			out = append(out, a.Device)
		}
	}
	slices.Sort(out)
	return out
}

func (e *EC2) zones() []string {
	region := e.cloud.config.Region
	return []string{region + "a", region + "b", region + "c"}
}

// Run launches an instance, with a volume of its own as its root. It is running after a while.
func (e *EC2) Run(l Launch) (*Instance, error) {
	s := instanceState{
		id:         cmp.Or(l.ID, newID("i")),
		kind:       cmp.Or(l.Type, "m7i.large"),
		zone:       cmp.Or(l.Zone, e.cloud.config.Region+"a"),
		role:       l.Role,
		state:      Pending,
		tags:       maps.Clone(l.Tags),
		tagsInIMDS: l.TagsInIMDS,
		launched:   time.Now(),
		limit:      cmp.Or(l.Volumes, 27),
		userData:   slices.Clone(l.UserData),
	}
	if !validID(s.id, "i-") {
		return nil, refuse("InvalidInstanceID.Malformed", "Invalid id: \"%s\"", s.id)
	}
	if !slices.Contains(e.zones(), s.zone) {
		return nil, refuse("InvalidZone.NotFound", "The zone '%s' does not exist.", s.zone)
	}
	if err := checkUserData(s.userData); err != nil {
		return nil, err
	}
	if err := checkTags(s.tags); err != nil {
		return nil, err
	}
	if s.tagsInIMDS {
		if err := checkIMDSTags(s.tags); err != nil {
			return nil, err
		}
	}

	i := &Instance{ID: s.id, ec2: e, machine: l.Hardware}
	i.IMDS = newIMDS(e.cloud, i)
	root := Volume{
		ID: newID("vol"), Zone: s.zone, State: InUse, Size: 8, Type: "gp3", Created: s.launched,
		Attachments: []Attachment{{s.id, rootDevice, Attached, s.launched, true}},
	}
	err := e.change(func(w *world) error {
		if _, ok := w.instances[s.id]; ok {
			return fmt.Errorf("cannot run %s: it is there", s.id)
		}
		s.address = fmt.Sprintf("10.0.%d.%d", len(w.instances)/200, 10+len(w.instances)%200)
		w.instances[s.id] = s
		w.volumes[root.ID] = root
		e.instances[s.id] = i
		return nil
	})
	if err != nil {
		return nil, err
	}
	i.becomes(Running, e.delay().Start, nil)
	return i, nil
}

// becomes gives the instance another state after a while, and then goes on.
func (i *Instance) becomes(state string, after time.Duration, then func(ctx context.Context)) {
	i.ec2.cloud.later(after, func(ctx context.Context) {
		if i.change(func(s *instanceState) error {
			s.state = state
			return nil
		}) == nil && then != nil {
			then(ctx)
		}
	})
}

// change changes a copy of the instance's state.
func (i *Instance) change(do func(s *instanceState) error) error {
	return i.ec2.change(func(w *world) error {
		s := w.instances[i.ID]
		err := do(&s)
		w.instances[i.ID] = s
		return err
	})
}

func (i *Instance) now() instanceState { return i.ec2.now().instances[i.ID] }

// leaves has the instance go from one state to the next.
func (i *Instance) leaves(from []string, to string) error {
	return i.change(func(s *instanceState) error {
		if !slices.Contains(from, s.state) {
			return refuse("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be %s.", i.ID, to)
		}
		s.state = to
		return nil
	})
}

// State gives the state of the instance as it is.
func (i *Instance) State() string { return i.now().state }

// Zone is where the instance is.
func (i *Instance) Zone() string { return i.now().zone }

// Wait waits until the instance has a state.
func (i *Instance) Wait(ctx context.Context, state string) error {
	has := ""
	err := i.ec2.wait(ctx, func(w world) bool {
		has = w.instances[i.ID].state
		return has == state
	})
	if err != nil {
		return fmt.Errorf("%s is not %s but %s: %w", i.ID, state, has, err)
	}
	return nil
}

// Stop stops a running instance; its volumes stay attached. The machine is whoever's it is to turn
// off.
func (i *Instance) Stop() error {
	if err := i.leaves([]string{Running}, Stopping); err != nil {
		return err
	}
	i.becomes(Stopped, i.ec2.delay().Stop, nil)
	return nil
}

// Start starts a stopped instance.
func (i *Instance) Start() error {
	err := i.ec2.change(func(w *world) error {
		s := w.instances[i.ID]
		if s.state != Stopped {
			return refuse("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started.", i.ID)
		}
		s.state = Pending
		s.launched = time.Now()
		s.atStart = slices.DeleteFunc(s.devices(w), func(device string) bool { return device == rootDevice })
		w.instances[i.ID] = s
		return nil
	})
	if err != nil {
		return err
	}
	i.becomes(Running, i.ec2.delay().Start, nil)
	return nil
}

// Terminate ends an instance for good. When it is terminated, its volumes are detached, and its own
// is deleted. The machine is whoever's it is to turn off, before.
func (i *Instance) Terminate() error {
	if err := i.leaves([]string{Pending, Running, Stopping, Stopped}, ShuttingDown); err != nil {
		return err
	}
	i.becomes(Terminated, i.ec2.delay().Terminate, func(ctx context.Context) {
		if !sleep(ctx, i.ec2.delay().Detach) {
			return
		}
		for _, v := range i.ec2.Volumes() {
			if v.attachedTo(i.ID) != nil {
				i.ec2.cloud.later(0, func(ctx context.Context) { i.ec2.finishDetach(ctx, wire{v.ID, i.ID}) })
			}
		}
	})
	return nil
}

// SetHardware is for a machine that comes after its instance, as it has to know the IMDS. It is
// plugged what is attached from then on.
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

// SetUserData replaces the user-data; nil is none. As on EC2, the instance has to be stopped.
func (i *Instance) SetUserData(data []byte) error {
	if err := checkUserData(data); err != nil {
		return err
	}
	return i.change(func(s *instanceState) error {
		if s.state != Stopped {
			return refuse("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", i.ID)
		}
		s.userData = slices.Clone(data)
		return nil
	})
}

// checkUserData refuses what is longer than 16 KiB.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
func checkUserData(data []byte) error {
	if len(data) > 16<<10 {
		return refuse("InvalidParameterValue", "User data is limited to 16384 bytes")
	}
	return nil
}

// SetRole gives the instance another role; the empty one is none.
func (i *Instance) SetRole(role string) error {
	return i.change(func(s *instanceState) error {
		s.role = role
		return nil
	})
}

// SetTagsInIMDS lets the instance read its own tags, or not.
func (i *Instance) SetTagsInIMDS(on bool) error {
	return i.change(func(s *instanceState) error {
		s.tagsInIMDS = on
		if on {
			return checkIMDSTags(s.tags)
		}
		return nil
	})
}

// imdsTag is what a tag's key has to be for IMDS to show it.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html
var imdsTag = regexp.MustCompile(`^[0-9a-zA-Z_+=,.@:-]{1,255}$`)

func checkIMDSTags(tags map[string]string) error {
	for key := range tags {
		if !imdsTag.MatchString(key) || key == "." || key == ".." || key == "_index" {
			return refuse("InvalidParameterValue", "'%s' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{1,255}), and must not be a reserved name ('.', '..', '_index')", key)
		}
	}
	return nil
}

func noInstance(id string) error {
	return refuse("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
}

// profile is the ARN of an instance profile: it has the name of its role here.
func (e *EC2) profile(role string) string {
	return fmt.Sprintf("arn:aws:iam::%s:instance-profile/%s", e.cloud.config.Account, role)
}

// described is an instance with what is attached to it.
type described struct {
	instanceState
	volumes []Volume
}

var instanceFilters = map[string]func(described) []string{
	"availability-zone": func(d described) []string { return []string{d.zone} },
	"block-device-mapping.volume-id": func(d described) []string {
		var out []string
		for _, v := range d.volumes {
			out = append(out, v.ID)
		}
		return out
	},
	"instance-id":         func(d described) []string { return []string{d.id} },
	"instance-state-name": func(d described) []string { return []string{d.state} },
	"instance-type":       func(d described) []string { return []string{d.kind} },
}

type instancesResponse struct {
	Head
	Reservations set[xmlReservation] `xml:"reservationSet"`
	NextToken    string              `xml:"nextToken,omitempty"`
}

type xmlReservation struct {
	ReservationID string           `xml:"reservationId"`
	OwnerID       string           `xml:"ownerId"`
	Instances     set[xmlInstance] `xml:"instancesSet"`
}

type xmlInstance struct {
	InstanceID   string         `xml:"instanceId"`
	ImageID      string         `xml:"imageId"`
	StateCode    int            `xml:"instanceState>code"`
	StateName    string         `xml:"instanceState>name"`
	Type         string         `xml:"instanceType"`
	LaunchTime   string         `xml:"launchTime"`
	Zone         string         `xml:"placement>availabilityZone"`
	Tenancy      string         `xml:"placement>tenancy"`
	Address      string         `xml:"privateIpAddress"`
	Architecture string         `xml:"architecture"`
	RootType     string         `xml:"rootDeviceType"`
	RootDevice   string         `xml:"rootDeviceName"`
	Devices      set[xmlDevice] `xml:"blockDeviceMapping"`
	Profile      *xmlProfile    `xml:"iamInstanceProfile"`
	Tags         set[xmlTag]    `xml:"tagSet"`
	Hypervisor   string         `xml:"hypervisor"`
}

type xmlProfile struct {
	ARN string `xml:"arn"`
	ID  string `xml:"id"`
}

type xmlDevice struct {
	Name                string `xml:"deviceName"`
	VolumeID            string `xml:"ebs>volumeId"`
	Status              string `xml:"ebs>status"`
	AttachTime          string `xml:"ebs>attachTime"`
	DeleteOnTermination bool   `xml:"ebs>deleteOnTermination"`
}

const (
	imageID   = "ami-0b00tb00tb00tb00t"
	profileID = "AIPAB00TAGENTB00TAGENT"
)

func (e *EC2) describeInstances(q query) (response, error) {
	ids := q.list("InstanceId")
	w := e.seen()
	for _, id := range ids {
		if !validID(id, "i-") {
			return nil, refuse("InvalidInstanceID.Malformed", "Invalid id: \"%s\"", id)
		}
		if _, ok := w.instances[id]; !ok {
			return nil, noInstance(id)
		}
	}
	by, err := filters(q, instanceFilters)
	if err != nil {
		return nil, err
	}
	held := map[string][]Volume{}
	for _, v := range w.volumes {
		for _, a := range v.Attachments {
			held[a.InstanceID] = append(held[a.InstanceID], v)
		}
	}
	var all []described
	for _, s := range w.instances {
		if len(ids) == 0 || slices.Contains(ids, s.id) {
			all = append(all, described{s, held[s.id]})
		}
	}
	fits := func(d described) bool {
		return (len(ids) == 0 || slices.Contains(ids, d.id)) && passes(d, d.tags, instanceFilters, by)
	}
	found, next, err := page(q, e.pagesAreShort(), all, fits, func(d described) string { return d.id }, "InstanceId")
	if err != nil {
		return nil, err
	}
	answer := &instancesResponse{NextToken: next}
	for _, d := range found {
		answer.Reservations.Items = append(answer.Reservations.Items, xmlReservation{
			ReservationID: "r-" + strings.TrimPrefix(d.id, "i-"),
			OwnerID:       e.cloud.config.Account,
			Instances:     set[xmlInstance]{[]xmlInstance{e.instanceFields(d)}},
		})
	}
	return answer, nil
}

func (e *EC2) instanceFields(d described) xmlInstance {
	x := xmlInstance{
		InstanceID: d.id, ImageID: imageID, StateCode: stateCodes[d.state], StateName: d.state, Type: d.kind,
		LaunchTime: stamp(d.launched), Zone: d.zone, Tenancy: "default", Address: d.address,
		Architecture: "x86_64", RootType: "ebs", RootDevice: rootDevice, Tags: tagSet(d.tags), Hypervisor: "xen",
	}
	if d.role != "" {
		x.Profile = &xmlProfile{e.profile(d.role), profileID}
	}
	for _, v := range d.volumes {
		// A block device mapping knows no busy.
		a := v.attachedTo(d.id)
		status := a.State
		if status == Busy {
			status = Detaching
		}
		x.Devices.Items = append(x.Devices.Items, xmlDevice{a.Device, v.ID, status, stamp(a.Since), a.DeleteOnTermination})
	}
	slices.SortFunc(x.Devices.Items, func(a, b xmlDevice) int { return strings.Compare(a.Name, b.Name) })
	return x
}
