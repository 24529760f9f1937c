package e2e

import (
	"context"
	"os"
	"strings"
	"testing"

	"filippo.io/age"

	"bootagent/test/cloud/ec2"
	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/labtest"
	"bootagent/test/lab/region"
)

// asksIMDS asks the metadata service, and then systemd-imdsd, which instance this is.
const asksIMDS = `#!/bin/sh
ask() { printf '%s /latest/%s HTTP/1.1\r\nHost: imds\r\nConnection: close\r\n%s\r\n\r\n' "$@" | nc -w 5 169.254.169.254 80 | tail -n 1; }
token=$(ask PUT api/token 'X-aws-ec2-metadata-token-ttl-seconds: 60')
echo "by the network: $(ask GET meta-data/instance-id "X-aws-ec2-metadata-token: $token")"
question='{"method":"io.systemd.InstanceMetadata.Get","parameters":{"key":"/meta-data/instance-id"}}'
echo "by imdsd: $(printf '%s\0' "$question" | nc -w 15 -U /run/systemd/io.systemd.InstanceMetadata | tr '\0' '\n')"
`

// asksIMDSOnce is a service that asks at each of its starts.
const asksIMDSOnce = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/local/bin/asks-imds\n"

// on skips a test that is for another platform than the one that was chosen.
func on(t *testing.T, platform string) {
	t.Helper()
	if os.Getenv(image.Variable) != platform {
		t.Skipf("this is for one platform: %s=%s", image.Variable, platform)
	}
}

// onSid is what an operator bakes for EC2 on Debian's newest: its MariaDB is confined by AppArmor and
// keeps its data in another directory.
func onSid(t *testing.T) *image.Image {
	t.Helper()
	text, err := os.ReadFile("../../packaging/roles/mysql-ec2.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := strings.NewReplacer("bind: /var/lib/mysql", "bind: /var/lib/mariadb", "\nservices:\n",
		"\nfiles:\n  server-id.cnf: {content: \"[mysqld]\\nserver_id = 4711\\n\", owner: mysql, services: [mariadb.service]}\nservices:\n  allowed.service: {needs: [], imds: allow}\n  denied.service: {needs: []}\n").Replace(string(text))
	return labtest.Image(t, image.Spec{
		Debs: []string{deb(t)},
		Files: map[string]image.File{
			"/etc/bootagent/agent.yaml":                {Data: []byte(region.AgentFile + "keys: [{file: /etc/bootagent/keys/machine}]\n")},
			"/etc/bootagent/roles.d/mysql-ec2.yaml":    {Data: []byte(role)},
			"/etc/mysql/mariadb.conf.d/91-secrets.cnf": {Data: []byte("[mariadbd]\ninit-file = /run/credentials/mariadb.service/root-sql\n!include /run/bootagent/files/server-id.cnf\n")},

			// systemd-imdsd bars the way to the metadata service, unless another .network file comes first.
			"/etc/systemd/system/systemd-imds-early-network.service.d/locked.conf": {Data: []byte("[Service]\nEnvironment=SYSTEMD_PROC_CMDLINE=systemd.imds.network=locked\n")},
			// An emulated machine may take longer than the default until udev knows the firmware, by which imdsd knows EC2.
			"/etc/systemd/system/sys-devices-virtual-dmi-id.device.d/slow.conf": {Data: []byte("[Unit]\nJobRunningTimeoutSec=5min\n")},
			"/usr/local/bin/asks-imds":            {Data: []byte(asksIMDS), Mode: 0o755},
			"/etc/systemd/system/allowed.service": {Data: []byte(asksIMDSOnce + "User=nobody\n")},
			"/etc/systemd/system/denied.service":  {Data: []byte(asksIMDSOnce)},
		},
		Commands: [][]string{{"rm", "/etc/systemd/network/80-dhcp.network"}, {"bootagent", "guard", "install"}, {"bootagent", "guard", "check"}},
	})
}

