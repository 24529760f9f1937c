package boot

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
	"bootagent/pkg/storage/stop"
)

func TestTheLedgerTellsHowTheServicesStopped(t *testing.T) {
	for _, c := range []struct {
		name  string
		state aUnit
		why   string
	}{
		{"clean", aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success"}}, ""},
		{"not even killed", aUnit{host.UnitState{Active: "failed"}, host.Ended{Result: "timeout", Processes: true}}, "mariadb.service had not stopped within TimeoutStopSec= of its unit, and still runs"},
		{"killed", aUnit{host.UnitState{Active: "failed"}, host.Ended{Result: "timeout"}}, "mariadb.service was killed when it had not stopped within TimeoutStopSec= of its unit"},
		{"left a process", aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Processes: true}}, "mariadb.service left processes behind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks[serial] = blank()
				r := start(t, plan(), m)
				r.isUp()
				r.stop()
				if err := r.StoppedServices(t.Context()); err != nil {
					t.Fatal(err)
				}
				if l, _ := ledger.Decode(m.disks[serial].ledger); l.Stopped != nil {
					t.Error("it noted a stop though the machine goes on")
				}
				m.stopping = true
				m.units["mariadb.service"] = c.state
				if err := r.StoppedServices(t.Context()); err != nil {
					t.Fatal(err)
				}
				l, err := ledger.Decode(m.disks[serial].ledger)
				if err != nil {
					t.Fatal(err)
				}
				if l.Stopped == nil || l.Stopped.Clean != (c.why == "") || l.Stopped.Why != c.why {
					t.Errorf("the ledger says %+v", l.Stopped)
				}
			})
		})
	}
}

// kept is a disk with a database that was used before, with its ledger.
func kept(t *testing.T, change func(*storage.Ledger)) *disk {
	t.Helper()
	ledger := storage.Ledger{
		Volume: volumeID, Role: "mysql", UUID: "u", Made: moment(), Closed: true, Instance: "machine", BootID: "before", DiskSeq: 4, Generation: 1,
		Data: map[string]storage.LedgerData{"mysql": {Engine: "mariadb", Ready: true}},
	}
	change(&ledger)
	src, err := ledger.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &disk{
		dev: 1, seq: 7, plugged: true, content: host.Content{Filesystem: "xfs", UUID: "u"}, ledger: src,
		names: map[string]host.DirectoryState{"mysql": host.Ready},
	}
}

// ledgerOf is the ledger that is on a disk.
func ledgerOf(t *testing.T, d *disk) storage.Ledger {
	t.Helper()
	l, err := ledger.Decode(d.ledger)
	if err != nil || l == nil {
		t.Fatalf("the ledger is %q: %v", d.ledger, err)
	}
	return *l
}

func TestHowTheServicesHadStoppedIsTold(t *testing.T) {
	at := time.Date(2026, 11, 28, 10, 4, 0, 0, time.Local)
	for name, c := range map[string]struct {
		ledger   func(*storage.Ledger)
		engine   host.LastStop
		released bool
		want     string
	}{
		"cleanly": {
			ledger: func(l *storage.Ledger) { l.Stopped = &stop.Stop{At: at, On: "i-0abc", Clean: true} },
			want:   "stopped cleanly 2026-11-28 10:04 on i-0abc",
		},
		"cleanly, by an older agent": {
			ledger: func(l *storage.Ledger) { l.Instance, l.Stopped = "i-0abc", &stop.Stop{At: at, Clean: true} },
			want:   "stopped cleanly 2026-11-28 10:04 on i-0abc",
		},
		"cleanly, and the engine agrees": {
			ledger: func(l *storage.Ledger) { l.Stopped = &stop.Stop{At: at, On: "i-0abc", Clean: true} },
			engine: host.StopClean,
			want:   "stopped cleanly 2026-11-28 10:04 on i-0abc; mariadb says so too (a file of it)",
		},
		"cleanly, and the engine says otherwise": {
			ledger: func(l *storage.Ledger) { l.Stopped = &stop.Stop{At: at, On: "i-0abc", Clean: true} },
			engine: host.StopUnclean,
			want:   "stopped cleanly 2026-11-28 10:04 on i-0abc; but mariadb says otherwise (a file of it), and recovers when it starts",
		},
		"killed": {
			ledger: func(l *storage.Ledger) {
				l.Stopped = &stop.Stop{At: at, On: "i-0abc", Why: "mariadb.service failed: it was killed by SIGKILL"}
			},
			engine: host.StopUnclean,
			want: "not stopped cleanly 2026-11-28 10:04 on i-0abc: mariadb.service failed: it was killed by SIGKILL; " +
				"mariadb recovers when it starts (a file of it)",
		},
		"by a loss of power": {
			ledger: func(*storage.Ledger) {}, engine: host.StopUnclean,
			want: "not stopped cleanly on machine: the machine lost its power or was reset; mariadb recovers when it starts (a file of it)",
		},
		"without an agent": {
			ledger: func(*storage.Ledger) {}, released: true, engine: host.StopClean,
			want: "not stopped cleanly on machine: nobody noted how its services stopped before the shutdown at 2026-11-28 10:04, when it was not mounted any more: " +
				"the agent did not run then, or the disk was detached before; but mariadb says that it stopped cleanly (a file of it)",
		},
		"on a machine that is gone": {
			ledger: func(l *storage.Ledger) { l.Instance = "i-0abc" },
			want: "not stopped cleanly on i-0abc: that machine did not note how: it lost its power or was terminated, its agent did not run, " +
				"or the volume was detached while it was in use",
		},
		"by a pulled disk": {
			ledger: func(l *storage.Ledger) { l.BootID = "boot" },
			want:   "not stopped cleanly on machine: its disk was detached while the machine ran on",
		},
		"by a person who unmounted it": {
			ledger: func(l *storage.Ledger) { l.BootID, l.DiskSeq = "boot", 7 },
			want:   "not stopped cleanly on machine: it was unmounted while the machine ran on, and nobody noted how its services had stopped",
		},
		"never": {
			ledger: func(l *storage.Ledger) { l.Instance, l.BootID, l.DiskSeq = "", "", 0 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.lastStop, m.disks[serial] = c.engine, kept(t, c.ledger)
				if c.released {
					m.released = map[string]time.Time{"before": at}
				}
				r := start(t, plan(), m)
				r.isUp()
				told := ""
				if last, ok := r.LastStops()["data"]; ok {
					told = last.String()
				}
				if told != c.want {
					t.Errorf("it is told to have\n%s, want\n%s", told, c.want)
				}
				r.stop()
				if l := ledgerOf(t, m.disks[serial]); l.Stopped != nil || l.BootID != "boot" || l.DiskSeq != 7 {
					t.Errorf("while it is in use, the ledger says %s", m.disks[serial].ledger)
				}
				// Another agent tells the same, though the engine runs by now.
				m.lastStop = host.StopUnclean
				r = start(t, plan(), m)
				r.isUp()
				if again, ok := r.LastStops()["data"]; ok != (c.want != "") || ok && again.String() != c.want {
					t.Errorf("another agent tells %s", again)
				}
				r.stop()
				if n := ledgerOf(t, m.disks[serial]).Generation; n != 2 {
					t.Errorf("it was taken into use %d times, want 2", n)
				}
			})
		})
	}
}

