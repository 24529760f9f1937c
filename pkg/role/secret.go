package role

import (
	"fmt"
	"slices"

	"bootagent/pkg/policy"
	"bootagent/pkg/role/key"
	"bootagent/pkg/role/source"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
)

// A Secret is something that services get as a credential of systemd.
type Secret struct {
	Name       string        `json:"name"`
	From       source.Source `json:"from"`
	Credential string        `json:"credential"` // its name for the services
	Services   []string      `json:"services"`   // units of services of the role
}

var secretSection = section{
	Key: key.Key{
		Name: "secrets", Says: "The secrets of the role, by name. Services get them as credentials of systemd.", Unset: "none",
		Kind: mapOf(secretKeys.Keys(), "secrets: {sql: {from: \"...\", services: [mariadb.service]}}"),
	},
	read:   readSecrets,
	plan:   planSecrets,
	permit: permitSecrets,
}

var secretKeys = key.Table[*reading, secreting]{
	{
		key.Key{Name: "from", Says: "Where its payload is.", Kind: key.Kind{Type: key.Text, Doc: "a source", Expands: true, Filled: sources}},
		func(d *reading, r key.Reader, s *secreting) {
			s.From = d.grammar.Sources.Read(r.Value, r.What, d.parameters())
		},
	},
	{
		key.Key{Name: "credential", Says: "The name of the credential.", Unset: "`NAME`", Kind: key.Kind{Type: key.Text, Doc: "a credential's name", Pattern: `^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,63}$`}},
		func(d *reading, r key.Reader, s *secreting) {
			s.blame = r.Value
			credential, ok := r.Text()
			if ok {
				if err := syntax.CheckCredential(credential); err != nil {
					r.Failf("%s: credential %s: %v", r.What, strictyaml.Quote(credential), err)
				}
			}
			s.Credential = credential
		},
	},
	{
		key.Key{
			Name: "services", Says: "The services that get it. They need it, whatever their `needs` say.",
			Kind: key.Kind{Type: key.List, Doc: "a list of services of the role", Entry: &serviceKind, Least: 1, Example: "services: [mariadb.service]"},
		},
		func(d *reading, r key.Reader, s *secreting) { s.Services = d.servicesOf(r) },
	},
}

// A secreting is a secret that is being read.
type secreting struct {
	Secret
	blame strictyaml.Value // where its credential has its name from
}

func readSecrets(d *reading, value strictyaml.Value) {
	for _, e := range value.Map("secrets").Entries() {
		what := "secret " + strictyaml.Quote(e.Key.String())
		name, _ := e.Key.Name()
		s := secreting{Secret{Name: name, Credential: name}, e.Key}
		secretKeys.Decode(d, e.Value, what, &s)
		for _, unit := range s.Services {
			place := unit + "/" + s.Credential
			if other := d.credentials[place]; other != "" {
				s.blame.Failf("%s and %s are both the credential %q of %s; give one of them another name with credential", what, other, s.Credential, unit)
			}
			d.credentials[place] = what
		}
		d.role.Secrets = append(d.role.Secrets, s.Secret)
	}
	byName(d.role.Secrets, func(s Secret) string { return s.Name })
}

// servicesOf reads the services that a secret or a file is for. Where a service is
// missing or misnamed in the role file, that is the mistake to mend first, and
// its name here is none.
func (d *reading) servicesOf(r key.Reader) (units []string) {
	list, ok := r.List()
	if ok && len(list) == 0 {
		r.Failf("%s is for no service; name at least one service of this role", r.What)
	}
	for _, entry := range list {
		var unit string
		if d.lost("services") || slices.ContainsFunc(d.known["services"], func(known string) bool { return known+".service" == entry.String() }) {
			unit, ok = entry.TextOf("the name of a service")
		} else {
			unit, ok = entry.OneOf(d.known["services"]...)
		}
		switch {
		case !ok:
		case slices.Contains(units, unit):
			entry.Failf("%s names %s twice", r.What, unit)
		default:
			units = append(units, unit)
		}
	}
	slices.Sort(units)
	return units
}

// planSecrets puts into each source what the instance has.
func planSecrets(p *planning) {
	p.plan.Secrets = slices.Clone(p.role.Secrets)
	for i := range p.plan.Secrets {
		s := &p.plan.Secrets[i]
		s.Services = slices.Clone(s.Services)
		if p.halted {
			continue
		}
		ref, err := p.values.Put(s.From.Ref)
		if how, known := p.role.grammar.Sources.Of(s.From); err == nil && known {
			err = how.Check(ref)
		}
		if err != nil {
			p.fail("", "", fmt.Errorf("secret %q: %w", s.Name, err))
		}
		s.From.Ref = ref
	}
}

// FileOf returns the path of the file in the image that a secret comes from. It
// is false for secrets that are not in the image.
func (r *Role) FileOf(s Secret) (path string, inImage bool) {
	how, known := r.grammar.Sources.Of(s.From)
	if !known || how.File == nil {
		return "", false
	}
	return how.File(s.From.Ref), true
}

func permitSecrets(g Grammar, r *Role, needs *policy.Needs) {
	for _, s := range r.Secrets {
		if how, known := g.Sources.Of(s.From); known && how.Permit != nil {
			how.Permit(needs, s.From.Ref)
		}
	}
}
