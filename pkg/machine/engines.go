package machine

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/answers"
	"bootagent/pkg/child"
	"bootagent/pkg/engine"
	"bootagent/pkg/host"
	"bootagent/pkg/regular"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/execstart"
	"bootagent/pkg/unit"
)

// engines are programs of the image, which run as the owner of the data: in a
// child to answer a question, and in a unit of their own to initialise.
type engines struct {
	manager  *systemd.Manager
	children *child.Group
	answers  answers.Store
}

const (
	askWithin        = time.Minute
	initializeWithin = 15 * time.Minute
)

func (e engines) Settings(ctx context.Context, d host.Data, units []string) (set host.EngineSettings, err error) {
	of, err := engine.Named(d.Engine)
	if err != nil {
		return set, err
	}
	services := make([]execstart.Service, len(units))
	for i, name := range units {
		if services[i], err = e.manager.StartOf(ctx, name); err != nil {
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
	engines
	data host.Data
}

func (a asker) Run(ctx context.Context, q engine.Question) ([]byte, error) {
	ask := func() ([]byte, error) { return a.ask(ctx, a.data, q) }
	if q.OfProgram {
		return a.answers.Of(q.Argv, ask)
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
func (e engines) ask(ctx context.Context, d host.Data, q engine.Question) ([]byte, error) {
	owner, home, err := child.As(d.Owner)
	if err != nil {
		return nil, err
	}
	return e.children.Run(ctx, child.Task{
		Key: "engine of " + d.Name, Doing: q.Argv[0] + " to tell its data directory", Within: askWithin,
		Hint: "runuser --user=" + d.Owner + " -- " + strings.Join(q.Argv, " "),
		Late: fmt.Errorf("%s did not tell its data directory within %s", d.Engine, askWithin),
		Env:  append([]string{"HOME=" + home}, q.Env...),
	}, owner, q.Argv[0], q.Argv[1:]...)
}

// command initialises a directory.
func (e engines) command(d host.Data, set host.EngineSettings) (systemd.Command, error) {
	of, err := engine.Named(d.Engine)
	if err != nil {
		return systemd.Command{}, err
	}
	return systemd.Command{
		Unit: unitOf(d), Description: "Making of the data directory " + d.Name,
		Argv: of.Initialize(d.Dir, d.Owner, set), User: d.Owner, Writable: []string{d.Dir},
		Timeout: initializeWithin, Mounts: []string{filepath.Dir(d.Dir)},
	}, nil
}

// unitOf is the unit that initialises a data directory.
func unitOf(d host.Data) string { return unit.CommandOn("initialize", d.Name) }

func (e engines) Initialize(ctx context.Context, d host.Data, set host.EngineSettings) error {
	c, err := e.command(d, set)
	if err != nil || c.Argv == nil {
		return err // to some engines an empty directory is a database
	}
	return e.manager.Run(ctx, c)
}

func (e engines) Initializing(ctx context.Context, d host.Data, set host.EngineSettings) (bool, error) {
	c, err := e.command(d, set)
	if err != nil || c.Argv == nil {
		return false, err
	}
	return e.manager.Going(ctx, c)
}

func (e engines) Initialized(ctx context.Context, d host.Data) error {
	return e.manager.Forget(ctx, unitOf(d))
}
