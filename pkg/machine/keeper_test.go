package machine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/grammar"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/systemd/guard"
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

func TestServicesAreToldWhichInstanceThisIs(t *testing.T) {
	k := Keeper{RunDir: t.TempDir(), RolesDir: t.TempDir()}
	if err := k.Lock(); err != nil {
		t.Fatal(err)
	}
	defer k.Unlock()
	file := filepath.Join(k.RunDir, "instance.env")
	says := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("it says %q, %v", got, err)
		}
		if info, err := os.Lstat(file); err != nil || info.Mode() != 0o644 {
			t.Errorf("it is %v, %v", info, err)
		}
	}
	of := host.Instance{ID: "i-1", Region: "eu-central-1"}
	if err := k.Plan(role.Plan{}, of); err != nil {
		t.Fatal(err)
	}
	says("INSTANCE_ID=\"i-1\"\nREGION=\"eu-central-1\"\n")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := k.Check(&role.Plan{}, of); err != nil {
		t.Fatal(err)
	}
	says("INSTANCE_ID=\"i-1\"\nREGION=\"eu-central-1\"\n")

	// A local machine is none, also where it was one before.
	for range 2 {
		if err := errors.Join(k.Plan(role.Plan{}, host.Instance{}), k.Check(&role.Plan{}, host.Instance{})); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is a file: %v", err)
		}
	}
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

func TestWithoutAPlanEveryServiceWithAGuardIsHeldUnlessItWasGranted(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/bootagent/roles.d/web.yaml", "version: 1\nrole: web\nservices:\n  nginx.service: {}\n  cron.service: {}\n")
	write("usr/lib/systemd/system/nginx.service", "[Service]\nExecStart=/usr/sbin/serve\n")
	write("usr/lib/systemd/system/cron.service", "[Service]\nExecStart=/usr/sbin/serve\n")
	write("usr/lib/systemd/system/cron.timer", "[Timer]\nOnBootSec=1\n")
	holds := []guard.Hold{{Unit: "nginx.service", Service: "nginx.service"}, {Unit: "cron.service", Service: "cron.service"}}
	if _, err := guard.Install(root, holds); err != nil {
		t.Fatal(err)
	}
	if held := guard.Held(root); !slices.Equal(held, []string{"cron.service", "nginx.service"}) {
		t.Errorf("held are %q", held)
	}
	write("run/bootagent/granted/cron.service", "")
	if held := guard.Held(root); !slices.Equal(held, []string{"nginx.service"}) {
		t.Errorf("with one granted, held are %q", held)
	}
}
