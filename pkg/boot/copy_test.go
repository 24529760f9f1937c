package boot

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/directory"
)

func waiting() role.Plan {
	p := plan()
	p.Data[0].IfAbsent = directory.Wait
	return p
}

func copying() role.Plan {
	p := plan()
	p.Data[0].IfAbsent, p.Data[0].CopyFrom = directory.Copy, "/usr/share/site"
	return p
}

// has is what a person does to the names on the disk.
func (m *machine) has(change func(names map[string]host.DirectoryState)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m.disks[serial].names)
}

func TestACopyByHandIsTakenWhenItHasItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, waiting(), m)
		r.is("data mysql: directory", graph.Waiting, `somebody to copy data "mysql" to /srv/data/mysql`, "mv --no-target-directory /srv/data/mysql.copying /srv/data/mysql")

		// It is not taken before, however long it takes, and also by another agent.
		m.has(func(names map[string]host.DirectoryState) { names["mysql.copying"] = host.Ready })
		time.Sleep(time.Hour)
		synctest.Wait()
		r.is("data mysql: directory", graph.Failed, "waited 20m0s in vain")
		r.stop()
		r = start(t, waiting(), m)
		r.is("data mysql: directory", graph.Waiting)
		if noted := m.ledgerOf(t, serial).Data["mysql"]; noted.Ready {
			t.Errorf("the ledger says %+v", noted)
		}

		m.has(func(names map[string]host.DirectoryState) {
			names["mysql"] = names["mysql.copying"]
			delete(names, "mysql.copying")
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
		if m.initialised+m.copied > 0 || !slices.Contains(m.effects, "sync mysql") {
			t.Errorf("it did %q", m.effects)
		}

		// It is asked for once.
		m.reboot()
		m.has(func(names map[string]host.DirectoryState) { delete(names, "mysql") })
		r = start(t, waiting(), m)
		r.is("data mysql: directory", graph.Failed, "is absent, but the volume's ledger says that it was there")
		r.stop()
	})
}

// Who copies to the final name at once has not said that all of it is there.
func TestHalfOfACopyByHandIsNotTaken(t *testing.T) {
	for name, change := range map[string]func(*role.Plan){
		"the role still waits": func(*role.Plan) {},
		"the role does not wait any more": func(p *role.Plan) {
			p.Data[0].IfAbsent = directory.Initialize
		},
		"the role wants it to be there": func(p *role.Plan) { p.Data[0].IfAbsent = directory.Fail },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks[serial] = blank()
				r := start(t, waiting(), m)
				m.has(func(names map[string]host.DirectoryState) { names["mysql"] = host.Ready }) // as far as one can see
				time.Sleep(time.Minute)
				r.stop()
				p := waiting()
				change(&p)
				r = start(t, p, m)
				time.Sleep(time.Hour)
				synctest.Wait()
				r.is("data mysql: directory", graph.Failed, "finish", "rmdir /srv/data/mysql.copying")
				r.is("service mariadb.service: grant", graph.Skipped)
				m.has(func(names map[string]host.DirectoryState) { delete(names, "mysql.copying") })
				if err := r.RetryNow(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				r.isUp()
				r.stop()
				if m.initialised > 0 {
					t.Errorf("it did %q", m.effects)
				}
			})
		})
	}
}

func TestAnEmptyDirectoryIsNoCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), plain("kafka")
		p.Data[0].IfAbsent = directory.Wait
		m.disks[serial] = blank()
		r := start(t, p, m)
		m.has(func(names map[string]host.DirectoryState) {
			names["kafka"] = names["kafka.copying"]
			delete(names, "kafka.copying")
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is("data mysql: directory", graph.Failed, `/srv/data/kafka is empty, and data "mysql" was to be copied to it`)
		r.stop()
	})
}

func TestADirectoryOfTheImageIsCopiedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.image.State = host.Ready
		r := start(t, copying(), m)
		r.isUp()
		r.stop()
		at := func(effect string) int { return slices.Index(m.effects, effect) }
		if m.copied != 1 || m.initialised > 0 || at("compare mysql.initializing-1") < 0 || at("compare mysql.initializing-1") > at("publish mysql") {
			t.Errorf("it did %q", m.effects)
		}

		m.reboot()
		m.has(func(names map[string]host.DirectoryState) { delete(names, "mysql") })
		r = start(t, copying(), m)
		r.is("data mysql: directory", graph.Failed, "is absent, but the volume's ledger says that it was there")
		r.stop()
		if m.copied != 1 {
			t.Errorf("it did %q", m.effects)
		}
	})
}

func TestWhatIsNoCopyOfTheImageIsNotUsed(t *testing.T) {
	for name, c := range map[string]struct {
		image   host.DirectoryReport
		differs string
		words   []string
	}{
		"the image does not have it":   {image: host.DirectoryReport{State: host.Absent}, words: []string{"/usr/share/site, of which data \"mysql\" is to be a copy, is not in this image"}},
		"the engine can't start on it": {image: host.DirectoryReport{State: host.Damaged, Reason: "a is missing"}, words: []string{"is damaged: a is missing"}},
		"something is missing":         {image: host.DirectoryReport{State: host.Ready}, differs: "2 files, and 1 in the copy", words: []string{"/srv/data/mysql.initializing-1 is not a whole copy of /usr/share/site: 2 files"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks[serial] = blank()
				m.image, m.differs = c.image, c.differs
				r := start(t, copying(), m)
				time.Sleep(time.Hour)
				synctest.Wait()
				r.is("data mysql: directory", graph.Failed, c.words...)
				r.is("service mariadb.service: grant", graph.Skipped)
				r.stop()
				if slices.Contains(m.effects, "publish mysql") {
					t.Errorf("it did %q", m.effects)
				}
			})
		})
	}
}
