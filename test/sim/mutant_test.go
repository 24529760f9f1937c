package sim

import (
	"context"
	"log/slog"
	"time"

	life "bootagent/pkg/agent"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/ready"
)

// A mutant is a mistake that somebody could make in the agent. It changes how
// an agent behaves at the interfaces that the agent has anyway: what it asks of
// the machine and is answered, what its steps do, which events reach it, and
// what it reports. The agent has no code for it.
type mutant struct {
	name    string
	breaks  string                                        // words that say which promise it breaks; "" where it may be any
	change  func(*seams)                                  // what it asks, and what its steps do
	role    func(*role.Role)                              // that it reads
	misses  func(a *agent, event string) bool             // the event of a unit, of a disk, or that a key was brought
	untold  bool                                          // it tells services not which instance this is
	forgets bool                                          // it does not read the plan that is in force
	report  func([]graph.Progress) (now []graph.Progress) // what it tells of its steps
}

// The events that are not of a unit.
const (
	diskEvent = "disk"
	keyEvent  = "key"
)

// read returns the role that an agent reads.
func (m *mutant) read(r *role.Role) *role.Role {
	if m == nil || m.role == nil {
		return r
	}
	changed := *r
	m.role(&changed)
	return &changed
}

// deaf reports whether an agent misses an event.
func (m *mutant) deaf(a *agent, event string) bool {
	return m != nil && m.misses != nil && m.misses(a, event)
}

// tell returns what an agent reports in place of progress.
func (m *mutant) tell(progress []graph.Progress) []graph.Progress {
	if m != nil && m.report != nil {
		return m.report(progress)
	}
	return progress
}

