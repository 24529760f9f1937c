// Package files is the way of a configuration file to the services that need it:
// what it is put together of, when, and when it is put together again.
//
// It decides, and writes nothing itself: it asks the interfaces of package host. A
// secret never passes through it: the host puts secrets in where it writes, with
// Fill.
package files

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role/file"
)

// A Config is what a file needs to know of the boot that it is part of.
type Config struct {
	Graph *graph.Graph // gets the step
	Host  host.Host
	Log   *slog.Logger

	After   []*graph.Step          // the last steps of the volumes and secrets that are put in
	Volumes map[string]Volume      // those of which a value is put in, by name
	Secrets map[string]host.Secret // those that are put in, by name
}

// A File is one file of the plan.
type File struct {
	Config
	plan    file.File
	written *graph.Step
}

// Add adds the step of a file to a graph.
func Add(c Config, plan file.File) *File {
	f := &File{Config: c, plan: plan}
	f.written = c.Graph.Add("file "+plan.Name+": write", f.write, c.After...)
	return f
}

// Written is the step that is done when the file is there.
func (f *File) Written() *graph.Step { return f.written }

// Again puts the file together again, because what is put in may have changed and
// nobody tells of it: a tag of a volume.
func (f *File) Again(why string) {
	if len(f.Volumes) > 0 {
		f.Graph.Recheck(f.written, why, graph.Done)
	}
}

// Inspect sees to it that a file that was written is there: root can delete it.
func (f *File) Inspect() error {
	if !f.Graph.IsDone(f.written) {
		return nil
	}
	there, err := f.Host.Files.Written(f.plan.Name)
	if err == nil && !there {
		f.Graph.Invalidate(f.written, f.plan.Path()+" is not there any more", f.written)
	}
	return err
}

// write puts the file together, and has it written.
func (f *File) write(ctx context.Context) error {
	plan := f.plan
	mode, err := strconv.ParseUint(string(plan.Mode), 8, 9)
	if err != nil {
		return fault.Permanent(fmt.Errorf("the mode of %s: %w", f.plan.Path(), err))
	}
	is := host.File{Name: plan.Name, Owner: plan.Owner, Group: plan.Group, Mode: fs.FileMode(mode)}
	if is.Content, err = f.pieces(ctx, is.Content, plan.Content, false); err != nil {
		return err
	}
	for _, v := range plan.Env {
		is.Content = append(is.Content, host.Piece{Text: v.Name + `="`})
		if is.Content, err = f.pieces(ctx, is.Content, v.Value, true); err != nil {
			return err
		}
		is.Content = append(is.Content, host.Piece{Text: "\"\n"})
	}
	changed, err := f.Host.Files.Write(ctx, is)
	if changed && err == nil {
		f.Log.Info("wrote a file; a service that runs reads it when it starts again", "file", f.plan.Path())
	}
	return err
}

// pieces adds the parts of a text, with the values of volumes.
func (f *File) pieces(ctx context.Context, all []host.Piece, text file.Text, quoted bool) ([]host.Piece, error) {
	for _, part := range text {
		value := part.Text
		if volume, tag, is := part.OfVolume(); is {
			var err error
			if value, err = f.valueOf(ctx, part.Put, volume, tag); err != nil {
				return nil, err
			}
		}
		name, isSecret := part.OfSecret()
		switch {
		case isSecret:
			secret := f.Secrets[name]
			secret.Services = f.plan.Services // those of the file are among those of the secret
			all = append(all, host.Piece{Secret: &secret, Quoted: quoted})
		case quoted:
			all = append(all, host.Piece{Text: file.Quote(value)})
		default:
			all = append(all, host.Piece{Text: value})
		}
	}
	return all, nil
}

// valueOf is the ID of a volume, or the value of one of its tags.
func (f *File) valueOf(ctx context.Context, put, volume, tag string) (string, error) {
	v := f.Volumes[volume]
	if tag == "" {
		return v.ID(), nil
	}
	value, warning, err := f.tag(ctx, v, tag)
	if err != nil {
		return "", err
	}
	if err := f.plan.CheckTag(put, value); err != nil {
		return "", fault.Refuse(fmt.Sprintf("correct the tag %s of volume %s, then: bootagent retry", tag, v.ID()),
			"the tag %s of volume %s (%s) %w, so it is not put into %s", tag, volume, v.ID(), err, f.plan.Path())
	}
	if warning != "" {
		graph.Warn(ctx, warning)
	}
	return value, nil
}
