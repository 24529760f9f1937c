package auto

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// said are engines that keep their data in these directories, by the name of the
// data, and paths on which something is mounted.
type said struct {
	dirs    map[string]string
	mounted map[string]bool
	asked   []string // with the units
	err     error
}

func (s *said) Settings(_ context.Context, d host.Data, units []string) (host.EngineSettings, error) {
	s.asked = append(s.asked, d.Name+" of "+d.Engine+" as "+d.Owner+" by "+strings.Join(units, "+"))
	return host.EngineSettings{DataDirectory: s.dirs[d.Name]}, s.err
}

func (s *said) At(where string) (uint64, bool, error) { return 1, s.mounted[where], nil }

// planned is a role with data of a database, whose bind is auto, and a part of it.
func planned() role.Plan {
	needs := []role.Need{{Kind: role.KindData, Name: "mysql"}, {Kind: role.KindVolume, Name: "data"}}
	return role.Plan{
		Role:    "db",
		Volumes: []role.Volume{{Name: "data", Mount: "/srv/data"}},
		Data: []role.Data{
			{Name: "mysql", Volume: "data", Auto: true, Engine: "mariadb", Owner: "mysql"},
			{Name: "redo", Volume: "data", Bind: "/var/lib/redo", Engine: "none", Plain: true, Owner: "mysql"},
		},
		Services: []role.Service{{Unit: "mariadb.service", Needs: needs}, {Unit: "web.service"}},
	}
}

func TestDataIsBoundWhereItsEngineKeepsIt(t *testing.T) {
	for _, dir := range []string{"/var/lib/mysql", "/var/lib/mariadb/", "/var/lib/postgresql/17/main"} {
		plan, s := planned(), &said{dirs: map[string]string{"mysql": dir}}
		if !Unbound(plan) {
			t.Error("a plan with an unknown path counts as bound")
		}
		got, err := Bind(t.Context(), s, s, plan, nil)
		if err != nil || got.Data[0].Bind != strings.TrimSuffix(dir, "/") || !got.Data[0].Auto || Unbound(got) {
			t.Errorf("%s: got %+v, %v", dir, got.Data, err)
		}
		if want := []string{"mysql of mariadb as mysql by mariadb.service"}; !reflect.DeepEqual(s.asked, want) {
			t.Errorf("asked %q, not %q", s.asked, want)
		}
		if plan.Data[0].Bind != "" {
			t.Error("the plan that was given is changed")
		}
		if _, err := Bind(t.Context(), s, s, got, nil); err != nil || len(s.asked) != 1 {
			t.Errorf("asked again for what is known: %q, %v", s.asked, err)
		}
	}
}

// The rules of a path that the role file has hold for an answer, too.
func TestAnAnswerToWhichNothingCanBeBoundIsRefused(t *testing.T) {
	for dir, want := range map[string]string{
		"":                   "mariadb does not say where it keeps its data",
		"data":               "mariadb uses the data directory data, by its own settings, and nothing can be bound there: not an absolute path",
		"/":                  "nothing can be bound there: / is not allowed",
		"/var/lib":           "nothing can be bound there: bootagent keeps its state in /var/lib/bootagent",
		"/etc/mysql":         "nothing can be bound there: /etc belongs to the system",
		"/var/lib/my sql":    "nothing can be bound there: only letters",
		"/srv/data/mysql":    `nothing can be bound there: this is below the mount point of volume "data", /srv/data`,
		"/srv":               `nothing can be bound there: this is above the mount point of volume "data", /srv/data`,
		"/var/lib/redo":      `nothing can be bound there: this is also the bind of data "redo"`,
		"/var/lib/redo/main": `nothing can be bound there: this is below the bind of data "redo"`,
	} {
		s := &said{dirs: map[string]string{"mysql": dir}}
		_, err := Bind(t.Context(), s, s, planned(), nil)
		if err == nil || !strings.HasPrefix(err.Error(), `cannot tell where data "mysql" is bound: `) || !strings.Contains(err.Error(), want) || !fault.IsPermanent(err) || fault.HintOf(err) == "" {
			t.Errorf("%q: got %v (hint: %s), want %s", dir, err, fault.HintOf(err), want)
		}
	}
}

func TestTwoDataOfOneDirectoryAreRefused(t *testing.T) {
	plan, s := planned(), &said{dirs: map[string]string{"mysql": "/var/lib/mysql", "second": "/var/lib/mysql"}}
	plan.Data = append(plan.Data, role.Data{Name: "second", Volume: "data", Auto: true, Engine: "mariadb", Owner: "mysql"})
	if _, err := Bind(t.Context(), s, s, plan, nil); err == nil || !strings.Contains(err.Error(), `this is also the bind of data "mysql"`) {
		t.Errorf("got %v", err)
	}
}

func TestAnEngineThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	s := &said{err: errors.New("no such file")}
	if _, err := Bind(t.Context(), s, s, planned(), nil); err == nil || fault.IsPermanent(err) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}

// The engine may be running on what is mounted.
func TestWhatIsMountedStaysWhereItIs(t *testing.T) {
	for name, c := range map[string]struct {
		change func(former *role.Plan)
		on     bool
		want   string
	}{
		"mounted":            {func(*role.Plan) {}, true, "/var/lib/mysql"},
		"not mounted":        {func(*role.Plan) {}, false, "/var/lib/mariadb"},
		"another role":       {func(p *role.Plan) { p.Role = "queue" }, true, "/var/lib/mariadb"},
		"another engine":     {func(p *role.Plan) { p.Data[0].Engine = "mysql" }, true, "/var/lib/mariadb"},
		"another's data":     {func(p *role.Plan) { p.Data[0].Name = "orders" }, true, "/var/lib/mariadb"},
		"a path by itself":   {func(p *role.Plan) { p.Data[0].Auto = false }, true, "/var/lib/mariadb"},
		"never bound before": {func(p *role.Plan) { p.Data[0].Bind = "" }, true, "/var/lib/mariadb"},
	} {
		former, s := planned(), &said{dirs: map[string]string{"mysql": "/var/lib/mariadb"}, mounted: map[string]bool{"/var/lib/mysql": c.on}}
		former.Data[0].Bind = "/var/lib/mysql"
		c.change(&former)
		got, err := Bind(t.Context(), s, s, planned(), &former)
		if err != nil || got.Data[0].Bind != c.want {
			t.Errorf("%s: got %q, %v, want %s", name, got.Data[0].Bind, err, c.want)
		}
		if kept := c.want == "/var/lib/mysql"; kept != (len(s.asked) == 0) {
			t.Errorf("%s: asked %q", name, s.asked)
		}
	}
}
