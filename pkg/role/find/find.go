// Package find knows how a role file says which disk a volume is: by its serial
// number, by the filesystem on it, by its EBS volume ID, by tags,
// by the device name under which EC2 attaches it, or as instance store. It looks at no
// disk.
package find

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/role/expand"
	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
)

// Find says which disk a volume is, in one of its ways. In a Plan, one of them is
// there.
type Find struct {
	// Serial is the serial number that the NVMe controller of a disk reports
	// which somebody else attaches.
	Serial string `json:"serial,omitempty"`

	// UUID and Label are those of the filesystem on a disk which somebody else
	// attaches: one of them says which disk it is.
	UUID  string `json:"uuid,omitempty"`
	Label string `json:"label,omitempty"`

	// Store says that the disk is instance store of this instance; "" is that it is
	// not.
	Store Store `json:"instance-store,omitempty"`

	// ID is the ID of an EBS volume, which the agent attaches.
	ID string `json:"id,omitempty"`

	// Tags are what the one EBS volume has that is meant, beside whatever
	// other tags. None of their keys and values has a wildcard of EC2's
	// filters in it, nor the backslash that escapes one.
	Tags map[string]string `json:"tags,omitempty"`

	// Attached is the device name of EC2 under which this instance has the EBS
	// volume that is meant, such as /dev/sdf. The agent does not attach it.
	Attached string `json:"attached,omitempty"`

	// Pick says how many volumes may have the tags; "" is One.
	Pick Pick `json:"pick,omitempty"`
}

// Pick says which of several volumes with the tags is meant.
type Pick string

// One allows one volume only; AnyFree takes any that no other instance has.
const (
	One     Pick = "one"
	AnyFree Pick = "any-free"
)

// Store says which disks of the instance store are meant.
type Store string

// OneStore is the only disk of the instance store.
const OneStore Store = "one"

// Kind is what the key "find" of a volume may be.
var Kind = key.Kind{
	Type: key.Object, Keys: keys.Keys(), OneOf: []string{"serial", "uuid", "label", "id", "attached", "instance-store", "tags"}, Example: "find: {tags: {cluster: orders}}",
}

var keys = key.Table[expand.Parameters, finding]{
	{
		key.Key{Name: "serial", Says: "The serial number that an NVMe disk reports. Somebody else attaches the disk.", Unset: otherWay, Kind: key.Kind{Type: key.Text, Doc: "a serial number", Expands: true}},
		func(params expand.Parameters, r key.Reader, f *finding) {
			if f.first(r) {
				f.Serial = readText(params, r, "serial", syntax.CheckSerial, syntax.CheckSerialPart)
			}
		},
	},
	{
		key.Key{Name: "uuid", Says: "The UUID of the filesystem on an NVMe disk. Somebody else attaches the disk, and `format` is `never`.", Unset: otherWay, Kind: key.Kind{Type: key.Text, Doc: "a UUID, in lower case", Expands: true}},
		func(params expand.Parameters, r key.Reader, f *finding) {
			if f.first(r) {
				f.UUID = readText(params, r, "uuid", syntax.CheckUUID, syntax.CheckUUIDPart)
			}
		},
	},
	{
		key.Key{Name: "label", Says: "The label of the filesystem on an NVMe disk. Somebody else attaches the disk, and `format` is `never`.", Unset: otherWay, Kind: key.Kind{Type: key.Text, Doc: "a label, up to 12 (XFS) or 16 (ext4) characters", Expands: true}},
		func(params expand.Parameters, r key.Reader, f *finding) {
			if f.first(r) {
				f.Label = readText(params, r, "label", syntax.CheckLabel, syntax.CheckLabelPart)
			}
		},
	},
	{
		key.Key{Name: "id", Says: "The ID of an EBS volume, which the agent attaches.", Unset: otherWay, Kind: key.Kind{Type: key.Text, Doc: "a volume ID", Expands: true}},
		func(params expand.Parameters, r key.Reader, f *finding) {
			if f.first(r) {
				f.ID = readText(params, r, "id", checkID, name.CheckVolumeIDPart)
			}
		},
	},
	{
		key.Key{Name: "attached", Says: "The device name under which the instance's launch mapping attaches the EBS volume. The agent asks EC2 which volume it is, and does not attach it.", Unset: otherWay, Kind: key.Kind{Type: key.Text, Doc: "a device name of EC2, such as `/dev/sdf`", Pattern: name.DevicePattern}},
		func(_ expand.Parameters, r key.Reader, f *finding) {
			if !f.first(r) {
				return
			}
			if text, ok := r.Text(); ok {
				refuse(r, "attached", name.CheckDevice(text))
				f.Attached = text
			}
		},
	},
	{
		key.Key{Name: "instance-store", Says: "The instance's own NVMe disk, which is blank after each launch and each start: `one` is the only one that there is. `format` is `if-blank`.", Unset: otherWay, Kind: key.OneOf(OneStore)},
		func(_ expand.Parameters, r key.Reader, f *finding) {
			if !f.first(r) {
				return
			}
			if word, ok := r.Word(); ok {
				f.Store = Store(word)
			}
		},
	},
	{
		key.Key{
			Name: "tags", Says: "Tags of the one EBS volume that has all of these, and maybe others, in any zone and state. The agent attaches it.", Unset: otherWay,
			Kind: key.Kind{Type: key.Map, Doc: "a map of tags", Entry: &key.Kind{Type: key.Text, Expands: true}, Least: 1, Example: "tags: {cluster: orders, holds: mysql}"},
		},
		func(params expand.Parameters, r key.Reader, f *finding) {
			if f.first(r) {
				f.Tags = readTags(params, r)
			}
		},
	},
	{
		key.Key{Name: "pick", Says: "Which volume the tags mean: `one` is the only one that has them, and `any-free` is any of the instance's zone that no other instance has.", Unset: "`one`", With: "tags", Kind: key.OneOf(One, AnyFree)},
		func(params expand.Parameters, r key.Reader, f *finding) {
			word, ok := r.Word()
			if ok && f.way != "" && f.way != "tags" {
				r.Failf("%s: pick applies to tags only; leave it out beside %s", r.What, f.way)
			}
			if ok && Pick(word) == AnyFree {
				f.Pick = AnyFree
			}
		},
	},
}

