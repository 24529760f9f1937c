package plan

import (
	"strings"

	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/userdata"
)

// standIns are values, by expansion, for what is not known of an instance when
// its policy is written. No EC2 instance has them.
var standIns = map[string]string{
	"${instance.id}": "stand-in.id", "${instance.zone}": "stand-in.zone",
	"${instance.region}": "stand-in.region", "${instance.type}": "stand-in.type",
	"${instance.private-ipv4}": "stand-in.private-ipv4",
}

// OfAny returns the role that all instances with a selection have, with the
// parameters filled in. What differs between instances is still an expansion, such
// as ${instance.id}.
func OfAny(from Source, sel userdata.Selection, roles []*role.Role) (*role.Role, error) {
	plan, err := From(from, sel, roles, host.Instance{
		ID: standIns["${instance.id}"], Zone: standIns["${instance.zone}"],
		Region: standIns["${instance.region}"], Type: standIns["${instance.type}"],
		PrivateIPv4: standIns["${instance.private-ipv4}"],
	})
	if err != nil {
		return nil, err
	}
	r := &role.Role{Name: plan.Role, Volumes: plan.Volumes, Secrets: plan.Secrets}
	for i := range r.Volumes {
		find := &r.Volumes[i].Find
		find.ID = unknownAgain(find.ID)
		for key, value := range find.Tags {
			find.Tags[key] = unknownAgain(value)
		}
	}
	for i := range r.Secrets {
		r.Secrets[i].From.Ref = unknownAgain(r.Secrets[i].From.Ref)
	}
	return r, nil
}

// unknownAgain replaces stand-ins by their expansions.
func unknownAgain(text string) string {
	for expansion, standIn := range standIns {
		text = strings.ReplaceAll(text, standIn, expansion)
	}
	return text
}
