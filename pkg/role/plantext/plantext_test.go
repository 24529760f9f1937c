package plantext

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/role"
	"bootagent/pkg/role/directory"
	"bootagent/pkg/role/file"
	"bootagent/pkg/role/find"
	"bootagent/pkg/role/ready"
	"bootagent/pkg/role/source"
)

// Whatever the plan holds, a person reads: a key that is added to the plan and
// not to what is printed fails here.
func TestThePrintedPlanLacksNothing(t *testing.T) {
	plan := role.Plan{
		Role: "mysql",
		Volumes: []role.Volume{
			{Name: "data", Find: find.Find{Serial: "vol-serial"}, Filesystem: role.XFS, Format: role.FormatIfBlank, BlankProof: role.Whole, Mount: "/srv/data", Timeout: 20 * time.Minute, Adopt: true},
			{Name: "logs", Find: find.Find{ID: "vol-0123456789abcdef0"}, Filesystem: role.Ext4, Format: role.FormatNever, Mount: "/srv/logs", Timeout: time.Hour},
			{Name: "launched", Find: find.Find{Attached: "/dev/sdf"}, Filesystem: role.XFS, Format: role.FormatNever, Mount: "/srv/launched", Timeout: 10 * time.Minute},
			{Name: "scratch", Find: find.Find{Store: find.OneStore}, Filesystem: role.XFS, Format: role.FormatIfBlank, Mount: "/srv/scratch", Timeout: 10 * time.Minute},
			{Name: "more", Find: find.Find{Tags: map[string]string{"cluster": "orders", "holds": "more-data"}, Pick: find.AnyFree}, Filesystem: role.XFS, Format: role.FormatIfBlank, Mount: "/srv/more", Timeout: 90 * time.Second, Disposable: true},
		},
		Data:    []role.Data{{Name: "db", Volume: "data", Dir: "subdir", Bind: "/var/lib/mysql", Engine: "mariadb", Owner: "own", IfAbsent: directory.Initialize, Beside: []string{"former"}}},
		Secrets: []role.Secret{{Name: "root-sql", From: source.Source{Scheme: "s3", Ref: "orders-secrets/root.age"}, Credential: "root.sql", Services: []string{"mariadb.service"}}},
		Files: []file.File{
			{Name: "id.cnf", Content: file.Text{{Text: "[mysqld]\n"}, {Put: "volume.data.tag.id"}, {Text: " or so"}}, Owner: "filer", Group: "filers", Mode: file.OfGroup, Services: []string{"mariadb.service"}, Patterns: map[string]string{"volume.data.tag.id": "[0-9]"}},
			{Name: "vars", Env: []file.Variable{{Name: "A", Value: file.Text{{Put: "secret.root-sql"}}}}, Owner: "root", Mode: file.OfOwner, Services: []string{"mariadb.service"}},
		},
		Services: []role.Service{{Unit: "mariadb.service", Needs: []role.Need{{Kind: role.KindData, Name: "db"}}, Ready: &ready.Ready{Unit: "probe.service", Timeout: 15 * time.Minute}, AlsoGuard: []string{"backup.timer"}, IMDS: true}},
	}
	var printed strings.Builder
	Print(&printed, plan)
	src, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := json.Unmarshal(src, &values); err != nil {
		t.Fatal(err)
	}
	var check func(key string, value any)
	check = func(key string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for key, value := range v {
				check(key, value)
			}
		case []any:
			for _, value := range v {
				check(key, value)
			}
		case bool:
			if !strings.Contains(printed.String(), "  "+key+" ") {
				t.Errorf("it does not say %s", key)
			}
		case string:
			if key == "timeout" {
				d, err := time.ParseDuration(v)
				if err != nil {
					t.Fatal(err)
				}
				v = duration(d)
			}
			if !strings.Contains(printed.String(), v) {
				t.Errorf("it does not say %s: %s", key, v)
			}
		}
	}
	check("plan", values)
	if t.Failed() {
		t.Log(printed.String())
	}
}

func TestDurationsAreWrittenAsInRoleFiles(t *testing.T) {
	for want, d := range map[string]time.Duration{"20m": 20 * time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute, "1m30s": 90 * time.Second, "10s": 10 * time.Second, "0s": 0} {
		if got := duration(d); got != want {
			t.Errorf("%v is written as %s, want %s", d, got, want)
		}
	}
}

func TestThePrintedPlanSaysWhoseAnswerABindIs(t *testing.T) {
	for want, d := range map[string]role.Data{
		"  bind        auto (mariadb is asked at boot where it keeps its data)\n":          {Auto: true},
		"  bind        /var/lib/mysql (auto: mariadb says that it keeps its data there)\n": {Auto: true, Bind: "/var/lib/mysql"},
		"  bind        /var/lib/mysql\n":                                                   {Bind: "/var/lib/mysql"},
	} {
		var printed strings.Builder
		d.Engine = "mariadb"
		if Print(&printed, role.Plan{Data: []role.Data{d}}); !strings.Contains(printed.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, printed.String())
		}
	}
}
