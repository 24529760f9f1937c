package machine

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/child"
	"bootagent/pkg/datadir"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/systemd"
	"bootagent/pkg/unit"
)

// engines are programs of the image, which run as the owner of the data.
type engines struct {
	manager  *systemd.Manager
	children *child.Group
}

const (
	askWithin        = time.Minute
	initializeWithin = 15 * time.Minute
)

func (e engines) Settings(ctx context.Context, d role.Data, units []string) (set host.EngineSettings, err error) {
	starts := make([]datadir.Start, len(units))
	for i, unit := range units {
		if starts[i], err = e.start(ctx, unit); err != nil {
			return set, err
		}
	}
	questions, err := datadir.Questions(string(d.Engine), starts)
	if err != nil {
		return set, err
	}
	for i, q := range questions {
		told, err := e.ask(ctx, d, q)
		switch {
		case err != nil:
			return set, err
		case i > 0 && told.Directory != set.DataDirectory:
			return set, fault.Permanent(fault.WithHint(
				fmt.Errorf("the services of the role start %s with two data directories, %s and %s", d.Engine, set.DataDirectory, told.Directory),
				"systemctl cat of each shows how it is started; give each directory a data entry of its own in the role file, or start all with one"))
		}
		set = host.EngineSettings{DataDirectory: told.Directory, Version: told.Version, Files: told.Files}
	}
	return set, nil
}

// start is how systemd starts a unit.
func (e engines) start(ctx context.Context, unit string) (datadir.Start, error) {
	loaded, err := e.manager.StartOf(ctx, unit)
	if err != nil {
		return datadir.Start{}, err
	}
	s := datadir.Start{Unit: unit, Env: loaded.Environment, Root: loaded.Root}
	for _, c := range loaded.Commands {
		s.Commands = append(s.Commands, datadir.Exec(c))
	}
	for _, pattern := range loaded.EnvironmentFiles {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return s, err
		}
		for _, file := range files {
			text, err := datadir.ReadEnvironmentFile(file)
			if err != nil {
				return s, fmt.Errorf("cannot read an EnvironmentFile= of %s: %w", unit, err)
			}
			s.Env = slices.Concat(s.Env, text)
		}
	}
	s.Env = slices.DeleteFunc(slices.Clone(s.Env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(loaded.Unset, name) || slices.Contains(loaded.Unset, entry)
	})
	return s, nil
}

// ask runs an engine that tells how it is set, as its owner would run it.
func (e engines) ask(ctx context.Context, d role.Data, q datadir.Question) (datadir.Settings, error) {
	owner, home, err := child.As(d.Owner)
	if err != nil {
		return datadir.Settings{}, err
	}
	out, err := e.children.Run(ctx, child.Task{
		Key: "engine of " + d.Name, Doing: q.Argv[0] + " to tell its data directory", Within: askWithin,
		Hint: "runuser --user=" + d.Owner + " -- " + strings.Join(q.Argv, " "),
		Late: fmt.Errorf("%s did not tell its data directory within %s", d.Engine, askWithin),
		Env:  append([]string{"HOME=" + home}, q.Env...),
	}, owner, q.Argv[0], q.Argv[1:]...)
	if err != nil {
		return datadir.Settings{}, err
	}
	return datadir.Answer(string(d.Engine), out)
}

func (e engines) command(d role.Data, dir string) (systemd.Command, error) {
	argv, err := datadir.InitializeCommand(string(d.Engine), dir, d.Owner)
	return systemd.Command{
		Unit: unit.CommandOn("initialize", d.Name), Description: "Making of the data directory " + d.Name,
		Argv: argv, User: d.Owner, Writable: []string{dir},
		Timeout: initializeWithin, Mounts: []string{filepath.Dir(dir)},
	}, err
}

func (e engines) Initialize(ctx context.Context, d role.Data, dir string) error {
	c, err := e.command(d, dir)
	if err != nil {
		return err
	}
	return e.manager.Run(ctx, c)
}

func (e engines) Initializing(ctx context.Context, d role.Data, dir string) (bool, error) {
	c, err := e.command(d, dir)
	if err != nil {
		return false, err
	}
	return e.manager.Going(ctx, c)
}

func (e engines) Initialized(ctx context.Context, d role.Data) error {
	c, err := e.command(d, "")
	if err != nil {
		return err
	}
	return e.manager.Forget(ctx, c.Unit)
}
