package boot

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/golden"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/directory"
	"bootagent/pkg/role/find"
	"bootagent/pkg/role/ready"
	"bootagent/pkg/service"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
	"bootagent/pkg/storage/stop"
	"bootagent/pkg/unit"
)

const serial = "vol0123456789abcdef0"

// plan is that of the example role.
func plan() role.Plan {
	return role.Plan{
		Role: "mysql",
		Volumes: []role.Volume{{
			Name: "data", Find: find.Find{Serial: serial}, Filesystem: role.XFS,
			Format: role.FormatIfBlank, Mount: "/srv/data", Timeout: 20 * time.Minute,
		}},
		Data: []role.Data{{
			Name: "mysql", Volume: "data", Dir: "mysql", Bind: "/var/lib/mysql",
			Engine: "mariadb", Owner: "mysql", IfAbsent: directory.Initialize,
		}},
		Services: []role.Service{{
			Unit: "mariadb.service",
			Needs: []role.Need{
				{Kind: role.KindData, Name: "mysql"},
				{Kind: role.KindVolume, Name: "data"},
			},
			Ready: &ready.Ready{Unit: "mysql-ready.service", Interval: ready.Interval, Timeout: time.Minute},
		}},
	}
}

func blank() *disk {
	return &disk{dev: 0x10300, plugged: true, content: host.Content{Blank: true, Words: "is blank"}}
}

// moment is a time as a ledger has it.
func moment() *time.Time {
	t := time.Now()
	return &t
}

// a run is an agent on a machine, until stop.
type run struct {
	*Boot
	t    *testing.T
	stop func()

	mu       sync.Mutex
	progress []graph.Progress
}

// start runs an agent, and waits until it has come to rest. It belongs into a
// synctest bubble.
func start(t *testing.T, p role.Plan, m *machine) *run {
	ctx, cancel := context.WithCancel(t.Context())
	r := &run{t: t, Boot: New(p, m.world(), slog.New(slog.NewTextHandler(io.Discard, nil)))}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, func(p []graph.Progress) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.progress = p
		})
	}()
	r.stop = func() { cancel(); <-ended }
	synctest.Wait()
	return r
}

func (r *run) step(name string) graph.Progress {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.progress, func(p graph.Progress) bool { return p.Step == name })
	if i < 0 {
		r.t.Fatalf("there is no step %q", name)
	}
	return r.progress[i]
}

// is fails the test unless a step is in a state and says all of the words.
func (r *run) is(name string, state graph.State, words ...string) {
	r.t.Helper()
	p := r.step(name)
	text := p.String() + " " + p.Wait.Hint + " " + fault.HintOf(p.Err)
	if p.State != state {
		r.t.Errorf("step %q is %s, not %s: %s", name, p.State, state, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			r.t.Errorf("step %q does not say %q, but: %s", name, w, text)
		}
	}
}

func (r *run) isUp() { r.t.Helper(); r.is("service mariadb.service: up", graph.Done) }

func TestTheWayOfABootIsAsItWasReviewed(t *testing.T) {
	cloud := withSecret()
	cloud.Volumes[0].Find = find.Find{Tags: map[string]string{"cluster": "orders"}}
	_, files := withFiles()
	for file, p := range map[string]role.Plan{"testdata/mysql.graph": plan(), "testdata/cloud.graph": cloud, "testdata/files.graph": files} {
		got := New(p, host.Host{}, nil).String()
		golden.Check(t, file, got)
	}
}

func TestABlankDiskBecomesARunningDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		r := start(t, plan(), m)
		r.is("volume data: device", graph.Waiting, "the disk with serial "+serial, "attach it")
		time.Sleep(5 * time.Second)
		m.mu.Lock()
		m.disks[serial] = blank()
		m.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.stop()

		ledger, err := ledger.Decode(m.disks[serial].ledger)
		if err != nil {
			t.Fatal(err)
		}
		if ledger.Volume != volumeID || ledger.Made == nil || ledger.Generation != 1 || !ledger.Data["mysql"].Ready {
			t.Errorf("the ledger says %+v", ledger)
		}
		if m.intents[serial] != (host.Intent{UUID: ledger.UUID, Made: true}) {
			t.Errorf("the intent is %+v", m.intents[serial])
		}

		before := len(m.effects)
		r = start(t, plan(), m)
		r.isUp()
		r.stop()
		if again := m.effects[before:]; !slices.Equal(again, []string{"probe mysql-ready.service"}) {
			t.Errorf("an agent that was started again did %q", again)
		}
	})
}

