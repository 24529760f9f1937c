package boot

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/directory"
	"bootagent/pkg/storage"
)

// withLog is the plan with a second volume for a part of the database.
func withLog() role.Plan {
	p := plan()
	second := p.Volumes[0]
	second.Name, second.Mount, second.Find.Serial = "log", "/srv/log", otherSerial
	p.Volumes = append(p.Volumes, second)
	p.Data = append(p.Data, role.Data{
		Name: "redo", Volume: "log", Dir: "redo", Bind: "/var/lib/redo", Engine: "none", Plain: true, Owner: "mysql", IfAbsent: directory.Initialize,
	})
	p.Services[0].Needs = append(p.Services[0].Needs, role.Need{Kind: role.KindData, Name: "redo"}, role.Need{Kind: role.KindVolume, Name: "log"})
	return p
}

const otherSerial = "vol0fedcba9876543210"

// withTwoDisks is a machine for it, whose engine keeps its redo log on the second.
func withTwoDisks() *machine {
	m := newMachine()
	m.disks[serial], m.disks[otherSerial] = blank(), blank()
	m.disks[otherSerial].dev = 0x10301
	m.elsewhere = []host.Place{{Setting: "innodb_log_group_home_dir", Value: "/var/lib/redo/log", Path: "/var/lib/redo/log"}}
	return m
}

// plain is the plan of a service that is no database.
func plain(dir string) role.Plan {
	p := plan()
	p.Data[0].Engine, p.Data[0].Plain, p.Data[0].Dir = "none", true, dir
	return p
}

func TestAPartOfTheDataThatIsOnAVolumeOfTheRoleIsBoundFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withTwoDisks()
		r := start(t, withLog(), m) // the machine panics if the database is made before its part is bound
		r.isUp()
		r.stop()
		l := m.ledgerOf(t, serial)
		if got, want := l.Data["mysql"].Parts["redo"], m.disks[otherSerial].content.UUID; got != want || want == "" {
			t.Errorf("the ledger says that the part is on %q, not on %q", got, want)
		}

		// The second disk is another one, and new: the part is lost.
		m.reboot()
		m.disks[otherSerial] = blank()
		m.disks[otherSerial].dev = 0x10302
		m.intents = map[string]host.Intent{}
		m.records = nil
		r = start(t, withLog(), m)
		r.is("data mysql: directory", graph.Failed, "/srv/log/redo is empty, but it holds a part of data", "which was on the filesystem "+l.Data["mysql"].Parts["redo"])
		r.is("service mariadb.service: grant", graph.Skipped)
		r.stop()
	})
}

// No setting of the engine says where the part of a new database is: the name of
// the bind does. Each attempt has a directory of its own.
func TestAPartOfANewDatabaseIsInTheDataWhoseBindHasItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := withTwoDisks()
		m.elsewhere, m.newPart = nil, "redo"
		failed := false
		m.fail = func(effect string) error {
			if strings.HasPrefix(effect, "initialize ") && !failed {
				failed = true
				return errors.New("it was cut off")
			}
			return nil
		}
		r := start(t, withLog(), m)
		time.Sleep(5 * time.Minute)
		r.isUp()
		r.stop()
		if want := []string{"/var/lib/redo/1", "/var/lib/redo/2"}; !slices.Equal(m.parts, want) {
			t.Errorf("the part was made in %q, not in %q", m.parts, want)
		}
		if l := m.ledgerOf(t, serial); l.Data["mysql"].Parts["redo"] != m.disks[otherSerial].content.UUID {
			t.Errorf("the ledger says that the part is on %q", l.Data["mysql"].Parts["redo"])
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := withTwoDisks()
		m.elsewhere, m.newPart = nil, "pg_wal"
		r := start(t, withLog(), m)
		r.isUp()
		r.stop()
		if len(m.parts) > 0 {
			t.Errorf("data of another name has a part in it: %q", m.parts)
		}
	})
}

func TestAPartOfTheDataThatIsNowhereProvenIsRefused(t *testing.T) {
	for name, change := range map[string]func(*role.Plan, *machine){
		"outside of all data": func(_ *role.Plan, m *machine) { m.elsewhere[0].Path, m.elsewhere[0].Value = "/mnt/log", "/mnt/log" },
		"beside a bind":       func(_ *role.Plan, m *machine) { m.elsewhere[0].Path = "/var/lib/redo-log" },
		"in data that the service does not need": func(p *role.Plan, _ *machine) {
			p.Services[0].Needs = slices.DeleteFunc(p.Services[0].Needs, func(n role.Need) bool { return n.Name == "redo" })
		},
		"in data of another engine": func(p *role.Plan, _ *machine) { p.Data[1].Plain = false },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := withTwoDisks(), withLog()
				change(&p, m)
				r := start(t, p, m)
				r.is("data mysql: engine", graph.Failed, `a part of data "mysql" is outside of /var/lib/mysql`, "innodb_log_group_home_dir is "+m.elsewhere[0].Value, "declare data with engine: none, owner: mysql")
				r.is("service mariadb.service: grant", graph.Skipped)
				r.stop()
				if m.initialised > 0 {
					t.Errorf("it did %q", m.effects)
				}
			})
		})
	}
}

