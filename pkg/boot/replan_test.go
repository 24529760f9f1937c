package boot

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/directory"
	"bootagent/pkg/role/file"
	"bootagent/pkg/role/find"
	"bootagent/pkg/service"
)

// What a role file may say while the role is up, and what only counts after a
// reboot. A refusal names what it is about, and what there is another of.
func TestAPlanThatWasReadAnewIsTakenWhereNothingThatStandsIsAnother(t *testing.T) {
	more := func(p *role.Plan) {
		p.Volumes = append(p.Volumes, role.Volume{Name: "logs", Find: find.Find{Serial: "vol1"}, Mount: "/srv/logs"})
		p.Services = append(p.Services, role.Service{Unit: "logger.service", Needs: []role.Need{{Kind: role.KindVolume, Name: "logs"}}})
	}
	for name, c := range map[string]struct {
		edit  func(p *role.Plan)
		words []string // of the refusal; nil is that it is taken
	}{
		"nothing":                    {func(*role.Plan) {}, nil},
		"adopt":                      {func(p *role.Plan) { p.Volumes[0].Adopt = true }, nil},
		"format":                     {func(p *role.Plan) { p.Volumes[0].Format = role.FormatNever }, nil},
		"wait":                       {func(p *role.Plan) { p.Volumes[0].Timeout++ }, nil},
		"if-absent":                  {func(p *role.Plan) { p.Data[0].IfAbsent = directory.Fail }, nil},
		"ready":                      {func(p *role.Plan) { p.Services[0].Ready = nil }, nil},
		"another volume and service": {more, nil},
		"another file": {func(p *role.Plan) {
			more(p)
			p.Files = []file.File{{Name: "x", Owner: "root", Mode: file.All, Services: []string{"logger.service"}}}
		}, nil},
		"another text of a file": {func(p *role.Plan) {
			p.Files = []file.File{{Name: "x", Owner: "root", Mode: file.All, Content: file.Text{{Text: "x"}}, Services: []string{"mariadb.service"}}}
		}, nil},
		"another role":                  {func(p *role.Plan) { p.Role = "web" }, []string{"role mysql is in force, and the new one is web"}},
		"another disk":                  {func(p *role.Plan) { p.Volumes[0].Find.Serial = "vol1" }, []string{"volume data is mounted at /srv/data: find has changed"}},
		"another mount point":           {func(p *role.Plan) { p.Volumes[0].Mount = "/srv/other" }, []string{"volume data is mounted at /srv/data: mount has changed"}},
		"other mount options":           {func(p *role.Plan) { p.Volumes[0].Options = []string{"noatime"} }, []string{"volume data is mounted at /srv/data: options has changed"}},
		"another name of the volume":    {func(p *role.Plan) { p.Volumes[0].Name = "other" }, []string{"volume data is mounted at /srv/data: the new plan does not name it"}},
		"another directory":             {func(p *role.Plan) { p.Data[0].Dir = "other" }, []string{"data mysql is bound to /var/lib/mysql: dir has changed"}},
		"another secret":                {func(p *role.Plan) { p.Secrets[0].From.Ref = "other" }, []string{"secret root-sql is decrypted: from has changed"}},
		"a service that needs less":     {func(p *role.Plan) { p.Services[0].Needs = p.Services[0].Needs[:1] }, []string{"mariadb.service is granted: what it needs has changed"}},
		"a service that is not named":   {func(p *role.Plan) { p.Services = nil }, []string{"mariadb.service is granted: the new plan does not name it"}},
		"several, each of which counts": {func(p *role.Plan) { p.Volumes[0].Mount, p.Data[0].Bind = "/a", "/b" }, []string{"mount has changed", "bind has changed"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks[serial] = blank()
				m.safe.sources["root-sql"], m.safe.keys = "A:hush", []string{"A"}
				r := start(t, withSecret(), m)
				defer r.stop()
				r.isUp()
				next := withSecret()
				c.edit(&next)
				before := len(m.effects)
				err := r.Takes(t.Context(), next)
				if c.words == nil && err != nil {
					t.Errorf("it is refused: %v", err)
				}
				if c.words != nil && (err == nil || !strings.Contains(fault.HintOf(err), "systemctl reboot")) {
					t.Errorf("got %v, hint %q", err, fault.HintOf(err))
				}
				for _, words := range c.words {
					if err != nil && !strings.Contains(err.Error(), words) {
						t.Errorf("it does not say %q, but: %v", words, err)
					}
				}
				if len(m.effects) != before {
					t.Errorf("to ask changed something: %q", m.effects[before:])
				}
			})
		})
	}
}

