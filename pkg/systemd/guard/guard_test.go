package guard

import (
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/golden"
	"bootagent/pkg/systemd/unitfile/unitfiletest"
	"bootagent/pkg/unit"
)

// A machine is the files below a root directory, as unitfiletest.Root makes them.
type machine map[string]string

func (m machine) root(t *testing.T) string {
	t.Helper()
	return unitfiletest.Root(t, m)
}

const service = unitfiletest.Service

func hold(unit string) Hold { return Hold{Unit: unit, Service: unit} }

func TestText(t *testing.T) {
	for file, h := range map[string]Hold{
		"service":      hold("mariadb.service"),
		"no-imdsd":     {Unit: "mariadb.service", Service: "mariadb.service", NoSocket: true},
		"imds-allowed": {Unit: "web.service", Service: "web.service", IMDS: true},
		"also-guarded": {Unit: "mysql-exporter.service", Service: "mariadb.service"},
		"socket":       {Unit: "mariadb.socket", Service: "mariadb.service"},
		"escaped":      hold(`srv-my\x2ddata.service`),
		"instance":     hold("postgresql@15-main.service"),
		"credentials": {
			Unit: `srv-my\x2ddata.service`, Service: `srv-my\x2ddata.service`,
			Credentials: []string{"replica.key", "root-sql"}, Optional: []string{"replica.key"},
		},
		"credentials-only": {Unit: "web.service", Service: "web.service", IMDS: true, Credentials: []string{"tls"}},
		// Its [Service] would be one that systemd complains of.
		"socket-of-credentials": {Unit: "web.socket", Service: "web.service", Credentials: []string{"tls"}},
	} {
		t.Run(file, func(t *testing.T) {
			file := filepath.Join("testdata", file+".conf")
			golden.Check(t, file, h.Text())
		})
	}
}

func TestNames(t *testing.T) {
	if got, want := unit.GrantOf("mariadb.service"), "bootagent-grant-mariadb.service"; got != want {
		t.Errorf("the grant is %s, not %s", got, want)
	}
	if got, want := GrantFile("mariadb.service"), "/run/bootagent/granted/mariadb.service"; got != want {
		t.Errorf("the token is %s, not %s", got, want)
	}
	if got, want := Staged("mariadb.service", "root-sql"), "/run/bootagent/secrets/mariadb.service/root-sql"; got != want {
		t.Errorf("the credential is staged as %s, not %s", got, want)
	}
	if got, want := Path("mariadb.service"), "/etc/systemd/system/mariadb.service.d/50-held-by-bootagent.conf"; got != want {
		t.Errorf("the guard is %s, not %s", got, want)
	}
}

