package role

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bootagent/pkg/strictyaml"
)

// Plan puts the user-data's selection into the role: the values of its
// parameters, and the disks that it binds to volumes, as an EBS volume id or
// as a serial number. Where the role says so, it also puts in what the
// instance is. The error joins all that is wrong with the selection. It names
// parameters and volumes but quotes none of the values.
func (r *Role) Plan(params, volumes map[string]string, instance Instance) (*Plan, error) {
	if err := r.checkNamesake(); err != nil {
		return nil, err
	}
	set, errs := r.values(params)
	errs = append(errs, r.unknownVolumes(volumes)...)
	plan := &Plan{
		Role:     r.Name,
		Volumes:  slices.Clone(r.Volumes),
		Data:     slices.Clone(r.Data),
		Secrets:  slices.Clone(r.Secrets),
		Services: cloneServices(r.Services),
	}
	if len(errs) > 0 {
		return nil, r.refuse(errs)
	}
	known := values{set, instance}
	disks := make(finds)
	for i := range plan.Volumes {
		v := &plan.Volumes[i]
		bound, isBound := volumes[v.Name]
		find, problems := v.find(known, bound, isBound)
		if len(problems) == 0 {
			if err := disks.add(v.Name, find); err != nil {
				problems = append(problems, err)
			}
		}
		errs = append(errs, problems...)
		v.Find = find
	}
	for i := range plan.Secrets {
		s := &plan.Secrets[i]
		s.Services = slices.Clone(s.Services)
		key, err := known.expand(s.From.Key)
		if err == nil && s.From.Bucket != "" {
			err = checkKey(key)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the key of secret %q %w", s.Name, err))
		}
		s.From.Key = key
	}
	if len(errs) > 0 {
		return nil, r.refuse(errs)
	}
	return plan, nil
}

// refuse says of every mistake of a selection which role it does not fit.
func (r *Role) refuse(errs []error) error {
	for i, err := range errs {
		errs[i] = fmt.Errorf("role %q can't be planned: %w", r.Name, err)
	}
	return errors.Join(errs...)
}

func cloneServices(services []Service) []Service {
	services = slices.Clone(services)
	for i, s := range services {
		services[i].Needs = slices.Clone(s.Needs)
		services[i].AlsoGuard = slices.Clone(s.AlsoGuard)
		if s.Ready != nil {
			ready := *s.Ready
			services[i].Ready = &ready
		}
	}
	return services
}

