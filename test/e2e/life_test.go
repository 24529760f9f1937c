package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"bootagent/test/lab"
	"bootagent/test/lab/image"
)

// TestLifeOfADatabase goes with one volume through its life: a first boot, all that can happen to a
// running database, a second boot, and a second machine. One boot serves many checks, so the
// subtests stand in their order.
func TestLifeOfADatabase(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
	defer cancel()
	img := newImage(t)
	disk := newDisk(t)
	first := machine(ctx, t, img, "first", mysql, nil)
	step := func(name string, m *lab.Machine, f func(guest)) {
		t.Run(name, func(t *testing.T) { f(guest{m, t, ctx}) })
		if t.Failed() {
			t.FailNow() // what comes after stands on it
		}
	}

	step("without its disk nothing starts the database", first, func(g guest) {
		g.until(settles, "systemctl is-active multi-user.target")
		g.is("inactive", "systemctl is-active mariadb")
		g.is("inactive", "systemctl is-active nginx")
		g.is("inactive", "systemctl is-active needs-database")
		g.is("inactive", "systemctl is-active poke-database.timer")
		g.is("inactive", "systemctl is-active front-database.socket")
		g.is("", "ls /var/lib/mysql")
		for _, start := range []string{
			"systemctl start mariadb", "systemctl restart mysql", "systemctl start needs-database",
			"systemctl start poke-database.timer", "systemctl start front-database.socket",
			"systemctl start bootagent-grant-mariadb.service", "service mariadb start", "/etc/init.d/mariadb start",
		} {
			if out := g.sh("%s; echo exit $?", start); !strings.Contains(out, "exit ") || strings.HasSuffix(out, "exit 0") {
				t.Errorf("%s did not fail: %s", start, out)
			}
		}
		g.is("inactive", "systemctl is-active mariadb")
		g.is("", "pidof mariadbd")
		g.says("systemctl status mariadb", "50-held-by-bootagent.conf", "man:bootagent(8)", "waiting since", "disk with serial "+serial)
		g.says("systemctl status bootagent", "mysql: waiting since", "disk with serial "+serial)
		g.says("bootagent status; echo exit $?", "mariadb.service is held", "until", "attach it", "exit 4")
		g.says("systemctl is-active bootagent bootagent-role", "active\nactivating")
		g.is("starting", "systemctl is-system-running")
	})

	step("the disk comes and the database starts on it", first, func(g guest) {
		g.plug(disk)
		g.until(settles, "bootagent wait --timeout 2m")
		g.is("active", "systemctl is-active mariadb")
		g.is("active", "systemctl is-active bootagent-role")
		g.is("active", "systemctl is-active bootagent-ready.target")
		g.is("xfs", "findmnt --noheadings --output FSTYPE /srv/data")
		g.is("/dev/nvme1n1[/mysql]", "findmnt --noheadings --output SOURCE /var/lib/mysql")
		g.says("findmnt --noheadings --output OPTIONS /srv/data; findmnt --noheadings --output OPTIONS /var/lib/mysql", "nosuid,nodev")
		g.says("systemctl status bootagent", "mysql: ready since")
		g.is("running", "systemctl is-system-running")
		g.is("", "systemctl --failed --no-legend")
		g.createUser()
		g.exec("CREATE TABLE orders (id INT PRIMARY KEY, name TEXT)")
		g.exec("INSERT INTO orders VALUES (1, 'first order')")
	})

	step("the agent is killed and adopts what runs", first, func(g guest) {
		const sinceWhen = "systemctl show --value --property ActiveEnterTimestampMonotonic bootagent-role bootagent-ready.target"
		before, told := g.sh("systemctl show --value --property MainPID mariadb"), g.sh(sinceWhen)
		g.sh("systemctl kill --signal=KILL --kill-whom=main bootagent")
		g.until(settles, "journalctl -b -u bootagent | grep -q 'Scheduled restart job' && bootagent wait --timeout 60s")
		g.is(before, "systemctl show --value --property MainPID mariadb")
		g.sh("systemctl restart bootagent")
		g.until(settles, "bootagent wait --timeout 60s")
		g.is(before, "systemctl show --value --property MainPID mariadb")
		g.sh("systemctl stop bootagent")
		g.says("bootagent status; echo exit $?", "the agent does not run; it told last: mysql: ready since", "hint: systemctl start bootagent", "exit 5")
		g.sh("systemctl start bootagent")
		g.until(settles, "bootagent wait --timeout 60s")
		g.is(told, sinceWhen) // what is ordered after the role heard nothing of all that
	})

	step("the agent's own are all there", first, func(g guest) {
		g.is("active", "systemctl is-active bootagent-release")
		g.is("ramfs", "findmnt --noheadings --output FSTYPE /run/bootagent/secrets")
		g.is("700 root root", "stat --format '%%a %%U %%G' /run/bootagent/secrets")
		g.is(modes, "cd / && find run/bootagent var/lib/bootagent -maxdepth 2 ! -path 'run/bootagent/secrets/*' ! -path 'var/lib/bootagent/answers/*' -printf '%%m %%u %%p\\n' | sort -k3")
		for _, closed := range []string{"/run/bootagent/secrets", "/var/lib/bootagent"} {
			g.says("runuser -u nobody -- ls "+closed, "Permission denied")
		}
		g.says("bootagent daemon; echo exit $?", "another agent runs", "exit 1")
	})

	step("what is deleted from /run/bootagent is there again", first, func(g guest) {
		const there = "test -S /run/bootagent/control.sock -a -e /run/bootagent/granted/mariadb.service -a -e /run/bootagent/plan.json && bootagent status"
		g.sh("find /run/bootagent -xdev -mindepth 1 -delete")
		g.until(settles, there)
		g.sh("systemctl restart mariadb")
		g.is("active", "systemctl is-active mariadb")
		g.sh("rm /run/bootagent/granted/mariadb.service; bootagent retry")
		g.says("ls /run/bootagent/granted", "mariadb.service")
		g.until(settles, "bootagent wait --timeout 60s")
	})

	step("a filesystem that hangs holds up nothing", first, func(g guest) {
		// A ledger of another boot is one that the agent writes as soon as it is started.
		g.sh(`ledger=$(echo '{"Do":"read-ledger","Path":"/srv/data"}' | bootagent worker | sed 's/.*"Answer":"\([^"]*\)".*/\1/' | base64 -d | sed 's/"boot_id":"[^"]*"/"boot_id":"another"/' | base64 -w 0)
			echo '{"Do":"write-ledger","Path":"/srv/data","Ledger":"'$ledger'"}' | bootagent worker; fsfreeze --freeze /srv/data; systemctl restart bootagent`)
		g.until(settles, "bootagent status | grep -q 'waiting since .* until .* for the ledger of the filesystem at /srv/data to be written'")
		g.says("bootagent status", "fsfreeze --unfreeze /srv/data")
		if held := g.sh("bootagent status"); strings.Contains(held, "is held") {
			t.Errorf("what runs is told to be held:\n%s", held)
		}
		g.is("active", "systemctl is-active mariadb")
		g.says("systemctl stop bootagent; systemctl show --property Result bootagent", "Result=success")
		g.is("", "cat /sys/fs/cgroup/system.slice/bootagent.service/cgroup.procs 2>/dev/null")
		g.says("systemctl list-units --no-legend 'bootagent-left-*.scope'", "bootagent-left-")
		g.sh("fsfreeze --unfreeze /srv/data; systemctl start bootagent")
		g.until(settles, "bootagent wait --timeout 60s")
		g.is("", "systemctl list-units --no-legend 'bootagent-left-*.scope'")
		g.is("running", "systemctl is-system-running")
	})

	step("isolating another target stops the services and leaves the volume, until all is started again", first, func(g guest) {
		g.sh("systemctl isolate --no-block lab-rescue.target")
		g.until(settles, "systemctl is-active lab-rescue.target && ! systemctl is-active bootagent && ! systemctl is-active mariadb && ! systemctl is-active bootagent-grant-mariadb")
		g.is("active\nactive", "systemctl is-active srv-data.mount bootagent-release")
		g.is("", "systemctl --failed --no-legend")
		g.sh("systemctl isolate --no-block multi-user.target")
		g.until(settles, "systemctl is-active mariadb && bootagent wait --timeout 60s")
		g.healthy()
	})

	step("an upgrade of the package leaves the database running", first, func(g guest) {
		before := g.sh("systemctl show --value --property MainPID mariadb")
		agent := g.sh("systemctl show --value --property MainPID bootagent")
		g.upgrade()
		g.until(settles, "test $(systemctl show --value --property MainPID bootagent) != %s && bootagent wait --timeout 60s", agent)
		g.is(before, "systemctl show --value --property MainPID mariadb")
	})

	step("a database that crashes comes back", first, func(g guest) {
		before := g.sh("systemctl show --value --property MainPID mariadb")
		g.sh("kill -KILL %s", before)
		g.until(settles, "bootagent status | grep -q 'mariadb.service to st.*: this is restart 1 by systemd, after it was killed by SIGKILL'")
		g.until(settles, "systemctl is-active mariadb && test $(systemctl show --value --property MainPID mariadb) != %s", before)
		g.until(settles, "bootagent wait --timeout 60s")
		if got := g.row(); got != "first order" {
			t.Errorf("after the crash the row is %q", got)
		}
	})

	step("a role file that breaks or goes changes nothing that runs and lets nothing start", first, func(g guest) {
		before := g.sh("systemctl show --value --property MainPID mariadb")
		g.sh("cp -a /etc/bootagent/roles.d /root/; echo broken: >/etc/bootagent/roles.d/mysql.yaml; systemctl daemon-reload")
		g.is(before, "systemctl show --value --property MainPID mariadb")
		g.sh("rm /etc/bootagent/roles.d/*; systemctl daemon-reload")
		g.is(before, "systemctl show --value --property MainPID mariadb")
		g.says("systemctl cat mariadb nginx", "AssertPathExists=/run/bootagent/granted/mariadb.service", "AssertPathExists=/run/bootagent/granted/nginx.service")
		g.sh("systemctl start nginx")
		g.is("inactive", "systemctl is-active nginx")
		// Even without the guards that were installed, the copy of what is in force holds.
		g.sh("mkdir /root/guards; for d in /etc/systemd/system/*.service.d; do mv $d /root/guards/; done; systemctl daemon-reload; systemctl start nginx")
		g.is("inactive", "systemctl is-active nginx")
		g.is(before, "systemctl show --value --property MainPID mariadb")
		g.sh("mv /root/guards/* /etc/systemd/system/; cp -a /root/roles.d/* /etc/bootagent/roles.d/; systemctl daemon-reload")
		g.is("", "bootagent guard check | grep -v -e '^checked ' -e '^not checked: keys and kept state: '")
		g.is(before, "systemctl show --value --property MainPID mariadb")
	})

	step("what a person stopped stays stopped", first, func(g guest) {
		g.sh("systemctl stop mariadb")
		g.until(settles, "bootagent status | grep -q 'stopped by hand'")
		g.sh("systemctl restart bootagent")
		g.until(settles, "bootagent status | grep -q 'stopped by hand'")
		g.unplug(disk)
		g.until(settles, "bootagent status | grep -q 'waiting since .* disk with serial'")
		g.plug(disk)
		g.until(settles, "bootagent status | grep -q 'stopped by hand'")
		g.is("inactive", "systemctl is-active mariadb")
		g.until(settles, "systemctl is-failed bootagent-role")
		g.sh("bootagent retry")
		g.until(settles, "bootagent wait --timeout 60s && systemctl is-active mariadb")
		g.sh("systemctl stop mariadb")
		g.until(settles, "bootagent status | grep -q 'stopped by hand'")
		g.sh("systemctl start mariadb")
		g.until(settles, "bootagent wait --timeout 60s")
	})

	step("the disk is pulled under load, and comes back", first, func(g guest) {
		g.sh("systemctl daemon-reexec") // the agent has lost its connection, and goes on
		load, stop := context.WithCancel(ctx)
		db := g.database()
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			for n := 2; load.Err() == nil; n++ {
				if _, err := db.ExecContext(load, "INSERT INTO orders VALUES (?, 'load')", n); err != nil {
					return
				}
			}
		}()
		time.Sleep(time.Second)
		g.unplug(disk)
		g.until(settles, "! systemctl is-active mariadb && ! test -e /run/bootagent/granted/mariadb.service")
		stop()
		<-loaded
		g.until(settles, "! findmnt /srv/data")
		g.until(settles, "bootagent status | grep -q 'waiting since .* disk with serial'")
		g.says("systemctl status bootagent", "waiting since")
		g.sh("systemctl start --no-block mariadb") // it would wait for the disk
		g.is("", "pidof mariadbd")

		// The mount that systemd still knows can't be had without the agent's proof.
		g.sh("systemctl stop bootagent")
		g.plug(disk)
		g.until(settles, "test -e /dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_%s", serial)
		g.says("systemctl start srv-data.mount", "Assertion failed")
		g.sh("systemctl start bootagent-grant-mariadb.service; systemctl start mariadb")
		g.is("", "pidof mariadbd")
		g.is("", "findmnt /srv/data")
		g.sh("systemctl start bootagent")
		g.until(settles, "bootagent wait --timeout 2m")
		g.is("active", "systemctl is-active mariadb")
		if got := g.row(); got != "first order" {
			t.Errorf("after the disk came back the row is %q", got)
		}
	})

	step("at power-off the database stops before the disk, and the network goes last", first, func(g guest) {
		g.is("active", "systemctl is-active bootagent-release")
		g.powerOff()
		g.inOrder("Stopped mariadb.service", "Stopped bootagent-grant-mariadb.service", "Stopped bootagent.service",
			"Unmounted var-lib-mysql.mount", "Unmounted srv-data.mount", "Stopped bootagent-release.service", "Stopped target network.target")
	})

	step("a second boot finds all there", first, func(g guest) {
		if err := g.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		g.until(settles, "bootagent wait --timeout 2m")
		if got := g.row(); got != "first order" {
			t.Errorf("after the second boot the row is %q", got)
		}
		g.says("bootagent status; journalctl -b --no-pager -u bootagent", "volume data: stopped cleanly 20", "\nvolume data: stopped cleanly ")
		g.healthy()
		g.is("", "journalctl --no-pager _PID=1 | grep -i 'ordering cycle'") // of this boot, or of the shutdown before
		g.is("", "journalctl -b --no-pager -u bootagent | grep -i 'daemon-reload'")
		g.is("0", "journalctl -b --no-pager _PID=1 | grep -c 'Reloading'")
		g.sh("printf '#bootagent\\nversion: 1\\nrole: web\\n' >/etc/bootagent/user-data")
		g.powerOff()
	})

	step("the same machine in another role leaves the volume alone", first, func(g guest) {
		before := sum(t, disk.Path)
		if err := g.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		g.until(settles, "bootagent wait --timeout 2m")
		g.is("active", "systemctl is-active nginx")
		g.says("bootagent status", "web: ready since")
		g.sh("systemctl start mariadb")
		g.is("inactive", "systemctl is-active mariadb")
		g.is("", "findmnt /srv/data; findmnt /var/lib/mysql; ls /var/lib/mysql")
		g.healthy()
		g.powerOff()
		if sum(t, disk.Path) != before {
			t.Error("the volume was written to")
		}
	})

	second := machine(ctx, t, img, "second", mysql, nil)
	step("a second machine takes the volume, which is larger, and grows it while the database runs", second, func(g guest) {
		if err := os.Truncate(disk.Path, 1024*mib); err != nil {
			t.Fatal(err)
		}
		g.plug(disk)
		g.until(settles, "bootagent wait --timeout 2m")
		if got := g.row(); got != "first order" {
			t.Errorf("on the second machine the row is %q", got)
		}
		const bytes = "findmnt --noheadings --bytes --output SIZE /srv/data"
		g.says("bootagent status", "mysql: ready since", "has 1.0 GiB, and its filesystem 0.5 GiB; to grow it: bootagent grow data")
		small := g.sh(bytes)
		g.says("bootagent grow --dry-run data", "the xfs filesystem at /srv/data would be grown from 0.5 GiB to 1.0 GiB", "Nothing was changed")
		g.is(small, bytes)
		g.says("bootagent grow data", "the xfs filesystem at /srv/data is grown from 0.5 GiB to 1.0 GiB")
		g.until(settles, "bootagent status | grep -q 'it was grown from 0.5 GiB to 1.0 GiB'")
		if large := g.sh(bytes); len(large) < len(small) || large <= small && len(large) == len(small) {
			t.Errorf("the filesystem has %s bytes, and had %s", large, small)
		}
		g.exec("INSERT INTO orders VALUES (1000000, 'an order after that')")
		g.says("bootagent grow data", "has nothing to grow")
		g.is("", "systemctl list-units --no-legend --all 'bootagent-grow-*'")
		g.healthy()
		g.powerOff()
	})
}