const otherWay = "another of `serial`, `uuid`, `label`, `id`, `attached`, `instance-store` and `tags`"

// A finding is a Find that is being read.
type finding struct {
	Find
	way string           // the first of the ways that stands there
	by  strictyaml.Value // its value
}

// first notes a way to find the disk, and refuses a second one.
func (f *finding) first(r key.Reader) bool {
	if f.way != "" {
		r.Failf("%s: %s and %s can't stand together; a disk is found in one way", r.What, f.way, r.Key.Name)
		return false
	}
	f.way, f.by = r.Key.Name, r.Value
	return true
}

// Read reads which disk a volume is. What is how errors call the volume, and
// found are the disks of those before it.
func Read(r key.Reader, params expand.Parameters, found Disks, volume string) Find {
	var f finding
	keys.Decode(params, r.Value, "find of "+r.What, &f)
	if f.way == "" {
		r.Failf("find of %s does not say how to find the disk; write one of serial, uuid, label, id, attached, instance-store and tags, or leave find out", r.What)
		return Find{}
	}
	if !f.open() {
		if err := found.Add(volume, f.Find); err != nil {
			f.by.Failf("%v", err)
		}
	}
	return f.Find
}

// readText reads a text that may have expansions; what is how errors call it.
func readText(params expand.Parameters, r key.Reader, what string, whole, part func(string) error) string {
	text, ok := r.Text()
	if !ok {
		return ""
	}
	refuse(r, what, params.Check(text, whole, part))
	return text
}

func refuse(r key.Reader, what string, err error) {
	if err != nil {
		r.Failf("%s: %s: %v", strings.TrimPrefix(r.What, "find of "), what, err)
	}
}

// readTags reads tags, and refuses the ways in which AWS's tools write them.
func readTags(params expand.Parameters, r key.Reader) map[string]string {
	tags := make(map[string]string)
	entries := r.Map("tags in " + r.What).Entries()
	var words []string
	for _, e := range entries {
		words = append(words, strings.ToLower(e.Key.String()))
	}
	slices.Sort(words)
	switch {
	case slices.Equal(words, []string{"key", "value"}):
		r.Failf("tags in %s: this is the form of AWS's tools; write %s", r.What, r.Key.Kind.Example)
	case len(entries) == 0:
		r.Failf("tags in %s: at least one tag is needed; write %s", r.What, r.Key.Kind.Example)
	}
	for _, e := range entries {
		text, ok := e.Key.Text()
		if !ok {
			continue
		}
		tag := "tag " + strictyaml.Quote(text)
		if err := checkTagKey(text); err != nil {
			e.Key.Failf("%s: the key of %s: %v", r.What, tag, err)
		}
		if value, ok := e.Value.Text(); ok {
			refuse(key.Reader{Value: e.Value, What: r.What}, tag, params.CheckTag(value, name.CheckTagPart, name.CheckTagPart))
			tags[text] = value
		}
	}
	return tags
}

// ownTag begins the keys of the tags that bootagent itself writes on a volume.
const ownTag = "bootagent:"

func checkTagKey(key string) error {
	if strings.HasPrefix(strings.ToLower(key), ownTag) {
		return fmt.Errorf("begins with %s, which bootagent reserves for the tags that it writes", ownTag)
	}
	return name.CheckTagKey(key)
}

func checkID(id string) error {
	_, err := name.ParseVolumeID(id)
	return err
}

