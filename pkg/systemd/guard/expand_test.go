package guard

import (
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// Expand must find exactly what would start a held unit. In each machine,
// mariadb.service is held.
var triggerTests = []struct {
	name    string
	machine machine
	also    []Hold
	want    string // held beside mariadb.service
}{
	{
		name: "a socket, a timer and a path of its name",
		machine: machine{
			"usr/lib/systemd/system/mariadb.socket": "[Socket]\nListenStream=3306\n",
			"etc/systemd/system/mariadb.timer":      "[Timer]\nOnBootSec=1\n",
			"run/systemd/system/mariadb.path":       "[Path]\nPathExists=/x\n",
		},
		want: "mariadb.path mariadb.socket mariadb.timer",
	},
	{
		name: "of another name",
		machine: machine{
			"usr/lib/systemd/system/db.socket":     "[Socket]\nListenStream=3306\nService=mariadb.service\n",
			"usr/lib/systemd/system/nightly.timer": "[Timer]\nOnBootSec=1\nUnit=mariadb.service\n",
			"usr/lib/systemd/system/drop.path":     "[Path]\nPathExists=/x\nUnit = mariadb.service\n",
		},
		want: "db.socket drop.path nightly.timer",
	},
	{
		name: "of its name, but for another unit",
		machine: machine{
			"usr/lib/systemd/system/mariadb.socket": "[Socket]\nListenStream=3306\nService=proxy.service\n",
			"usr/lib/systemd/system/proxy.service":  service,
			"usr/lib/systemd/system/mariadb.timer":  "[Timer]\nOnBootSec=1\nUnit=proxy.service\n",
		},
	},
	{
		name: "the last Service= counts, and the first Unit=",
		machine: machine{
			"usr/lib/systemd/system/other.service": service,
			"usr/lib/systemd/system/a.socket":      "[Socket]\nListenStream=1\nService=other.service\nService=mariadb.service\n",
			"usr/lib/systemd/system/b.socket":      "[Socket]\nListenStream=2\nService=mariadb.service\nService=other.service\n",
			"usr/lib/systemd/system/a.timer":       "[Timer]\nOnBootSec=1\nUnit=mariadb.service\nUnit=other.service\n",
			"usr/lib/systemd/system/b.timer":       "[Timer]\nOnBootSec=1\nUnit=other.service\nUnit=mariadb.service\n",
		},
		want: "a.socket a.timer",
	},
	{
		name: "of its name, but for a unit of another kind",
		machine: machine{
			"usr/lib/systemd/system/mariadb.timer": "[Timer]\nOnBootSec=1\nUnit=backup.target\n",
			"usr/lib/systemd/system/backup.target": "[Unit]\n",
		},
	},
	{
		name: "what is no unit does not count",
		machine: machine{
			"usr/lib/systemd/system/mariadb.timer":  "[Timer]\nOnBootSec=1\nUnit=nothing\nUnit=\n",
			"usr/lib/systemd/system/mariadb.socket": "[Socket]\nListenStream=1\nService=other.target\n",
		},
		want: "mariadb.socket mariadb.timer",
	},
	{
		name: "comments, other sections and continued lines are told apart",
		machine: machine{
			"usr/lib/systemd/system/a.timer":   "[Timer]\nOnBootSec=1\n#Unit=mariadb.service\n;Unit=mariadb.service\n[Install]\nUnit=mariadb.service\n",
			"usr/lib/systemd/system/a.service": service,
			"usr/lib/systemd/system/b.timer":   "[Timer]\nOnBootSec=1\nUnit=\\\n# a comment between\n  mariadb.service\n",
			"usr/lib/systemd/system/c.timer":   "[Timer]\nOnBootSec=1\nUnit=mariadb.service",
		},
		want: "b.timer c.timer",
	},
	{
		name: "a drop-in leads a trigger to it, another away",
		machine: machine{
			"usr/lib/systemd/system/a.service":            service,
			"usr/lib/systemd/system/a.socket":             "[Socket]\nListenStream=1\n",
			"etc/systemd/system/a.socket.d/10.conf":       "[Socket]\nService=mariadb.service\n",
			"usr/lib/systemd/system/mariadb.socket":       "[Socket]\nListenStream=2\n",
			"etc/systemd/system/mariadb.socket.d/10.conf": "[Socket]\nService=a.service\n",
			"usr/lib/systemd/system/b.socket":             "[Socket]\nListenStream=3\nService=a.service\n",
			"usr/lib/systemd/system/b.socket.d/10.conf":   "[Socket]\nService=mariadb.service\n",
			"etc/systemd/system/b.socket.d/10.conf":       "[Socket]\nListenStream=4\n", // wins over the other 10.conf
			"usr/lib/systemd/system/c.socket":             "[Socket]\nListenStream=5\nService=mariadb.service\n",
			"etc/systemd/system/socket.d/90.conf":         "[Unit]\nDescription=all sockets\n",
		},
		want: "a.socket c.socket",
	},
	{
		name: "a unit in /etc replaces that of the package",
		machine: machine{
			"usr/lib/systemd/system/mariadb.timer": "[Timer]\nOnBootSec=1\n",
			"etc/systemd/system/mariadb.timer":     "[Timer]\nOnBootSec=1\nUnit=other.service\n",
			"usr/lib/systemd/system/other.service": service,
		},
	},
	{
		name: "a masked trigger starts nothing",
		machine: machine{
			"usr/lib/systemd/system/mariadb.socket": "[Socket]\nListenStream=3306\n",
			"etc/systemd/system/mariadb.socket":     "-> /dev/null",
			"usr/lib/systemd/system/mariadb.timer":  "[Timer]\nOnBootSec=1\n",
			"etc/systemd/system/mariadb.timer":      "",
		},
	},
	{
		name: "by another name of the unit",
		machine: machine{
			"usr/lib/systemd/system/mysql.service": "-> mariadb.service",
			"etc/systemd/system/mysqld.service":    "-> /lib/systemd/system/mariadb.service",
			"lib":                                  "-> usr/lib",
			"usr/lib/systemd/system/a.timer":       "[Timer]\nOnBootSec=1\nUnit=mysql.service\n",
			"usr/lib/systemd/system/mysqld.timer":  "[Timer]\nOnBootSec=1\n",
		},
		want: "a.timer mysqld.timer",
	},
	{
		name: "a unit kept elsewhere and linked is no alias",
		machine: machine{
			"etc/systemd/system/mysql.service":   "-> /opt/db/mariadb.service",
			"opt/db/mariadb.service":             service,
			"usr/lib/systemd/system/mysql.timer": "[Timer]\nOnBootSec=1\n",
		},
	},
	{
		name: "another name of a trigger is held with it",
		machine: machine{
			"usr/lib/systemd/system/a.socket": "[Socket]\nListenStream=1\nService=mariadb.service\n",
			"usr/lib/systemd/system/b.socket": "-> a.socket",
		},
		want: "a.socket",
	},
	{
		name: "what starts what starts it",
		machine: machine{
			"usr/lib/systemd/system/a.path":   "[Path]\nPathExists=/x\nUnit=b.timer\n",
			"usr/lib/systemd/system/b.timer":  "[Timer]\nOnBootSec=1\nUnit=c.socket\n",
			"usr/lib/systemd/system/c.socket": "[Socket]\nListenStream=1\nService=mariadb.service\n",
		},
		want: "a.path b.timer c.socket",
	},
	{
		name: "a ring of triggers ends",
		machine: machine{
			"usr/lib/systemd/system/a.path":  "[Path]\nPathExists=/x\nUnit=b.timer\n",
			"usr/lib/systemd/system/b.timer": "[Timer]\nOnBootSec=1\nUnit=a.path\n",
		},
	},
	{
		name: "the instance of a template, and only that",
		machine: machine{
			"usr/lib/systemd/system/pg@.service": service,
			"usr/lib/systemd/system/pg@.timer":   "[Timer]\nOnBootSec=1\n",
			"usr/lib/systemd/system/vac@.timer":  "[Timer]\nOnBootSec=1\nUnit=pg@%i.service\n",
			"usr/lib/systemd/system/odd@.timer":  "[Timer]\nOnBootSec=1\nUnit=%p@x.service\n",
		},
		also: []Hold{hold("pg@15-main.service")},
		want: "pg@15-main.service pg@15-main.timer vac@15-main.timer",
	},
	{
		name: "a template of which every instance starts it",
		machine: machine{
			"usr/lib/systemd/system/any@.timer": "[Timer]\nOnBootSec=1\nUnit=mariadb.service\n",
		},
		want: "any@.timer",
	},
	{
		name: "a socket that starts an instance for each connection",
		machine: machine{
			"usr/lib/systemd/system/sess.socket":      "[Socket]\nListenStream=1\nAccept=yes\n",
			"usr/lib/systemd/system/sess@.service":    service,
			"usr/lib/systemd/system/mariadb.socket":   "[Socket]\nListenStream=1\nAccept=yes\n",
			"usr/lib/systemd/system/mariadb@.service": service,
		},
		also: []Hold{{Unit: "sess@.service", Service: "mariadb.service"}},
		want: "sess.socket sess@.service",
	},
	{
		name: "the agent's own units are never held",
		machine: machine{
			"usr/lib/systemd/system/bootagent-night.timer": "[Timer]\nOnBootSec=1\nUnit=mariadb.service\n",
		},
	},
}

func TestWhatStartsAHeldUnitIsHeldWithIt(t *testing.T) {
	for _, test := range triggerTests {
		t.Run(test.name, func(t *testing.T) {
			if test.machine["usr/lib/systemd/system/mariadb.service"] == "" {
				test.machine["usr/lib/systemd/system/mariadb.service"] = service
			}
			all, err := Expand(test.machine.root(t), append(test.also, hold("mariadb.service")))
			if err != nil {
				t.Fatal(err)
			}
			var rest []string
			for _, h := range all {
				if h.Unit == "mariadb.service" {
					continue
				}
				rest = append(rest, h.Unit)
				if h.Service != "mariadb.service" && !strings.Contains(h.Unit, "@15-main") {
					t.Errorf("%s is held for %s", h.Unit, h.Service)
				}
			}
			if got := strings.Join(rest, " "); got != test.want {
				t.Errorf("held with it: %q, not %q", got, test.want)
			}
		})
	}
}

// A role may use a name that is there only while the unit is enabled.
func TestAHoldOnAnotherNameHoldsTheUnit(t *testing.T) {
	root := machine{
		"usr/lib/systemd/system/mariadb.service": service,
		"etc/systemd/system/mysql.service":       "-> /usr/lib/systemd/system/mariadb.service",
	}.root(t)
	all, err := Expand(root, []Hold{{Unit: "mysql.service", Service: "mysql.service", IMDS: true, Credentials: []string{"root-sql"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Hold{
		{Unit: "mariadb.service", Service: "mysql.service", IMDS: true, NoSocket: true, Credentials: []string{"root-sql"}},
		{Unit: "mysql.service", Service: "mysql.service", IMDS: true, NoSocket: true, Credentials: []string{"root-sql"}},
	}
	if !reflect.DeepEqual(all, want) {
		t.Errorf("held is %v, not %v", all, want)
	}
}

// A pipe would be waited for, and the boot with it.
func TestAPipeInThePlaceOfAUnitFileIsNotOpened(t *testing.T) {
	root := image().root(t)
	if err := syscall.Mkfifo(root+"/usr/lib/systemd/system/mariadb.timer", 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := Expand(root, []Hold{hold("mariadb.service")})
	if got, want := units(all), "mariadb.service mariadb.socket mariadb.timer"; got != want || err != nil {
		t.Errorf("held is %q, %v", got, err)
	}
}

// Without it, a service gets no mount namespace. What can't be read may have it.
func TestTheSocketOfSystemdImdsdIsHiddenWhereItIs(t *testing.T) {
	const line = "InaccessiblePaths=-" + MetadataSocket + "\n"
	for name, c := range map[string]struct {
		unit   string // a file of systemd-imdsd
		hidden bool
	}{
		"it is installed":        {"usr/lib/systemd/system/systemd-imdsd.socket", true},
		"it is masked, for now":  {"etc/systemd/system/systemd-imdsd.socket", true},
		"it is not installed":    {"", false},
		"there is another thing": {"usr/lib/systemd/system/imdsd.socket", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := image()
			delete(m, "usr/lib/systemd/system/"+metadataUnit)
			if c.unit != "" {
				m[c.unit] = ""
			}
			root := m.root(t)
			install_(t, root, hold("mariadb.service"))
			text, err := Installed(root, "mariadb.service")
			if err != nil || strings.Contains(text, line) != c.hidden {
				t.Errorf("the guard is %q, %v", text, err)
			}
			if problems, err := Check(root, []Hold{hold("mariadb.service")}); err != nil || len(problems) > 0 {
				t.Errorf("told: %v, %v", problems, err)
			}
		})
	}
	all, err := Expand(filepath.Join(t.TempDir(), "absent"), []Hold{{Unit: "a.service", Service: "a.service"}})
	if err == nil || len(all) != 1 || !strings.Contains(all[0].Text(), line) {
		t.Errorf("of what cannot be read: %+v, %v", all, err)
	}
}
