package role_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/golden"
	"bootagent/pkg/grammar"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
	"bootagent/pkg/unit"
)

func decodeFile(t *testing.T, path string) (*role.Role, error) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return grammar.All().Decode(filepath.Base(path), src)
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data for %s: %v", pattern, err)
	}
	return files
}

func TestARefusedFileTellsAllItsMistakes(t *testing.T) {
	for _, file := range glob(t, "testdata/refused/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			r, err := decodeFile(t, file)
			if err == nil || r != nil {
				t.Fatalf("accepted: %+v", r)
			}
			golden.Check(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

// anInstance is one on which every expansion has a value.
var anInstance = role.Instance{ID: "i-0123456789abcdef0", Zone: "eu-central-1a", Region: "eu-central-1", Type: "m7g.large", PrivateIPv4: "10.0.0.17"}

func planJSON(t *testing.T, r *role.Role, params, volumes map[string]string) string {
	t.Helper()
	plan, err := r.Plan(params, volumes, anInstance)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var read role.Plan // as bootagent release reads the plan that the agent keeps
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if again, err := json.MarshalIndent(read, "", "  "); err != nil || string(again) != string(text) {
		t.Errorf("from JSON it is read as\n%s\nnot\n%s\n%v", again, text, err)
	}
	return string(text) + "\n"
}

func TestThePlanOfARoleIsWhole(t *testing.T) {
	for _, c := range []struct {
		file            string
		params, volumes map[string]string
	}{
		{file: "testdata/mysql.yaml", params: map[string]string{"disk": "vol0123456789abcdef0"}},
		{file: "testdata/web.yaml"},
		{
			file:    "testdata/plan/full.yaml",
			params:  map[string]string{"first": "7"},
			volumes: map[string]string{"bound": "vol-0a1b2c3d"},
		},
		{
			file:   "testdata/plan/cloud.yaml",
			params: map[string]string{"cluster": "orders"},
			volumes: map[string]string{
				"bound-from-tags":   "vol-00000000000000001",
				"bound-from-id":     "vol-00000000000000002",
				"bound-from-serial": "vol-00000000000000003",
				"bound-to-id":       "vol-00000000000000004",

				"bound-from-attached": "vol-00000000000000005",
				"bound-to-serial":     "QEMU-7",
			},
		},
		{file: "testdata/plan/files.yaml", params: map[string]string{"cluster": "the orders"}},
	} {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			r, err := decodeFile(t, c.file)
			if err != nil {
				t.Fatal(err)
			}
			file := "testdata/plan/" + strings.TrimSuffix(filepath.Base(c.file), ".yaml") + ".golden"
			golden.Check(t, file, planJSON(t, r, c.params, c.volumes))
		})
	}
}

func TestAPlanSharesNothingWithItsRole(t *testing.T) {
	for file, volumes := range map[string]map[string]string{
		"full":  {"bound": "b"},
		"cloud": {"bound-to-id": "vol-00000001", "bound-to-serial": "b"},
		"files": nil,
	} {
		r, err := decodeFile(t, "testdata/plan/"+file+".yaml")
		if err != nil {
			t.Fatal(err)
		}
		params := map[string]string{"first": "7"}
		if file != "full" {
			params = map[string]string{"cluster": "orders"}
		}
		before := planJSON(t, r, params, volumes)
		plan, err := r.Plan(params, volumes, anInstance)
		if err != nil {
			t.Fatal(err)
		}
		for i := range plan.Volumes {
			plan.Volumes[i].Mount = "/x"
			clear(plan.Volumes[i].Find.Tags)
		}
		for i := range plan.Data {
			plan.Data[i].Dir = "x"
		}
		for i := range plan.Secrets {
			plan.Secrets[i].From.Ref = "x"
			clear(plan.Secrets[i].Services)
		}
		for i := range plan.Files {
			f := &plan.Files[i]
			f.Owner = "x"
			clear(f.Content)
			clear(f.Env)
			clear(f.Services)
			clear(f.Patterns)
		}
		for i := range plan.Services {
			s := &plan.Services[i]
			s.Unit = "x"
			clear(s.Needs)
			clear(s.AlsoGuard)
			if s.Ready != nil {
				s.Ready.Unit = "x"
			}
		}
		if after := planJSON(t, r, params, volumes); after != before {
			t.Errorf("a change of one plan changed the next: %s", after)
		}
	}
}

const selected = `
version: 1
role: db
params:
  disk: {pattern: "[a-z0-9-]*"}
  zone: {pattern: "a|b", default: a}
  free: {default: ""}
volumes:
  data: {find: {serial: "${params.disk}"}}
  logs: {find: {serial: "logs${params.free}"}}
services:
  db.service:
`

func TestASelectionThatDoesNotFitIsRefused(t *testing.T) {
	const secret = "hunter2"
	for _, c := range []struct {
		name            string
		params, volumes map[string]string
		want            string
	}{
		{"no parameter", nil, nil, `parameter "disk" is not set and has no default; set it below params in the user-data`},
		{"near miss", map[string]string{"disk": "d", "zoen": secret}, nil, `unknown parameter "zoen"; did you mean "zone"? (parameters of the role: disk, free, zone)`},
		{"unknown parameter", map[string]string{"disk": "d", "password": secret}, nil, `unknown parameter "password" (parameters of the role: disk, free, zone)`},
		{"pattern", map[string]string{"disk": "HUNTER2"}, nil, `parameter "disk" does not match its pattern [a-z0-9-]*`},
		{"pattern, only the beginning fits", map[string]string{"disk": "d", "zone": "ahunter2"}, nil, `parameter "zone" does not match its pattern a|b`},
		{"pattern, only the end fits", map[string]string{"disk": "d", "zone": "hunter2b"}, nil, `parameter "zone" does not match its pattern a|b`},
		{"pattern, a line more", map[string]string{"disk": "d", "zone": "a\n"}, nil, `parameter "zone" contains a character that is neither printable nor a space`},
		{"slash", map[string]string{"disk": "d", "free": "hunter2/"}, nil, `volume "logs": serial: ${params.free}: the value contains /, which is allowed in the values of tags only`},
		{"dots", map[string]string{"disk": "d", "free": "hunter2.."}, nil, `parameter "free" contains .., which is not allowed`},
		{"star", map[string]string{"disk": "d", "free": "hunter2*"}, nil, `parameter "free" contains *, which is not allowed`},
		{"question mark", map[string]string{"disk": "d", "free": "hunter2?"}, nil, `parameter "free" contains ?, which is not allowed`},
		{"newline", map[string]string{"disk": "d", "free": "hunter2\n"}, nil, `parameter "free" contains a character that is neither printable nor a space`},
		{"control character", map[string]string{"disk": "d", "free": "hunter2\x1b"}, nil, `parameter "free" contains a character that is neither printable nor a space`},
		{"no UTF-8", map[string]string{"disk": "d", "free": "hunter2\xff"}, nil, `parameter "free" contains a character that is neither printable nor a space`},
		{"long", map[string]string{"disk": "d", "free": strings.Repeat("x", 257)}, nil, `parameter "free" is too long: 257 bytes; 256 are allowed`},
		{"no serial", map[string]string{"disk": ""}, nil, `volume "data": serial: must not be empty`},
		{"long serial", map[string]string{"disk": strings.Repeat("x", 21)}, nil, `volume "data": serial: too long: 21 characters; the serial number of an NVMe disk has at most 20`},
		{"serial with a space", map[string]string{"disk": "d", "free": "hunter2 "}, nil, `volume "logs": serial: only printable ASCII characters are allowed, without spaces, quotes and / * ? $ \ { }`},
		{"nothing is expanded twice", map[string]string{"disk": "d", "free": "${params.disk}"}, nil, `volume "logs": serial: only printable ASCII characters are allowed, without spaces, quotes and / * ? $ \ { }`},
		{"volume id where a serial is wanted", map[string]string{"disk": "vol-0123456789abcdef0"}, nil, `volume "data": serial: a volume ID, not a serial number: the serial number of an EBS volume has no dash after vol`},
		{"no volume id", map[string]string{"disk": "d"}, map[string]string{"data": "vol-hunter2"}, `volume "data": not an EBS volume ID: vol- and 8 or 17 hexadecimal digits`},
		{"path as a volume", map[string]string{"disk": "d"}, map[string]string{"data": "/dev/sdb"}, `volume "data": serial: a device path, not a serial number: device paths change from boot to boot`},
		{"bound to nothing", map[string]string{"disk": "d"}, map[string]string{"data": ""}, `volume "data": serial: must not be empty`},
		{"volume near miss", map[string]string{"disk": "d"}, map[string]string{"dtaa": secret}, `unknown volume "dtaa"; did you mean "data"? (volumes of the role: data, logs)`},
		{"two volumes, one disk", map[string]string{"disk": "logs"}, nil, `volumes "data" and "logs" are the same disk: they have the same serial`},
		{"two volumes, one disk bound", map[string]string{"disk": "d"}, map[string]string{"logs": "d"}, `volumes "data" and "logs" are the same disk: they have the same serial`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := grammar.All().Decode("db.yaml", []byte(selected))
			if err != nil {
				t.Fatal(err)
			}
			plan, err := r.Plan(c.params, c.volumes, role.Instance{})
			if plan != nil || err == nil {
				t.Fatalf("accepted: %+v", plan)
			}
			if want := `role "db": ` + c.want; err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if strings.Contains(strings.ToLower(err.Error()), secret) {
				t.Errorf("the error quotes a value: %v", err)
			}
		})
	}
}

