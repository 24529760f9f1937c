package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The states of a volume.
const (
	Creating  = "creating"
	Available = "available"
	InUse     = "in-use"
)

// The states of an attachment. One that is detached is not there any more.
const (
	Attaching = "attaching"
	Attached  = "attached"
	Detaching = "detaching"
	Busy      = "busy"
)

// A Volume is one of EBS. What the cloud hands out is a copy, which stays as it is.
type Volume struct {
	ID          string // vol-, and 17 digits; chosen if it is empty
	Zone        string // eu-central-1a by default
	State       string
	Size        int // GiB; 1 by default, or the snapshot's
	Type        string
	SnapshotID  string
	Encrypted   bool
	KMSKey      string // that it is encrypted with
	MultiAttach bool   // for types io1 and io2
	Tags        map[string]string
	Created     time.Time
	Attachments []Attachment

	// Path is the backing file, raw. Unless it is there, it is made: empty, or as the snapshot's is.
	Path string
}

// An Attachment is that of a volume to an instance.
type Attachment struct {
	InstanceID          string
	Device              string // /dev/sdf; no more than a name on today's instances
	State               string
	Since               time.Time
	DeleteOnTermination bool
}

// Serial is the serial number of the NVMe disk that an instance sees.
func (v Volume) Serial() string { return strings.Replace(v.ID, "-", "", 1) }

// Hardware is the machine that an instance is. Its methods are called beside requests, and may take
// their time; of one volume one at a time, of several at once.
type Hardware interface {
	// Plug has the machine see a volume. If it fails, the attachment stays attaching.
	Plug(ctx context.Context, v Volume) error

	// Unplug takes it away, and returns when the machine has let go of it. If it fails, it is
	// called again each second; with ErrBusy, the attachment is busy until then.
	Unplug(ctx context.Context, v Volume) error
}

// ErrBusy is what Unplug returns for a volume that the machine does not let go of, as it is mounted.
var ErrBusy = errors.New("the machine does not let go of the volume")

// A wire goes from an instance to a volume.
type wire struct{ volume, instance string }

// wiring is held while hardware is plugged or unplugged.
type wiring struct {
	hands   chan struct{} // of size one: a lock whose waiters can be told from those who work
	plugged bool
}

// CreateVolume makes a volume. It is available after a while.
func (e *EC2) CreateVolume(v Volume) (Volume, error) {
	return e.newVolume(v, e.delay().Create)
}

func (e *EC2) delay() Delays {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.delays
}

func (e *EC2) newVolume(v Volume, delay time.Duration) (Volume, error) {
	v.ID = cmp.Or(v.ID, newID("vol"))
	v.Zone = cmp.Or(v.Zone, e.cloud.config.Region+"a")
	v.Type = cmp.Or(v.Type, "gp3")
	v.State, v.Created, v.Attachments = Creating, time.Now(), nil
	v.Tags = maps.Clone(v.Tags)
	if !slices.Contains(e.zones(), v.Zone) {
		return Volume{}, refuse("InvalidZone.NotFound", "The zone '%s' does not exist.", v.Zone)
	}
	if !validID(v.ID, "vol-") {
		return Volume{}, invalidVolumeID(v.ID)
	}
	if v.MultiAttach && v.Type != "io1" && v.Type != "io2" {
		return Volume{}, refuse("InvalidParameterCombination", "The parameter MultiAttachEnabled is not supported for volume type %s.", v.Type)
	}
	if err := checkTags(v.Tags); err != nil {
		return Volume{}, err
	}
	var source string
	if v.SnapshotID != "" {
		s, ok := e.now().snapshots[v.SnapshotID]
		switch {
		case !ok:
			return Volume{}, noSnapshot(v.SnapshotID)
		case s.State != "completed":
			return Volume{}, refuse("IncorrectState", "Snapshot is in invalid state - %s", s.State)
		case v.Size != 0 && v.Size < s.Size:
			return Volume{}, refuse("InvalidParameterValue", "The size of a volume can't be less than the size of its snapshot")
		}
		v.Size = cmp.Or(v.Size, s.Size)
		v.Encrypted = v.Encrypted || s.Encrypted
		source = s.Path
	}
	v.Size = cmp.Or(v.Size, 1)
	if v.Path == "" && e.cloud.config.Dir != "" {
		v.Path = filepath.Join(e.cloud.config.Dir, v.ID+".raw")
	}
	if err := makeFile(v, source); err != nil {
		return Volume{}, fmt.Errorf("cannot create %s: %w", v.ID, err)
	}

	err := e.change(func(w *world) error {
		if _, ok := w.volumes[v.ID]; ok {
			return fmt.Errorf("cannot create %s: it is there", v.ID)
		}
		w.volumes[v.ID] = v
		return nil
	})
	if err != nil {
		return Volume{}, err
	}
	e.cloud.later(delay, func(context.Context) {
		_ = e.changeVolume(v.ID, func(v *Volume) { v.State = Available }) // it may be deleted by now
	})
	return v, nil
}

