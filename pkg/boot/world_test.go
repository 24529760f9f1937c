package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/role/ready"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
)

// A machine is a World in memory: it keeps state as the real one does, and
// counts what can't be taken back. Its disks outlive it.
type machine struct {
	readAs host.Reading // what a disk was last read as

	mu        sync.Mutex
	disks     map[string]*disk
	mounts    map[string]string // by mount point, the disk's serial or the directory that is bound
	intents   map[string]host.Intent
	elsewhere []host.Place         // what the engine is set to put outside of it
	image     host.DirectoryReport // of the directory of the image that is copied
	differs   string               // what is not the same in its copy
	copied    int
	given     bool     // the root of the volume has the owner of its data
	engine    string   // data directory that the engine is set to use
	inside    string   // the same by settings that are in the data directory, read once it is bound; "" where there are none
	newPart   string   // as in host.EngineSettings
	parts     []string // where initialisations were told to make a part elsewhere
	linked    bool     // the database that was made has a link to its part
	askedOf   []string // the units whose start it was asked about
	granted   map[string]bool
	tokenless map[string]bool // their tokens were deleted
	started   map[string]bool
	byHand    map[string]bool
	units     map[string]aUnit
	records   map[string]name.VolumeID // by the volume's name
	tags      map[string]string        // that were read, by volume and key
	files     map[string]string        // of the role
	cloud     cloud
	safe      safe

	sameErr  error             // of SameDirectory
	mounted  uint64            // device that is mounted, where it is not the disk's any more
	stale    bool              // that device is gone
	stopped  map[string]string // why nothing can be written, by mount point
	slow     time.Duration     // what an unmount takes
	lastStop host.LastStop     // what the engine's files say
	bypasses map[string]host.Bypass
	boundTo  []string                 // the last grant
	released map[string]time.Time     // by boot
	began    map[string]time.Duration // by unit
	held     string                   // the one mount point of that device, "" for all
	restarts map[string]host.Restarts // of a unit, by itself
	activeAt map[string]time.Time     // since when one is
	probing  func(context.Context) (string, error)

	unmountAfter int // looks at what is mounted at /srv/data; 0 is never

	made, initialised int
	effects           []string // in their order
	fail              func(effect string) error
	stopping          bool
	asked             int // whether it is stopping
}

// A disk holds at most one filesystem.
type disk struct {
	dev, seq uint64
	plugged  bool
	content  host.Content
	label    string // of its filesystem
	model    string
	ledger   []byte
	names    map[string]host.DirectoryState
	writable bool // nothing but a read-write mount or mkfs may change it

	size  int64 // 0 is one GiB
	grown int64 // the size of its filesystem; 0 is one GiB
}

func newMachine() *machine {
	m := &machine{
		records: make(map[string]name.VolumeID), tags: make(map[string]string), files: make(map[string]string),
		disks:   make(map[string]*disk),
		mounts:  make(map[string]string),
		intents: make(map[string]host.Intent),
		engine:  "/var/lib/mysql/",
		granted: make(map[string]bool),
		started: make(map[string]bool),
		byHand:  make(map[string]bool),
		units:   make(map[string]aUnit),

		restarts: make(map[string]host.Restarts), activeAt: make(map[string]time.Time),
		fail: func(string) error { return nil },
	}
	m.cloud = cloud{machine: m, volumes: make(map[name.VolumeID]*ebs)}
	m.safe = safe{machine: m, sources: make(map[string]string), kept: make(map[string]string), staged: make(map[string]bool)}
	return m
}

func (m *machine) world() host.Host {
	return host.Host{
		Volumes: &m.cloud, Records: m, Releases: m, Bypasses: m,
		Disks: m, Filesystems: m, Growths: m, Ledgers: m, Intents: m, Mounts: m,
		Directories: m, Engines: m, Secrets: &m.safe, Files: m, Units: m, Runs: m, Grants: m, Jobs: m, Probes: m, Stops: m, Shutdown: m,
		Machine: host.Machine{ID: "machine", BootID: "boot"}, UnlockWithin: 24 * time.Hour,
	}
}

func (m *machine) Released(bootID, _ string) (time.Time, error) { return m.released[bootID], nil }

func (m *machine) Began(_ context.Context, unit string) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.began[unit], nil
}