func TestAllMistakesOfASelectionAreTold(t *testing.T) {
	r, err := grammar.All().Decode("db.yaml", []byte(selected))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Plan(map[string]string{"zone": "c", "x": "", "w": ""}, map[string]string{"y": ""}, role.Instance{})
	lines := strings.Split(fmt.Sprint(err), "\n")
	for i, want := range []string{`"disk" is not set`, `"zone" does not match`, `parameter "w"`, `parameter "x"`, `volume "y"`} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("line %d of %q has no %s", i, lines, want)
		}
	}
}

const tagged = `
version: 1
role: db
params:
  cluster: {default: orders}
  suffix: {default: ""}
volumes:
  data: {find: {tags: {cluster: "${params.cluster}"}}}
  logs: {find: {tags: {cluster: "logs${params.suffix}"}}}
  temp: {find: {id: "vol-0000000${params.suffix}"}}
  free: {}
secrets:
  sql: {from: "s3://secrets/${params.cluster}/${params.suffix}.age", services: [db.service]}
services:
  db.service:
`

func TestASelectionThatDoesNotFitEC2IsRefused(t *testing.T) {
	const secret = "hunter2"
	params := func(cluster, suffix string) map[string]string {
		return map[string]string{"cluster": cluster, "suffix": suffix}
	}
	free := map[string]string{"free": "vol-0123456789abcdef0"}
	for _, c := range []struct {
		name            string
		params, volumes map[string]string
		want            []string
	}{
		{"the tag is empty", params("", "1"), free, []string{`volume "data": tag "cluster": must not be empty`, `secret "sql": key: an element is empty: the key begins or ends with /, or has // in it`}},
		{"the tag has a backslash", params(`hunter2\`, "1"), free, []string{`volume "data": tag "cluster": the characters * ? \ are not allowed: EC2 treats them as wildcards`}},
		{"the tag has a wildcard", params("hunter2*", "1"), free, []string{`parameter "cluster" contains *, which is not allowed`}},
		{"the key and the id have a slash", params("hunter2/x", "/"), free, []string{
			`volume "temp": id: ${params.suffix}: the value contains /, which is allowed in the values of tags only`,
			`secret "sql": ${params.cluster}: the value contains /, which is allowed in the values of tags only`,
		}},
		{"the tag goes up", params("hunter2/../x", "1"), free, []string{`parameter "cluster" contains .., which is not allowed`}},
		{"the key goes up", params(".", "."), free, []string{
			`volume "temp": id: not an EBS volume ID: vol- and 8 or 17 hexadecimal digits`,
			`secret "sql": key: . is not allowed as an element: as a path it leads elsewhere`,
		}},
		{"the tag is too long", params("x", strings.Repeat("x", 253)), free, []string{
			`volume "logs": tag "cluster": too long: 257 characters; EC2 allows 256`,
			`volume "temp": id: not an EBS volume ID: vol- and 8 or 17 hexadecimal digits`,
		}},
		{"the id is none", params("x", ""), free, []string{`volume "temp": id: not an EBS volume ID: vol- and 8 or 17 hexadecimal digits`}},
		{"nothing finds it", params("x", "1"), nil, []string{`volume "free": the role does not say which disk it is; name its volume ID below volumes in the user-data`}},
		{"bound to nearly an id", params("x", "1"), map[string]string{"free": "vol-hunter2"}, []string{`volume "free": not an EBS volume ID: vol- and 8 or 17 hexadecimal digits`}},
		{"bound to a path", params("x", "1"), map[string]string{"free": "/dev/hunter2"}, []string{`volume "free": serial: a device path, not a serial number: device paths change from boot to boot`}},
		{"bound to nothing", params("x", "1"), map[string]string{"free": ""}, []string{`volume "free": serial: must not be empty`}},
		{"bound to a serial instead of tags", params("x", "1"), map[string]string{"free": "a", "data": "hunter2"}, []string{`volume "data": not an EBS volume ID: vol- and 8 or 17 hexadecimal digits`}},
		{"bound to a serial instead of an id", params("x", "1"), map[string]string{"free": "a", "temp": "vol0123456789abcdef0"}, []string{`volume "temp": a serial number, not a volume ID: a volume ID has a dash after vol`}},
		{"the same tags", params("logs1", "1"), free, []string{`volumes "data" and "logs" are the same disk: they have the same tags`}},
		{"the same id", params("x", "1"), map[string]string{"free": "vol-00000001"}, []string{`volumes "free" and "temp" are the same disk: they have the same id`}},
		{"the id of a serial", params("x", "1"), map[string]string{"free": "vol00000001"}, []string{`volumes "free" and "temp" are the same disk: the serial of "free" is the id of "temp"`}},
		{"the same disk bound twice", params("x", "1"), map[string]string{"free": "vol-00000002", "data": "vol-00000002"}, []string{`volumes "data" and "free" are the same disk: they have the same id`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := grammar.All().Decode("db.yaml", []byte(tagged))
			if err != nil {
				t.Fatal(err)
			}
			plan, err := r.Plan(c.params, c.volumes, role.Instance{})
			if plan != nil || err == nil {
				t.Fatalf("accepted: %+v", plan)
			}
			for i, want := range c.want {
				c.want[i] = `role "db": ` + want
			}
			if want := strings.Join(c.want, "\n"); err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes a value: %v", err)
			}
		})
	}
}

// On a machine that is no instance there is nothing to put in; and what the
// metadata service says is no more trusted than the user-data.
func TestAFactThatTheInstanceLacksIsRefused(t *testing.T) {
	r, err := grammar.All().Decode("db.yaml", []byte(`
version: 1
role: db
volumes:
  data: {find: {tags: {zone: "${instance.zone}", type: "${instance.type}"}}}
secrets:
  sql: {from: "s3://secrets/${instance.id}.age", services: [db.service]}
services:
  db.service:
`))
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*role.Instance)) role.Instance {
		instance := anInstance
		change(&instance)
		return instance
	}
	const local = "has no value: this machine is set to be a local one, not an EC2 instance"
	for _, c := range []struct {
		name     string
		instance role.Instance
		want     []string
	}{
		{"a local machine", role.Instance{}, []string{
			`volume "data": tag "type": ${instance.type} ` + local,
			`volume "data": tag "zone": ${instance.zone} ` + local,
			`secret "sql": ${instance.id} ` + local,
		}},
		{"half an answer", with(func(i *role.Instance) { i.Zone = "" }), []string{
			`volume "data": tag "zone": ${instance.zone} has no value: the instance metadata service did not report it`,
		}},
		{"a path", with(func(i *role.Instance) { i.ID = "../x" }), []string{
			`secret "sql": ${instance.id}: the id of this instance contains /, which is not allowed`,
		}},
		{"a wildcard", with(func(i *role.Instance) { i.Type = "m7g.*" }), []string{
			`volume "data": tag "type": ${instance.type}: the type of this instance contains *, which is not allowed`,
		}},
		{"a second line", with(func(i *role.Instance) { i.Zone = "a\nb" }), []string{
			`volume "data": tag "zone": ${instance.zone}: the zone of this instance contains a character that is neither printable nor a space`,
		}},
		{"what is expanded is not expanded again", with(func(i *role.Instance) { i.ID = "${instance.id}" }), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := r.Plan(nil, nil, c.instance)
			if c.want == nil {
				if err != nil || plan.Secrets[0].From.Ref != "secrets/${instance.id}.age" {
					t.Errorf("got %+v, %v", plan, err)
				}
				return
			}
			for i, want := range c.want {
				c.want[i] = `role "db": ` + want
			}
			if want := strings.Join(c.want, "\n"); fmt.Sprint(err) != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestAPlanSaysWhatNeedsTheCloud(t *testing.T) {
	for _, c := range []struct{ role, bound, want string }{
		{"volumes: {data: {find: {serial: vol0123456789abcdef0}}}", "", ""},
		{"volumes: {data: {find: {serial: a}}}", "vol-0123456789abcdef0", ""},
		{"volumes: {data: {}}", "QEMU-7", ""},
		{"volumes: {data: {}}", "vol-0123456789abcdef0", `volume "data", which is the EBS volume vol-0123456789abcdef0`},
		{"volumes: {data: {find: {id: vol-01234567}}}", "", `volume "data", which is the EBS volume vol-01234567`},
		{"volumes: {data: {find: {tags: {a: b}}}}", "", `volume "data", which is found by its tags`},
		{`secrets: {sql: {from: "file:///etc/sql.age", services: [db.service]}}`, "", ""},
		{`secrets: {sql: {from: "s3://secrets/sql.age", services: [db.service]}}`, "", `secret "sql", which comes from s3://secrets/sql.age`},
	} {
		r, err := grammar.All().Decode("db.yaml", []byte("version: 1\nrole: db\n"+c.role+"\nservices: {db.service: {}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		var volumes map[string]string
		if c.bound != "" {
			volumes = map[string]string{"data": c.bound}
		}
		plan, err := r.Plan(nil, volumes, role.Instance{})
		if err != nil {
			t.Fatal(err)
		}
		if what, needs := r.NeedsCloud(plan); what != c.want || needs != (c.want != "") {
			t.Errorf("%s needs %q, %v, not %q", c.role, what, needs, c.want)
		}
	}
}

func TestAVolumeIdBindsAVolumeToItsSerial(t *testing.T) {
	r, err := grammar.All().Decode("db.yaml", []byte(selected))
	if err != nil {
		t.Fatal(err)
	}
	for bound, want := range map[string]string{
		"vol-0123456789abcdef0": "vol0123456789abcdef0",
		"vol-1234abcd":          "vol1234abcd",
		"vol0123456789abcdef0":  "vol0123456789abcdef0",
		"QEMU-7":                "QEMU-7",
	} {
		plan, err := r.Plan(map[string]string{"disk": "d"}, map[string]string{"data": bound}, role.Instance{})
		if err != nil {
			t.Errorf("%s: %v", bound, err)
			continue
		}
		if got := plan.Volumes[0].Find.Serial; got != want {
			t.Errorf("%s is bound to %s, want %s", bound, got, want)
		}
	}
}

// A disk that lasts is not made in the place of one that does not, whatever the user-data says.
func TestNoDiskTakesThePlaceOfInstanceStore(t *testing.T) {
	r, err := grammar.All().Decode("db.yaml", []byte("version: 1\nrole: db\nvolumes: {data: {find: {instance-store: one}, format: if-blank}}\nservices: {db.service: {}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bound := range []string{"vol-0123456789abcdef0", "vol0123456789abcdef0", "AWS22F6E3B7A0E6F6B1"} {
		_, err := r.Plan(nil, map[string]string{"data": bound}, role.Instance{})
		if want := `volume "data": it is instance store, and no other disk can take its place; leave it out of the user-data`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", bound, err)
		}
	}
	if plan, err := r.Plan(nil, nil, role.Instance{}); err != nil || plan.Volumes[0].Find.Store != find.OneStore {
		t.Errorf("got %+v, %v", plan, err)
	}
}

func TestAVolumeThatNothingFindsHasToBeBound(t *testing.T) {
	r, err := grammar.All().Decode("db.yaml", []byte("version: 1\nrole: db\nvolumes: {data: {}}\nservices: {db.service: {}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Plan(nil, nil, role.Instance{})
	if want := `role "db": volume "data": the role does not say which disk it is; name its volume ID below volumes in the user-data`; fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := r.Plan(nil, map[string]string{"data": "vol-0123456789abcdef0"}, role.Instance{}); err != nil {
		t.Error(err)
	}
}

// writeRoles makes a directory with files of these names and texts.
func writeRoles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func roleText(name string, services ...string) string {
	return "version: 1\nrole: " + name + "\nservices:\n  " + strings.Join(services, "\n  ") + "\n"
}

func names(roles []*role.Role) string {
	var names []string
	for _, r := range roles {
		names = append(names, r.Name)
	}
	return strings.Join(names, " ")
}

func TestABrokenFileDoesNotHideTheOthers(t *testing.T) {
	dir := writeRoles(t, map[string]string{
		"1.yaml":        roleText("web", "nginx.service:"),
		"2.yaml":        "version: 1\nrole: [",
		"3.yaml":        roleText("mysql", "mariadb.service:"),
		"4.yaml":        roleText("x", "y:"),
		"README":        "not a role",
		".hidden.yaml":  "not a role",
		"old.yaml~":     "not a role",
		"forgotten.yml": roleText("forgotten", "f.service:"),
	})
	roles, err := grammar.All().Load(dir)
	if got := names(roles); got != "mysql web" {
		t.Errorf("got the roles %s", got)
	}
	for _, want := range []string{"2.yaml:2:1: not YAML", "4.yaml:4:3: ", "forgotten.yml is not read"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	for _, not := range []string{"1.yaml", "3.yaml", "README", "hidden", "old"} {
		if strings.Contains(fmt.Sprint(err), not) {
			t.Errorf("%q in %v", not, err)
		}
	}
	var mistakes strictyaml.Errors
	if !errors.As(err, &mistakes) {
		t.Errorf("no strictyaml.Errors in %v", err)
	}
}

func TestARoleThatStandsInTwoFilesIsHeldButNeverPlanned(t *testing.T) {
	dir := writeRoles(t, map[string]string{
		"a.yaml": roleText("web", "nginx.service:"),
		"b.yaml": roleText("web", "apache2.service:"),
		"c.yaml": roleText("web", "lighttpd.service:"),
		"d.yaml": roleText("app", "app.service:"),
	})
	roles, err := grammar.All().Load(dir)
	if got := names(roles); got != "app web web web" {
		t.Errorf("got the roles %s", got)
	}
	for _, want := range []string{
		fmt.Sprintf(`two files have the role "web": %[1]s/a.yaml and %[1]s/b.yaml`, dir),
		fmt.Sprintf(`two files have the role "web": %[1]s/b.yaml and %[1]s/c.yaml`, dir),
	} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	for _, r := range roles {
		if _, err := r.Plan(nil, nil, role.Instance{}); (err == nil) != (r.Name == "app") {
			t.Errorf("plan of %s from %s: %v", r.Name, r.File, err)
		}
	}
	if r, err := role.ByName(roles, "web"); err == nil || r != nil {
		t.Errorf("%s was taken for the role web, of three", r.File)
	}
}

func TestAUnitThatTwoRolesHoldWithTwoServicesIsAnError(t *testing.T) {
	dir := writeRoles(t, map[string]string{
		"a.yaml": roleText("a", "one.service: {also-guard: [x.socket]}", "same.service:"),
		"b.yaml": roleText("b", "two.service: {also-guard: [x.socket]}", "same.service:"),
	})
	_, err := grammar.All().Load(dir)
	want := fmt.Sprintf("x.socket is held with one.service in %[1]s/a.yaml and with two.service in %[1]s/b.yaml; a unit can be held with one service only", dir)
	if fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestWithoutADirectoryThereAreNoRoles(t *testing.T) {
	roles, err := grammar.All().Load(filepath.Join(t.TempDir(), "roles.d"))
	if len(roles) > 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, %v", roles, err)
	}
}

func TestAPipeIsNotReadAsARoleFile(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "a.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "b.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := grammar.All().Load(dir)
	for _, want := range []string{"a.yaml: it is a pipe, not a regular file", "b.yaml: it is a directory, not a regular file"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestAnUnknownRoleIsAnsweredWithTheNearMiss(t *testing.T) {
	roles := []*role.Role{{Name: "mysql"}, {Name: "web"}}
	if r, err := role.ByName(roles, "web"); err != nil || r != roles[1] {
		t.Errorf("got %v, %v", r, err)
	}
	for _, c := range []struct {
		roles []*role.Role
		want  string
	}{
		{roles, `unknown role "mysq"; did you mean "mysql"? (roles of this machine: mysql, web)`},
		{nil, `unknown role "mysq": no role file could be read`},
	} {
		if _, err := role.ByName(c.roles, "mysq"); fmt.Sprint(err) != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestEveryUnitOfARoleIsHeldWithItsService(t *testing.T) {
	r, err := decodeFile(t, "testdata/plan/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []role.HeldUnit{
		{`a\x2db.service`, `a\x2db.service`, false, nil},
		{"mariadb.service", "mariadb.service", true, nil},
		{"mariadb-backup.timer", "mariadb.service", true, nil},
		{"mariadb-extra.socket", "mariadb.service", true, nil},
		{"z@main.service", "z@main.service", false, nil},
	}
	if got := r.Units(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestASourceThatIsTooLongIsRefused(t *testing.T) {
	for _, c := range []struct{ from, want string }{
		{"s3://bucket/" + strings.Repeat("k", 1024), ""},
		{"s3://bucket/" + strings.Repeat("k", 1025), `secret "a": key: too long: 1025 bytes; S3 allows 1024`},
		{"s3://bucket/${params.p}" + strings.Repeat("ä", 512), `secret "a": key: too long: 1025 bytes; S3 allows 1024`},
		{"file://" + strings.Repeat("/file", 819), ""},
		{"file:///" + strings.Repeat("p", 4095), `secret "a": file: too long: 4096 characters; Linux allows 4095`},
	} {
		_, err := grammar.All().Decode("a.yaml", []byte("version: 1\nrole: a\nparams: {p: {}}\nsecrets: {a: {from: \""+c.from+"\", services: [a.service]}}\nservices: {a.service: {}}\n"))
		if c.want == "" && err != nil || c.want != "" && fmt.Sprint(err) != "a.yaml:4:21: "+c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestAServiceGetsTheCredentialsThatAreForIt(t *testing.T) {
	r, err := decodeFile(t, "testdata/plan/cloud.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []role.HeldUnit{
		{Unit: "a.service", Service: "a.service", Credentials: []string{"root.sql", "tls"}},
		{Unit: "b.service", Service: "b.service"},
		{Unit: "c.service", Service: "c.service"},
		{Unit: "mariadb.service", Service: "mariadb.service", Credentials: []string{"LICENSE_1", "root.sql"}},
		{Unit: "exporter.service", Service: "mariadb.service"},
		{Unit: "mysql-backup.timer", Service: "mariadb.service"},
	}
	if got := r.Units(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func isNotID(text string) bool {
	_, err := name.ParseVolumeID(text)
	return err != nil
}

// An accepted role makes the same plan again and again, whatever fuzzing made
// of it, and the plan holds nothing that Decode should have refused.
func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/plan/*.yaml", "testdata/refused/*.yaml"} {
		for _, file := range glob(f, pattern) {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src, "vol0123456789abcdef0")
			f.Add(src, "orders")
			f.Add(src, "1")
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, value string) {
		r, err := grammar.All().Decode("f.yaml", src)
		if err != nil {
			var mistakes strictyaml.Errors
			if !errors.As(err, &mistakes) {
				t.Fatalf("not strictyaml.Errors: %T %v", err, err)
			}
			for _, m := range mistakes {
				if m.Line < 1 || m.Column < 1 || strings.Contains(m.Problem, "\n") {
					t.Errorf("no place, or more than one line: %q", m)
				}
			}
			return
		}
		params := make(map[string]string)
		for _, p := range r.Params {
			params[p.Name] = value
		}
		instance := role.Instance{ID: value, Zone: value, Region: value, Type: value}
		plan, err := r.Plan(params, nil, instance)
		again, errAgain := r.Plan(params, nil, instance)
		if !reflect.DeepEqual(plan, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Errorf("two plans differ:\n%+v %v\n%+v %v", plan, err, again, errAgain)
		}
		if err != nil {
			return
		}
		if len(plan.Services) == 0 || plan.Role == "" {
			t.Errorf("an empty plan: %+v", plan)
		}
		for i, v := range plan.Volumes {
			ways := 0
			for _, is := range []bool{v.Find.Serial != "", v.Find.ID != "", v.Find.Attached != "", v.Find.Store != "", len(v.Find.Tags) > 0} {
				if is {
					ways++
				}
			}
			bad := ways != 1 || syntax.CheckMountPoint(v.Mount) != nil || v.Timeout <= 0 ||
				v.Find.Serial != "" && syntax.CheckSerial(v.Find.Serial) != nil || v.Find.ID != "" && isNotID(v.Find.ID) || v.Find.Attached != "" && name.CheckDevice(v.Find.Attached) != nil
			for key, tag := range v.Find.Tags {
				bad = bad || name.CheckTagKey(key) != nil || name.CheckTagPart(tag) != nil
			}
			if bad {
				t.Errorf("volume %+v", v)
			}
			for _, other := range plan.Volumes[:i] {
				if syntax.Overlap(v.Mount, other.Mount) || reflect.DeepEqual(v.Find, other.Find) {
					t.Errorf("volumes %+v and %+v", v, other)
				}
			}
		}
		for _, d := range plan.Data {
			if d.Volume == "" || d.Engine == "" || syntax.CheckDir(d.Dir) != nil || syntax.CheckMountPoint(d.Bind) != nil {
				t.Errorf("data %+v", d)
			}
		}
		for _, s := range plan.Secrets {
			bad := len(s.Services) == 0 || syntax.CheckCredential(s.Credential) != nil
			how, known := grammar.All().Sources.Of(s.From)
			bad = bad || !known || how.Check(s.From.Ref) != nil
			if bad {
				t.Errorf("secret %+v", s)
			}
		}
		for _, s := range plan.Services {
			if !strings.HasSuffix(s.Unit, ".service") || unit.MayHold(s.Unit) != nil {
				t.Errorf("service %+v", s)
			}
			for _, secret := range plan.Secrets {
				if slices.Contains(secret.Services, s.Unit) && !slices.Contains(s.Needs, role.Need{Kind: role.KindSecret, Name: secret.Name}) {
					t.Errorf("%s does not need %+v", s.Unit, secret)
				}
			}
		}
	})
}

// What goes into the values of tags only can't become a path.
func TestAValueOfATagMayHaveASlashOrBeEmpty(t *testing.T) {
	const file = `
version: 1
role: db
params: {cluster: {default: team/orders}}
volumes:
  data: {find: {tags: {cluster: "${params.cluster}", reserved: ""}}}
services:
  db.service:
`
	r, err := grammar.All().Decode("db.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		params map[string]string
		want   map[string]string
	}{
		{nil, map[string]string{"cluster": "team/orders", "reserved": ""}},
		{map[string]string{"cluster": "/"}, map[string]string{"cluster": "/", "reserved": ""}},
	} {
		plan, err := r.Plan(c.params, nil, role.Instance{})
		if err != nil || !reflect.DeepEqual(plan.Volumes[0].Find.Tags, c.want) {
			t.Errorf("%v: got %+v, %v", c.params, plan, err)
		}
	}
	if _, err := r.Plan(map[string]string{"cluster": ""}, nil, role.Instance{}); err == nil || !strings.Contains(err.Error(), `tag "cluster": must not be empty`) {
		t.Errorf("a parameter without a value: %v", err)
	}
	for place, with := range map[string]string{
		`db.yaml:6:25: volume "data": serial: `: `find: {serial: "${params.cluster}"}`,
		`db.yaml:6:21: volume "data": id: `:     `find: {id: "vol-${params.cluster}"}`,
		`db.yaml:6:9: secret "sql": `: `}
secrets:
  sql: {from: "s3://secrets/${params.cluster}", services: [db.service]`,
		`db.yaml:6:9: file "a.conf": `: `}
files:
  a.conf: {content: "${params.cluster}", owner: db, services: [db.service]`,
	} {
		bad := strings.Replace(file, `find: {tags: {cluster: "${params.cluster}", reserved: ""}}`, with, 1)
		_, err := grammar.All().Decode("db.yaml", []byte(bad))
		if want := `the default of parameter "cluster" contains /, which is allowed in the values of tags only`; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s%s: got %v", place, want, err)
		}
	}
}

func TestASlashOfTheUserDataIsFoundThere(t *testing.T) {
	r, err := grammar.All().Decode("db.yaml", []byte(tagged))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Plan(map[string]string{"cluster": "a/b", "suffix": "1"}, map[string]string{"free": "vol-0123456789abcdef0"}, role.Instance{})
	misfit := (*role.Misfit)(nil)
	if !errors.As(err, &misfit) || misfit.Section != "params" || misfit.Name != "cluster" {
		t.Errorf("got %+v, %v", misfit, err)
	}
}

func TestAVolumeOfAPoolIsEmptiedOrAdoptedByNobody(t *testing.T) {
	const file = `
version: 1
role: db
volumes:
  data: {find: {tags: {pool: brokers}, pick: any-free}%s}
data:
  db: {volume: data, dir: db, bind: /var/lib/mysql, engine: mariadb, owner: mysql%s}
services:
  db.service:
`
	for _, c := range []struct{ volume, data, want string }{
		{"", "", ""},
		{"", ", if-absent: wait", ""},
		{", format: if-blank, disposable: true", ", if-absent: initialize", ""},
		{", disposable: true", ", if-absent: initialize", ""},
		{", format: if-blank", "", `db.yaml:5:3: volume "data": format: if-blank beside pick: any-free needs disposable: true, since an empty volume may be taken in place of one with data; write it, or leave format out`},
		{"", ", if-absent: initialize", `db.yaml:7:3: data "db": if-absent: initialize on a volume with pick: any-free needs disposable: true for the volume, since an empty volume may be taken in place of one with data`},
		{"", ", if-absent: copy, copy-from: /usr/share/db", `db.yaml:7:3: data "db": if-absent: copy on a volume with pick: any-free needs disposable: true for the volume, since an empty volume may be taken in place of one with data`},
		{", adopt: true, disposable: true", "", `db.yaml:5:3: volume "data": adopt can't stand beside pick: any-free, which could take a filesystem of anybody's; leave one of them out`},
	} {
		r, err := grammar.All().Decode("db.yaml", fmt.Appendf(nil, file, c.volume, c.data))
		if c.want != "" {
			if err == nil || err.Error() != c.want {
				t.Errorf("%s%s:\ngot  %v\nwant %s", c.volume, c.data, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s%s: %v", c.volume, c.data, err)
			continue
		}
		plan, err := r.Plan(nil, nil, role.Instance{})
		if err != nil || plan.Volumes[0].Find.Pick != find.AnyFree {
			t.Errorf("%s%s: got %+v, %v", c.volume, c.data, plan, err)
		}
		plan, err = r.Plan(nil, map[string]string{"data": "vol-0123456789abcdef0"}, role.Instance{}) // which is one
		if err != nil || plan.Volumes[0].Find.Pick != "" || plan.Volumes[0].Find.ID == "" {
			t.Errorf("%s%s, bound: got %+v, %v", c.volume, c.data, plan, err)
		}
	}
	one := strings.Replace(fmt.Sprintf(file, ", disposable: true", ""), "any-free", "one", 1)
	if _, err := grammar.All().Decode("db.yaml", []byte(one)); err == nil || !strings.Contains(err.Error(), `volume "data": disposable applies to pick: any-free only; leave it out`) {
		t.Errorf("got %v", err)
	}
}
