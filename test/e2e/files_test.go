package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"bootagent/test/cloud/ec2"
	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/region"
)

// replicaPassword is a secret of one line, which a file has.
const replicaPassword = "canary-59c1e0ab77d2"

// quoted is a text that an environment file has to quote.
const quoted = `a "b" $HOME \ ` + "`id`" + ` 'e' # f`

// withFiles is an instance whose role has files, and their cloud: the tag, the secret, and the
// policy that bootagent iam prints for the role.
func withFiles(t *testing.T, r *region.Region, v ec2.Volume, key *age.X25519Identity) lab.Config {
	t.Helper()
	text, err := os.ReadFile("../../packaging/roles/mysql-ec2.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := strings.Replace(string(text), "\nservices:\n", `
  replica: {from: "s3://example-secrets/${params.cluster}/replica.age", services: [mariadb.service]}
files:
  server-id.cnf:
    content: |
      [mysqld]
      server_id = ${volume.data.tag.server-id}
      report_host = ${instance.private-ipv4}
      report_password = ${secret.replica}
    owner: mysql
    patterns: {volume.data.tag.server-id: "[0-9]+"}
    services: [mariadb.service]
  vars:
    env: {VOLUME: "${volume.data.id}", QUOTED: '`+strings.ReplaceAll(quoted, "'", "''")+`'}
    services: [mariadb.service]
services:
  asks-imds.service: {needs: [], imds: allow}
`, 1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mysql-ec2.yaml"), []byte(role), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.IAM.SetPolicy("db", bootagent(t, "", "iam", "--role", "mysql-ec2", "--roles", dir)); err != nil {
		t.Fatal(err)
	}
	if err := r.S3.Put(bucket, "orders/replica.age", seal(t, replicaPassword+"\n", key)); err != nil {
		t.Fatal(err)
	}
	if err := r.EC2.Tag(v.ID, map[string]string{"server-id": "4711"}); err != nil {
		t.Fatal(err)
	}
	return lab.Config{Files: map[string]image.File{
		"/etc/bootagent/roles.d/mysql-ec2.yaml":    {Data: []byte(role)},
		"/etc/mysql/mariadb.conf.d/90-replica.cnf": {Data: []byte("!include /run/bootagent/files/server-id.cnf\n")},
		"/usr/local/bin/asks-imds":                 {Data: []byte(asksIMDS), Mode: 0o755},
		"/etc/systemd/system/asks-imds.service":    {Data: []byte(asksIMDSOnce)},
		"/etc/systemd/system/which-instance.service": {Data: []byte(`[Service]
Type=oneshot
User=nobody
EnvironmentFile=/run/bootagent/instance.env
EnvironmentFile=/run/bootagent/files/vars
ExecStart=/usr/bin/env
`)},
	}}
}

// reachesIMDS checks that the service of withFiles with imds: allow reaches the metadata service, where
// systemd gives it the BPF programs of its guard and where the kernel has none.
func reachesIMDS(g guest, i *region.Instance) {
	g.t.Helper()
	reached := func(times int) {
		g.t.Helper()
		got := g.sh("journalctl -b --no-pager --output=cat _SYSTEMD_UNIT=asks-imds.service")
		if strings.Count(got, "by the network: "+i.Cloud.ID) != times {
			g.t.Errorf("it was to reach the metadata service %d times: %s", times, got)
		}
	}
	reached(1)
	g.is("connect4\nconnect6", "ls /sys/fs/bpf/bootagent")
	g.is("", "bootagent guard check 2>/dev/null | grep 'imds: allow.*would not pass'")

	g.sh("systemctl stop bootagent-pass-imds; umount /sys/fs/bpf; systemctl restart asks-imds")
	g.is("active\ninactive", "systemctl is-active asks-imds bootagent-pass-imds")
	g.is("", "systemctl --failed --plain --no-legend")
	reached(2)
	g.says("bootagent guard check", "asks-imds.service (imds: allow) would not pass the lock", "no BPF file system is mounted on /sys/fs/bpf")
	g.sh("mount -t bpf bpf /sys/fs/bpf; systemctl restart asks-imds")
	g.is("active", "systemctl is-active bootagent-pass-imds")
	reached(3)
}

// readsFiles checks what the services of withFiles read.
func readsFiles(g guest, r *region.Region, v ec2.Volume, i *region.Instance) {
	g.t.Helper()
	const file = "/run/bootagent/files/server-id.cnf"
	reads := func(variable, want string) {
		g.t.Helper()
		var got string
		if err := g.database().QueryRowContext(g.ctx, "SELECT @@"+variable).Scan(&got); err != nil || got != want {
			g.t.Errorf("the server's %s is %q, not %q: %v", variable, got, want, err)
		}
	}
	is, err := r.EC2.Now().Instance(i.Cloud.ID)
	g.ok(err)
	reads("server_id", "4711")
	reads("report_host", is.Address)
	reads("report_password", replicaPassword)
	g.is("400 mysql mysql", "stat --format '%%a %%U %%G' "+file)
	g.is("444 root root", "stat --format '%%a %%U %%G' /run/bootagent/files/vars")
	g.is("644 root root", "stat --format '%%a %%U %%G' /run/bootagent/instance.env")
	g.is("ramfs", "findmnt --noheadings --output FSTYPE --target "+file)
	g.says("bootagent status", "done     file server-id.cnf: write")
	if got := g.sh("bootagent status --json; cat /run/bootagent/plan.json; journalctl -b --no-pager"); strings.Contains(got, replicaPassword) {
		g.t.Error("the status, the plan or the journal tells the secret")
	}
	g.is("", "su --shell /bin/sh nobody -c 'touch /run/bootagent/files/x; ln -s /etc/passwd /run/bootagent/files/y; cat %s' 2>/dev/null", file)

	g.sh("systemctl start which-instance")
	g.says("journalctl -b --no-pager --output=cat -u which-instance", "QUOTED="+quoted, "VOLUME="+v.ID, "INSTANCE_ID="+i.Cloud.ID,
		"AVAILABILITY_ZONE="+is.Zone, "REGION=", "INSTANCE_TYPE="+is.Type, "PRIVATE_IPV4="+is.Address)

	g.ok(r.EC2.Tag(v.ID, map[string]string{"server-id": "4712"}))
	g.until(settles, "bootagent retry; sleep 2; grep -q 'server_id = 4712' "+file) // EC2 may be late to tell
	reads("server_id", "4711")                                                     // it runs on
	g.sh("systemctl restart mariadb")
	g.until(settles, "bootagent wait --timeout 2m")
	reads("server_id", "4712")
}
