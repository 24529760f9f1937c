package role

import (
	"fmt"
	"slices"

	"bootagent/pkg/role/file"
	"bootagent/pkg/role/key"
	"bootagent/pkg/role/param"
	"bootagent/pkg/strictyaml"
)

var fileSection = section{
	Key: key.Key{
		Name: "files", Says: "Small configuration files that the agent writes to `" + file.Dir + "`, by name. Services read them there.",
		Unset: "none", Kind: file.Kind,
	},
	read: func(d *reading, v strictyaml.Value) {
		known := file.Known{Params: d.parameters(), For: make(map[string][]string)}
		if !d.lost("volumes") {
			known.Volumes = append([]string{}, d.known["volumes"]...)
		}
		if !d.lost("secrets") {
			known.Secrets = append([]string{}, d.known["secrets"]...)
		}
		for _, volume := range d.role.Volumes {
			if volume.Find.Plugged() {
				known.Local = append(known.Local, volume.Name)
			}
		}
		for _, s := range d.role.Secrets {
			known.For[s.Name] = s.Services
		}
		d.role.Files = file.Read(file.Reading{Known: known, Services: d.servicesOf}, v)
	},
	plan: planFiles,
}

// planFiles puts into each file what the selection and the instance have.
func planFiles(p *planning) {
	if p.halted {
		return
	}
	patterned := func(name string) bool {
		return slices.ContainsFunc(p.role.Params, func(param param.Param) bool { return param.Name == name && param.Pattern != "" })
	}
	for _, f := range p.role.Files {
		expanded, err := f.Expand(p.values, patterned)
		for _, volume := range p.plan.Volumes {
			if err == nil && volume.Find.Plugged() && slices.Contains(f.Volumes(), volume.Name) {
				err = fmt.Errorf("volume %q is not found by EC2, so nothing of EC2 is known of it", volume.Name)
			}
		}
		if err != nil {
			p.fail("", "", fmt.Errorf("file %q: %w", f.Name, err))
		}
		p.plan.Files = append(p.plan.Files, expanded)
	}
}