// state is all that a run leaves: what is on the disks, what is mounted, noted
// and granted. Times are left out of it, and so are the directories of
// initialisations that were cut off, which nobody deletes.
func (m *machine) state(t *testing.T) (all []string) {
	t.Helper()
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for serial, d := range m.disks {
		l, err := ledger.Decode(d.ledger)
		if err != nil || l == nil {
			t.Fatalf("disk %s has the ledger %q: %v", serial, d.ledger, err)
		}
		uuid := d.content.UUID
		l.Made, l.UUID = nil, strings.ReplaceAll(l.UUID, uuid, "UUID")
		say("disk %s: plugged %t, filesystem %s, ledger %+v", serial, d.plugged, d.content.Filesystem, *l)
		for name, state := range d.names {
			if !strings.Contains(name, ".initializing-") {
				say("disk %s has %s, %s", serial, name, state)
			}
		}
		for of, intent := range m.intents {
			say("intent of %s: %t %t", of, intent.UUID == uuid, intent.Made)
		}
		for id, v := range m.cloud.volumes {
			say("volume %s: held by %s, named %t, intent %t %t", id, v.holder, v.named, v.intent.UUID == uuid, v.intent.Made)
		}
	}
	say("mounts %v, granted %v, started %v, by hand %v, units %+v, records %v", m.mounts, m.granted, m.started, m.byHand, m.units, m.records)
	slices.Sort(all)
	return all
}

// does notes an effect, and fails it where the test wants that.
func (m *machine) does(format string, args ...any) error {
	effect := fmt.Sprintf(format, args...)
	m.effects = append(m.effects, effect)
	return m.fail(effect)
}

func (m *machine) Find(_ context.Context, serial string) (host.Disk, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.disks[serial]
	if d == nil || !d.plugged {
		return host.Disk{}, false, nil
	}
	return host.Disk{Serial: serial, Model: d.model, Path: "/dev/nvme1n1", Link: serial, Dev: d.dev, Seq: d.seq, Size: cmp.Or(d.size, gib)}, true, nil
}

func (m *machine) Marked(ctx context.Context, mark host.Mark) (all []host.Disk, err error) {
	m.mu.Lock()
	serials := slices.Sorted(maps.Keys(m.disks))
	m.mu.Unlock()
	for _, serial := range serials {
		d, there, err := m.Find(ctx, serial)
		if err != nil {
			return nil, err
		}
		m.mu.Lock()
		content, label := m.disks[serial].content, m.disks[serial].label
		m.mu.Unlock()
		if mark.Model != "" {
			if there && d.Model == mark.Model {
				all = append(all, d)
			}
			continue
		}
		if there && content.Filesystem == mark.Filesystem && (mark.UUID == "" || content.UUID == mark.UUID) && (mark.Label == "" || label == mark.Label) {
			all = append(all, d)
		}
	}
	return all, nil
}

func (m *machine) Appear(ctx context.Context, serial string) (host.Disk, error) {
	for {
		if d, there, err := m.Find(ctx, serial); there || err != nil {
			return d, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return host.Disk{}, context.Cause(ctx)
		}
	}
}

func (m *machine) Read(_ context.Context, d host.Disk, r host.Reading) (host.Content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readAs = r
	if err := m.does("read %s", d.Serial); err != nil {
		return host.Content{}, err
	}
	for where, what := range m.mounts {
		if what == d.Serial {
			return host.Content{}, fmt.Errorf("disk %s is in use: mounted at %s", d.Serial, where)
		}
	}
	return m.disks[d.Serial].content, nil
}

func (m *machine) Format(_ context.Context, d host.Disk, filesystem, uuid string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	on := m.disks[d.Serial]
	if !on.content.Blank {
		panic("a filesystem is made on a disk that " + on.content.Words)
	}
	if err := m.does("make %s", d.Serial); err != nil {
		return err
	}
	m.made++
	on.content = host.Content{Filesystem: filesystem, UUID: uuid, Words: "has a filesystem"}
	on.names = make(map[string]host.DirectoryState)
	return nil
}

func (m *machine) Size(_ context.Context, d host.Disk, _, where string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	on := m.disks[d.Serial]
	if m.mounts[where] != d.Serial || on.dev != d.Dev {
		return 0, fmt.Errorf("disk %s is not mounted at %s", d.Serial, where)
	}
	return cmp.Or(on.grown, gib), nil
}