// makeFile makes the backing file, if it has to be there and is not.
func makeFile(v Volume, source string) error {
	if v.Path == "" {
		return nil
	}
	f, err := os.OpenFile(v.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if source != "" {
		from, err := os.Open(source)
		if err != nil {
			return err
		}
		defer from.Close()
		if _, err := io.Copy(f, from); err != nil {
			return err
		}
	}
	return errors.Join(f.Truncate(int64(v.Size)<<30), f.Close())
}

// Volume gives a volume as it is, whatever Describe says.
func (e *EC2) Volume(id string) (Volume, bool) {
	v, ok := e.now().volumes[id]
	return v, ok
}

// Volumes gives all volumes as they are, the instances' own among them, sorted by id.
func (e *EC2) Volumes() []Volume {
	return slices.SortedFunc(maps.Values(e.now().volumes), func(a, b Volume) int { return strings.Compare(a.ID, b.ID) })
}

// DeleteVolume deletes a volume that is not attached. The backing file stays.
func (e *EC2) DeleteVolume(id string) error {
	return e.change(func(w *world) error {
		v, ok := w.volumes[id]
		if !ok {
			return noVolume(id)
		}
		if len(v.Attachments) > 0 {
			return refuse("VolumeInUse", "Volume %s is currently attached to %s", id, v.Attachments[0].InstanceID)
		}
		delete(w.volumes, id)
		return nil
	})
}

// WaitVolume waits until a volume, or its only attachment, has a state: [Available], [Attached].
func (e *EC2) WaitVolume(ctx context.Context, id, state string) error {
	has := ""
	err := e.wait(ctx, func(w world) bool {
		v := w.volumes[id]
		has = v.State
		if len(v.Attachments) == 1 {
			has += ", " + v.Attachments[0].State
		}
		return v.State == state || len(v.Attachments) == 1 && v.Attachments[0].State == state
	})
	if err != nil {
		return fmt.Errorf("%s is not %s but %s: %w", id, state, cmp.Or(has, "not there"), err)
	}
	return nil
}

// StickAttach has attachments of a volume stay attaching until Release or until it is detached.
func (e *EC2) StickAttach(volume string) { e.stick(volume, Attaching) }

// StickDetach has attachments of a volume stay detaching until Release.
func (e *EC2) StickDetach(volume string) { e.stick(volume, Detaching) }

// Release takes back StickAttach and StickDetach: what is stuck goes on.
func (e *EC2) Release(volume string) { e.stick(volume, "") }

func (e *EC2) stick(volume, state string) {
	_ = e.change(func(*world) error { // those that wait look again
		e.stuck[volume] = state
		return nil
	})
}

func (e *EC2) isStuck(volume, state string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stuck[volume] == state
}

// Attach is AttachVolume, as someone else would call it.
func (e *EC2) Attach(volume, instance, device string) error {
	_, err := e.attach(volume, instance, device)
	return err
}

// Detach is DetachVolume, as someone else would call it.
func (e *EC2) Detach(volume string) error {
	_, err := e.detach(volume, "", "")
	return err
}

func (e *EC2) attach(volume, instance, device string) (Attachment, error) {
	a := Attachment{InstanceID: instance, Device: device, State: Attaching, Since: time.Now()}
	clash := false
	err := e.change(func(w *world) error {
		v, i, err := attachable(w, volume, instance, device)
		if err != nil {
			return err
		}
		clash = slices.ContainsFunc(i.devices(w), func(taken string) bool { return slot(taken) == slot(device) })
		v.Attachments = append(slices.Clone(v.Attachments), a)
		v.State = InUse
		w.volumes[volume] = v
		return nil
	})
	if err != nil {
		return Attachment{}, err
	}
	// Where /dev/sdf is taken, /dev/xvdf is accepted and never comes:
	// https://github.com/joeduffy/blocker/issues/1
	if !clash {
		e.cloud.later(e.delay().Attach, func(ctx context.Context) { e.finishAttach(ctx, wire{volume, instance}) })
	}
	return a, nil
}

// attachable refuses what EC2 refuses. The words are EC2's, as people quote them.
func attachable(w *world, volume, instance, device string) (Volume, instanceState, error) {
	v, ok := w.volumes[volume]
	if !ok {
		return v, instanceState{}, noVolume(volume)
	}
	i, ok := w.instances[instance]
	if !ok {
		return v, i, noInstance(instance)
	}
	var err error
	switch {
	case !deviceNames.MatchString(device):
		err = refuse("InvalidParameterValue", "Value (%s) for parameter device is invalid. %[1]s is not a valid EBS device name.", device)
	case v.Zone != i.zone:
		err = refuse("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", volume, instance)
	case i.state != Running && i.state != Stopped:
		err = refuse("IncorrectState", "Instance '%s' is not 'running'.", instance)
	case v.attachedTo(instance) != nil || len(v.Attachments) > 0 && !v.MultiAttach || len(v.Attachments) >= mostInstances:
		err = refuse("VolumeInUse", "%s is already attached to an instance", volume)
	case v.State != Available && v.State != InUse:
		err = refuse("IncorrectState", "%s is not 'available'.", volume)
	case slices.Contains(i.devices(w), device):
		err = refuse("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %[1]s is already in use", device)
	case len(i.devices(w)) >= i.limit:
		err = refuse("AttachmentLimitExceeded", "You may attach up to %d devices for this instance type. Please use a larger instance size to attach more volumes.", i.limit)
	}
	return v, i, err
}

// mostInstances may have one multi-attach volume.
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html
const mostInstances = 16

// deviceNames are those that EC2 takes for an instance of today.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
var deviceNames = regexp.MustCompile(`^(/dev/)?(sd[a-z]|xvd[a-d]?[a-z])$`)

// slot is what names of one device have in common: sdf and /dev/xvdf are one.
func slot(device string) string {
	device = strings.TrimPrefix(device, "/dev/")
	return strings.TrimPrefix(strings.TrimPrefix(device, "sd"), "xvd")
}

func (v Volume) attachedTo(instance string) *Attachment {
	for n := range v.Attachments {
		if v.Attachments[n].InstanceID == instance {
			return &v.Attachments[n]
		}
	}
	return nil
}

// changeVolume changes a copy of a volume.
func (e *EC2) changeVolume(id string, do func(v *Volume)) error {
	return e.change(func(w *world) error {
		v, ok := w.volumes[id]
		if !ok {
			return noVolume(id)
		}
		v.Attachments = slices.Clone(v.Attachments)
		do(&v)
		w.volumes[id] = v
		return nil
	})
}

// setAttachment changes the state of an attachment, if it is what it has to be.
func (e *EC2) setAttachment(at wire, to string, from ...string) {
	_ = e.changeVolume(at.volume, func(v *Volume) {
		if a := v.attachedTo(at.instance); a != nil && slices.Contains(from, a.State) {
			a.State = to
		}
	})
}

func (e *EC2) attachment(at wire) (Volume, string) {
	v := e.now().volumes[at.volume]
	if a := v.attachedTo(at.instance); a != nil {
		return v, a.State
	}
	return v, ""
}

// hold waits for the hands of whoever plugs and unplugs this volume, and gives what there is of
// hardware.
func (e *EC2) hold(ctx context.Context, at wire) (*wiring, Hardware, bool) {
	e.mu.Lock()
	held := e.wires[at]
	if held == nil {
		held = &wiring{hands: make(chan struct{}, 1)}
		e.wires[at] = held
	}
	instance := e.instances[at.instance]
	e.mu.Unlock()
	select {
	case held.hands <- struct{}{}:
		return held, instance.hardware(), true
	case <-ctx.Done():
		return nil, nil, false
	}
}

func (w *wiring) release() { <-w.hands }

// finishAttach plugs a volume that is attaching.
func (e *EC2) finishAttach(ctx context.Context, at wire) {
	err := e.wait(ctx, func(w world) bool {
		_, state := e.attachment(at)
		return state != Attaching || !e.isStuck(at.volume, Attaching)
	})
	if err != nil {
		return
	}
	held, hardware, ok := e.hold(ctx, at)
	if !ok {
		return
	}
	defer held.release()
	v, state := e.attachment(at)
	if state != Attaching {
		return // detached meanwhile
	}
	if hardware != nil {
		if err := hardware.Plug(ctx, v); err != nil {
			e.cloud.config.Log.Error("cannot plug", "volume", at.volume, "instance", at.instance, "err", err)
			return
		}
		held.plugged = true
	}
	e.setAttachment(at, Attached, Attaching)
}

func (e *EC2) detach(volume, instance, device string) (Attachment, error) {
	var at Attachment
	err := e.change(func(w *world) error {
		v, ok := w.volumes[volume]
		if !ok {
			return noVolume(volume)
		}
		if len(v.Attachments) == 0 {
			return refuse("IncorrectState", "Volume '%s' is in the '%s' state.", volume, v.State)
		}
		if instance == "" && len(v.Attachments) > 1 {
			return refuse("InvalidParameterCombination", "The volume '%s' is attached to several instances; the parameter instanceId is required", volume)
		}
		v.Attachments = slices.Clone(v.Attachments)
		a := v.attachedTo(cmp.Or(instance, v.Attachments[0].InstanceID))
		switch {
		case a == nil || device != "" && device != a.Device:
			return refuse("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s'", volume, instance)
		case a.State == Detaching || a.State == Busy:
			return refuse("IncorrectState", "Volume '%s' is in the '%s' state.", volume, a.State)
		}
		switch i := w.instances[a.InstanceID]; {
		case i.state == ShuttingDown || i.state == Terminated:
			return refuse("IncorrectInstanceState", "Unable to detach volume '%s' from instance '%s'. The instance is not in a state in which volumes can be detached.", volume, a.InstanceID)
		case a.Device == rootDevice && i.state != Stopped:
			return refuse("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", volume, a.InstanceID)
		}
		a.State = Detaching
		at = *a
		w.volumes[volume] = v
		return nil
	})
	if err == nil {
		e.cloud.later(e.delay().Detach, func(ctx context.Context) { e.finishDetach(ctx, wire{volume, at.InstanceID}) })
	}
	return at, err
}

// finishDetach unplugs a volume, and takes its attachment away.
func (e *EC2) finishDetach(ctx context.Context, at wire) {
	if e.wait(ctx, func(world) bool { return !e.isStuck(at.volume, Detaching) }) != nil {
		return
	}
	held, hardware, ok := e.hold(ctx, at)
	if !ok {
		return
	}
	defer held.release()
	for held.plugged && hardware != nil {
		v, _ := e.attachment(at)
		err := hardware.Unplug(ctx, v)
		if err == nil {
			break
		}
		if errors.Is(err, ErrBusy) {
			e.setAttachment(at, Busy, Detaching)
		} else {
			e.cloud.config.Log.Error("cannot unplug", "volume", at.volume, "instance", at.instance, "err", err)
		}
		if !sleep(ctx, time.Second) {
			return
		}
	}
	held.plugged = false
	_ = e.change(func(w *world) error {
		v, ok := w.volumes[at.volume]
		a := v.attachedTo(at.instance)
		if !ok || a == nil {
			return noVolume(at.volume)
		}
		if a.DeleteOnTermination && w.instances[at.instance].state == Terminated {
			delete(w.volumes, at.volume)
			return nil
		}
		v.Attachments = slices.DeleteFunc(slices.Clone(v.Attachments), func(a Attachment) bool { return a.InstanceID == at.instance })
		if len(v.Attachments) == 0 {
			v.State = Available
		}
		w.volumes[at.volume] = v
		return nil
	})
}

func validID(id, prefix string) bool {
	digits, ok := strings.CutPrefix(id, prefix)
	return ok && (len(digits) == 8 || len(digits) == 17) && strings.Trim(digits, "0123456789abcdef") == ""
}

func noVolume(id string) error {
	return refuse("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
}

func invalidVolumeID(id string) error {
	return refuse("InvalidParameterValue", "Value (%s) for parameter volumeId is invalid. Expected: 'vol-...'.", id)
}

// asksOfAttachment is for both ends.
func asksOfAttachment(action string) func(*EC2, query) []ask {
	return func(e *EC2, q query) []ask {
		w := e.now()
		volume, instance := q.Get("VolumeId"), q.Get("InstanceId")
		if v := w.volumes[volume]; instance == "" && len(v.Attachments) > 0 {
			instance = v.Attachments[0].InstanceID
		}
		asks := []ask{
			{action, e.arn("volume", volume), tagged(w.volumes[volume].Tags)},
			{action, e.arn("instance", instance), tagged(w.instances[instance].tags)},
		}
		asks[0].context["ec2:VolumeID"] = []string{volume}
		asks[1].context["ec2:InstanceID"] = []string{instance}
		return asks
	}
}

type attachmentResponse struct {
	Head
	VolumeID   string `xml:"volumeId"`
	InstanceID string `xml:"instanceId"`
	Device     string `xml:"device"`
	Status     string `xml:"status"`
	AttachTime string `xml:"attachTime"`
}

func (e *EC2) attachVolume(q query) (response, error) {
	if err := q.need("VolumeId", "InstanceId", "Device"); err != nil {
		return nil, err
	}
	volume, instance := q.Get("VolumeId"), q.Get("InstanceId")
	if err := checkIDs(volume, instance); err != nil {
		return nil, err
	}
	a, err := e.attach(volume, instance, q.Get("Device"))
	return &attachmentResponse{
		VolumeID: volume, InstanceID: a.InstanceID, Device: a.Device, Status: a.State, AttachTime: stamp(a.Since),
	}, err
}

func (e *EC2) detachVolume(q query) (response, error) {
	if err := q.need("VolumeId"); err != nil {
		return nil, err
	}
	volume, instance := q.Get("VolumeId"), q.Get("InstanceId")
	if err := checkIDs(volume, instance); err != nil {
		return nil, err
	}
	a, err := e.detach(volume, instance, q.Get("Device"))
	return &attachmentResponse{
		VolumeID: volume, InstanceID: a.InstanceID, Device: a.Device, Status: a.State, AttachTime: stamp(a.Since),
	}, err
}

func asksOfModifyVolume(e *EC2, q query) []ask {
	id := q.Get("VolumeId")
	return []ask{{"ec2:ModifyVolume", e.arn("volume", id), tagged(e.now().volumes[id].Tags)}}
}

// modifyVolume turns multi-attach on and off; of what else can be modified it knows nothing.
func (e *EC2) modifyVolume(q query) (response, error) {
	id := q.Get("VolumeId")
	if err := checkIDs(id, ""); err != nil {
		return nil, err
	}
	err := e.changeVolume(id, func(v *Volume) { v.MultiAttach = q.Get("MultiAttachEnabled") == "true" })
	return &modifiedResponse{VolumeID: id, State: "completed", MultiAttach: q.Get("MultiAttachEnabled") == "true"}, err
}

type modifiedResponse struct {
	Head
	VolumeID    string `xml:"volumeModification>volumeId"`
	State       string `xml:"volumeModification>modificationState"`
	MultiAttach bool   `xml:"volumeModification>targetMultiAttachEnabled"`
}

// checkIDs refuses ids that are none; an instance's may be left out.
func checkIDs(volume, instance string) error {
	switch {
	case !validID(volume, "vol-"):
		return invalidVolumeID(volume)
	case instance != "" && !validID(instance, "i-"):
		return refuse("InvalidInstanceID.Malformed", "Invalid id: \"%s\"", instance)
	}
	return nil
}

// A createdVolume is what a ClientToken stands for.
type createdVolume struct {
	id     string
	params string
}

// asksOfCreateVolume is also for the snapshot, and for the tags that are set at once.
func (e *EC2) asksOfCreateVolume(q query) []ask {
	context := map[string][]string{}
	tags := q.volumeTags()
	requested(context, tags)
	asks := []ask{{"ec2:CreateVolume", e.arn("volume", "*"), context}}
	if id := q.Get("SnapshotId"); id != "" {
		asks = append(asks, ask{"ec2:CreateVolume", e.arn("snapshot", id), tagged(e.now().snapshots[id].Tags)})
	}
	if len(tags) > 0 {
		context := map[string][]string{"ec2:CreateAction": {"CreateVolume"}}
		requested(context, tags)
		asks = append(asks, ask{"ec2:CreateTags", e.arn("volume", "*"), context})
	}
	return asks
}

// volumeTags reads the TagSpecification of volumes.
func (q query) volumeTags() map[string]string {
	tags := map[string]string{}
	for _, spec := range q.structs("TagSpecification", "ResourceType") {
		if q.Get(spec+".ResourceType") == "volume" {
			maps.Copy(tags, q.tags(spec+".Tag"))
		}
	}
	return tags
}

func (e *EC2) createVolume(q query) (response, error) {
	if err := q.need("AvailabilityZone"); err != nil {
		return nil, err
	}
	size, err := 0, error(nil)
	if text := q.Get("Size"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < 1 || size > 65536 {
			return nil, refuse("InvalidParameterValue", "Volume of %sGiB is too small or too large", text)
		}
	} else if q.Get("SnapshotId") == "" {
		return nil, refuse("MissingParameter", "The request must contain the parameter size/snapshot")
	}

	// A token stands for one volume, however often the request comes.
	params := q.params()
	token := params["ClientToken"]
	same := fmt.Sprint(params) // fmt sorts the keys
	e.creating.Lock()
	defer e.creating.Unlock()
	if known, again := e.tokens[token]; again {
		if known.params != same {
			return nil, refuse("IdempotentParameterMismatch", "Client token %s was already used with different parameters", token)
		}
		v, ok := e.Volume(known.id)
		if !ok {
			return nil, noVolume(known.id)
		}
		return &volumeResponse{volumeFields: newVolumeFields(v)}, nil
	}

	v, err := e.CreateVolume(Volume{
		Zone: q.Get("AvailabilityZone"), Size: size, Type: q.Get("VolumeType"), SnapshotID: q.Get("SnapshotId"),
		Encrypted: q.Get("Encrypted") == "true", MultiAttach: q.Get("MultiAttachEnabled") == "true", Tags: q.volumeTags(),
	})
	if err != nil {
		return nil, err
	}
	if token != "" {
		e.tokens[token] = createdVolume{v.ID, same}
	}
	return &volumeResponse{volumeFields: newVolumeFields(v)}, nil
}

type volumeResponse struct {
	Head
	volumeFields
}

type volumeFields struct {
	VolumeID    string             `xml:"volumeId"`
	Size        int                `xml:"size"`
	SnapshotID  string             `xml:"snapshotId"`
	Zone        string             `xml:"availabilityZone"`
	Status      string             `xml:"status"`
	CreateTime  string             `xml:"createTime"`
	Attachments set[xmlAttachment] `xml:"attachmentSet"`
	Tags        *set[xmlTag]       `xml:"tagSet"`
	Type        string             `xml:"volumeType"`
	Encrypted   bool               `xml:"encrypted"`
	KMSKey      string             `xml:"kmsKeyId,omitempty"`
	MultiAttach bool               `xml:"multiAttachEnabled"`
}

type xmlAttachment struct {
	VolumeID            string `xml:"volumeId"`
	InstanceID          string `xml:"instanceId"`
	Device              string `xml:"device"`
	Status              string `xml:"status"`
	AttachTime          string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
}

func newVolumeFields(v Volume) volumeFields {
	f := volumeFields{
		VolumeID: v.ID, Size: v.Size, SnapshotID: v.SnapshotID, Zone: v.Zone, Status: v.State,
		CreateTime: stamp(v.Created), Type: v.Type, Encrypted: v.Encrypted, KMSKey: v.KMSKey, MultiAttach: v.MultiAttach,
	}
	if len(v.Tags) > 0 {
		tags := tagSet(v.Tags)
		f.Tags = &tags
	}
	for _, a := range v.Attachments {
		f.Attachments.Items = append(f.Attachments.Items, xmlAttachment{
			v.ID, a.InstanceID, a.Device, a.State, stamp(a.Since), a.DeleteOnTermination,
		})
	}
	return f
}

// volumeFilters are those of DescribeVolumes, but for the tags'.
var volumeFilters = map[string]func(Volume) []string{
	"attachment.delete-on-termination": ofAttachments(func(a Attachment) string { return strconv.FormatBool(a.DeleteOnTermination) }),
	"attachment.device":                ofAttachments(func(a Attachment) string { return a.Device }),
	"attachment.instance-id":           ofAttachments(func(a Attachment) string { return a.InstanceID }),
	"attachment.status":                ofAttachments(func(a Attachment) string { return a.State }),
	"availability-zone":                func(v Volume) []string { return []string{v.Zone} },
	"create-time":                      func(v Volume) []string { return []string{stamp(v.Created)} },
	"encrypted":                        func(v Volume) []string { return yesNo(v.Encrypted) },
	"multi-attach-enabled":             func(v Volume) []string { return yesNo(v.MultiAttach) },
	"size":                             func(v Volume) []string { return []string{strconv.Itoa(v.Size)} },
	"snapshot-id":                      func(v Volume) []string { return []string{v.SnapshotID} },
	"status":                           func(v Volume) []string { return []string{v.State} },
	"volume-id":                        func(v Volume) []string { return []string{v.ID} },
	"volume-type":                      func(v Volume) []string { return []string{v.Type} },
}

func ofAttachments(get func(Attachment) string) func(Volume) []string {
	return func(v Volume) []string {
		var out []string
		for _, a := range v.Attachments {
			out = append(out, get(a))
		}
		return out
	}
}

type volumesResponse struct {
	Head
	Volumes   set[volumeFields] `xml:"volumeSet"`
	NextToken string            `xml:"nextToken,omitempty"`
}

func (e *EC2) describeVolumes(q query) (response, error) {
	ids := q.list("VolumeId")
	for _, id := range ids {
		if !validID(id, "vol-") {
			return nil, invalidVolumeID(id)
		}
	}
	all := e.seen().volumes
	for _, id := range ids {
		if _, ok := all[id]; !ok {
			return nil, noVolume(id)
		}
	}
	by, err := filters(q, volumeFilters)
	if err != nil {
		return nil, err
	}
	fits := func(v Volume) bool {
		return (len(ids) == 0 || slices.Contains(ids, v.ID)) && passes(v, v.Tags, volumeFilters, by)
	}
	short := e.pagesAreShort()
	var looked []Volume
	for _, id := range ids {
		looked = append(looked, all[id])
	}
	if len(ids) == 0 {
		for _, v := range all {
			if short || fits(v) {
				looked = append(looked, v)
			}
		}
	}
	found, next, err := page(q, short, looked, fits, func(v Volume) string { return v.ID }, "VolumeId")
	if err != nil {
		return nil, err
	}
	answer := &volumesResponse{NextToken: next}
	for _, v := range found {
		answer.Volumes.Items = append(answer.Volumes.Items, newVolumeFields(v))
	}
	return answer, nil
}

// seen gives the world as Describe sees it.
func (e *EC2) seen() world {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.history.now()
}