// TestRefusals goes through what must not become a mount for the service. Each
// says why, and changes nothing.
func TestRefusals(t *testing.T) {
	const uuid = "6f9ff1a3-5c4a-4f3c-9c5e-6a0f1f3c2a11"
	ledger := func(l storage.Ledger) []byte {
		if l.UUID == "" {
			l.UUID = uuid
		}
		src, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	xfs := host.Content{Filesystem: "xfs", UUID: uuid, Words: "has an XFS signature at 0x0"}
	files := map[string]host.DirectoryState{"mysql": host.Ready}
	for _, c := range []struct {
		name   string
		disk   disk
		plan   func(*role.Plan)
		intent host.Intent
		step   string
		words  []string
	}{
		{
			name: "a disk that holds something else", disk: disk{content: host.Content{Words: "has an LVM2 signature at 0x218"}},
			step: "volume data: prove", words: []string{"does not hold the xfs filesystem of the role", "has an LVM2 signature at 0x218", "nothing was changed"},
		},
		{
			name: "a disk with another filesystem", disk: disk{content: host.Content{Filesystem: "ext4", Words: "has an ext4 signature at 0x438"}},
			step: "volume data: prove", words: []string{"does not hold the xfs filesystem of the role", "has an ext4 signature at 0x438"},
		},
		{
			name: "a disk that could be one thing or another",
			disk: disk{content: host.Content{Words: "is ambiguous: it has an XFS signature at 0x0 and a ZFS signature at 0x2b000", Mend: "wipefs --backup --offset 0x2b000 /dev/nvme1n1"}},
			step: "volume data: prove", words: []string{"cannot tell whether disk", "a ZFS signature at 0x2b000", "wipefs --backup --offset 0x2b000 /dev/nvme1n1; then: bootagent retry"},
		},
		{
			name: "a blank disk that nothing may be made on", disk: disk{content: host.Content{Blank: true}},
			plan: func(p *role.Plan) { p.Volumes[0].Format = role.FormatNever },
			step: "volume data: prove", words: []string{"is blank and the role may not make", "format: if-blank"},
		},
		{
			name: "a blank disk that was not blank before", disk: disk{content: host.Content{Blank: true}},
			intent: host.Intent{UUID: uuid, Made: true},
			step:   "volume data: prove", words: []string{"is blank, but", uuid + " was made on it before"},
		},
		{
			name: "a filesystem that was not finished", disk: disk{content: host.Content{Words: "holds data of no known format at 0x1000"}},
			intent: host.Intent{UUID: uuid},
			step:   "volume data: prove", words: []string{"was being made on it and was not finished", "0x1000"},
		},
		{
			name: "a filesystem without a ledger", disk: disk{content: xfs},
			step: "volume data: prepare", words: []string{"without a ledger", uuid, "adopt: true", "for this volume: bootagent adopt data;"},
		},
		{
			name: "a filesystem of ours that lost its ledger", disk: disk{content: xfs, names: map[string]host.DirectoryState{"lost+found": host.Damaged}},
			intent: host.Intent{UUID: uuid, Made: true},
			step:   "volume data: prepare", words: []string{"which bootagent made, and its ledger, bootagent's record on it, is gone", `"lost+found"`, "mount -t xfs -o ro,norecovery " + serial + " /mnt", "bootagent adopt data --lost-ledger;"},
		},
		{
			name: "an empty filesystem of ours that lost its ledger, which the role would adopt", disk: disk{content: xfs},
			plan: func(p *role.Plan) { p.Volumes[0].Adopt = true }, intent: host.Intent{UUID: uuid, Made: true},
			step: "volume data: prepare", words: []string{"is gone: something else repaired it", "holds no file", "restore the volume from an older snapshot", "then: bootagent retry"},
		},
		{
			name: "a filesystem that an intent calls ours", disk: disk{content: xfs, names: map[string]host.DirectoryState{"a": host.Ready, "b": host.Ready, "c": host.Ready, "home": host.Ready}},
			intent: host.Intent{UUID: uuid},
			step:   "volume data: prepare", words: []string{"an intent of bootagent has that UUID", "mkfs does not leave"},
		},
		{
			name: "a repaired filesystem that an intent calls ours", disk: disk{content: xfs, names: map[string]host.DirectoryState{"lost+found": host.Foreign}},
			intent: host.Intent{UUID: uuid}, // mkfs.xfs leaves no lost+found
			step:   "volume data: prepare", words: []string{"mkfs does not leave"},
		},
		{
			name: "an ext4 of ours whose lost+found is full", disk: disk{
				content: host.Content{Filesystem: "ext4", UUID: uuid}, names: map[string]host.DirectoryState{"lost+found": host.Damaged},
			},
			plan: func(p *role.Plan) { p.Volumes[0].Filesystem = role.Ext4 }, intent: host.Intent{UUID: uuid},
			step: "volume data: prepare", words: []string{"mkfs does not leave"},
		},
		{
			name: "a repaired filesystem that is adopted", disk: disk{content: xfs, names: map[string]host.DirectoryState{"lost+found": host.Damaged}},
			plan: func(p *role.Plan) { p.Volumes[0].Adopt = true }, intent: host.Intent{UUID: uuid, Made: true},
			step: "data mysql: directory", words: []string{"/srv/data/lost+found is not empty", "ls -lA /srv/data/lost+found"},
		},
		{
			name: "a filesystem that bootagent made and somebody repaired", disk: disk{
				content: xfs, ledger: ledger(storage.Ledger{Volume: volumeID, Role: "mysql", Made: moment()}), names: map[string]host.DirectoryState{"lost+found": host.Damaged},
			},
			step: "data mysql: directory", words: []string{"/srv/data/lost+found is not empty"},
		},
		{
			name: "data that the role no longer names", disk: disk{
				content: xfs, ledger: ledger(storage.Ledger{
					Volume: volumeID, Role: "mysql", Made: moment(), Data: map[string]storage.LedgerData{"orders": {Engine: "mariadb", Version: "10.11", Ready: true}},
				}), names: map[string]host.DirectoryState{"orders": host.Ready},
			},
			step: "data mysql: directory", words: []string{`holds the data "orders" of mariadb 10.11, which the role does not name`, "beside: [orders]"},
		},
		{
			name: "a copy of the volume", disk: disk{content: xfs, ledger: ledger(storage.Ledger{Volume: "vol-0fedcba9876543210", Role: "mysql"})},
			step: "volume data: prepare", words: []string{"is a copy of volume vol-0fedcba9876543210, as its ledger says", "bootagent adopt data --as-copy-of vol-0fedcba9876543210;"},
		},
		{
			name: "the volume of another role", disk: disk{content: xfs, ledger: ledger(storage.Ledger{Volume: volumeID, Role: "kafka"})},
			step: "volume data: prepare", words: []string{`is a volume of role "kafka"`, `has role "mysql"`, "bootagent adopt data --from-role kafka;"},
		},
		{
			name: "a copy of the volume of another role", disk: disk{content: xfs, ledger: ledger(storage.Ledger{Volume: "vol-0fedcba9876543210", Role: "a role"})},
			step: "volume data: prepare", words: []string{"is a copy of volume vol-0fedcba9876543210", "bootagent adopt data --as-copy-of vol-0fedcba9876543210 --from-role 'a role';"},
		},
		{
			name: "a ledger of another filesystem", disk: disk{names: files, content: xfs, ledger: ledger(storage.Ledger{Volume: volumeID, Role: "mysql", UUID: "other"})},
			step: "volume data: prepare", words: []string{"its ledger names other", "bootagent adopt data --lost-ledger;"},
		},
		{
			name: "a ledger of a newer agent", disk: disk{content: xfs, ledger: []byte(`{"version":2}`)},
			step: "volume data: prepare", words: []string{"has version 2", "reads version 1", "an image that has that version"},
		},
		{
			name: "a damaged ledger", disk: disk{names: files, content: xfs, ledger: []byte(`{"version":1,"volume"`)},
			step: "volume data: prepare", words: []string{"cannot read the ledger", "mount -t xfs -o ro,norecovery", "bootagent adopt data --lost-ledger;"},
		},
		{
			name: "a ledger that names nothing", disk: disk{content: xfs, ledger: []byte(`{"version":1}`)},
			step: "volume data: prepare", words: []string{"the ledger is damaged", "restore the volume from an older snapshot"},
		},
		{
			name: "a data directory that is gone",
			disk: disk{content: xfs, ledger: ledger(storage.Ledger{
				Volume: volumeID, Role: "mysql", Made: moment(), Data: map[string]storage.LedgerData{"mysql": {Engine: "mariadb", Ready: true}},
			})},
			step: "data mysql: directory", words: []string{"absent", "ledger says that it was there"},
		},
		{
			name: "a data directory that may not be made", disk: disk{content: xfs, ledger: ledger(storage.Ledger{Volume: volumeID, Role: "mysql", Made: moment()})},
			plan: func(p *role.Plan) { p.Data[0].IfAbsent = directory.Fail },
			step: "data mysql: directory", words: []string{"absent, and the role does not allow bootagent to initialise it"},
		},
		{
			name: "an adopted filesystem that holds something under another name",
			disk: disk{
				content: xfs, ledger: ledger(storage.Ledger{Volume: volumeID, Role: "mysql", Adopted: moment()}),
				names: map[string]host.DirectoryState{"lost+found": host.Foreign, "database": host.Ready},
			},
			step: "data mysql: directory", words: []string{"did not make", `"database"`},
		},
		{
			name: "a damaged data directory",
			disk: disk{
				content: xfs, ledger: ledger(storage.Ledger{Volume: volumeID, Role: "mysql", Made: moment()}),
				names: map[string]host.DirectoryState{"mysql": host.Damaged},
			},
			step: "data mysql: directory", words: []string{"is not a data directory that mariadb can start on: it is damaged: as the test wants it", "damaged"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p, d := newMachine(), plan(), c.disk
				d.dev, d.plugged = 0x10300, true
				before := string(d.ledger)
				m.disks[serial] = &d
				m.intents[serial] = c.intent
				if c.plan != nil {
					c.plan(&p)
				}
				r := start(t, p, m)
				time.Sleep(time.Hour) // it stays refused
				synctest.Wait()
				r.is(c.step, graph.Failed, c.words...)
				if fault.HintOf(r.step(c.step).Err) == "" && c.disk.names["mysql"] == "" { // of a directory, who examined it gives the hint
					t.Errorf("it does not say what a person can do about: %v", r.step(c.step).Err)
				}
				r.is("service mariadb.service: grant", graph.Skipped)
				r.stop()
				if m.made+m.initialised > 0 || m.granted["mariadb.service"] {
					t.Errorf("it did %q", m.effects)
				}
				if strings.HasPrefix(c.step, "volume") && before != string(d.ledger) {
					t.Errorf("the ledger became %s", d.ledger)
				}
			})
		})
	}
}