func (m *machine) Grow(_ context.Context, g host.Growth) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	on := m.disks[g.Disk.Serial]
	if m.mounts[g.Where] != g.Disk.Serial || on.dev != g.Disk.Dev || !on.writable || on.size != g.Disk.Size || g.UUID != on.content.UUID {
		panic("a filesystem is grown that is not mounted, or not the volume's")
	}
	if err := m.does("grow %s", g.Disk.Serial); err != nil {
		return err
	}
	on.grown = on.size
	return nil
}

func (m *machine) Settle(context.Context, host.Disk) error { return nil }

func (m *machine) Check(context.Context, host.Disk, string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.does("check")
}

func (m *machine) Look(_ context.Context, d host.Disk, _ string, inside []host.Data) (seen host.Look, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	on := m.disks[d.Serial]
	if err := m.does("look at %s", d.Serial); err != nil {
		return host.Look{}, err
	}
	if !on.plugged || on.content.Filesystem == "" {
		return host.Look{}, fmt.Errorf("cannot look at %s", d.Serial)
	}
	for _, data := range inside {
		seen.Inside = append(seen.Inside, host.DirectoryReport{State: cmp.Or(on.names[data.Dir], host.Absent), Version: "10.11"})
	}
	seen.Ledger, seen.Names = on.ledger, slices.Collect(maps.Keys(on.names))
	return seen, nil
}

func (m *machine) Introduce(_ context.Context, d host.Disk, i host.Introduction) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	on := m.disks[d.Serial]
	if err := m.does("introduce %s", d.Serial); err != nil {
		return err
	}
	if ledger.Digest(on.ledger) == i.Instead && (!i.Made || len(on.names) == 0) {
		on.ledger = i.Ledger
	}
	return nil
}

// at is the disk that is mounted at or above a path, and the rest of the path.
func (m *machine) at(p string) (*disk, string) {
	for where := p; where != "/"; where = path.Dir(where) {
		if what, ok := m.mounts[where]; ok {
			rest := strings.TrimPrefix(strings.TrimPrefix(p, where), "/")
			if d := m.disks[what]; d != nil {
				return d, rest
			}
			return m.at(path.Join(what, rest))
		}
	}
	return nil, p
}

func (m *machine) ReadLedger(_ context.Context, root string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, _ := m.at(root)
	if d == nil {
		return nil, fmt.Errorf("nothing is mounted at %s", root)
	}
	return d.ledger, nil
}

func (m *machine) WriteLedger(_ context.Context, root string, ledger []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, _ := m.at(root)
	if d == nil || !d.writable {
		panic("a ledger is written to " + root + ", which is not mounted read-write")
	}
	if err := m.does("ledger"); err != nil {
		return err
	}
	d.ledger = ledger
	return nil
}

func (m *machine) Intent(_ context.Context, serial string) (host.Intent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.intents[serial], nil
}

func (m *machine) Intend(_ context.Context, serial string, intent host.Intent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.does("intend %v", intent.Made); err != nil {
		return err
	}
	m.intents[serial] = intent
	return nil
}

func (m *machine) At(where string) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unmountAfter > 0 && where == "/srv/data" {
		if m.unmountAfter--; m.unmountAfter == 0 {
			clear(m.mounts)
		}
	}
	if _, ok := m.mounts[where]; !ok {
		return 0, false, nil
	}
	d, _ := m.at(where)
	switch {
	case m.held != "" && m.held != where:
		return d.dev, true, nil
	case d == nil:
		return m.mounted, true, nil // of what it was bound from, nothing is there
	}
	return cmp.Or(m.mounted, d.dev), true, nil
}

func (m *machine) Mount(_ context.Context, mt host.Mount) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.does("mount %s %s", mt.Where, strings.Join(mt.Options, ",")); err != nil {
		return err
	}
	if d := m.disks[mt.What]; d != nil {
		if !d.plugged || d.content.Filesystem == "" {
			return fmt.Errorf("cannot mount %s", mt.What)
		}
		d.writable = !slices.Contains(mt.Options, "ro")
	}
	m.mounts[mt.Where] = mt.What
	return nil
}

func (m *machine) Stale(where string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, mounted := m.mounts[where]
	return mounted && m.stale && (m.held == "" || m.held == where), nil
}

func (m *machine) Stopped(_ context.Context, where string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopped[where], nil
}

