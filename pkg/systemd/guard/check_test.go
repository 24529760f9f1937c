package guard

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	guardText := hold("mariadb.service").Text()
	for _, test := range []struct {
		name  string
		after func(root string) error // what happens to an image with its guards
		holds []Hold                  // mariadb.service if none
		want  []Problem               // with words that the detail has to have
	}{
		{name: "all is well"},
		{
			name:  "a drop-in before the guard, and a harmless one behind it",
			after: write("etc/systemd/system/mariadb.service.d/10.conf", "[Unit]\nAssertPathExists=\nBindsTo=\n[Service]\nIPAddressDeny=\n", "etc/systemd/system/mariadb.service.d/override.conf", "[Service]\nLimitNOFILE=1\nIPAddressAllow=10.0.0.0/8 localhost\n"),
		},
		{
			name:  "a guard is missing",
			after: remove(mariadbGuard),
			want:  []Problem{{Unit: "mariadb.service", Detail: "has no guard in /etc/systemd/system: run bootagent guard install", Install: true}},
		},
		{
			name: "a guard is missing, which nothing can undo",
			after: func(root string) error {
				return errors.Join(remove(mariadbGuard)(root),
					write("etc/systemd/system/mariadb.service.d/10.conf", "[Unit]\nAssertPathExists=\n[Service]\nIPAddressDeny=\n")(root))
			},
			want: []Problem{{Unit: "mariadb.service", Detail: "has no guard", Install: true}},
		},
		{
			name:  "a guard was edited",
			after: write(mariadbGuard, strings.Replace(guardText, "Assert", "#Assert", 1)),
			want:  []Problem{{Unit: "mariadb.service", Detail: "that differs from what the roles need: run bootagent guard install", Install: true}},
		},
		{
			name:  "another's file is in its place",
			after: write(mariadbGuard, "[Unit]\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "bootagent did not make it"}},
		},
		{
			name:  "no role holds a unit any more",
			after: write(nginxGuard, hold("nginx.service").Text()),
			want:  []Problem{{Unit: "nginx.service", Detail: "has a guard, but no role needs it: run bootagent guard install", Install: true}},
		},
		{
			name:  "a new trigger is not held",
			after: write("etc/systemd/system/nightly.timer", "[Timer]\nUnit=mariadb.service\nOnBootSec=1\n"),
			want:  []Problem{{Unit: "nightly.timer", Detail: "has no guard", Install: true}},
		},
		{
			name:  "a directory that wins has a file of the name",
			after: write("etc/systemd/system.control/mariadb.service.d/"+fileName, "[Unit]\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "/etc/systemd/system.control/mariadb.service.d/" + fileName + " replaces its guard: rm "}},
		},
		{
			name:  "the generator's guard is not the one of /etc any more",
			after: write("run/systemd/generator.early/mariadb.service.d/"+fileName, Hold{Unit: "mariadb.service", Service: "mysql.service"}.Text()),
			want:  []Problem{{Unit: "mariadb.service", Detail: "/run/systemd/generator.early/mariadb.service.d/"}},
		},
		{
			name:  "the generator's guard is the same",
			after: write("run/systemd/generator.early/mariadb.service.d/"+fileName, guardText),
		},
		{
			name:  "a later drop-in resets the assertions",
			after: write("etc/systemd/system/mariadb.service.d/override.conf", "[Unit]\nAssertPathIsDirectory =\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "/etc/systemd/system/mariadb.service.d/override.conf switches off the condition of its guard"}},
		},
		{
			name:  "one for all services does",
			after: write("usr/lib/systemd/system/service.d/60.conf", "[Unit]\nAssertPathExists=\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "/usr/lib/systemd/system/service.d/60.conf"}},
		},
		{
			name:  "one that makes the assertion again does not",
			after: write("etc/systemd/system/mariadb.service.d/override.conf", "[Unit]\nAssertPathExists=\nAssertPathExists=/run/bootagent/granted/mariadb.service\n"),
		},
		{
			name:  "one of another section does not",
			after: write("etc/systemd/system/mariadb.service.d/override.conf", "[Service]\nAssertPathExists=\n"),
		},
		{
			name:  "a later drop-in takes the denial back",
			after: write("etc/systemd/system/mariadb.service.d/override.conf", "[Service]\nIPAddressDeny=\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "override.conf lets it reach the metadata service"}},
		},
		{
			name:  "the unit itself allows what the guard denies",
			after: write("etc/systemd/system/mariadb.service", service+"IPAddressAllow=link-local\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "/etc/systemd/system/mariadb.service lets it reach"}},
		},
		{
			name:  "a later drop-in shows what the guard hides",
			after: write("etc/systemd/system/mariadb.service.d/override.conf", "[Service]\nInaccessiblePaths=\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "override.conf lets it reach the metadata service by /run/systemd/io.systemd.InstanceMetadata"}},
		},
		{
			name:  "one does by the setting's former name",
			after: write("etc/systemd/system/mariadb.service.d/override.conf", "[Service]\nInaccessibleDirectories=\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "its empty InaccessiblePaths= undoes that of the guard; remove that setting"}},
		},
		{
			name:  "one hides other paths, and all below one",
			after: write("etc/systemd/system/mariadb.service.d/override.conf", "[Service]\nInaccessiblePaths=/x\nInaccessiblePaths=\nInaccessiblePaths=/y -/run/systemd\n"),
		},
		{
			name:  "the slice of the system allows what the guard denies",
			after: write("etc/systemd/system/system.slice.d/10.conf", "[Slice]\nIPAddressAllow=any\n"),
			want: []Problem{{
				Unit:   "mariadb.service",
				Detail: "/etc/systemd/system/system.slice.d/10.conf lets it reach the metadata service: IPAddressAllow=any applies to all units in system.slice, where it runs",
			}},
		},
		{
			name:  "the slice of all does",
			after: write("run/systemd/system/-.slice.d/a.conf", "[Slice]\nIPAddressAllow=169.254.0.0/16\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "IPAddressAllow=169.254.0.0/16 applies to all units in -.slice, where it runs"}},
		},
		{
			name:  "a drop-in for all slices does, for each of them",
			after: write("usr/lib/systemd/system/slice.d/a.conf", "[Slice]\nIPAddressAllow=fd00:ec2::/32\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "applies to all units in system.slice"}, {Unit: "mariadb.service", Detail: "applies to all units in -.slice"}},
		},
		{
			name: "the unit's own slice does, and one above it",
			after: write("etc/systemd/system/mariadb.service.d/60.conf", "[Service]\nSlice=other.slice\nSlice=db-%p-big.slice\n",
				"etc/systemd/system/db-mariadb-big.slice", "[Slice]\nIPAddressAllow=link-local\n",
				"etc/systemd/system/db-mariadb.slice.d/x.conf", "[Slice]\nIPAddressAllow=10.0.0.0/8\nIPAddressAllow=169.254.169.254\n",
				"etc/systemd/system/db.slice.d/x.conf", "[Slice]\nIPAddressAllow=169.254.169.254\nIPAddressAllow=\n",
				"etc/systemd/system/other.slice.d/x.conf", "[Slice]\nIPAddressAllow=any\n",
				"etc/systemd/system/system.slice.d/x.conf", "[Slice]\nIPAddressAllow=any\n"),
			want: []Problem{
				{Unit: "mariadb.service", Detail: "/etc/systemd/system/db-mariadb-big.slice lets it reach"},
				{Unit: "mariadb.service", Detail: "/etc/systemd/system/db-mariadb.slice.d/x.conf lets it reach"},
			},
		},
		{
			name:  "a drop-in for slices of a prefix does",
			after: write("etc/systemd/system/mariadb.service.d/60.conf", "[Service]\nSlice=db-big.slice\n", "etc/systemd/system/db-.slice.d/x.conf", "[Slice]\nIPAddressAllow=any\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "/etc/systemd/system/db-.slice.d/x.conf lets it reach the metadata service: IPAddressAllow=any applies to all units in db-big.slice"}},
		},
		{
			name:  "an instance runs in a slice of its template",
			holds: []Hold{hold("pg-db@15-main.service")},
			after: write("usr/lib/systemd/system/pg-db@.service", service,
				"etc/systemd/system/system-pg\\x2ddb.slice.d/x.conf", "[Slice]\nIPAddressAllow=any\n",
				"etc/systemd/system/system-pg.slice.d/x.conf", "[Slice]\nIPAddressAllow=any\n"),
			want: []Problem{{Unit: "pg-db@15-main.service", Detail: `applies to all units in system-pg\x2ddb.slice, where it runs`}},
		},
		{
			name: "a slice that it does not run in, one that takes it back, and what is no setting of slices do not",
			after: write("etc/systemd/system/user.slice.d/x.conf", "[Slice]\nIPAddressAllow=any\n",
				"etc/systemd/system/system.slice.d/x.conf", "[Slice]\nIPAddressAllow=any\n[Service]\nIPAddressAllow=any\n",
				"etc/systemd/system/system.slice.d/y.conf", "[Slice]\nIPAddressAllow=\nIPAddressDeny=\n"),
		},
		{
			name:  "a role allows it as well as a slice",
			holds: []Hold{{Unit: "mariadb.service", Service: "mariadb.service", IMDS: true}},
			after: write("etc/systemd/system/system.slice.d/10.conf", "[Slice]\nIPAddressAllow=any\n"),
		},
		{
			name:  "a role allows it as well",
			holds: []Hold{{Unit: "mariadb.service", Service: "mariadb.service", IMDS: true}},
			after: write("etc/systemd/system/mariadb.service", service+"IPAddressAllow=any\n"),
		},
		{
			name:  "the unit is masked",
			after: func(root string) error { return os.Symlink("/dev/null", root+"/etc/systemd/system/mariadb.service") },
			want:  []Problem{{Unit: "mariadb.service", Detail: "unmask mariadb.service"}},
		},
		{
			name:  "a name is misspelt",
			holds: []Hold{hold("mariadb.service"), hold("mariabd.service")},
			want:  []Problem{{Unit: "mariabd.service", Detail: "has no unit file: check the name, and install its package"}},
		},
		{
			name:  "a script of System V init is a unit",
			holds: []Hold{hold("mariadb.service"), hold("legacy.service")},
			after: write("etc/init.d/legacy", "#!/bin/sh\n"),
		},
		{
			name:  "two names are one unit",
			holds: []Hold{hold("mariadb.service"), hold("mysql.service")},
			want:  []Problem{{Unit: "mysql.service", Detail: "is another name of mariadb.service, which is held for mariadb.service, so it can never start: use one name in all roles"}},
		},
		{
			name:  "another name alone will do",
			holds: []Hold{hold("mysql.service")},
		},
		{
			name:  "a drop-in of another name counts, once",
			holds: []Hold{hold("mysql.service")},
			after: write("etc/systemd/system/mysql.service.d/60.conf", "[Unit]\nAssertPathExists=\n"),
			want:  []Problem{{Unit: "mariadb.service", Detail: "/etc/systemd/system/mysql.service.d/60.conf"}},
		},
		{
			name:  "another name beside the unit, for one service, will do",
			holds: []Hold{hold("mariadb.service"), {Unit: "mysql.service", Service: "mariadb.service"}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := image()
			m["usr/lib/systemd/system/mysql.service"] = "-> mariadb.service"
			root := m.root(t)
			holds := test.holds
			if holds == nil {
				holds = []Hold{hold("mariadb.service")}
			}
			install_(t, root, holds...)
			if test.after != nil {
				if err := test.after(root); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Check(root, holds)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(test.want) {
				t.Fatalf("problems: %v, not %v", got, test.want)
			}
			for i, want := range test.want {
				if got[i].Unit != want.Unit || got[i].Install != want.Install || !strings.Contains(got[i].Detail, want.Detail) {
					t.Errorf("problem %v, not %v", got[i], want)
				}
			}
		})
	}
}

func TestShowGivesInstalledGuardsAndTheGenerators(t *testing.T) {
	root := image().root(t)
	install_(t, root, hold("mariadb.service"))
	if err := write("run/systemd/generator.early/nginx.service.d/"+fileName, hold("nginx.service").Text(),
		"etc/systemd/system/foreign.service.d/"+fileName, "[Unit]\n")(root); err != nil {
		t.Fatal(err)
	}
	guards, err := Show(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range guards {
		got = append(got, g.Unit+" "+g.Path)
		if h := (Hold{Unit: g.Unit, Service: strings.Replace(g.Unit, ".socket", ".service", 1)}); g.Text != h.Text() {
			t.Errorf("the guard of %s is %q", g.Unit, g.Text)
		}
	}
	want := "mariadb.service " + mariadbGuard + "\nmariadb.socket " + socketGuard +
		"\nnginx.service /run/systemd/generator.early/nginx.service.d/" + fileName
	if got := strings.Join(got, "\n"); got != want {
		t.Errorf("shown is\n%s\nnot\n%s", got, want)
	}
}

// write gives what writes files: path, text, path, text, ...
func write(pairs ...string) func(root string) error {
	return func(root string) error {
		for i := 0; i < len(pairs); i += 2 {
			file := filepath.Join(root, pairs[i])
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(file, []byte(pairs[i+1]), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
}

func remove(path string) func(root string) error {
	return func(root string) error { return os.Remove(root + path) }
}