func TestWhatIsLeftBesideAFilesystemIsSaidAndKeepsNothingDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()
		if p := r.step("volume data: prove"); p.Warning != "" {
			t.Errorf("of a new filesystem it says %q", p.Warning)
		}
		r.stop()

		m.reboot()
		m.disks[serial].content.Beside = "a GPT signature at 0x257ffe00"
		r = start(t, plan(), m)
		r.isUp()
		if p := r.step("volume data: prove"); !strings.Contains(p.Warning, "has a GPT signature at 0x257ffe00 beside its xfs filesystem") {
			t.Errorf("it says %q", p.Warning)
		}
		r.stop()
	})
}

func TestADiskIsReadAsItsVolumeIsToBeProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), plan()
		p.Volumes[0].BlankProof = role.Whole
		m.disks[serial] = blank()
		r := start(t, p, m)
		r.isUp()
		r.stop()
		if want := (host.Reading{Filesystem: "xfs", Whole: true}); m.readAs != want {
			t.Errorf("it was read as %+v", m.readAs)
		}
	})
}

// Settings that are in the data directory are known when that is bound, which is
// before its service is granted.
func TestAnEngineThatItsOwnDirectoryLeadsElsewhereIsRefused(t *testing.T) {
	for inside, wants := range map[string]graph.State{"/var/lib/mysql": graph.Done, "/srv/other": graph.Failed} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			m.disks[serial] = blank()
			m.inside = inside
			r := start(t, plan(), m)
			if wants == graph.Done {
				r.isUp()
			} else {
				r.is("data mysql: directory", graph.Done)
				r.is("data mysql: bind", graph.Failed, "mariadb uses the data directory /srv/other", "bind: /srv/other")
				r.is("service mariadb.service: grant", graph.Skipped)
			}
			r.stop()
		})
	}
}

func TestAnEngineThatLooksElsewhereIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.engine = "/srv/other"
		r := start(t, plan(), m)
		r.is("data mysql: engine", graph.Failed, "mariadb uses the data directory /srv/other", "bind: /srv/other")
		// What its directory should be is not known, so none is judged or made.
		r.is("data mysql: directory", graph.Skipped)
		if !slices.Equal(m.askedOf, []string{"mariadb.service"}) {
			t.Errorf("it was asked how %q start it", m.askedOf)
		}
		r.is("service mariadb.service: grant", graph.Skipped)
		r.stop()
	})
}

func TestAFilesystemIsAdoptedWhenTheRoleSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), plan()
		p.Volumes[0].Adopt = true
		m.disks[serial] = &disk{
			dev: 1, plugged: true, content: host.Content{Filesystem: "xfs", UUID: "u"},
			names: map[string]host.DirectoryState{"mysql": host.Ready},
		}
		r := start(t, p, m)
		r.isUp()
		r.stop()
		if m.made+m.initialised > 0 {
			t.Errorf("it did %q", m.effects)
		}
	})
}

func TestADiskThatIsPulledComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()

		m.pull(serial)
		r.volumes["data"].Lost("the disk was pulled")
		synctest.Wait()
		r.is("volume data: device", graph.Waiting, serial)
		r.is("service mariadb.service: up", graph.Pending)

		m.mu.Lock()
		m.disks[serial].plugged = true
		m.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.stop()
		if m.made != 1 || m.initialised != 1 {
			t.Errorf("it made %d filesystems and %d databases", m.made, m.initialised)
		}
	})
}

func TestADiskThatNeverComesIsFailedAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		r := start(t, plan(), m)
		time.Sleep(20*time.Minute + time.Second)
		synctest.Wait()
		r.is("volume data: device", graph.Failed, "no disk with serial "+serial+" appeared within 20m0s", "attach it")

		m.mu.Lock()
		m.disks[serial] = blank()
		m.mu.Unlock()
		r.Retry() // as an event of the kernel has it done
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// TestACrashAtAnyEffectConverges has the agent die at each of its effects in
// turn: before it, and after it. The next agent brings the role up, makes
// nothing twice, and leaves all as an agent that does not die does.
func TestACrashAtAnyEffectConverges(t *testing.T) {
	local := func() (*machine, role.Plan) {
		m := newMachine()
		m.disks[serial] = blank()
		return m, plan()
	}
	for name, begin := range map[string]func() (*machine, role.Plan){"local": local, "cloud": inEC2} {
		var effects, whole []string
		synctest.Test(t, func(t *testing.T) {
			m, p := begin()
			firstBoot(t, p, m).stop()
			effects, whole = m.effects, m.state(t)
		})
		for at, effect := range effects {
			t.Run(name+" "+strings.ReplaceAll(effect, "/", "-"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, p := begin()
					n := 0
					m.fail = func(string) error {
						if n++; n > at {
							return errors.New("the agent is dead")
						}
						return nil
					}
					r := start(t, p, m)
					r.stop()

					m.fail = func(string) error { return nil }
					r = start(t, p, m)
					time.Sleep(time.Minute)
					synctest.Wait()
					r.isUp()
					r.stop()
					if m.made != 1 || m.initialised != 1 {
						t.Errorf("it made %d filesystems and %d databases: %q", m.made, m.initialised, m.effects)
					}
					if is := m.state(t); !slices.Equal(is, whole) {
						t.Errorf("after a crash it is\n%s\nand without one\n%s", strings.Join(is, "\n"), strings.Join(whole, "\n"))
					}
				})
			})
		}
	}
}

