package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"bootagent/cmd/bootagent/ondisk"
	"bootagent/cmd/bootagent/sealed"
	"bootagent/pkg/block"
	"bootagent/pkg/datadir"
	"bootagent/pkg/fault"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
	"bootagent/pkg/settings"
	"bootagent/pkg/systemd"
)

// world is the machine itself, and what of the cloud it has to do with, as the
// story of pkg/boot sees it.
func (a *agent) world(by *lesson) (host.Host, error) {
	m, facts := a.manager, by.facts
	id := facts.Instance.ID
	if id == "" {
		machine, err := os.ReadFile("/etc/machine-id")
		if err != nil {
			return host.Host{}, err
		}
		id = strings.TrimSpace(string(machine))
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return host.Host{}, err
	}
	world := host.Host{
		Records:     records{filepath.Join(stateDir, "volumes.json"), id, a.log},
		Disks:       disks{block.Host(), a.children},
		Filesystems: filesystems{m, disks{block.Host(), a.children}},
		Ledgers:     ledgers{a.children},
		Intents:     intents{filepath.Join(stateDir, "intents")},
		Mounts:      mounts{m, a.children},
		Directories: directories{a.children},
		Engines:     engines{m, a.children},
		Units:       units{m}, Runs: units{m}, Grants: units{m}, Jobs: units{m}, Probes: units{m}, Stops: units{m}, Shutdown: units{m},
		Machine: host.Machine{ID: id, BootID: strings.TrimSpace(string(bootID))},

		UnlockWithin: by.set.UnlockWithin, RetryWithin: by.set.RetryWithin,
	}
	var s3 *secret.S3
	if by.metadata != nil {
		credentials := by.metadata.Credentials()
		world.Volumes = newVolumes(by.set, facts.Instance, by.plan.Role, credentials, a.log)
		s3 = secret.NewS3(facts.Instance.Region, by.set.Endpoints.S3, credentials)
	}
	world.Secrets = a.secrets(by.set.Keys, s3)
	return world, nil
}

// secrets are those of S3 or of files. On a local machine s3 is nil.
func (a *agent) secrets(from []settings.Key, s3 *secret.S3) *sealed.Secrets {
	return &sealed.Secrets{
		Keys: a.keys,
		From: from,
		Run: func(ctx context.Context, argv []string) ([]byte, error) {
			return a.children.run(ctx, about{key: "command " + argv[0]}, nil, argv[0], argv[1:]...)
		},
		Source: func(of role.Secret) secret.Source {
			if of.From.Bucket != "" {
				return s3.Object(of.From.Bucket, of.From.Key)
			}
			return secret.File(of.From.Path)
		},
		Kept:  secret.Cache(filepath.Join(stateDir, "secrets")),
		Store: secret.Store{Root: filepath.Join(runDir, "secrets")},
		Log:   a.log,
	}
}

// disks are the disks of the machine.
type disks struct {
	block.System
	children *children
}

func (d disks) Find(ctx context.Context, serial string) (host.Disk, bool, error) {
	disk, err := d.find(ctx, serial)
	if errors.Is(err, block.ErrAbsent) || err == nil && disk.Link == "" {
		return host.Disk{}, false, nil
	}
	return ondisk.Disk(disk), err == nil, err
}

// find asks the disk itself who it is, and a controller that is stuck takes its
// time to answer.
func (d disks) find(ctx context.Context, serial string) (disk block.Disk, err error) {
	err = d.children.reach(ctx, task{Do: findDisk, Path: serial}, &disk)
	return disk, err
}

func (d disks) Appear(ctx context.Context, serial string) (host.Disk, error) {
	disk, err := d.WaitFor(ctx, serial)
	return ondisk.Disk(disk), err
}

// same finds the disk again, and refuses another that has come in its place.
func (d disks) same(ctx context.Context, want host.Disk) (block.Disk, error) {
	disk, err := d.find(ctx, want.Serial)
	if err == nil {
		err = ondisk.Same(want, disk)
	}
	return disk, err
}

func (d disks) Read(ctx context.Context, want host.Disk, as host.Reading) (host.Content, error) {
	disk, err := d.same(ctx, want)
	if err != nil {
		return host.Content{}, err
	}
	report, err := readDisk(ctx, d.children, disk, as.Whole)
	if err != nil {
		return host.Content{}, err
	}
	content, err := ondisk.Content(disk, report, as.Filesystem)
	if err == nil {
		_, err = d.same(ctx, want) // it may have been pulled meanwhile
	}
	return content, err
}

// filesystems are made and checked by units of PID 1's, which outlive the agent.
type filesystems struct {
	manager *systemd.Manager
	disks   disks
}

const (
	makeWithin  = 10 * time.Minute
	checkWithin = time.Hour // a whole e2fsck of a large, damaged filesystem
)

func makeUnit(d host.Disk) string { return systemd.CommandUnit("make", d.Serial) }

func (f filesystems) Format(ctx context.Context, d host.Disk, fstype, uuid string) error {
	if _, err := f.disks.same(ctx, d); err != nil {
		return err
	}
	maker, err := filesystem.MakeCommand(fstype, uuid, d.Path)
	if err == nil {
		err = inImage(maker[0])
	}
	if err != nil {
		return err
	}
	c := systemd.Command{
		Unit: makeUnit(d), Description: "Making of the filesystem on disk " + d.Serial,
		Argv: makeCommand(fstype, uuid, d.Serial, d.Seq, d.Path), Devices: []string{d.Path},
		Timeout: makeWithin + block.ReadWithin(block.Bytes(d.Size), false), // it proves the disk first
	}
	tried := try(f.disks.children, c.Unit, d.Path)
	return unmade(ctx, tried, f.run(ctx, c))
}