// The mark of a clean stop has to be away from the disk before anything may run.
func TestTheMarkOfACleanStopIsClearedBeforeAServiceIsGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = kept(t, func(l *storage.Ledger) { l.Stopped = &stop.Stop{At: *moment(), Clean: true} })
		m.fail = func(effect string) error {
			if strings.HasPrefix(effect, "grant ") && ledgerOf(t, m.disks[serial]).Stopped != nil {
				t.Errorf("%s, and the ledger still says that the services stopped cleanly", effect)
			}
			return nil
		}
		r := start(t, plan(), m)
		r.isUp()
		r.stop()
	})
}

// whetherItRan has the machine stop twice: its service was started before the volume was
// mounted, so that it has not run on it, and then after.
func (r *run) whetherItRan(m *machine, check func(ran bool, l storage.Ledger)) {
	r.t.Helper()
	r.isUp()
	r.stop()
	m.stopping = true
	m.units["mariadb.service"] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success"}}
	m.began = map[string]time.Duration{"srv-data.mount": 5 * time.Second}
	for _, ran := range []bool{false, true} {
		m.began["mariadb.service"] = 4 * time.Second
		if ran {
			m.began["mariadb.service"] = 6 * time.Second
		}
		if err := r.StoppedServices(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		check(ran, ledgerOf(r.t, m.disks[serial]))
	}
}

// Services that did not run say nothing about how those before them stopped.
func TestIfNoServiceRanTheyHaveStoppedAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = kept(t, func(*storage.Ledger) {})
		start(t, plan(), m).whetherItRan(m, func(ran bool, l storage.Ledger) {
			if l.Stopped == nil || l.Stopped.Clean != ran {
				t.Errorf("it ran: %t; the ledger says %s", ran, m.disks[serial].ledger)
			}
		})
	})
}

// A filesystem that was adopted may have been cut off before that: nobody knows.
func TestAnAdoptedFilesystemHasNotStoppedCleanlyBeforeAServiceHasRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := holds(t, nil)
		p := plan()
		p.Volumes[0].Adopt = true
		start(t, p, m).whetherItRan(m, func(ran bool, l storage.Ledger) {
			if l.Stopped == nil || l.Stopped.Clean != ran || !ran && !strings.Contains(l.Stopped.Why, "no service has run since the filesystem was adopted") {
				t.Errorf("it ran: %t; the ledger says %s", ran, m.disks[serial].ledger)
			}
		})
	})
}

// What is empty when its service is started may hold data when it has stopped.
func TestTheLedgerTellsWhatWasWrittenIntoAnEmptyDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plain("mysql"), m)
		r.isUp()
		r.stop()
		if l := m.ledgerOf(t, serial); l.Data["mysql"].Filled {
			t.Error("the ledger says that the new directory is not empty")
		}
		m.stopping = true
		m.units["mariadb.service"] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success"}}
		m.disks[serial].names["mysql"] = host.Ready
		if err := r.StoppedServices(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l := m.ledgerOf(t, serial); !l.Data["mysql"].Filled || l.Stopped == nil || !l.Stopped.Clean {
			t.Errorf("the ledger says %+v", l)
		}
		m.reboot()
		m.disks[serial].names["mysql"] = host.Foreign
		r = start(t, plain("mysql"), m)
		r.is("data mysql: directory", graph.Failed, "is empty, but the volume's ledger says that it was not")
		r.stop()
	})
}