// An intent is closed by whichever run finds it open, and then EC2 is asked no
// more.
func TestAnIntentThatCouldNotBeClosedIsClosedByALaterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		m.fail = func(effect string) error {
			if effect == "intend true" {
				return errors.New("CreateTags is throttled")
			}
			return nil
		}
		r := firstBoot(t, p, m)
		r.is("volume data: intent", graph.Failed, "CreateTags is throttled")
		r.is("service mariadb.service: up", graph.Done) // it does not wait for that
		r.stop()
		m.fail = func(string) error { return nil }
		m.reboot()
		r = firstBoot(t, p, m)
		r.is("volume data: intent", graph.Done)
		r.stop()
		if intent := m.cloud.volumes[volumeID].intent; !intent.Made {
			t.Errorf("the intent is %+v", intent)
		}
		m.reboot()
		m.cloud.silent, m.cloud.asked = true, 0
		firstBoot(t, p, m).stop()
		if m.cloud.asked > 0 {
			t.Errorf("the cloud was asked %d times", m.cloud.asked)
		}
	})
}

func TestADatabaseIsMadeBesideAnotherWhereTheRoleSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), plan()
		p.Data[0].Beside = []string{"orders"}
		ledger := storage.Ledger{Volume: volumeID, Role: "mysql", UUID: "u", Made: moment(), Data: map[string]storage.LedgerData{"orders": {Engine: "mariadb", Ready: true}}}
		src, err := ledger.Encode()
		if err != nil {
			t.Fatal(err)
		}
		m.disks[serial] = &disk{
			dev: 1, plugged: true, content: host.Content{Filesystem: "xfs", UUID: "u"}, ledger: src,
			names: map[string]host.DirectoryState{"orders": host.Ready, "lost+found": host.Foreign},
		}
		r := start(t, p, m)
		r.isUp()
		r.stop()
		if m.initialised != 1 {
			t.Errorf("it did %q", m.effects)
		}
	})
}

// Of a disk that is found by its serial number, only its ledger tells who else
// may have it.
func TestALocalDiskThatAnotherMachineDidNotLetGoIsTold(t *testing.T) {
	for stopped, told := range map[bool]bool{true: false, false: true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			ledger := storage.Ledger{Volume: volumeID, Role: "mysql", UUID: "u", Made: moment(), Instance: "another", BootID: "its"}
			if stopped {
				ledger.Stopped = &stop.Stop{At: *moment(), Clean: true}
			}
			src, err := ledger.Encode()
			if err != nil {
				t.Fatal(err)
			}
			m.disks[serial] = &disk{
				dev: 1, plugged: true, content: host.Content{Filesystem: "xfs", UUID: "u"}, ledger: src,
				names: map[string]host.DirectoryState{"mysql": host.Ready},
			}
			r := start(t, plan(), m)
			r.isUp()
			if warning := r.step("volume data: ledger").Warning; strings.Contains(warning, "another had it last and did not stop") != told {
				t.Errorf("stopped: %t, and it warns %q", stopped, warning)
			}
			r.stop()
		})
	}
}

// A proof is about the disk as it was read. When something goes wrong after
// it, the disk that is there next time is proven anew.
func TestADiskThatIsSwappedAfterItsProofIsProvenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.fail = func(effect string) error {
			if effect == "make "+serial {
				m.disks[serial].content = host.Content{Words: "has an LVM2 signature at 0x218"}
				return errors.New("the disk is gone")
			}
			return nil
		}
		r := start(t, plan(), m)
		r.is("volume data: prepare", graph.Failed, "the disk is gone")
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is("volume data: prove", graph.Failed, "was being made on it and was not finished", "LVM2 signature at 0x218")
		r.stop()
		if n := len(slices.DeleteFunc(m.effects, func(e string) bool { return e != "make "+serial })); n != 1 {
			t.Errorf("mkfs was tried %d times", n)
		}
	})
}

func TestATransientFailureIsTriedAgainEverLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		var at []time.Time
		m.fail = func(effect string) error {
			if effect == "read "+serial && len(at) < 4 {
				at = append(at, time.Now())
				return errors.New("input/output error")
			}
			return nil
		}
		r := start(t, plan(), m)
		r.is("volume data: prove", graph.Failed, "input/output error")
		time.Sleep(time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
		for i := 2; i < len(at); i++ {
			if rest, before := at[i].Sub(at[i-1]), at[i-1].Sub(at[i-2]); rest <= before {
				t.Errorf("it rested %s, and then %s", before, rest)
			}
		}
	})
}

func TestWhatAPersonStoppedStaysStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()

		m.mu.Lock()
		m.units["mariadb.service"] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Ran: true}}
		m.mu.Unlock()
		r.Changed(t.Context(), service.Change{Unit: "mariadb.service", Active: "inactive"})
		synctest.Wait()
		r.is("service mariadb.service: up", graph.Failed, "stopped by hand", "bootagent retry")

		m.pull(serial)
		m.mu.Lock()
		m.disks[serial].plugged = true
		m.mu.Unlock()
		r.volumes["data"].Lost("the disk was pulled")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.is("service mariadb.service: up", graph.Failed, "stopped by hand")

		if err := r.RetryNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// Only what was granted can be taken away: an agent that looks at the units
// sees grants that are not there yet, and some whose start comes after its own.
func TestAGrantThatIsTakenAwayIsAPersonsStop(t *testing.T) {
	for _, c := range []struct {
		name    string
		granted bool
		grant   aUnit
		stale   bool
		byHand  bool
	}{
		{"not granted yet", false, aUnit{UnitState: host.UnitState{Active: "inactive"}}, false, false},
		{"granted, and still to start", true, aUnit{UnitState: host.UnitState{Active: "inactive", Busy: true}}, false, false},
		{"taken away", true, aUnit{UnitState: host.UnitState{Active: "inactive"}}, false, true},
		{"gone with the disk, whose mount somebody holds", true, aUnit{UnitState: host.UnitState{Active: "inactive"}}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				for _, mount := range []string{"srv-data.mount", "var-lib-mysql.mount"} {
					m.units[mount] = aUnit{UnitState: host.UnitState{Active: "active"}}
				}
				if c.granted {
					m.disks[serial] = blank()
				}
				r := start(t, plan(), m)
				m.mu.Lock()
				m.units[unit.GrantOf("mariadb.service")], m.stale = c.grant, c.stale
				if c.stale {
					m.disks[serial].plugged = false
				}
				m.mu.Unlock()
				r.Changed(t.Context(), service.Change{Unit: unit.GrantOf("mariadb.service"), Active: "inactive"})
				if byHand, _ := m.StoppedByHand("mariadb.service"); byHand != c.byHand {
					t.Errorf("noted as stopped by hand: %t", byHand)
				}
				synctest.Wait()
				r.stop()
			})
		})
	}
}

// systemd signals each step of each unit of the role. It is asked back only
// where that could undo something.
func TestAChangeThatUndoesNothingAsksNothing(t *testing.T) {
	for c, asks := range map[service.Change]bool{
		{Unit: "srv-data.mount", Active: "activating"}:                false,
		{Unit: "srv-data.mount", Active: "active"}:                    false,
		{Unit: "srv-data.mount", Active: "deactivating"}:              false,
		{Unit: "srv-data.mount", Active: "inactive"}:                  true,
		{Unit: "var-lib-mysql.mount", Active: "failed"}:               true,
		{Unit: unit.GrantOf("mariadb.service"), Active: "active"}:     false,
		{Unit: unit.GrantOf("mariadb.service"), Active: "inactive"}:   true,
		{Unit: "mariadb.service", Active: "activating"}:               true, // it may have crashed
		{Unit: "mariadb.service", Active: "active"}:                   true, // it may have failed before
		{Unit: "mariadb.service", Active: "active", Again: true}:      false,
		{Unit: "mariadb.service", Active: "deactivating"}:             true,
		{Unit: "mariadb.service", Active: "inactive"}:                 true,
		{Unit: "mariadb.service", Active: "inactive", Again: true}:    true,
		{Unit: "mariadb.service", Active: "reloading", Again: true}:   false,
		{Unit: "mariadb.service", Active: "maintenance", Again: true}: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			r := start(t, plan(), m)
			before := m.asked
			if err := r.Changed(t.Context(), c); err != nil {
				t.Error(err)
			}
			if asked := m.asked > before; asked != asks {
				t.Errorf("%+v: it asked: %t", c, asked)
			}
			r.stop()
		})
	}
}

