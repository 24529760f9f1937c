package role

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"bootagent/pkg/role/key"
	"bootagent/pkg/role/ready"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/unit"
)

// A Service is a systemd unit that is held until its needs are met.
type Service struct {
	Unit      string       `json:"unit"`                 // a .service
	Needs     []Need       `json:"needs,omitempty"`      // what has to be there first
	Ready     *ready.Ready `json:"ready,omitempty"`      // what tells that it serves
	AlsoGuard []string     `json:"also-guard,omitempty"` // further units held with it
	IMDS      bool         `json:"imds,omitempty"`       // may reach the metadata service
}

var serviceSection = section{
	Key: key.Key{
		Name: "services", Says: "The services of the role, by unit. Each is held until its needs are met.",
		Kind: key.Kind{
			Type: key.Map, Names: serviceKind.Pattern, Entry: &key.Kind{Type: key.Object, Keys: serviceKeys.Keys()}, Least: 1,
			Example: "services: {nginx.service: {}}",
		},
	},
	read: readServices,
	plan: planServices,
}

var serviceKeys = key.Table[*reading, servicing]{
	{
		key.Key{
			Name: "needs", Says: "What has to be there before it starts. Who needs data needs its volume.",
			Unset: "all volumes, all data, and the secrets and files that are for it",
			Kind: key.Kind{
				Type: key.List, Doc: "a list of `volume.NAME`, `data.NAME`, `secret.NAME`, `file.NAME`", Example: "needs: [data.mysql]",
				Entry: &key.Kind{Type: key.Text, Pattern: `^((volume|data|secret)\.[a-z][a-z0-9-]{0,62}|file\.[a-z][a-z0-9.-]{0,62})$`},
			},
		},
		func(d *reading, r key.Reader, s *servicing) { s.chosen, s.Needs = true, d.readNeeds(r) },
	},
	{
		key.Key{Name: "ready", Says: "What tells that it serves.", Unset: "it serves when it is active", Kind: ready.Kind},
		func(d *reading, r key.Reader, s *servicing) { s.Ready = ready.Read(r, s.Unit, d.unit) },
	},
	{
		key.Key{
			Name: "also-guard", Says: "Further units that are held with it. A template such as `mariadb@.service` stands for all of its instances. What starts the service by itself is found anyway.", Unset: "none",
			Kind: key.Kind{Type: key.List, Doc: "a list of services, sockets, timers or paths", Entry: &key.Kind{Type: key.Text, Pattern: `\.(service|socket|timer|path)$`}, Example: "also-guard: [backup.timer]"},
		},
		readAlsoGuard,
	},
	{
		key.Key{Name: "imds", Says: "Whether it may reach the instance metadata service, and with it the instance's credentials.", Unset: "`deny`", Kind: key.OneOf("deny", "allow")},
		func(d *reading, r key.Reader, s *servicing) {
			word, _ := r.Word()
			s.IMDS = word == "allow"
		},
	},
}

// A servicing is a service that is being read.
type servicing struct {
	Service
	chosen bool // the file says what it needs
}

func readServices(d *reading, value strictyaml.Value) {
	entries := value.Map("services").Entries()
	if len(entries) == 0 {
		value.Failf("the role has no services; write at least one, such as nginx.service: {}")
	}
	for _, e := range entries {
		if d.unit(e.Key, ".service") {
			d.hold(e.Key, e.Key.String())
		}
	}
	for _, e := range entries {
		s := servicing{Service: Service{Unit: e.Key.String()}}
		serviceKeys.Decode(d, e.Value.Example(e.Key.String()+": {}"), "service "+strictyaml.Quote(s.Unit), &s)
		s.Needs = d.allNeeds(s)
		d.role.Services = append(d.role.Services, s.Service)
	}
	byName(d.role.Services, func(s Service) string { return s.Unit })
}

// unit checks the name of a unit that is to be held for itself.
func (d *reading) unit(v strictyaml.Value, types ...string) bool {
	return d.unitThat(v, unit.MayHold, types...)
}

// unitThat checks the name of a unit, of which may says why it can't be held.
func (d *reading) unitThat(v strictyaml.Value, may func(name string) error, types ...string) bool {
	name, ok := v.TextOf("the name of a unit that ends in " + strings.Join(types, ", "))
	if !ok {
		return false
	}
	if err := checkUnit(name, may, types...); err != nil {
		v.Failf("unit %s %v", strictyaml.Quote(name), err)
		return false
	}
	return true
}

// checkUnit refuses a text that is not a unit of one of the types, and units
// that must not wait for the agent.
func checkUnit(name string, may func(name string) error, types ...string) error {
	if !slices.Contains(types, path.Ext(name)) {
		var near string
		if path.Ext(name) == "" && unit.MayHold(name+types[0]) == nil {
			near = "; did you mean " + strictyaml.Quote(name+types[0]) + "?"
		}
		return fmt.Errorf("must end in %s%s", strings.Join(types, ", "), near)
	}
	return may(name)
}

// hold notes that a unit is held with a service: one guard names one grant.
func (d *reading) hold(v strictyaml.Value, service string) {
	name := v.String()
	if other, held := d.held[name]; held {
		v.Failf("%s is held with %s already; a unit can be held with one service only, and once", name, other)
	}
	d.held[name] = service
}

func readAlsoGuard(d *reading, r key.Reader, s *servicing) {
	list, _ := r.List()
	for _, v := range list {
		if d.unitThat(v, unit.MayHoldWith, unit.HeldTypes()...) {
			d.hold(v, s.Unit)
			s.AlsoGuard = append(s.AlsoGuard, v.String())
		}
	}
	slices.Sort(s.AlsoGuard)
}

func planServices(p *planning) {
	services := slices.Clone(p.role.Services)
	for i, s := range services {
		services[i].Needs = slices.Clone(s.Needs)
		services[i].AlsoGuard = slices.Clone(s.AlsoGuard)
		if s.Ready != nil {
			probe := *s.Ready
			services[i].Ready = &probe
		}
	}
	p.plan.Services = services
}