// Expand returns the disk that a volume is on one instance.
func (f Find) Expand(known expand.Values) (find Find, errs []error) {
	put := func(text, what string, fill func(string) (string, error), check func(string) error) string {
		value, err := fill(text)
		if err == nil {
			err = check(value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
		return value
	}
	switch f.way() {
	case "serial":
		find.Serial = put(f.Serial, "serial", known.Put, syntax.CheckSerial)
	case "uuid":
		find.UUID = put(f.UUID, "uuid", known.Put, syntax.CheckUUID)
	case "label":
		find.Label = put(f.Label, "label", known.Put, syntax.CheckLabel)
	case "id":
		find.ID = put(f.ID, "id", known.Put, checkID)
	case "attached":
		find.Attached = f.Attached
	case "instance-store":
		find.Store = f.Store
	case "tags":
		find.Tags, find.Pick = make(map[string]string), f.Pick
		for _, key := range slices.Sorted(maps.Keys(f.Tags)) {
			check := name.CheckTagPart // the role file may ask for an empty value
			if f.Tags[key] != "" {
				check = name.CheckTagValue
			}
			find.Tags[key] = put(f.Tags[key], fmt.Sprintf("tag %q", key), known.PutTag, check)
		}
	default:
		errs = append(errs, fmt.Errorf("the role does not say which disk it is; name its volume ID below volumes in the user-data"))
	}
	return find, errs
}

// Bind returns the disk that the user-data names for a volume. Where the role does
// not find it by EC2, a volume ID is that of a disk which somebody else attaches.
func (f Find) Bind(bound string) (Find, error) {
	id, err := name.ParseVolumeID(bound)
	switch way := f.way(); {
	case way == "instance-store":
		return Find{}, fmt.Errorf("it is instance store, and no other disk can take its place; leave it out of the user-data")
	case err == nil && f.Plugged():
		return Find{Serial: id.Serial()}, nil
	case err == nil:
		return Find{ID: string(id)}, nil
	case way == "id", way == "attached", way == "tags", strings.HasPrefix(bound, "vol-"):
		return Find{}, err
	}
	if err := syntax.CheckSerial(bound); err != nil {
		return Find{}, fmt.Errorf("serial: %w", err)
	}
	return Find{Serial: bound}, nil
}

// way is how a disk is found, or "".
func (f Find) way() string {
	switch {
	case f.Serial != "":
		return "serial"
	case f.UUID != "":
		return "uuid"
	case f.Label != "":
		return "label"
	case f.ID != "":
		return "id"
	case f.Attached != "":
		return "attached"
	case f.Store != "":
		return "instance-store"
	case len(f.Tags) > 0:
		return "tags"
	}
	return ""
}

// Cloud says how the API of a cloud is needed for the disk: `is found by its
// tags`; "" where it is not.
func (f Find) Cloud() string {
	switch f.way() {
	case "id":
		return "is the EBS volume " + f.ID
	case "attached":
		return "is attached as " + f.Attached
	case "tags":
		return "is found by its tags"
	}
	return ""
}

// OnDisk reports whether the filesystem on the disk says which disk it is.
func (f Find) OnDisk() bool { return f.UUID != "" || f.Label != "" }

// Sought reports whether the disk is one of those that are there, of which the role knows
// no serial number.
func (f Find) Sought() bool { return f.OnDisk() || f.Store != "" }

// Plugged reports whether somebody else attaches the disk, and EC2 is not asked for it.
func (f Find) Plugged() bool { return f.Serial != "" || f.Sought() }

// disk is the same text for two ways to find one disk.
func (f Find) disk() string {
	switch f.way() {
	case "serial":
		return f.Serial
	case "uuid":
		return "uuid " + f.UUID
	case "label":
		return "label " + f.Label
	case "id":
		return name.VolumeID(f.ID).Serial()
	case "attached":
		return "slot " + name.Slot(f.Attached)
	case "instance-store":
		return "instance store"
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(f.Tags)) {
		fmt.Fprintf(&b, "%q = %q ", key, f.Tags[key])
	}
	return b.String()
}

// open tells whether the disk depends on expansions, or on user-data alone.
func (f Find) open() bool { return f.way() == "" || strings.Contains(f.disk(), "${") }

// Disks are the disks of the volumes of one role.
type Disks map[string]struct {
	volume string
	way    string
}

// Add refuses a disk that is another volume's already.
func (f Disks) Add(volume string, find Find) error {
	disk, way := find.disk(), find.way()
	other, twice := f[disk]
	switch {
	case !twice:
		f[disk] = struct{ volume, way string }{volume, way}
		return nil
	case other.way == way && way == "instance-store":
		return fmt.Errorf("volumes %q and %q are the same disk: both are the one disk of the instance store", other.volume, volume)
	case other.way == way:
		if way == "attached" {
			way = "device name"
		}
		return fmt.Errorf("volumes %q and %q are the same disk: they have the same %s", other.volume, volume, way)
	}
	return fmt.Errorf("volumes %q and %q are the same disk: the %s of %q is the %s of %q", other.volume, volume, other.way, other.volume, way, volume)
}