func (m *machine) Unmount(_ context.Context, where string) error {
	time.Sleep(m.slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.does("unmount %s", where); err != nil {
		return err
	}
	delete(m.mounts, where)
	if where == m.held {
		m.held, m.mounted, m.stale = "", 0, false
	}
	return nil
}

func (m *machine) Examine(_ context.Context, of host.Data, _ host.EngineSettings) (host.DirectoryReport, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name := m.at(of.Dir)
	if of.Dir == "/usr/share/site" {
		return m.image, nil
	}
	if of.Engine == "none" {
		return m.examinePlain(d, name), nil
	}
	if state, ok := d.names[name]; ok {
		found := host.DirectoryReport{State: state, Reason: "as the test wants it", LastStop: m.lastStop, LastStopSays: "a file of it"}
		if m.linked {
			at := m.parts[len(m.parts)-1]
			found.Elsewhere = []host.Place{{Setting: "the link " + m.newPart, Value: at, Path: at}}
		}
		return found, nil
	}
	return host.DirectoryReport{State: host.Absent}, nil
}

// examinePlain examines a directory of any files. What was created and has
// nothing in it yet is Foreign to this machine.
func (m *machine) examinePlain(d *disk, name string) host.DirectoryReport {
	state, there := d.names[name]
	switch {
	case name == "" && !m.given:
		return host.DirectoryReport{State: host.Unfit, Reason: "it belongs to root", Empty: len(d.names) == 0}
	case name == "":
		return host.DirectoryReport{State: host.Ready, Empty: len(d.names) == 0}
	case !there:
		return host.DirectoryReport{State: host.Absent}
	}
	return host.DirectoryReport{State: host.Ready, Empty: state == host.Foreign}
}

func (m *machine) Names(_ context.Context, p string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name := m.at(p)
	switch {
	case name == "":
		return slices.Collect(maps.Keys(d.names)), nil
	case d.names[name] == host.Foreign:
		return nil, nil // created, and nothing in it yet
	case d.names[name] == "":
		return nil, errors.New("no such directory")
	}
	return []string{"something"}, nil
}

func (m *machine) SameDirectory(_ context.Context, a, b string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sameErr != nil {
		return false, m.sameErr
	}
	diskA, restA := m.at(a)
	diskB, restB := m.at(b)
	return diskA == diskB && restA == restB, nil
}

func (m *machine) Give(_ context.Context, of host.Data) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name := m.at(of.Dir)
	if name != "" {
		panic(name + " is given away, and is not the root of a volume")
	}
	if len(d.names) > 0 {
		panic("a root is given away that holds something")
	}
	m.given = true
	return m.does("give %s", of.Owner)
}

func (m *machine) Create(_ context.Context, of host.Data) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name := m.at(of.Dir)
	if err := m.does("create %s", name); err != nil {
		return err
	}
	d.names[name] = host.Foreign
	return nil
}

func (m *machine) Compare(_ context.Context, _, replica string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.differs, m.does("compare %s", path.Base(replica))
}

func (m *machine) Sync(_ context.Context, p string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.does("sync %s", path.Base(p))
}

func (m *machine) Publish(_ context.Context, staging, p string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, from := m.at(staging)
	_, to := m.at(p)
	if err := m.does("publish %s", to); err != nil {
		return err
	}
	if _, taken := d.names[to]; taken {
		panic(to + " is replaced")
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (m *machine) Settings(_ context.Context, of host.Data, units []string) (host.EngineSettings, error) {
	if of.Engine == "none" {
		return host.EngineSettings{}, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.askedOf = units
	set := host.EngineSettings{DataDirectory: m.engine, Elsewhere: m.elsewhere, Inside: m.inside != "", NewPart: m.newPart}
	if _, bound := m.mounts["/var/lib/mysql"]; bound && set.Inside {
		set.DataDirectory = m.inside
	}
	return set, nil
}

func (m *machine) Initialize(_ context.Context, of host.Data, set host.EngineSettings) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name := m.at(of.Dir)
	if of.From != "" {
		if err := m.does("copy %s", name); err != nil {
			return err
		}
		m.copied++
		d.names[name] = host.Ready
		return nil
	}
	if of.Engine == "none" {
		return nil
	}
	for _, place := range set.Elsewhere {
		if _, mounted := m.mounts[place.In]; !mounted {
			panic("a database is made whose part is at " + place.In + ", where nothing is bound")
		}
		m.parts, m.linked = append(m.parts, place.Path), m.newPart != ""
		part, name := m.at(place.In)
		part.names[name] = host.Ready
	}
	if d.names[name] == host.Ready {
		return nil // the command has succeeded and is not forgotten
	}
	if err := m.does("initialize %s", name); err != nil {
		d.names[name] = host.Damaged
		return err
	}
	m.initialised++
	d.names[name] = host.Ready
	return nil
}

func (m *machine) Initializing(_ context.Context, of host.Data, _ host.EngineSettings) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, name := m.at(of.Dir)
	return of.Engine != "none" && d.names[name] == host.Ready, nil
}

func (m *machine) Initialized(context.Context, host.Data) error { return nil }

func (m *machine) Grant(_ context.Context, unit string, mounts []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, where := range mounts {
		if _, ok := m.mounts[where]; !ok {
			panic(unit + " is granted without " + where)
		}
	}
	if m.granted[unit] {
		return nil
	}
	m.granted[unit], m.boundTo = true, mounts
	return m.does("grant %s", unit)
}

func (m *machine) Revoke(_ context.Context, unit string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.granted, unit)
	delete(m.started, unit)
	m.units[unit] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Ran: true}}
	return m.does("revoke %s", unit)
}