func TestWhatCannotBeHeldIsRefusedAndTheRestIsNot(t *testing.T) {
	long := strings.Repeat("a", 240) + ".service"
	for _, test := range []struct {
		name  string
		hold  Hold
		words string
	}{
		{"no unit", hold("mariadb"), `cannot hold "mariadb": not the name of a unit`},
		{"a way out of the directory", hold("../../x.service"), `cannot hold "../../x.service": not the name of a unit`},
		{"a specifier", hold("a%i.service"), `cannot hold "a%i.service": not the name of a unit`},
		{"a second line", hold("a\n[Service].service"), `cannot hold "a\n[Service].service": not the name of a unit`},
		{"a target", hold("basic.target"), `cannot hold basic.target: only units that end in .service, .socket, .timer, .path can be held`},
		{"the agent", hold("bootagent.service"), "it is one of bootagent's own units, which can't wait for itself"},
		{"a grant", hold("bootagent-grant-a.service"), "it is one of bootagent's own units"},
		{"a way in", hold("ssh.service"), "cannot hold ssh.service: it is needed to log in"},
		{"an instance of one", hold("getty@tty1.service"), "cannot hold getty@tty1.service: it is needed to log in"},
		{"the network", Hold{Unit: "systemd-networkd.service", Service: "a.service"}, "cannot hold systemd-networkd.service: it is needed by bootagent itself"},
		{"a socket without a service", hold("a.socket"), `cannot hold a.socket for a.socket: not the name of a service`},
		{"a template", hold("a@.service"), "a template has no grant; name an instance of it"},
		{"a name that leaves no room", hold(long), "the name of its grant would be longer than 255 bytes"},
		{"a credential that is a path", with(hold("a.service"), "../key"), `cannot hold a.service with the credential "../key": not the name of a credential`},
		{"a hidden one", with(hold("a.service"), ".."), `cannot hold a.service with the credential "..": not the name of a credential`},
		{"one without a name", with(hold("a.service"), ""), `cannot hold a.service with the credential "": not the name of a credential`},
		{"one with a specifier", with(hold("a.service"), "%n"), `cannot hold a.service with the credential "%n": not the name of a credential`},
		{"one with a source of its own", with(hold("a.service"), "key:/etc/shadow"), `with the credential "key:/etc/shadow": not the name of a credential`},
		{"one with a second line", with(hold("a.service"), "key\nUser=root"), `with the credential "key\nUser=root": not the name of a credential`},
		{
			"two services for one unit",
			Hold{Unit: "b.timer", Service: "z.service"},
			"cannot hold b.timer for both b.service and z.service: a unit is bound to one grant",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			all, err := Expand(t.TempDir(), []Hold{test.hold, hold("b.service"), {Unit: "b.timer", Service: "b.service"}})
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("the error is %v, without %q", err, test.words)
			}
			if got := units(all); got != "b.service b.timer" {
				t.Errorf("held is %s", got)
			}
		})
	}
}

func TestOneRoleThatAllowsIMDSAllowsIt(t *testing.T) {
	all, err := Expand(t.TempDir(), []Hold{hold("a.service"), {Unit: "a.service", Service: "a.service", IMDS: true}, hold("a.service")})
	if err != nil || len(all) != 1 || !all[0].IMDS {
		t.Errorf("got %v, %v", all, err)
	}
}

func with(h Hold, credentials ...string) Hold {
	h.Credentials = credentials
	return h
}

// A unit can start for each role that holds it, with what that role gives it.
func TestACredentialThatNotEveryRoleGivesIsOptional(t *testing.T) {
	bare, sql := hold("a.service"), with(hold("a.service"), "sql")
	for _, test := range []struct {
		name                  string
		roles                 []Hold
		credentials, optional string
	}{
		{"one role", []Hold{sql}, "sql", ""},
		{"two roles that agree", []Hold{sql, sql}, "sql", ""},
		{"the second has none", []Hold{sql, bare}, "sql", "sql"},
		{"the first has none", []Hold{bare, sql}, "sql", "sql"},
		{"only one of three has it", []Hold{bare, sql, bare}, "sql", "sql"},
		{"only one of three lacks it", []Hold{sql, bare, sql}, "sql", "sql"},
		{"one in common", []Hold{with(bare, "sql", "tls"), with(bare, "key", "sql")}, "key sql tls", "key tls"},
		{"another unit", []Hold{sql, hold("b.service")}, "sql", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			all, err := Expand(t.TempDir(), test.roles)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(all[0].Credentials, " "); got != test.credentials {
				t.Errorf("the credentials are %q, not %q", got, test.credentials)
			}
			if got := strings.Join(all[0].Optional, " "); got != test.optional {
				t.Errorf("optional are %q, not %q", got, test.optional)
			}
		})
	}
}

func TestWhatIsHeldWithAServiceGetsNoneOfItsCredentials(t *testing.T) {
	all, err := Expand(image().root(t), []Hold{with(hold("mariadb.service"), "sql"), {Unit: "nginx.service", Service: "mariadb.service"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := units(all); got != "mariadb.service mariadb.socket nginx.service" {
		t.Fatalf("held is %s", got)
	}
	for _, h := range all[1:] {
		if len(h.Credentials) > 0 {
			t.Errorf("%s gets %v", h.Unit, h.Credentials)
		}
	}
}

func units(holds []Hold) string {
	var names []string
	for _, h := range holds {
		names = append(names, h.Unit)
	}
	return strings.Join(names, " ")
}