func (f filesystems) Settle(ctx context.Context, d host.Disk) error {
	if err := f.manager.Settle(ctx, makeUnit(d)); err != nil {
		return err
	}
	return f.manager.Forget(ctx, makeUnit(d))
}

func (f filesystems) Check(ctx context.Context, d host.Disk, fstype string) error {
	argv, success := filesystem.CheckCommand(fstype, d.Path)
	if argv == nil {
		return nil
	}
	if err := inImage(argv[0]); err != nil {
		return err
	}
	c := systemd.Command{
		Unit: systemd.CommandUnit("check", d.Serial), Description: "Check of the filesystem on disk " + d.Serial,
		Argv: argv, Success: success, Devices: []string{d.Path}, Timeout: checkWithin,
	}
	tried := try(f.disks.children, c.Unit, d.Path)
	return unmended(ctx, tried, d.Link, f.run(ctx, c))
}

func (f filesystems) run(ctx context.Context, c systemd.Command) error {
	if err := f.manager.Run(ctx, c); err != nil {
		return err
	}
	return f.manager.Forget(ctx, c.Unit)
}

// intents are files of this machine's own disk.
type intents struct{ dir string }

func (i intents) file(serial string) string { return filepath.Join(i.dir, serial+".json") }

func (i intents) Intent(_ context.Context, serial string) (intent host.Intent, err error) {
	src, err := os.ReadFile(i.file(serial))
	if errors.Is(err, fs.ErrNotExist) {
		return intent, nil
	}
	if err == nil {
		err = json.Unmarshal(src, &intent)
	}
	if err != nil {
		err = fmt.Errorf("cannot tell whether a filesystem was made on disk %s before: %w", serial, err)
	}
	return intent, err
}

func (i intents) Intend(_ context.Context, serial string, intent host.Intent) error {
	src, err := json.Marshal(intent)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(i.file(serial), src, 0o600); err != nil {
		return fmt.Errorf("cannot note that a filesystem is made on disk %s: %w", serial, err)
	}
	// The name has to be on the disk before the filesystem is.
	dir, err := os.Open(i.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// mounts are transient units of PID 1's.
type mounts struct {
	manager  *systemd.Manager
	children *children
}

func (mounts) At(where string) (uint64, bool, error) { return systemd.MountedAt(where) }

func (m mounts) Mount(ctx context.Context, mt host.Mount) error {
	tried := try(m.children, systemd.MountUnit(mt.Where), mt.What)
	if err := m.manager.Mount(ctx, systemd.Mount(mt)); err != nil {
		return unmountable(ctx, tried, mt, err)
	}
	return nil
}

func (m mounts) Stale(where string) (bool, error) { return m.manager.Stale(where) }

func (m mounts) Unmount(ctx context.Context, where string) error {
	held, err := m.manager.Unmount(ctx, where)
	if len(held) > 0 {
		graph.Warn(ctx, fmt.Sprintf("what was mounted at %s before its disk was gone is detached; still held by %s",
			where, strings.Join(held, "; ")))
	}
	return err
}

// engines are programs of the image, which run as the owner of the data.
type engines struct {
	manager  *systemd.Manager
	children *children
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
	owner, home, err := credential(d.Owner)
	if err != nil {
		return datadir.Settings{}, err
	}
	out, err := e.children.run(ctx, about{
		key: "engine of " + d.Name, doing: q.Argv[0] + " to tell its data directory", within: askWithin,
		hint: "runuser --user=" + d.Owner + " -- " + strings.Join(q.Argv, " "),
		late: fmt.Errorf("%s did not tell its data directory within %s", d.Engine, askWithin),
		env:  append([]string{"HOME=" + home}, q.Env...),
	}, owner, q.Argv[0], q.Argv[1:]...)
	if err != nil {
		return datadir.Settings{}, err
	}
	return datadir.Answer(string(d.Engine), out)
}

func (e engines) command(d role.Data, dir string) (systemd.Command, error) {
	argv, err := datadir.InitializeCommand(string(d.Engine), dir, d.Owner)
	return systemd.Command{
		Unit: "bootagent-initialize-" + d.Name + ".service", Description: "Making of the data directory " + d.Name,
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

// units are the services of the role.
type units struct{ *systemd.Manager }

func (u units) Probe(ctx context.Context, unit string) error { return u.StartAndWait(ctx, unit) }

func (u units) State(ctx context.Context, unit string) (host.UnitState, error) {
	s, err := u.Manager.State(ctx, unit)
	return asUnitState(s), err
}

func (u units) Restarts(ctx context.Context, unit string) (host.Restarts, error) {
	r, err := u.Manager.Restarts(ctx, unit)
	return host.Restarts(r), err
}

func (u units) Ended(ctx context.Context, unit string) (host.Ended, error) {
	e, err := u.Manager.Ended(ctx, unit)
	return host.Ended(e), err
}

func (u units) Await(ctx context.Context, unit string, until func(host.UnitState) bool) (host.UnitState, error) {
	s, err := u.Manager.Await(ctx, unit, func(s systemd.UnitState) bool { return until(asUnitState(s)) })
	return asUnitState(s), err
}

func asUnitState(s systemd.UnitState) host.UnitState {
	return host.UnitState{Active: s.Active, Sub: s.Sub, Busy: s.Job != ""}
}