// modes are those of all that the agent keeps: what others than root may read is the status, the
// tokens and the role files. An agent that was started again has no permit/ until it mounts.
const modes = `755 root run/bootagent
600 root run/bootagent/control.sock
755 root run/bootagent/files
755 root run/bootagent/granted
644 root run/bootagent/granted/mariadb.service
600 root run/bootagent/lock
600 root run/bootagent/plan.json
755 root run/bootagent/roles.d
644 root run/bootagent/roles.d/mysql.yaml
644 root run/bootagent/roles.d/web.yaml
700 root run/bootagent/secrets
700 root run/bootagent/started
600 root run/bootagent/started/mariadb.service
644 root run/bootagent/status.json
700 root var/lib/bootagent
700 root var/lib/bootagent/answers
700 root var/lib/bootagent/intents
600 root var/lib/bootagent/intents/vol0123456789abcdef0.json`

// healthy fails the test if any unit failed.
func (g guest) healthy() {
	g.t.Helper()
	g.is("", "systemctl --failed --no-legend")
	g.is("running", "systemctl is-system-running --wait")
}

// upgrade installs the package again, as a newer version is installed over an older one.
func (g guest) upgrade() {
	g.t.Helper()
	src := packageFile(g.t)
	if err := g.WriteFile(g.ctx, "/root/bootagent.deb", image.File{Data: src}); err != nil {
		g.t.Fatal(err)
	}
	if out := g.sh("dpkg --install /root/bootagent.deb; echo exit $?"); !strings.HasSuffix(out, "exit 0") {
		g.t.Fatal(out)
	}
}

// inOrder fails the test unless the console tells these in this order, after the last boot began.
func (g guest) inOrder(lines ...string) {
	g.t.Helper()
	console, err := g.Console()
	if err != nil {
		g.t.Fatal(err)
	}
	rest := console
	for i, line := range lines {
		at := strings.Index(rest, line)
		if at < 0 {
			where := "at all"
			if i > 0 {
				where = fmt.Sprintf("after %q", lines[i-1])
			}
			g.t.Fatalf("the console does not tell %q %s:\n%s", line, where, g.ConsoleTail())
		}
		rest = rest[at:]
	}
}