// values gives every parameter of the role its value.
func (r *Role) values(params map[string]string) (values map[string]string, errs []error) {
	values = make(map[string]string)
	var names []string
	for _, p := range r.Params {
		names = append(names, p.Name)
		value, set := params[p.Name]
		switch {
		case set:
			if err := p.check(value); err != nil {
				errs = append(errs, fmt.Errorf("parameter %q %w", p.Name, err))
			}
			values[p.Name] = value
		case p.Default != nil:
			values[p.Name] = *p.Default
		default:
			errs = append(errs, fmt.Errorf("parameter %q is not set and has no default; set it below params in the user-data", p.Name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if !slices.Contains(names, name) {
			errs = append(errs, fmt.Errorf("unknown parameter %s%s (parameters: %s)",
				strictyaml.Quote(name), strictyaml.DidYouMean(name, names), listOrNone(names)))
		}
	}
	return values, errs
}

// check refuses a value that the parameter can't have.
func (p Param) check(value string) error {
	if err := checkParam(value); err != nil {
		return err
	}
	if p.pattern != nil && !p.pattern.MatchString(value) {
		return fmt.Errorf("does not match its pattern %s", p.Pattern)
	}
	return nil
}

func (r *Role) unknownVolumes(volumes map[string]string) (errs []error) {
	var names []string
	for _, v := range r.Volumes {
		names = append(names, v.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		if !slices.Contains(names, name) {
			errs = append(errs, fmt.Errorf("unknown volume %s%s (volumes: %s)",
				strictyaml.Quote(name), strictyaml.DidYouMean(name, names), listOrNone(names)))
		}
	}
	return errs
}

// find gives the disk that a volume is on one instance: the one bound to it,
// or the one that the role says. An id that is bound where the role goes by
// serial numbers is that of a disk which somebody else attaches.
func (v Volume) find(known values, bound string, isBound bool) (find Find, errs []error) {
	if isBound {
		find, err := v.bind(bound)
		if err != nil {
			return Find{}, []error{err}
		}
		return find, nil
	}
	put := func(text, what string, check func(string) error) string {
		value, err := known.expand(text)
		if err == nil {
			err = check(value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of volume %q %w", what, v.Name, err))
		}
		return value
	}
	switch v.Find.way() {
	case "serial":
		find.Serial = put(v.Find.Serial, "the serial", checkSerial)
	case "id":
		find.ID = put(v.Find.ID, "the id", checkID)
	case "tags":
		find.Tags = make(map[string]string)
		for _, key := range slices.Sorted(maps.Keys(v.Find.Tags)) {
			find.Tags[key] = put(v.Find.Tags[key], fmt.Sprintf("the tag %q", key), checkTag)
		}
	default:
		errs = append(errs, fmt.Errorf("volume %q has no disk: the role does not say how to find it; name its id below volumes in the user-data", v.Name))
	}
	return find, errs
}

// bind gives the disk that the user-data names for a volume.
func (v Volume) bind(bound string) (Find, error) {
	isID := volumeID.MatchString(bound)
	switch way := v.Find.way(); {
	case isID && way == "serial":
		return Find{Serial: serialOf(bound)}, nil
	case isID:
		return Find{ID: bound}, nil
	case way == "id" || way == "tags":
		return Find{}, fmt.Errorf("the user-data binds volume %q to what is no id of an EBS volume, %s, and the role finds it by %s", v.Name, howID, way)
	case way == "" && strings.HasPrefix(bound, "vol-"):
		return Find{}, fmt.Errorf("the user-data binds volume %q to what is no id of an EBS volume: %s", v.Name, howID)
	}
	if err := checkSerial(bound); err != nil {
		return Find{}, fmt.Errorf("the serial of volume %q %w", v.Name, err)
	}
	return Find{Serial: bound}, nil
}

// serialOf is what the disk that an EBS volume is tells as its serial number.
func serialOf(id string) string { return "vol" + strings.TrimPrefix(id, "vol-") }

// way is how a disk is found, or "".
func (f Find) way() string {
	switch {
	case f.Serial != "":
		return "serial"
	case f.ID != "":
		return "id"
	case len(f.Tags) > 0:
		return "tags"
	}
	return ""
}

// disk is the same text for two ways to find one disk.
func (f Find) disk() string {
	switch f.way() {
	case "serial":
		return f.Serial
	case "id":
		return serialOf(f.ID)
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(f.Tags)) {
		fmt.Fprintf(&b, "%q = %q ", key, f.Tags[key])
	}
	return b.String()
}

// open tells whether the disk depends on expansions, or on user-data alone.
func (f Find) open() bool { return f.way() == "" || strings.Contains(f.disk(), "${") }

// finds are the disks of the volumes of one role.
type finds map[string]struct {
	volume string
	way    string
}

// add refuses a disk that is another volume's already.
func (f finds) add(volume string, find Find) error {
	disk, way := find.disk(), find.way()
	other, twice := f[disk]
	switch {
	case !twice:
		f[disk] = struct{ volume, way string }{volume, way}
		return nil
	case other.way == way:
		return fmt.Errorf("volumes %q and %q are one disk: both have the same %s", other.volume, volume, way)
	}
	return fmt.Errorf("volumes %q and %q are one disk: the %s of the one is the %s of the other", other.volume, volume, other.way, way)
}