func (m *machine) Bypassed() (map[string]host.Bypass, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.bypasses), nil
}

func (m *machine) Bypass(b host.Bypass) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bypasses == nil {
		m.bypasses = make(map[string]host.Bypass)
	}
	m.bypasses[b.Unit] = b
	return nil
}

func (m *machine) EndBypass(unit string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.bypasses, unit)
	return nil
}

func (m *machine) Granted(_ context.Context, unit string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.granted[unit], nil
}

func (m *machine) KeepGrant(_ context.Context, unit string) (lost bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost = m.granted[unit] && m.tokenless[unit]
	delete(m.tokenless, unit)
	return lost, nil
}

func (m *machine) StartOnce(ctx context.Context, unit string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started[unit] {
		return nil
	}
	m.started[unit] = true
	return m.start(unit)
}

func (m *machine) Start(_ context.Context, unit string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.start(unit)
}

func (m *machine) start(name string) error {
	m.units[name] = aUnit{host.UnitState{Active: "active"}, host.Ended{Result: "success", Ran: true}}
	return m.does("start %s", name)
}

func (m *machine) Kill(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.units[name] = aUnit{host.UnitState{Active: "failed"}, host.Ended{Result: "signal", Ran: true}}
	return m.does("kill %s", name)
}

func (m *machine) Probe(ctx context.Context, _ string, probe ready.Ready) (string, error) {
	m.mu.Lock()
	err, probing := m.does("probe %s", probe), m.probing
	m.mu.Unlock()
	if err != nil || probing == nil {
		return "", err
	}
	return probing(ctx)
}

func (m *machine) State(_ context.Context, unit string) (host.UnitState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u, ok := m.units[unit]; ok {
		return u.UnitState, nil
	}
	return host.UnitState{Active: "inactive"}, nil
}

func (m *machine) Restarts(_ context.Context, unit string) (host.Restarts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.restarts[unit]
	if at := m.activeAt[unit]; m.units[unit].Active == "active" && !at.IsZero() {
		r.Active = time.Since(at)
	}
	return r, nil
}

func (m *machine) Ended(_ context.Context, unit string) (host.Ended, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u, ok := m.units[unit]; ok {
		return u.Ended, nil
	}
	return host.Ended{Result: "success"}, nil
}

func (m *machine) Await(ctx context.Context, unit string, until func(host.UnitState) bool) (host.UnitState, error) {
	for {
		if s, err := m.State(ctx, unit); err != nil || until(s) {
			return s, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return host.UnitState{}, ctx.Err()
		}
	}
}

func (m *machine) Stopping(context.Context) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.stopping, nil
}

func (m *machine) StoppedByHand(unit string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byHand[unit], nil
}

func (m *machine) SetStoppedByHand(unit string, stopped bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byHand[unit] = stopped
	return nil
}

// An aUnit is what systemd says of one.
type aUnit struct {
	host.UnitState
	host.Ended
}

// pull takes a disk out, with all that systemd stops for it.
func (m *machine) pull(serial string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disks[serial].plugged = false
	clear(m.mounts)
	for name := range m.granted {
		m.units[name] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Ran: true}}
		delete(m.granted, name)
		delete(m.started, name)
	}
}

// ledgerOf is the ledger of a disk.
func (m *machine) ledgerOf(t *testing.T, serial string) *storage.Ledger {
	t.Helper()
	l, err := ledger.Decode(m.disks[serial].ledger)
	if err != nil || l == nil {
		t.Fatalf("disk %s has the ledger %q: %v", serial, m.disks[serial].ledger, err)
	}
	return l
}