// host returns the host of one boot of an agent.
func (a *agent) host(*life.Lesson) (host.Host, error) {
	w, h := a.machine.world, a.world()
	if w.mutant == nil {
		return h, nil
	}
	s := newSeams(a, h)
	if w.mutant.change != nil {
		w.mutant.change(s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a.seams = s
	return s.host(), nil
}

// wrap runs a step of an agent: that of a boot through its seams.
func (a *agent) wrap(step string, log *slog.Logger, run graph.Func) graph.Func {
	w := a.machine.world
	w.mu.Lock()
	s := a.seams
	w.mu.Unlock()
	if s != nil {
		run = s.run(step, run)
	}
	return graph.Logged(step, log, run)
}

// Seams are what one boot of an agent asks of its host, and how its steps run:
// each is a function that a mutant may replace. What it replaces is there for it
// to call.
type seams struct {
	agent *agent
	real  host.Host

	run func(step string, run graph.Func) graph.Func

	findVolume func(context.Context, host.Find) (name.VolumeID, error)
	claim      func(context.Context, name.VolumeID) error
	attach     func(context.Context, name.VolumeID) error
	held       func(context.Context, name.VolumeID, string) error
	origin     func(context.Context, name.VolumeID) (host.Origin, error)
	intent     func(context.Context, name.VolumeID) (host.Intent, error)
	intend     func(context.Context, name.VolumeID, host.Intent) error
	tags       func(context.Context, name.VolumeID) (map[string]string, error)
	resized    func(context.Context, name.VolumeID, int64) error
	recordTag  func(name.VolumeID, string, string) error
	recorded   func(string, host.Find) (name.VolumeID, error)
	record     func(string, host.Find, name.VolumeID) error

	findDisk    func(context.Context, string) (host.Disk, bool, error)
	marked      func(context.Context, host.Mark) ([]host.Disk, error)
	readDisk    func(context.Context, host.Disk, host.Reading) (host.Content, error)
	format      func(context.Context, host.Disk, string, string) error
	settle      func(context.Context, host.Disk) error
	check       func(context.Context, host.Disk, string) error
	look        func(context.Context, host.Disk) (host.Look, error)
	introduce   func(context.Context, host.Disk, host.Introduction) error
	readLedger  func(context.Context, string) ([]byte, error)
	writeLedger func(context.Context, string, []byte) error
	at          func(string) (uint64, bool, error)
	mount       func(context.Context, host.Mount) error
	stale       func(string) (bool, error)
	stopped     func(context.Context, string) (string, error)
	unmount     func(context.Context, string) error

	examine    func(context.Context, host.Data, host.EngineSettings) (host.DirectoryReport, error)
	names      func(context.Context, string) ([]string, error)
	publish    func(context.Context, string, string) error
	create     func(context.Context, host.Data) error
	compare    func(context.Context, string, string) (string, error)
	sync       func(context.Context, string) error
	settings   func(context.Context, host.Data, []string) (host.EngineSettings, error)
	initialize func(context.Context, host.Data, host.EngineSettings) error
	staged     func(host.Secret) (string, error)
	writeFile  func(context.Context, host.File) (bool, error)
	unlock     func(context.Context) error
	fetch      func(context.Context, host.Secret) (host.Payload, error)
	open       func(context.Context, host.Secret, host.Payload) error

	state            func(context.Context, string) (host.UnitState, error)
	await            func(context.Context, string, func(host.UnitState) bool) (host.UnitState, error)
	restarts         func(context.Context, string) (host.Restarts, error)
	ended            func(context.Context, string) (host.Ended, error)
	began            func(context.Context, string) (time.Duration, error)
	grant            func(context.Context, string, []string) error
	granted          func(context.Context, string) (bool, error)
	revoke           func(context.Context, string) error
	bypassed         func() (map[string]host.Bypass, error)
	startOnce        func(context.Context, string) error
	start            func(context.Context, string) error
	kill             func(context.Context, string) error
	probe            func(context.Context, string, ready.Ready) (string, error)
	stoppedByHand    func(string) (bool, error)
	setStoppedByHand func(string, bool) error
	stopping         func(context.Context) (bool, error)
}

// newSeams returns the seams through which nothing changes.
func newSeams(a *agent, h host.Host) *seams {
	return &seams{
		agent: a, real: h,
		run: func(_ string, run graph.Func) graph.Func { return run },

		findVolume: h.Volumes.FindVolume, claim: h.Volumes.Claim, attach: h.Volumes.Attach, held: h.Volumes.Held,
		origin: h.Volumes.Origin, intent: h.Volumes.Intent, intend: h.Volumes.Intend,
		tags: h.Volumes.Tags, resized: h.Volumes.Resized, recordTag: h.Records.RecordTag,
		recorded: h.Records.Recorded, record: h.Records.Record,

		findDisk: h.Disks.Find, marked: h.Disks.Marked, readDisk: h.Disks.Read,
		format: h.Filesystems.Format, settle: h.Filesystems.Settle, check: h.Filesystems.Check,
		look: func(ctx context.Context, d host.Disk) (host.Look, error) {
			return h.Filesystems.Look(ctx, d, string(role.XFS), nil)
		},
		introduce:  h.Filesystems.Introduce,
		readLedger: h.Ledgers.ReadLedger, writeLedger: h.Ledgers.WriteLedger,
		at: h.Mounts.At, mount: h.Mounts.Mount, stale: h.Mounts.Stale, stopped: h.Mounts.Stopped, unmount: h.Mounts.Unmount,

		examine: h.Directories.Examine, names: h.Directories.Names, publish: h.Directories.Publish, create: h.Directories.Create,
		compare: h.Directories.Compare, sync: h.Directories.Sync,
		settings: h.Engines.Settings, initialize: h.Engines.Initialize,
		writeFile: h.Files.Write,
		staged:    h.Secrets.Staged, unlock: h.Secrets.Unlock, fetch: h.Secrets.Fetch, open: h.Secrets.Open,

		state: h.Units.State, await: h.Units.Await, restarts: h.Runs.Restarts, ended: h.Runs.Ended, began: h.Runs.Began,
		grant: h.Grants.Grant, granted: h.Grants.Granted, revoke: h.Grants.Revoke, bypassed: h.Bypasses.Bypassed,
		startOnce: h.Jobs.StartOnce, start: h.Jobs.Start, kill: h.Jobs.Kill, probe: h.Probes.Probe,
		stoppedByHand: h.Stops.StoppedByHand, setStoppedByHand: h.Stops.SetStoppedByHand,
		stopping: h.Shutdown.Stopping,
	}
}

// host is the agent's host, as it is through the seams.
func (s *seams) host() host.Host {
	h := s.real
	h.Volumes, h.Records = seamVolumes{h.Volumes, s}, seamRecords{h.Records, s}
	h.Disks, h.Filesystems, h.Ledgers = seamDisks{h.Disks, s}, seamFilesystems{h.Filesystems, s}, seamLedgers{h.Ledgers, s}
	h.Mounts, h.Directories, h.Engines = seamMounts{h.Mounts, s}, seamDirectories{h.Directories, s}, seamEngines{h.Engines, s}
	h.Secrets, h.Files = seamSecrets{h.Secrets, s}, seamFiles{h.Files, s}
	h.Units, h.Runs, h.Grants, h.Jobs = seamUnits{h.Units, s}, seamRuns{h.Runs, s}, seamGrants{h.Grants, s}, seamJobs{h.Jobs, s}
	h.Bypasses = seamBypasses{h.Bypasses, s}
	h.Probes, h.Stops, h.Shutdown = seamProbes{h.Probes, s}, seamStops{h.Stops, s}, seamShutdown{h.Shutdown, s}
	return h
}

// actor is the part of the agent that calls: a step by its name, or another.
func (a *agent) actor() string {
	w := a.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return a.actors[goroutine()]
}

// stateOf is the state of a step, as the agent reported it last.
func (a *agent) stateOf(step string) graph.State {
	w := a.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range a.progress {
		if p.Step == step {
			return p.State
		}
	}
	return ""
}

// Each of these types passes on what no mutant changes.
type (
	seamVolumes struct {
		host.Volumes
		*seams
	}
	seamRecords struct {
		host.Records
		*seams
	}
	seamDisks struct {
		host.Disks
		*seams
	}
	seamFilesystems struct {
		host.Filesystems
		*seams
	}
	seamLedgers struct {
		host.Ledgers
		*seams
	}
	seamMounts struct {
		host.Mounts
		*seams
	}
	seamDirectories struct {
		host.Directories
		*seams
	}
	seamEngines struct {
		host.Engines
		*seams
	}
	seamSecrets struct {
		host.Secrets
		*seams
	}
	seamFiles struct {
		host.Files
		*seams
	}
	seamUnits struct {
		host.Units
		*seams
	}
	seamRuns struct {
		host.Runs
		*seams
	}
	seamGrants struct {
		host.Grants
		*seams
	}
	seamBypasses struct {
		host.Bypasses
		*seams
	}
	seamJobs struct {
		host.Jobs
		*seams
	}
	seamProbes struct {
		host.Probes
		*seams
	}
	seamStops struct {
		host.Stops
		*seams
	}
	seamShutdown struct {
		host.Shutdown
		*seams
	}
)

func (s seamVolumes) FindVolume(ctx context.Context, find host.Find) (name.VolumeID, error) {
	return s.findVolume(ctx, find)
}
func (s seamVolumes) Claim(ctx context.Context, id name.VolumeID) error  { return s.claim(ctx, id) }
func (s seamVolumes) Attach(ctx context.Context, id name.VolumeID) error { return s.attach(ctx, id) }

func (s seamVolumes) Held(ctx context.Context, id name.VolumeID, device string) error {
	return s.held(ctx, id, device)
}

func (s seamVolumes) Origin(ctx context.Context, id name.VolumeID) (host.Origin, error) {
	return s.origin(ctx, id)
}

func (s seamVolumes) Intent(ctx context.Context, of name.VolumeID) (host.Intent, error) {
	return s.intent(ctx, of)
}

func (s seamVolumes) Intend(ctx context.Context, of name.VolumeID, intent host.Intent) error {
	return s.intend(ctx, of, intent)
}

func (s seamVolumes) Tags(ctx context.Context, of name.VolumeID) (map[string]string, error) {
	return s.tags(ctx, of)
}

func (s seamVolumes) Resized(ctx context.Context, of name.VolumeID, size int64) error {
	return s.resized(ctx, of, size)
}

func (s seamRecords) RecordTag(id name.VolumeID, key, value string) error {
	return s.recordTag(id, key, value)
}

func (s seamFiles) Write(ctx context.Context, f host.File) (bool, error) { return s.writeFile(ctx, f) }

func (s seamRecords) Recorded(volume string, find host.Find) (name.VolumeID, error) {
	return s.recorded(volume, find)
}

func (s seamRecords) Record(volume string, find host.Find, id name.VolumeID) error {
	return s.record(volume, find, id)
}

func (s seamDisks) Marked(ctx context.Context, mark host.Mark) ([]host.Disk, error) {
	return s.marked(ctx, mark)
}

func (s seamDisks) Find(ctx context.Context, serial string) (host.Disk, bool, error) {
	return s.findDisk(ctx, serial)
}

func (s seamDisks) Read(ctx context.Context, d host.Disk, of host.Reading) (host.Content, error) {
	return s.readDisk(ctx, d, of)
}

func (s seamFilesystems) Format(ctx context.Context, d host.Disk, t, uuid string) error {
	return s.format(ctx, d, t, uuid)
}
func (s seamFilesystems) Settle(ctx context.Context, d host.Disk) error { return s.settle(ctx, d) }

func (s seamFilesystems) Check(ctx context.Context, d host.Disk, t string) error {
	return s.check(ctx, d, t)
}

func (s seamFilesystems) Look(ctx context.Context, d host.Disk, _ string, _ []host.Data) (host.Look, error) {
	return s.look(ctx, d)
}

func (s seamFilesystems) Introduce(ctx context.Context, d host.Disk, i host.Introduction) error {
	return s.introduce(ctx, d, i)
}

func (s seamLedgers) ReadLedger(ctx context.Context, root string) ([]byte, error) {
	return s.readLedger(ctx, root)
}

func (s seamLedgers) WriteLedger(ctx context.Context, root string, ledger []byte) error {
	return s.writeLedger(ctx, root, ledger)
}

func (s seamMounts) At(where string) (uint64, bool, error)         { return s.at(where) }
func (s seamMounts) Mount(ctx context.Context, m host.Mount) error { return s.mount(ctx, m) }
func (s seamMounts) Stale(where string) (bool, error)              { return s.stale(where) }
func (s seamMounts) Stopped(ctx context.Context, where string) (string, error) {
	return s.stopped(ctx, where)
}

func (s seamMounts) Unmount(ctx context.Context, where string) error { return s.unmount(ctx, where) }

func (s seamDirectories) Names(ctx context.Context, p string) ([]string, error) {
	return s.names(ctx, p)
}

func (s seamDirectories) Examine(ctx context.Context, d host.Data, set host.EngineSettings) (host.DirectoryReport, error) {
	return s.examine(ctx, d, set)
}

func (s seamDirectories) Compare(ctx context.Context, directory, replica string) (string, error) {
	return s.compare(ctx, directory, replica)
}

func (s seamDirectories) Sync(ctx context.Context, path string) error { return s.sync(ctx, path) }

func (s seamDirectories) Publish(ctx context.Context, staging, p string) error {
	return s.publish(ctx, staging, p)
}

func (s seamDirectories) Create(ctx context.Context, d host.Data) error { return s.create(ctx, d) }

func (s seamEngines) Settings(ctx context.Context, d host.Data, units []string) (host.EngineSettings, error) {
	return s.settings(ctx, d, units)
}

func (s seamEngines) Initialize(ctx context.Context, d host.Data, set host.EngineSettings) error {
	return s.initialize(ctx, d, set)
}
func (s seamSecrets) Staged(of host.Secret) (string, error) { return s.staged(of) }
func (s seamSecrets) Unlock(ctx context.Context) error      { return s.unlock(ctx) }

func (s seamSecrets) Fetch(ctx context.Context, of host.Secret) (host.Payload, error) {
	return s.fetch(ctx, of)
}

func (s seamSecrets) Open(ctx context.Context, of host.Secret, p host.Payload) error {
	return s.open(ctx, of, p)
}

func (s seamUnits) State(ctx context.Context, unit string) (host.UnitState, error) {
	return s.state(ctx, unit)
}

func (s seamUnits) Await(ctx context.Context, unit string, until func(host.UnitState) bool) (host.UnitState, error) {
	return s.await(ctx, unit, until)
}

func (s seamRuns) Restarts(ctx context.Context, unit string) (host.Restarts, error) {
	return s.restarts(ctx, unit)
}

func (s seamRuns) Ended(ctx context.Context, unit string) (host.Ended, error) {
	return s.ended(ctx, unit)
}

func (s seamRuns) Began(ctx context.Context, unit string) (time.Duration, error) {
	return s.seams.began(ctx, unit)
}

func (s seamGrants) Grant(ctx context.Context, unit string, mounts []string) error {
	return s.grant(ctx, unit, mounts)
}

func (s seamGrants) Granted(ctx context.Context, unit string) (bool, error) {
	return s.granted(ctx, unit)
}

func (s seamGrants) Revoke(ctx context.Context, unit string) error { return s.revoke(ctx, unit) }

func (s seamBypasses) Bypassed() (map[string]host.Bypass, error) { return s.bypassed() }

func (s seamJobs) StartOnce(ctx context.Context, unit string) error { return s.startOnce(ctx, unit) }
func (s seamJobs) Start(ctx context.Context, unit string) error     { return s.start(ctx, unit) }
func (s seamJobs) Kill(ctx context.Context, unit string) error      { return s.kill(ctx, unit) }
func (s seamProbes) Probe(ctx context.Context, service string, r ready.Ready) (string, error) {
	return s.probe(ctx, service, r)
}
func (s seamStops) StoppedByHand(unit string) (bool, error) { return s.stoppedByHand(unit) }

func (s seamStops) SetStoppedByHand(unit string, stopped bool) error {
	return s.setStoppedByHand(unit, stopped)
}
func (s seamShutdown) Stopping(ctx context.Context) (bool, error) { return s.stopping(ctx) }
