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
		wayIn    = "is a way in, which people need most when the role does not come up"
		network  = "brings up the network, and bootagent is ordered after that"
		firewall = "sets up the firewall"
		cloud    = "is a stage of the setup of a cloud instance"
		boot     = "is a unit that bootagent itself needs at boot"
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
		"@x.service":                            "is no name of a unit",
		"a%i.service":                           "is no name of a unit",
		"a b.service":                           "is no name of a unit",
		"../a.service":                          "is no name of a unit",
		".service":                              "is no name of a unit",
		"postgresql@.service":                   "is a template, and no template is ever started; name its instance, such as postgresql@main.service",
		strings.Repeat("a", 232) + ".service":   "is too long: 240 characters, and there may be 239, so that systemd can name its grant",
		strings.Repeat("\xff", 10) + ".service": "is no name of a unit",
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
