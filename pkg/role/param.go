package role

import (
	"fmt"

	"bootagent/pkg/role/key"
	"bootagent/pkg/role/param"
	"bootagent/pkg/strictyaml"
)

var paramSection = section{
	Key: key.Key{
		Name: "params", Says: "The parameters of the role, by name. The user-data sets them.", Unset: "none",
		Kind: mapOf(param.Keys(), "params: {cluster: {default: orders}}"),
	},
	read: func(d *reading, v strictyaml.Value) { d.role.Params = param.Read(v) },
	plan: planParams,
}

// planParams gives every parameter of the role its value.
func planParams(p *planning) {
	var names []string
	for _, param := range p.role.Params {
		names = append(names, param.Name)
		value, set := p.selected.Params[param.Name]
		switch {
		case set:
			if err := param.Check(value); err != nil {
				p.unfit("params", param.Name, fmt.Errorf("parameter %q %w", param.Name, err))
			}
			p.values.Params[param.Name] = value
		case param.Default != nil:
			p.values.Params[param.Name] = *param.Default
		default:
			p.unfit("params", "", fmt.Errorf("parameter %q is not set and has no default; set it below params in the user-data", param.Name))
		}
	}
	p.refuseUnknown("params", "parameter", p.selected.Params, names)
}
