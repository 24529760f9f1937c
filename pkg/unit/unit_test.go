package unit

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestWhatIsNeededMayNotBeHeld(t *testing.T) {
	const (
		own      = "one of bootagent's own units"
		wayIn    = "is needed to log in, above all when the role does not become ready"
		network  = "brings up the network, and bootagent starts after the network"
		firewall = "sets up the firewall"
		cloud    = "sets up a cloud instance"
		boot     = "is needed by bootagent itself at boot"
	)
	for why, names := range map[string][]string{
		own: {"bootagent.service", "bootagent-role.service", "bootagent-grant-a.service", "bootagent-x.timer"},
		wayIn: {
			"ssh.service", "ssh.socket", "ssh@1.service", "sshd.service", "sshd@0-10.0.0.1:22.service", "sshd.socket", "sshd-keygen@rsa.service",
			"sshd-unix-local.socket", "dropbear.service", "amazon-ssm-agent.service", "snap.amazon-ssm-agent.amazon-ssm-agent.service",
			"ec2-instance-connect.service", "getty@tty1.service", "serial-getty@ttyS0.service", "console-getty.service", "autovt@tty2.service",
			"emergency.service", "rescue.service", "debug-shell.service", "user@1000.service", "sssd.service", "sssd-nss.socket",
		},
		network: {
			"NetworkManager.service", "NetworkManager-wait-online.service", "networking.service", "network.service", "ifup@eth0.service",
			"policy-routes@ens5.service", "refresh-policy-routes@ens5.timer", "wicked.service", "dhcpcd.service",
		},
		firewall: {"nftables.service", "iptables.service", "ip6tables.service", "firewalld.service", "ufw.service", "netfilter-persistent.service"},
		cloud: {
			"cloud-init.service", "cloud-init-local.service", "cloud-init-network.service", "cloud-init-main.service", "cloud-config.service",
			"cloud-final.service", "cloud-init-hotplugd.socket",
		},
		boot: {
			"systemd-networkd.service", "systemd-resolved.service", "systemd-udevd.service", "systemd-journald@x.socket", "systemd-logind.service",
			"dbus.service", "dbus.socket", "dbus-broker.service", "dbus-org.freedesktop.login1.service", "udev.service", "apparmor.service",
			"lvm2-monitor.service", "multipathd.socket", "mdmonitor.service",
		},
	} {
		for _, name := range names {
			err := MayHold(name)
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v, without %q", name, err, why)
			}
		}
	}
	if why := Needed("getty@.service"); !strings.Contains(why, wayIn) {
		t.Errorf("the template of a getty: %q", why)
	}
}

func TestWhatARoleServesMayBeHeld(t *testing.T) {
	for _, name := range []string{
		"mariadb.service", "postgresql@15-main.service", "postgresql.service", "nginx.service", "kafka.service", "docker.service", "docker.socket",
		`srv-my\x2ddata.service`, "user.service", "user-service.service", "ssh-tunnel.service", "network-exporter.service", "cloud-sync.timer",
		"wg-quick@wg0.service", "named.service", "haproxy.service", "chrony.service", "systemd.service", "dev-server.service", "a.path",
	} {
		if err := MayHold(name); err != nil {
			t.Errorf("%s %v", name, err)
		}
	}
}

func TestWhatIsNoUnitMayNotBeHeld(t *testing.T) {
	for name, why := range map[string]string{
		"mariadb":                               "has to end in .service, .socket, .timer, .path",
		"basic.target":                          "has to end in .service, .socket, .timer, .path",
		"@x.service":                            "is not a valid unit name",
		"a%i.service":                           "is not a valid unit name",
		"a b.service":                           "is not a valid unit name",
		"../a.service":                          "is not a valid unit name",
		".service":                              "is not a valid unit name",
		"postgresql@.service":                   "is a template, and systemd never starts a template; name an instance of it, such as postgresql@main.service",
		strings.Repeat("a", 232) + ".service":   "is too long: 240 characters, and at most 239 are possible, because the name of its grant is longer",
		strings.Repeat("\xff", 10) + ".service": "is not a valid unit name",
	} {
		if err := MayHold(name); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, without %q", name, err, why)
		}
	}
}

func TestPartsOfNames(t *testing.T) {
	for _, test := range []struct{ name, prefix, instance, template string }{
		{"a.service", "a", "", "a@.service"},
		{"a@.service", "a", "", "a@.service"},
		{"a@b@c.service", "a", "b@c", "a@.service"},
		{`a-b@c\x2dd.e.socket`, "a-b", `c\x2dd.e`, "a-b@.socket"},
	} {
		if p, i, tm := Prefix(test.name), Instance(test.name), Template(test.name); p != test.prefix || i != test.instance || tm != test.template {
			t.Errorf("%s is made of %q, %q, %q", test.name, p, i, tm)
		}
		if test.instance != "" && Instantiate(test.template, test.instance) != test.name {
			t.Errorf("%s is not put together again", test.name)
		}
	}
	if !IsTemplate("a@.service") || IsTemplate("a.service") || IsTemplate("a@b.service") {
		t.Error("a template is not told from others")
	}
}