// onItsOwn is a machine that has the key of its secrets, as an image for one account may fetch it.
func onItsOwn(key *age.X25519Identity) lab.Config {
	return lab.Config{Files: map[string]image.File{
		"/etc/bootagent/keys/machine": {Data: []byte(key.String() + "\n"), Mode: 0o600},
	}}
}

// TestAppArmorLetsInWhatTheRoleGives boots a database that AppArmor confines. Without the rules of guard
// install, it may not read its credential, which it runs at each start, nor its file. In the same boot,
// systemd-imdsd has locked the way to the metadata service.
func TestAppArmorLetsInWhatTheRoleGives(t *testing.T) {
	on(t, "sid")
	ctx, cancel := context.WithTimeout(t.Context(), runFor)
	defer cancel()
	key := newKey(t)
	r, _ := newRegion(t, onSid(t), key)
	g, i := launch(ctx, t, r, "sid", ec2.Launch{}, onItsOwn(key))

	const readsFile = "/usr/sbin/mariadbd --defaults-file=/run/bootagent/files/server-id.cnf --print-defaults"
	step("a confined server initialises through its bind, and reads its credential and its file", g, func(g guest) {
		g.is("mariadbd (enforce)", "grep '^mariadbd ' /sys/kernel/security/apparmor/profiles")
		g.until(2*settles, "bootagent wait --timeout 4m")
		g.is("mariadbd (enforce)", "cat /proc/$(pidof mariadbd)/attr/current")
		g.is("", "journalctl --dmesg --no-pager | grep 'apparmor=.DENIED' | grep -e /run/ -e /srv/ -e /var/lib/")
		var id string
		g.ok(g.database().QueryRowContext(g.ctx, "SELECT @@server_id").Scan(&id)) // who logs in has the password of the credential
		if id != "4711" {
			g.t.Errorf("the server's ID is %q, which its file sets", id)
		}
	})
	step("the agent and a service with imds: allow pass the lock of systemd-imdsd, and a guarded service does not", g, func(g guest) {
		g.says("ip route get 169.254.169.254", "Permission denied")
		g.is("active", "systemctl is-active systemd-imdsd.socket")
		said := func(unit string) string { return g.sh("journalctl -b --no-pager --output=cat _SYSTEMD_UNIT=%s", unit) }
		if got := said("allowed.service"); !strings.Contains(got, "by the network: "+i.Cloud.ID) {
			g.t.Errorf("with imds: allow: %s", got)
		}
		if got := said("denied.service"); !strings.Contains(got, "by the network:") || strings.Contains(got, i.Cloud.ID) {
			g.t.Errorf("without: %s", got)
		}
		// A root process that is not guarded gets an answer of imdsd, and none by the network.
		if got := g.sh("asks-imds"); strings.Contains(got, "by the network: i-") || strings.Count(got, "by imdsd: {\"parameters\":{") != 1 {
			g.t.Errorf("as root: %s", got)
		}
	})
	step("what a profile does not allow is told, and allowed at once by the command that is told", g, func(g guest) {
		g.sh("echo '# mine' >>/etc/apparmor.d/local/mariadbd; cp /etc/apparmor.d/local/mariadbd /root; sed -i '/bootagent.files/d' /etc/apparmor.d/local/mariadbd; apparmor_parser -r /etc/apparmor.d/mariadbd")
		g.says(readsFile, "Could not open required defaults file")
		g.says("bootagent guard check; echo exit $?", "the profile mariadbd of AppArmor, which confines mariadb.service, ", ": run bootagent guard install\n", "exit 1")
		g.is("changed /etc/apparmor.d/local/mariadbd", "bootagent guard install")
		g.says(readsFile, "--server_id=4711")
		g.is("", "cmp /root/mariadbd /etc/apparmor.d/local/mariadbd")
		g.says("bootagent guard check; echo exit $?", "checked 1 profile of AppArmor: allowed is what the roles give (mariadbd)", "exit 0")
		g.says("bootagent guard remove", "removed /etc/apparmor.d/local/mariadbd")
		g.is("# mine", "cat /etc/apparmor.d/local/mariadbd")
		g.says(readsFile, "Could not open required defaults file")
	})
}
