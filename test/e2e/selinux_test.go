package e2e

import (
	"context"
	"testing"

	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/labtest"
)

// enforced is a role whose database reads a secret as a credential, and a file.
const enforced = `version: 1
role: enforced
volumes:
  data: {find: {serial: ` + serial + `}, format: if-blank, mount: /srv/data}
data:
  mysql: {volume: data, dir: mysql, bind: /var/lib/mysql, engine: mariadb, owner: mysql, if-absent: initialize}
secrets:
  root-sql: {from: "file:///etc/bootagent/root-sql.age", services: [mariadb.service]}
files:
  server-id.cnf: {content: "[mysqld]\nserver_id = 4711\n", owner: mysql, services: [mariadb.service]}
services:
  mariadb.service: {}
`

// denials are what the kernel has denied the agent, its generator, mount(8) and the database since the
// machine was started. Each is a line.
const denials = `ausearch --message AVC,USER_AVC,SELINUX_ERR --start today --raw 2>/dev/null | grep denied |
	grep -E 'comm="?(bootagent|mariadb|mysql|mount|umount)|:mysqld_t:|:mount_t:'`

// TestSELinuxEnforced boots an instance whose kernel enforces the policy of its distribution, with the
// module of the package: a new volume, and the same one again.
func TestSELinuxEnforced(t *testing.T) {
	on(t, "selinux")
	ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
	defer cancel()
	key := newKey(t)
	file := func(text string) image.File { return image.File{Data: []byte(text)} }
	img := labtest.Image(t, image.Spec{
		Debs: []string{deb(t)},
		Files: map[string]image.File{
			"/etc/bootagent/agent.yaml":                file("user-data: {file: /etc/bootagent/user-data}\nkeys: [{file: /etc/bootagent/key}]\n"),
			"/etc/bootagent/user-data":                 file("#bootagent\nversion: 1\nrole: enforced\n"),
			"/etc/bootagent/key":                       {Data: []byte(key.String() + "\n"), Mode: 0o600},
			"/etc/bootagent/root-sql.age":              {Data: seal(t, rootSQL(password), key)},
			"/etc/bootagent/roles.d/enforced.yaml":     file(enforced),
			"/etc/mysql/mariadb.conf.d/91-secrets.cnf": file("[mariadbd]\ninit-file = /run/credentials/mariadb.service/root-sql\n!include /run/bootagent/files/server-id.cnf\n"),
		},
		Commands: [][]string{
			{"sed", "--in-place", "s/^SELINUX=.*/SELINUX=enforcing/", "/etc/selinux/config"},
			{"bootagent", "guard", "install"},
			{"sh", "-c", "bootagent guard check | grep 'lacks the module bootagent'"},
			{"semodule", "--install=/usr/share/selinux/packages/bootagent.cil"},
			{"sh", "-c", "bootagent guard check | grep 'it has the module bootagent'"},
		},
	})
	m := labtest.Machine(t, img, "enforced", lab.Config{Ports: []int{3306}})
	g := guest{m, t, ctx}
	g.ok(m.Boot(ctx))
	disk := newDisk(t)

	g.is("Enforcing", "getenforce")
	g.plug(disk)
	g.until(settles, "bootagent wait --timeout 2m")
	label := func(path, want string) {
		t.Helper()
		g.is(want, "stat --format %%C %s | cut -d: -f3", path)
	}
	made := func() {
		t.Helper()
		g.is("mysqld_t", "cut -d: -f3 /proc/$(pidof mariadbd)/attr/current")
		label("/srv/data", "var_t")
		label("/srv/data/mysql", "mysqld_db_t")
		label("/var/lib/mysql/ibdata1", "mysqld_db_t")
		g.is("", "%s", denials)
		var id string
		if err := g.database().QueryRowContext(ctx, "SELECT @@server_id").Scan(&id); err != nil || id != "4711" {
			t.Errorf("the server's ID is %q, %v; by a file of the role it is 4711", id, err)
		}
	}
	made()
	g.exec("CREATE TABLE orders (id INT PRIMARY KEY, name TEXT)")
	g.exec("INSERT INTO orders VALUES (1, 'first order')")

	// The generator reads role files that came at run time.
	g.sh("mkdir -p /run/bootagent/roles.d; sed 's/role: enforced/role: late/; s/mariadb.service/late.service/' /etc/bootagent/roles.d/enforced.yaml >/run/bootagent/roles.d/late.yaml; systemctl daemon-reload")
	g.says("systemctl cat late.service; ls /run/systemd/generator*/late.service.d", "held-by-bootagent")

	g.ok(m.Reboot(ctx))
	g.until(settles, "bootagent wait --timeout 2m")
	made()
	if got := g.row(); got != "first order" {
		t.Errorf("after a second boot the row is %q", got)
	}

	// Without the module and the boolean, the bind is denied, and the hint's commands allow it.
	g.sh("systemctl stop mariadb bootagent; umount /var/lib/mysql; semodule --remove=bootagent; systemctl start bootagent")
	g.until(settles, "bootagent status | grep -q 'setsebool -P allow_mount_anyfile on'")
	g.sh("semodule --install=/usr/share/selinux/packages/bootagent.cil; bootagent retry; systemctl start mariadb")
	g.until(settles, "bootagent wait --timeout 2m")
	g.is("active", "systemctl is-active mariadb")
	label("/var/lib/mysql/ibdata1", "mysqld_db_t")
}
