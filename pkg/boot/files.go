package boot

import (
	"slices"

	"bootagent/pkg/files"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role/file"
)

// fileConfig is what a file has to know of the volumes and secrets that are put in.
func (b *Boot) fileConfig(f file.File) files.Config {
	c := files.Config{
		Graph: b.Graph, Host: b.host, Log: b.log,
		Volumes: make(map[string]files.Volume), Secrets: make(map[string]host.Secret),
	}
	for _, name := range f.Volumes() {
		v := b.volumes[name]
		c.Volumes[name], c.After = v, append(c.After, v.Ready())
	}
	for _, name := range f.Secrets() {
		s := b.secrets[name]
		c.Secrets[name], c.After = s.Secret, append(c.After, s.opened)
	}
	return c
}

// filesOf are the steps of the files of a service.
func (b *Boot) filesOf(unit string) (steps []*graph.Step) {
	for _, f := range b.plan.Files {
		if slices.Contains(f.Services, unit) {
			steps = append(steps, b.files[f.Name].Written())
		}
	}
	return steps
}
