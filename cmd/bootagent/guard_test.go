package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/role"
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

func TestHoldsAreThoseOfEveryRole(t *testing.T) {
	root := t.TempDir()
	writeFile(t, filepath.Join(root, rolesDir, "web.yaml"), webRole)
	writeFile(t, filepath.Join(root, rolesDir, "db.yaml"),
		"version: 1\nrole: db\nsecrets:\n  sql: {from: \"file:///etc/sql.age\", services: [mariadb.service]}\n"+
			"services:\n  mariadb.service: {also-guard: [mysql-backup.timer], imds: allow}\n")
	roles, err := role.Load(filepath.Join(root, rolesDir))
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
