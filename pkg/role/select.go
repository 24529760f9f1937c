package role

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/strictyaml"
)

// Plan puts the user-data's selection into the role: the values of its
// parameters, and the disks that it binds to volumes, as an EBS volume id or
// as a serial number. The error joins all that is wrong with the selection. It
// names parameters and volumes but quotes none of the values.
func (r *Role) Plan(params, volumes map[string]string) (*Plan, error) {
	if err := r.checkNamesake(); err != nil {
		return nil, err
	}
	values, errs := r.values(params)
	errs = append(errs, r.unknownVolumes(volumes)...)
	plan := &Plan{
		Role:     r.Name,
		Volumes:  slices.Clone(r.Volumes),
		Data:     slices.Clone(r.Data),
		Services: cloneServices(r.Services),
	}
	if len(errs) > 0 {
		return nil, r.refuse(errs)
	}
	disks := make(map[string]string)
	for i := range plan.Volumes {
		v := &plan.Volumes[i]
		bound, isBound := volumes[v.Name]
		serial, err := v.serial(values, bound, isBound)
		switch {
		case err != nil:
			errs = append(errs, err)
		case disks[serial] != "":
			errs = append(errs, fmt.Errorf("volumes %q and %q are one disk: both have the same serial", disks[serial], v.Name))
		default:
			disks[serial] = v.Name
		}
		v.Find.Serial = serial
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

// volumeID is the id of an EBS volume; the older ones have 8 digits.
var volumeID = regexp.MustCompile(`^vol-([0-9a-f]{8}|[0-9a-f]{17})$`)

// serial gives the serial number of the disk that a volume is: that of the one
// bound to it, or the one that the role says.
func (v Volume) serial(values map[string]string, bound string, isBound bool) (string, error) {
	serial := expand(v.Find.Serial, values)
	switch {
	case volumeID.MatchString(bound):
		serial = "vol" + strings.TrimPrefix(bound, "vol-")
	case isBound:
		serial = bound
	case serial == "" && v.Find.Serial == "":
		return "", fmt.Errorf("volume %q has no disk: the role does not say how to find it; name its id below volumes in the user-data", v.Name)
	}
	if err := checkSerial(serial); err != nil {
		return "", fmt.Errorf("the serial of volume %q %w", v.Name, err)
	}
	return serial, nil
}

// expansion is a parameter in a text.
var expansion = regexp.MustCompile(`\$\{params\.([a-z0-9-]+)\}`)

// expansions gives the names of the parameters in a text, and the parts of it
// between them.
func expansions(text string) (names, parts []string, err error) {
	for _, match := range expansion.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	parts = expansion.Split(text, -1)
	for _, part := range parts {
		if strings.Contains(part, "$") {
			return nil, nil, fmt.Errorf("has a $ that does not begin a parameter, which is written as ${params.NAME}")
		}
	}
	return names, parts, nil
}

// expand puts the values of the parameters into a text. What is put in is not
// expanded again.
func expand(text string, values map[string]string) string {
	return expansion.ReplaceAllStringFunc(text, func(match string) string {
		return values[expansion.FindStringSubmatch(match)[1]]
	})
}
