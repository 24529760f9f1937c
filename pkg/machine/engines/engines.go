// Package engines asks the database engines of this machine, and has them make new
// databases. It runs their programs as the owner of the data: in a child to answer
// a question, and in a unit of their own to make something.
package engines

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"bootagent/pkg/answers"
	"bootagent/pkg/child"
	"bootagent/pkg/engine"
	"bootagent/pkg/host"
	"bootagent/pkg/regular"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/execstart"
	"bootagent/pkg/unit"
)

// Engines are those of this machine.
type Engines struct {
	Manager  *systemd.Manager
	Children *child.Group
	Answers  answers.Store
}

const (
	askWithin        = time.Minute
	initializeWithin = 15 * time.Minute
	copyWithin       = 2 * time.Hour
)

// Settings asks an engine how it is set.
func (e Engines) Settings(ctx context.Context, d host.Data, units []string) (set host.EngineSettings, err error) {
	of, err := engine.Named(d.Engine)
	if err != nil {
		return set, err
	}
	services := make([]execstart.Service, len(units))
	for i, name := range units {
		if services[i], err = e.Manager.StartOf(ctx, name); err != nil {
			return set, err
		}
		if services[i], err = services[i].LoadEnvironment(); err != nil {
			return set, err
		}
	}
	return of.Settings(ctx, asker{e, d}, services)
}

// An asker asks the engine of the data.
type asker struct {
	Engines
	data host.Data
}

func (a asker) Run(ctx context.Context, q engine.Question) ([]byte, error) {
	ask := func() ([]byte, error) { return a.ask(ctx, a.data, q) }
	if q.OfProgram {
		return a.Answers.Of(q.Argv, ask)
	}
	return ask()
}

// settingsMax bounds a file of an engine's settings, in bytes.
const settingsMax = 1 << 20

func (asker) Read(path string) ([]byte, error) {
	text, _, err := regular.Read(path, settingsMax)
	if err != nil {
		return nil, fmt.Errorf("cannot read the settings %s: %w", path, err)
	}
	return text, nil
}

func (asker) Glob(pattern string) ([]string, error) {
	paths, err := filepath.Glob(pattern)
	slices.Sort(paths)
	return paths, err
}

// ask runs a question as the owner of the data, and returns what it printed.
func (e Engines) ask(ctx context.Context, d host.Data, q engine.Question) ([]byte, error) {
	owner, home, err := child.As(d.Owner)
	if err != nil {
		return nil, err
	}
	return e.Children.Run(ctx, child.Task{
		Key: "engine of " + d.Name, Doing: q.Argv[0] + " to tell its data directory", Within: askWithin,
		Hint: "runuser --user=" + d.Owner + " -- " + shell.Join(q.Argv),
		Late: fmt.Errorf("%s did not tell its data directory within %s", d.Engine, askWithin),
		Env:  append([]string{"HOME=" + home}, q.Env...),
	}, owner, q.Argv[0], q.Argv[1:]...)
}

// command makes what is in a directory at first. It has no arguments where
// nothing is run.
func (e Engines) command(d host.Data, set host.EngineSettings) (systemd.Command, error) {
	of, err := engine.Named(d.Engine)
	if err != nil {
		return systemd.Command{}, err
	}
	c := systemd.Command{
		Unit: unitOf(d), Description: "Making of the data directory " + d.Name + " in " + d.Dir,
		Timeout: initializeWithin, Mounts: []string{filepath.Dir(d.Dir)},
	}
	if d.From != "" {
		c.Argv, c.Writable, c.Timeout = copyCommand(d.From, d.Dir), []string{d.Dir}, copyWithin
		return c, nil
	}
	parts := set.Parts()
	c.Argv, c.User, c.Binds = of.Initialize(d.Bind, d.Owner, set), d.Owner, []systemd.Bind{{From: d.Dir, To: d.Bind}}
	c.Writable, c.Mounts = append([]string{d.Bind}, parts...), append(c.Mounts, parts...)
	return c, nil
}

// copyCommand copies all that is in a directory into an empty one, with owners,
// modes, times, links, holes, access control lists and extended attributes: what
// cp(1) cannot keep of these is an error.
func copyCommand(from, to string) []string {
	return []string{
		"/bin/cp", "--recursive", "--no-dereference", "--preserve=mode,ownership,timestamps,links,xattr", "--sparse=auto",
		"--no-target-directory", "--", from, to,
	}
}

// unitOf is the unit that initialises a data directory.
func unitOf(d host.Data) string { return unit.CommandOn("initialize", d.Name) }

// Initialize makes what is in a directory at first.
func (e Engines) Initialize(ctx context.Context, d host.Data, set host.EngineSettings) error {
	c, err := e.command(d, set)
	if err != nil || c.Argv == nil {
		return err // to some engines an empty directory is a database
	}
	return e.Manager.Run(ctx, c)
}

// Initializing tells whether that goes on, or is done and not forgotten.
func (e Engines) Initializing(ctx context.Context, d host.Data, set host.EngineSettings) (bool, error) {
	c, err := e.command(d, set)
	if err != nil || c.Argv == nil {
		return false, err
	}
	return e.Manager.Going(ctx, c)
}

// Initialized forgets it.
func (e Engines) Initialized(ctx context.Context, d host.Data) error {
	return e.Manager.Forget(ctx, unitOf(d))
}