// A database that hangs while it stops is left to hang, as it may be writing,
// unless its disk is gone.
func TestAServiceThatHangsIsKilledOnlyWhenItsDiskIsGone(t *testing.T) {
	for _, gone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			m.disks[serial] = blank()
			r := start(t, plan(), m)
			r.isUp()

			m.mu.Lock()
			m.disks[serial].plugged = !gone
			m.units["mariadb.service"] = aUnit{host.UnitState{Active: "deactivating", Busy: true}, host.Ended{Ran: true}}
			m.mu.Unlock()
			r.Changed(t.Context(), service.Change{Unit: "mariadb.service", Active: "deactivating"})
			time.Sleep(hangs / 2)
			synctest.Wait()
			r.is("service mariadb.service: up", graph.Waiting, "mariadb.service to stop")
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if killed := slices.Contains(m.effects, "kill mariadb.service"); killed != gone {
				t.Errorf("the disk gone: %t, the service killed: %t", gone, killed)
			}
			r.stop()
		})
	}
}

// A disk that was pulled comes back as another device: what is mounted from the
// first one stays gone, and so does what waits for it.
func TestAServiceThatHangsIsKilledAlsoWhenItsDiskHasComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()

		m.mu.Lock()
		m.mounted, m.disks[serial].dev = m.disks[serial].dev, 0x10301
		m.units["mariadb.service"] = aUnit{host.UnitState{Active: "deactivating", Busy: true}, host.Ended{Ran: true}}
		m.mu.Unlock()
		r.Changed(t.Context(), service.Change{Unit: "mariadb.service", Active: "deactivating"})
		time.Sleep(hangs + time.Second)
		synctest.Wait()
		if !slices.Contains(m.effects, "kill mariadb.service") {
			t.Errorf("it did %q", m.effects)
		}
		r.stop()
	})
}

func TestAServiceThatHangsWhileItIsStoppedAsItStartsIsKilledToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.units["mariadb.service"] = aUnit{UnitState: host.UnitState{Active: "activating", Busy: true}}
		m.started["mariadb.service"] = true
		r := start(t, plan(), m)
		r.is("service mariadb.service: up", graph.Waiting, "mariadb.service to start")
		m.mu.Lock()
		m.disks[serial].plugged = false
		m.units["mariadb.service"] = aUnit{UnitState: host.UnitState{Active: "deactivating", Busy: true}}
		m.mu.Unlock()
		time.Sleep(2 * hangs)
		synctest.Wait()
		if !slices.Contains(m.effects, "kill mariadb.service") {
			t.Errorf("it did %q", m.effects)
		}
		r.stop()
	})
}

func TestRetryForgetsThatAPersonStoppedAServiceThatIsNotGrantedYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.byHand["mariadb.service"] = true
		r := start(t, plan(), m)
		r.is("volume data: device", graph.Waiting, serial)
		if err := r.RetryNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		m.disks[serial] = blank()
		m.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// A service that hangs keeps its mounts, so systemd tells of none that goes.
func TestADirectoryWhoseDiskIsGoneStartsOverFromTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		r.isUp()

		m.mu.Lock()
		m.disks[serial].plugged, m.sameErr = false, errors.New("input/output error")
		m.mu.Unlock()
		r.Recheck(r.data["mysql"].There(), "somebody looks", graph.Done)
		synctest.Wait()
		r.is("volume data: device", graph.Waiting, serial)

		m.mu.Lock()
		m.disks[serial].plugged, m.sameErr = true, nil
		m.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}