// Before anything is made true, everything can be another.
func TestAPlanThatMadeNothingTrueYetCanBeAnyOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, withSecret(), newMachine())
		defer r.stop()
		next := plan()
		next.Role, next.Volumes[0].Mount, next.Volumes[0].Find.Serial = "web", "/srv/other", "vol1"
		if err := r.Takes(t.Context(), next); err != nil {
			t.Errorf("it is refused: %v", err)
		}
	})
}

// What a hint says about the role file is enough, with bootagent retry.
func TestWhatAHintSaysAboutTheRoleFileCountsInABootThatBeginsAnew(t *testing.T) {
	for name, c := range map[string]struct {
		set    func(m *machine, p *role.Plan)
		step   string
		mended func(p *role.Plan)
	}{
		"adopt": {func(m *machine, p *role.Plan) {
			m.disks[serial] = blank()
			m.disks[serial].content = host.Content{Filesystem: "xfs", UUID: "u", Words: "has a filesystem"}
			m.disks[serial].names = map[string]host.DirectoryState{"mysql": host.Ready}
		}, "volume data: prepare", func(p *role.Plan) { p.Volumes[0].Adopt = true }},
		"format": {func(m *machine, p *role.Plan) {
			m.disks[serial] = blank()
			p.Volumes[0].Format = role.FormatNever
		}, "volume data: prove", func(p *role.Plan) { p.Volumes[0].Format = role.FormatIfBlank }},
		"if-absent": {func(m *machine, p *role.Plan) {
			m.disks[serial] = blank()
			p.Data[0].IfAbsent = directory.Fail
		}, "data mysql: directory", func(p *role.Plan) { p.Data[0].IfAbsent = directory.Initialize }},
		"bind": {func(m *machine, p *role.Plan) {
			m.disks[serial] = blank()
			p.Data[0].Bind = "/var/lib/other"
		}, "data mysql: engine", func(p *role.Plan) { p.Data[0].Bind = "/var/lib/mysql" }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := newMachine(), plan()
				c.set(m, &p)
				r := start(t, p, m)
				r.is(c.step, graph.Failed, "then: bootagent retry")
				next := p
				next.Volumes, next.Data = slices.Clone(p.Volumes), slices.Clone(p.Data)
				c.mended(&next)
				if err := r.Takes(t.Context(), next); err != nil {
					t.Fatal(err)
				}
				r.stop()
				r = start(t, next, m)
				time.Sleep(time.Minute)
				synctest.Wait()
				r.isUp()
				r.stop()
			})
		})
	}
}

// lookAgain deletes what is in /run, and has the agent look.
func (r *run) lookAgain(m *machine, deleted func()) {
	m.mu.Lock()
	deleted()
	m.mu.Unlock()
	if err := r.Inspect(r.t.Context()); err != nil {
		r.t.Error(err)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
}

func TestWhatIsDeletedFromRunIsThereAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.safe.sources["root-sql"], m.safe.keys = "A:hush", []string{"A"}
		r := start(t, withSecret(), m)
		r.isUp()

		r.lookAgain(m, func() { m.tokenless = map[string]bool{"mariadb.service": true} })
		if len(m.tokenless) > 0 {
			t.Error("the token is not there again")
		}
		r.lookAgain(m, func() { clear(m.safe.staged) })
		if !m.safe.staged["root-sql"] {
			t.Error("the secret is not staged again")
		}
		r.isUp()

		// A person's stop outlives the note of it, whatever else has to be made anew.
		m.mu.Lock()
		m.units["mariadb.service"] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Ran: true}}
		m.mu.Unlock()
		r.Changed(t.Context(), service.Change{Unit: "mariadb.service", Active: "inactive"})
		synctest.Wait()
		r.is("service mariadb.service: up", graph.Failed, "stopped by hand")
		r.lookAgain(m, func() { clear(m.byHand); clear(m.started); clear(m.safe.staged) })
		r.is("service mariadb.service: up", graph.Failed, "stopped by hand")
		if state, _ := m.State(t.Context(), "mariadb.service"); state.Active != "inactive" {
			t.Errorf("the service that a person stopped is %s", state.Active)
		}
		r.stop()
	})
}

func TestRetryMendsATokenThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		defer r.stop()
		r.isUp()
		m.mu.Lock()
		m.tokenless = map[string]bool{"mariadb.service": true}
		m.mu.Unlock()
		if err := r.RetryNow(t.Context()); err != nil || len(m.tokenless) > 0 {
			t.Errorf("it is not there again: %v", err)
		}
	})
}
