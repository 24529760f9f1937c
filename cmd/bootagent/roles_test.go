package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/grammar"
)

const webRole = "version: 1\nrole: web\nservices:\n  nginx.service: {}\n"

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unitsIn are those that the role files of a directory hold.
func unitsIn(t *testing.T, dir string) string {
	t.Helper()
	roles, err := grammar.All().Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range roles {
		for _, u := range r.Units() {
			all = append(all, u.Unit)
		}
	}
	return strings.Join(all, " ")
}

func TestRolesInForceAreKept(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "roles.d"), filepath.Join(t.TempDir(), "run", "roles.d")
	web, db := filepath.Join(from, "web.yaml"), filepath.Join(from, "db.yaml")
	writeFile(t, web, webRole)
	writeFile(t, db, strings.NewReplacer("web", "db", "nginx", "mariadb").Replace(webRole))
	writeFile(t, filepath.Join(from, "notes.txt"), "not a role")
	keep := func(want string) {
		t.Helper()
		if err := keepRoles(from, to); err != nil {
			t.Fatal(err)
		}
		if got := unitsIn(t, to); got != want {
			t.Errorf("kept are %q, want %q", got, want)
		}
	}
	keep("mariadb.service nginx.service")

	// A unit that may run stays held when its file is gone.
	if err := os.Remove(db); err != nil {
		t.Fatal(err)
	}
	keep("mariadb.service nginx.service")
	writeFile(t, web, strings.ReplaceAll(webRole, "nginx", "apache2"))
	keep("mariadb.service apache2.service")

	left, err := os.ReadDir(to)
	if err != nil || len(left) != 2 {
		t.Errorf("there is %v, %v", left, err)
	}
	for _, file := range left {
		if info, err := file.Info(); err != nil || info.Mode() != 0o644 {
			t.Errorf("%s is %v, %v", file.Name(), info.Mode(), err)
		}
	}
}

func TestHoldsAreThoseOfEveryRole(t *testing.T) {
	root := t.TempDir()
	writeFile(t, filepath.Join(root, rolesDir, "web.yaml"), webRole)
	writeFile(t, filepath.Join(root, rolesDir, "db.yaml"),
		"version: 1\nrole: db\nsecrets:\n  sql: {from: \"file:///etc/sql.age\", services: [mariadb.service]}\n"+
			"services:\n  mariadb.service: {also-guard: [mysql-backup.timer], imds: allow}\n")
	roles, err := grammar.All().Load(filepath.Join(root, rolesDir))
	holds := holdsOf(roles)
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

	// What a file that can't be read holds is not known.
	writeFile(t, filepath.Join(root, rolesDir, "broken.yaml"), "version: 1\nrole: [\n")
	if err := checkGuards(t.Context(), root, io.Discard); err == nil || !strings.Contains(err.Error(), "broken.yaml") {
		t.Errorf("with a broken file: %v", err)
	}
}