// systemd-escape itself says what is right.
func TestEscapesAsSystemdDoes(t *testing.T) {
	if _, err := exec.LookPath("systemd-escape"); errors.Is(err, exec.ErrNotFound) {
		t.Skip("systemd-escape is not installed (package systemd): escaping is not compared")
	}
	for _, test := range []struct {
		args []string
		got  string
	}{
		{[]string{"--", "pg_basebackup"}, Escape("pg_basebackup")},
		{[]string{"--", "foo-bar"}, Escape("foo-bar")},
		{[]string{"--", `a/b-c\d@e.f`}, Escape(`a/b-c\d@e.f`)},
		{[]string{"--", ".hidden ö"}, Escape(".hidden ö")},
		{[]string{"--path", "--", "/srv/my-data"}, EscapePath("/srv/my-data")},
		{[]string{"--path", "--", "/"}, EscapePath("/")},
		{[]string{"--path", "--", "/.a/b+c"}, EscapePath("/.a/b+c")},
	} {
		want, err := exec.Command("systemd-escape", test.args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSuffix(string(want), "\n"); got != test.got {
			t.Errorf("%q: systemd says %q, we say %q", test.args, got, test.got)
		}
	}
}

func TestANameIsGuardedAndGrantedIfItsUnitCanBe(t *testing.T) {
	for name, want := range map[string]struct{ guard, grant string }{
		"mariadb.service":                      {"", ""},
		"docker.socket":                        {"", "not the name of a service"},
		"echo@.service":                        {"", "a template has no grant; name an instance of it"},
		"a b.service":                          {"not the name of a unit", "not the name of a service"},
		"basic.target":                         {"only units that end in .service, .socket, .timer, .path can be held", "not the name of a service"},
		"ssh.service":                          {"it is needed to log in, above all when the role does not become ready; leave it out of the role", ""},
		strings.Repeat("a", 232) + ".service":  {"", "the name of its grant would be longer than 255 bytes"},
		strings.Repeat("a", 250) + "b.service": {"not the name of a unit", "not the name of a service"},
	} {
		said := func(err error) string {
			if err == nil {
				return ""
			}
			return err.Error()
		}
		if got := said(MayGuard(name)); got != want.guard {
			t.Errorf("a guard of %s: %q, not %q", name, got, want.guard)
		}
		if got := said(MayGrant(name)); got != want.grant {
			t.Errorf("a grant of %s: %q, not %q", name, got, want.grant)
		}
	}
}

func TestNamesOfOurOwnUnits(t *testing.T) {
	for got, want := range map[string]string{
		GrantOf("mariadb.service"):                "bootagent-grant-mariadb.service",
		CommandOn("make", "vol0123456789abcdef0"): "bootagent-make-vol0123456789abcdef0.service",
		CommandOn("make", "a%b"):                  `bootagent-make-a\x25b.service`,
		CommandOn("make", "S2-7@x+y#z"):           `bootagent-make-S2\x2d7\x40x\x2by\x23z.service`,
		CommandAt("detach", "/srv/my-data"):       `bootagent-detach-srv-my\x2ddata.service`,
		MountAt("/srv/data"):                      "srv-data.mount",
		ServiceOf(`a-b@c\x2dd.e.socket`):          `a-b@c\x2dd.e.service`,
		ServiceOf("mariadb.service"):              "mariadb.service",
		MountAt("/"):                              "-.mount",
		MountAt("/srv/my-data"):                   `srv-my\x2ddata.mount`,
		MountAt("/srv/bootagent/a_b.c"):           "srv-bootagent-a_b.c.mount",
		MountAt("/.hidden"):                       `\x2ehidden.mount`,
		MountAt("/srv/é"):                         `srv-\xc3\xa9.mount`,
		MountAt("/run/bootagent/inspect/data"):    "run-bootagent-inspect-data.mount",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for name, want := range map[string]bool{
		CommandOn("check", "vol0"): true, CommandAt("holders", "/srv"): true,
		GrantOf("mariadb.service"): false, "backup.service": false, "bootagent-left-7.scope": false,
	} {
		if IsCommand(name) != want {
			t.Errorf("%s is a command: %v, want %v", name, !want, want)
		}
	}
}
