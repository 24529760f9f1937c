package main

import (
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/role"
	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/unit"
)

func TestNamed(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"keys of a block", "services:\n  a.service:\n  b.service: {}\n", "a.service b.service"},
		{"keys in flow", `services: {a.service: {}, "b.service":{}, 'c.service' : {}}`, "a.service b.service c.service"},
		{"a bad indentation", "\tservices:\n a.service:\n      imds: deny\n   b.service:\n", "a.service b.service"},
		{"a misspelt key above", "servces:\n  a.service: {}\n", "a.service"},
		{"a list where a map belongs", "services: [a.service, b.service]\n", "a.service b.service"},
		{"a list of lines where a map belongs", "services:\n- a.service\n- 'b.service'\n", "a.service b.service"},
		{"also-guard in flow", "x.service: {also-guard: [a.socket, b.timer], imds: deny}", "x.service a.socket b.timer"},
		{"also-guard in lines", "also-guard:\n  - a.socket\n  - b.path # why\nneeds: [c.service]\n", "a.socket b.path"},
		{"also-guard misspelt", "also_guard: a.socket\n", "a.socket"},
		{"escaped and instances", "services:\n  srv-a\\x2db.service:\n  pg@15-main.service:\n", `srv-a\x2db.service pg@15-main.service`},
		{"Windows lines", "services:\r\n  a.service:\r\n  b.service: {}\r\n", "a.service b.service"},
		{"no line end", "services:\n  a.service", "a.service"},
		{"once", "services: {a.service: {}, a.service: {}}", "a.service"},

		{"comments", "#a.service:\nservices: # b.service:\n  # c.service: {}\n\t#d.service:\n", ""},
		{"probes", "x.service: {ready: {unit: a.service}}\ny.service:\n  ready:\n    \"unit\": 'b.service'\n", "x.service y.service"},
		{"settings that no role file has", "x.service: {after: ssh.service, wants: [a.service]}\nrequires:\n  - b.service\n", "x.service"},
		{"paths", "at: /srv/a.service\nservices: /b.service/\nalso-guard: [/c.service]\n", ""},
		{"templates", "services: {a@.service: {}, a@b.service: {also-guard: [a@.service, c@.timer]}}", "a@b.service a@.service c@.timer"},
		{"what a boot needs", "services: {bootagent.service: {}, bootagent-role.service: {}, systemd-udevd.service: {}, dbus.service: {}, dbus.socket: {}}", ""},
		{"other kinds", "services: {a.target: {}, b.mount: {}, c.slice: {}, .service: {}}", ""},
		{"the beginning of a name", "services: {mariadb.servic", ""},
		{"nothing", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(named([]byte(test.text)), " "); got != test.want {
				t.Errorf("named are %q, not %q", got, test.want)
			}
		})
	}
}

// Wherever a write or a copy of a role file broke off, what it names up to
// there is found.
func TestNamedInATruncatedFile(t *testing.T) {
	for length := range len(mysqlRole) {
		text := mysqlRole[:length]
		units := named([]byte(text))
		for unit, as := range map[string]string{
			"mariadb.service":        "  mariadb.service",
			"mysql-exporter.service": "- mysql-exporter.service",
			"backup.timer":           "- backup.timer",
		} {
			if got, want := slices.Contains(units, unit), strings.Contains(text, as); got != want {
				t.Errorf("after %d bytes, %q are named", length, units)
			}
		}
	}
}

// A role file, a guard and a guess agree about which units are held.
func TestAllAgreeWhichUnitsAreHeld(t *testing.T) {
	for name, held := range map[string]bool{
		"mariadb.service": true, "postgresql@15-main.service": true, `srv-my\x2ddata.service`: true, "user.service": true, "ssh-tunnel.service": true,
		"ssh.service": false, "sshd@x.service": false, "amazon-ssm-agent.service": false, "getty@tty1.service": false, "rescue.service": false,
		"systemd-networkd.service": false, "systemd-exporter.service": false, "NetworkManager.service": false, "nftables.service": false,
		"cloud-init.service": false, "dbus.service": false, "bootagent-role.service": false, "bootagent.service": false, "a@.service": false,
	} {
		text := []byte("version: 1\nrole: x\nservices:\n  " + name + ": {}\n")
		if _, err := (role.Grammar{}).Decode("x.yaml", text); (err == nil) != held {
			t.Errorf("a role file with %s: %v", name, err)
		}
		if got := slices.Contains(named(text), name); got != held {
			t.Errorf("of a broken role file with %s it is held: %v", name, got)
		}
		if _, err := guard.Expand(t.TempDir(), []guard.Hold{{Unit: name, Service: name}}); (err == nil) != held {
			t.Errorf("a guard of %s: %v", name, err)
		}
	}
}

func FuzzNamed(f *testing.F) {
	f.Add([]byte(mysqlRole), 3)
	f.Add([]byte(webRole), 40)
	f.Add([]byte("services: {'a.service': {also-guard: [b.socket]}}"), 0)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		units := named(text)
		for i, name := range units {
			if unit.MayHoldWith(name) != nil {
				t.Errorf("%q named, which can't be held", name)
			}
			if slices.Contains(units[:i], name) {
				t.Errorf("%q named twice", name)
			}
			if !strings.Contains(string(text), name) {
				t.Errorf("%q named, which is nowhere", name)
			}
		}
		// A comment changes nothing.
		if at < 0 || at > len(text) {
			return
		}
		commented := slices.Concat([]byte("# a.service: {also-guard: [b.service]}\n"), text)
		if got := named(commented); !slices.Equal(got, units) {
			t.Errorf("with a comment %q are named, without %q", got, units)
		}
		// What stands in one file that can be read, is found in it when it
		// can't be. Escapes and names in several lines are too much to ask.
		r, err := role.Grammar{}.Decode("x.yaml", text)
		if err != nil || strings.ContainsAny(string(text), "\\\"'?|>&*!") {
			return
		}
		for _, h := range r.Units() {
			if !slices.Contains(units, h.Unit) {
				t.Errorf("%s is of the role %q, but was not named", h.Unit, text)
			}
		}
	})
}
