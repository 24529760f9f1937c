package image

import (
	"slices"
	"testing"

	"bootagent/pkg/grammar"
)

func TestHoldsAreThoseOfEveryRole(t *testing.T) {
	root := build(t, map[string]string{
		"web.yaml": "version: 1\nrole: web\nservices:\n  nginx.service: {}\n",
		"db.yaml": "version: 1\nrole: db\nsecrets:\n  sql: {from: \"file:///etc/sql.age\", services: [mariadb.service]}\n" +
			"services:\n  mariadb.service: {also-guard: [mysql-backup.timer], imds: allow}\n",
	})
	roles, err := grammar.All().Load(root)
	holds := Holds(roles)
	if err != nil || len(holds) != 3 {
		t.Fatalf("got %+v, %v", holds, err)
	}
	for i, want := range []string{"mariadb.service", "mysql-backup.timer", "nginx.service"} {
		if holds[i].Unit != want || holds[i].IMDS != (i < 2) {
			t.Errorf("hold %d is %+v", i, holds[i])
		}
	}
	if got := holds[0].Credentials; !slices.Equal(got, []string{"sql"}) {
		t.Errorf("%s gets the credentials %v", holds[0].Unit, got)
	}
	if holds[1].Service != "mariadb.service" {
		t.Errorf("%s waits for %s", holds[1].Unit, holds[1].Service)
	}
}

func TestCheckTellsThatGuardsAreMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // without systemd-analyze: the order of units is not checked
	img := load(t, build(t, whole()), true)
	if r := check(t, img); r.Install || len(r.Problems) > 0 || !slices.Contains(r.Checked, "1 unit of 1 role: all held (mariadb.service)") {
		t.Errorf("with guards: %+v", r)
	}
	img.Root = build(t, whole())
	if r := check(t, img); !r.Install || len(r.Problems) == 0 {
		t.Errorf("without guards: %+v", r)
	}
}
