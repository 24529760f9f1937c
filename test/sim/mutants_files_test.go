package sim

import (
	"context"
	"slices"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	text "bootagent/pkg/role/file"
)

// writes changes how files are written.
func writes(change func(*host.File)) func(*seams) {
	return func(s *seams) {
		write := s.writeFile
		s.writeFile = func(ctx context.Context, f host.File) (bool, error) {
			f.Content = slices.Clone(f.Content)
			change(&f)
			return write(ctx, f)
		}
	}
}

// The mistakes about configuration files.
var ofFiles = []mutant{
	{name: "a service is granted before its files are there", breaks: "with the file", change: func(s *seams) {
		s.step("file ", func(context.Context, graph.Func) error { return nil })
	}},
	{name: "half of a file is written", breaks: "with the file", change: writes(func(f *host.File) { f.Content = f.Content[:len(f.Content)/2] })},
	{name: "a file with a secret is for everybody", breaks: "everybody may read it", change: writes(func(f *host.File) { f.Mode = 0o444 })},
	{name: "a secret is put into the text of a file", breaks: "before that is written", change: writes(func(f *host.File) {
		for i := range f.Content {
			if f.Content[i].Secret != nil {
				f.Content[i] = host.Piece{Text: plaintext}
			}
		}
	})},
	{name: "a secret that a file has is noted in the records", breaks: "the secret is on a disk", change: func(s *seams) {
		write := s.writeFile
		s.writeFile = func(ctx context.Context, f host.File) (bool, error) {
			changed, err := write(ctx, f)
			if err == nil {
				for _, v := range s.agent.machine.world.cloud.volumes {
					err = s.real.Records.RecordTag(v.ID, f.Name, plaintext)
				}
			}
			return changed, err
		}
	}},
	{name: "a file of a former agent counts", breaks: "a person's tag is not in the file", change: func(s *seams) {
		write := s.writeFile
		s.writeFile = func(ctx context.Context, f host.File) (bool, error) {
			if there, err := s.real.Files.Written(f.Name); there || err != nil {
				return false, err
			}
			return write(ctx, f)
		}
	}},
	{name: "a tag that does not fit is put in", breaks: "with the file", role: func(r *role.Role) {
		r.Files = slices.Clone(r.Files)
		for i := range r.Files {
			r.Files[i].Patterns = map[string]string{"volume.data.tag." + serverIDTag: ".*"}
		}
	}},
	{name: "the tag of another volume is put in", breaks: "with the file", change: func(s *seams) {
		answers(&s.tags, func(_ name.VolumeID, tags *map[string]string) { *tags = map[string]string{serverIDTag: "6"} })
	}},
	{name: "a file has what stands for a value", breaks: "with the file", role: func(r *role.Role) {
		r.Files = slices.Clone(r.Files)
		for i := range r.Files {
			r.Files[i].Content = text.Text{{Text: "server_id=${volume.data.tag." + serverIDTag + "}\n"}}
		}
	}},
	{name: "a tag that was read is forgotten", change: func(s *seams) {
		s.recordTag = func(name.VolumeID, string, string) error { return nil }
	}},
	{name: "services are not told which instance this is", breaks: "which is told to be on", untold: true},
}