func TestAServiceThatIsNoDatabaseGetsAnEmptyDirectoryOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plain("kafka"), m)
		r.isUp()
		r.stop()
		if m.initialised > 0 || !slices.Contains(m.effects, "publish kafka") {
			t.Errorf("it did %q", m.effects)
		}
		if noted := m.ledgerOf(t, serial).Data["mysql"]; !noted.Ready || noted.Filled {
			t.Errorf("the ledger says %+v", noted)
		}

		// The service has written into it by the next boot.
		m.reboot()
		m.disks[serial].names["kafka"] = host.Ready
		r = start(t, plain("kafka"), m)
		r.isUp()
		r.stop()
		if noted := m.ledgerOf(t, serial).Data["mysql"]; !noted.Filled {
			t.Errorf("the ledger says %+v", noted)
		}

		// What empties it makes it lost; what removes it, too.
		m.reboot()
		m.disks[serial].names["kafka"] = host.Foreign
		r = start(t, plain("kafka"), m)
		r.is("data mysql: directory", graph.Failed, "/srv/data/kafka is empty, but the volume's ledger says that it was not")
		r.is("service mariadb.service: grant", graph.Skipped)
		r.stop()
		m.reboot()
		delete(m.disks[serial].names, "kafka")
		r = start(t, plain("kafka"), m)
		r.is("data mysql: directory", graph.Failed, "is absent, but the volume's ledger says that it was there")
		r.stop()
	})
}

func TestAServiceHasItsWholeVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plain("."), m)
		r.isUp()
		r.stop()
		if m.mounts["/var/lib/mysql"] != "/srv/data" || !m.given {
			t.Errorf("it mounted %v", m.mounts)
		}
		m.disks[serial].names["topic"] = host.Ready
		m.reboot()
		before := len(m.effects)
		r = start(t, plain("."), m)
		r.isUp()
		r.stop()
		if slices.ContainsFunc(m.effects[before:], func(e string) bool { return strings.HasPrefix(e, "give") }) {
			t.Errorf("it did %q", m.effects[before:])
		}
		m.reboot()
		clear(m.disks[serial].names)
		r = start(t, plain("."), m)
		r.is("data mysql: directory", graph.Failed, "/srv/data is empty, but the volume's ledger says that it was not")
		r.stop()
	})
}

// The root of a volume is given away only if nothing is in it, and the role says so.
func TestARootThatMayHaveDataIsNotGivenAway(t *testing.T) {
	xfs := host.Content{Filesystem: "xfs", UUID: "u", Words: "has an XFS signature at 0x0"}
	for name, c := range map[string]struct {
		names  map[string]host.DirectoryState
		ledger storage.Ledger
		change func(*role.Plan)
		words  []string
	}{
		"the role does not allow it": {
			ledger: storage.Ledger{Made: moment()}, change: func(p *role.Plan) { p.Data[0].IfAbsent = directory.Fail },
			words: []string{"/srv/data is empty, and the role does not allow bootagent to initialise it"},
		},
		"the filesystem was repaired": {
			ledger: storage.Ledger{Made: moment()}, names: map[string]host.DirectoryState{"lost+found": host.Damaged},
			words: []string{"it belongs to root"},
		},
		"it held other data": {
			ledger: storage.Ledger{Made: moment(), Data: map[string]storage.LedgerData{"orders": {Engine: "none", Ready: true}}},
			words:  []string{`holds the data "orders" of none, which the role does not name`},
		},
		"it holds something": {
			ledger: storage.Ledger{Adopted: moment()}, names: map[string]host.DirectoryState{"topic": host.Ready},
			words: []string{"is not a data directory that its service can start on: it is unfit: it belongs to root"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := newMachine(), plain(".")
				if c.change != nil {
					c.change(&p)
				}
				c.ledger.Volume, c.ledger.Role, c.ledger.UUID = volumeID, "mysql", "u"
				src, err := c.ledger.Encode()
				if err != nil {
					t.Fatal(err)
				}
				if c.names == nil {
					c.names = map[string]host.DirectoryState{}
				}
				m.disks[serial] = &disk{dev: 1, plugged: true, content: xfs, ledger: src, names: c.names}
				r := start(t, p, m)
				time.Sleep(time.Hour)
				synctest.Wait()
				r.is("data mysql: directory", graph.Failed, c.words...)
				r.is("service mariadb.service: grant", graph.Skipped)
				r.stop()
				if m.given {
					t.Error("the root was given away")
				}
			})
		})
	}
}
