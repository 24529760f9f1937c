package role

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"bootagent/pkg/role/expand"
	"bootagent/pkg/role/file"
	"bootagent/pkg/role/find"
	"bootagent/pkg/strictyaml"
)

// A Plan is what one instance has to make true: a role file with the values
// that the user-data and the instance give. It has no expansions. Every list is
// sorted by name, so that two plans from the same input are equal.
type Plan struct {
	Role     string      `json:"role"`
	Volumes  []Volume    `json:"volumes,omitempty"`
	Data     []Data      `json:"data,omitempty"`
	Secrets  []Secret    `json:"secrets,omitempty"`
	Files    []file.File `json:"files,omitempty"`
	Services []Service   `json:"services,omitempty"`
	Extra    Extra       `json:"extra,omitempty"`
}

// Extra has the values of keys that have no field of their own in Role and Plan,
// by the names of the keys. The file of such a key has a method of Plan that
// returns its value.
type Extra map[string]any

// A Misfit is a mistake of a selection: a value that does not fit the role. It
// quotes no value.
type Misfit struct {
	Role    string
	Section string // of the user-data: params or volumes; "" where it is about neither
	Name    string // of the parameter or volume that the user-data sets; "" for none
	err     error
}

// Error says which role is not fitted, and by what.
func (m *Misfit) Error() string { return fmt.Sprintf("role %q: %v", m.Role, m.err) }

// A selection is what the user-data sets.
type selection struct {
	Params  map[string]string
	Volumes map[string]string // an EBS volume ID or a serial number
}

// An Instance is what expansions can put in of an EC2 instance. It is zero on a
// local machine.
type Instance struct {
	ID          string // ${instance.id}
	Zone        string // ${instance.zone}, such as eu-central-1a
	Region      string // ${instance.region}
	Type        string // ${instance.type}
	PrivateIPv4 string // ${instance.private-ipv4}
}

// values are what an instance gives to expansions; the parameters are missing.
func (i Instance) values() expand.Values {
	known := map[string]string{"id": i.ID, "zone": i.Zone, "region": i.Region, "type": i.Type, "private-ipv4": i.PrivateIPv4}
	return expand.Values{
		Params: make(map[string]string), Local: i == Instance{},
		Instance: func(name string) string { return known[name] },
	}
}

// A planning is a plan that is being made.
type planning struct {
	role     *Role
	selected selection
	values   expand.Values
	plan     *Plan
	finds    find.Disks
	errs     []error
	halted   bool // the selection itself is wrong, so nothing is put in
}

// Plan puts the user-data's selection into the role: the values of its
// parameters, and the disks that it binds to volumes, each by its EBS volume ID
// or its serial number. It also puts in what the role asks of the instance. The
// error joins all mistakes of the selection, each a *Misfit. It names
// parameters and volumes and quotes none of the values.
func (r *Role) Plan(params, volumes map[string]string, instance Instance) (*Plan, error) {
	if err := r.checkNamesake(); err != nil {
		return nil, err
	}
	p := &planning{
		role: r, selected: selection{params, volumes}, values: instance.values(),
		plan: &Plan{Role: r.Name, Extra: maps.Clone(r.Extra)}, finds: make(find.Disks),
	}
	for _, s := range sections {
		if s.plan != nil {
			s.plan(p)
		}
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return p.plan, nil
}

func (p *planning) fail(section, name string, err error) {
	if misfit := (*expand.Misfit)(nil); errors.As(err, &misfit) {
		if _, set := p.selected.Params[misfit.Param]; set {
			section, name = "params", misfit.Param
		}
	}
	p.errs = append(p.errs, &Misfit{p.role.Name, section, name, err})
}

// unfit is fail for what makes all further mistakes meaningless.
func (p *planning) unfit(section, name string, err error) {
	p.halted = true
	p.fail(section, name, err)
}

// refuseUnknown refuses what a selection sets and the role does not have.
func (p *planning) refuseUnknown(section, what string, set map[string]string, known []string) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if !slices.Contains(known, name) {
			p.unfit(section, name, fmt.Errorf("unknown %s %s%s (%ss of the role: %s)",
				what, strictyaml.Quote(name), strictyaml.DidYouMean(name, known), what, listOrNone(known)))
		}
	}
}
