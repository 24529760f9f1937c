package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/test/lab/image"
	"bootagent/test/lab/qemu"
)

// TestADiskOfSomeoneElse plugs disks that hold something, one after the other, each with the serial
// that the role wants: every one is refused, for the right reason, and not a byte of it changes.
// Then, with a blank one, the agent is killed at every step of its way.
func TestADiskOfSomeoneElse(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), runFor)
	defer cancel()
	m := machine(ctx, t, newImage(t), "machine", mysql, healer)
	g := guest{m, t, ctx}
	g.until(settles, "bootagent status | grep -q 'waiting since'")
	g.sh("systemctl start healer-start")

	for _, c := range []struct {
		name  string
		write func(t *testing.T, path string)
		words []string
	}{
		{"an ext4 filesystem", tool("mkfs.ext4", "-q"), []string{"does not hold the xfs filesystem of the role", "ext4"}},
		{"an XFS filesystem without a ledger", tool("mkfs.xfs", "-q"), []string{"without a ledger", "adopt: true"}},
		{"a partition table", patch(0x1fe, "\x55\xaa"), []string{"at 0x1fe"}},
		{"LVM", patch(0x200, "LABELONE"+strings.Repeat("\x00", 16)+"LVM2 001"), []string{"has an LVM2 signature at 0x218"}},
		{"an XFS filesystem of a newer kernel", newerXFS, []string{"the kernel says:", "unknown incompatible features (0x20000000)"}},
		{"one byte", patch(300*mib+77, "x"), []string{"holds data of no known format at 0x12c0004d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := guest{m, t, ctx}
			disk := newDisk(t)
			c.write(t, disk.Path)
			before := sum(t, disk.Path)
			g.until(settles, "bootagent status | grep -q 'mysql: waiting since'")
			g.plug(disk)
			g.until(settles, "bootagent status | grep -q 'mysql: failed' && systemctl is-failed bootagent-role")
			g.says("systemctl status bootagent", append(c.words, "nothing was changed")...)
			g.says("systemctl status mariadb", c.words[0])
			g.is("inactive", "systemctl is-active mariadb")
			g.is("failed", "systemctl is-active bootagent-role")
			g.says("systemctl --failed", "bootagent-role.service")
			g.is("", "findmnt /srv/data")
			g.unplug(disk)
			if sum(t, disk.Path) != before {
				t.Error("the disk was changed")
			}
		})
	}

	t.Run("a request to an EBS volume waits as long as EBS takes, one to another disk does not", func(t *testing.T) {
		g := guest{m, t, ctx}
		const timeout = "cat /sys/block/nvme0n1/queue/io_timeout" // in ms
		g.is("30000", "%s", timeout)
		g.sh("sed 's/Amazon Elastic Block Store/QEMU NVMe Ctrl/' /usr/lib/udev/rules.d/70-bootagent.rules >/etc/udev/rules.d/70-bootagent.rules")
		g.sh("udevadm control --reload; udevadm trigger --settle /sys/block/nvme0n1")
		if got := g.sh("%s", timeout); len(got) < len("4000000000") {
			t.Errorf("a request to a disk with the model that the rule names has %s ms", got)
		}
	})

	last := newDisk(t)
	t.Run("an agent that is killed at every step gets there, and makes nothing twice", func(t *testing.T) {
		g := guest{m, t, ctx}
		killer := `journalctl --follow --lines=0 --output=cat --unit=bootagent | while read -r line; do
	case $line in
	*": started") grep -qxF "$line" /run/killed || { echo "$line" >>/run/killed; systemctl kill --signal=KILL --kill-whom=main bootagent; } ;;
	esac
done`
		if err := g.WriteFile(ctx, "/run/killer", image.File{Data: []byte(killer)}); err != nil {
			t.Fatal(err)
		}
		g.sh("touch /run/killed; systemd-run --unit=killer /bin/sh /run/killer; sleep 2; systemctl restart bootagent")
		g.plug(last)
		g.until(2*settles, "test $(wc -l </run/killed) -ge 10 && bootagent wait --timeout 60s")
		g.sh("systemctl stop killer")
		t.Log(g.sh("cat /run/killed"))
		g.is("1", "journalctl -b --no-pager _PID=1 | grep -c 'Finished bootagent-make-'")
		g.is("1", "journalctl -b --no-pager _PID=1 | grep -c 'Finished bootagent-initialize-'")
		g.is("mysql", "ls /srv/data")
		g.is("1", "journalctl -b --no-pager _PID=1 | grep -c 'Started mariadb.service'")
		g.is("active", "systemctl is-active mariadb")
		g.is("active", "systemctl is-active healer@srv-data")                                                                                          // it was there all the time
		g.is("healer@srv-data.service\nhealer@var-lib-mysql.service", "journalctl -b --no-pager _PID=1 | grep -o 'healer@[^ :]*[.]service' | sort -u") // nothing was started on what was only looked at
	})

	t.Run("what a process holds of a disk that is pulled is detached, and named", func(t *testing.T) {
		g := guest{m, t, ctx}
		g.sh("systemd-run --unit=sitter --uid=nobody /bin/sh -c 'cd /srv/data && exec sleep infinity'; sleep 1")
		g.says("bootagent holders /srv/data", "sleep (pid ", " of nobody in sitter.service, by its working directory)")
		g.unplug(last)
		g.until(settles, "! systemctl is-active mariadb && ! test -e /run/bootagent/granted/mariadb.service")
		g.is("xfs", "findmnt --noheadings --output FSTYPE /srv/data") // systemd could not unmount it
		g.plug(last)
		g.until(settles, "bootagent wait --timeout 2m && systemctl is-active mariadb")
		g.says("bootagent status", "was mounted at /srv/data before its disk was gone is detached; still held by sleep (pid ")
		g.is("active", "systemctl is-active sitter")
		g.is("", "systemctl --failed --no-legend")
	})

	t.Run("a role finds the disk by its filesystem when it comes, and takes no copy of it", func(t *testing.T) {
		g := guest{m, t, ctx}
		g.sh("systemctl stop sitter; uuid=$(blkid -p -o value -s UUID $(findmnt --noheadings --output SOURCE /srv/data)) && " +
			`sed -i "s/find: {serial: .*}/find: {uuid: $uuid}/; s/format: if-blank .*/format: never\n    options: [noatime, prjquota]/" /etc/bootagent/roles.d/mysql.yaml && bootagent validate`)
		g.unplug(last)
		g.until(settles, "! systemctl is-active mariadb && ! findmnt /srv/data")
		src, err := os.ReadFile(last.Path)
		g.ok(err)
		other, err := qemu.NewDisk(filepath.Join(t.TempDir(), "copy.raw"), "vol0fedcba9876543210", 512*mib)
		g.ok(err)
		g.ok(os.WriteFile(other.Path, src, 0o600))
		g.sh("bootagent retry")
		g.until(settles, "bootagent status | grep -q 'for a disk with the xfs filesystem '")
		g.plug(other)
		g.until(settles, "bootagent status | grep -q 'disk vol0fedcba9876543210 is a copy of volume '")
		g.plug(last)
		g.sh("bootagent retry")
		g.until(settles, "bootagent status | grep -q '2 disks have the xfs filesystem '")
		g.sh("! systemctl is-active mariadb && ! findmnt /srv/data")
		g.unplug(other)
		g.until(settles, "bootagent wait --timeout 2m && systemctl is-active mariadb")
		for _, at := range []string{"/srv/data", "/var/lib/mysql"} {
			g.says("findmnt --noheadings --output OPTIONS "+at, "nosuid,nodev,noatime", "prjquota")
		}
	})

	t.Run("a filesystem that has shut itself down is told, and comes back as the hint says", func(t *testing.T) {
		g := guest{m, t, ctx}
		g.sh("xfs_io -x -c shutdown /srv/data")
		g.until(settles, "bootagent status | grep -q 'nothing can be written any more to the xfs filesystem at /srv/data: it has shut itself down after an error'")
		g.says("bootagent status", "systemctl stop --no-block srv-data.mount", "systemctl kill --signal=SIGKILL mariadb.service")
		g.sh("systemctl stop --no-block srv-data.mount; sleep 1; systemctl kill --signal=SIGKILL mariadb.service")
		g.until(settles, "bootagent wait --timeout 2m && systemctl is-active mariadb && ! bootagent status | grep -q 'nothing can be written'")
	})

	t.Run("a person adopts a copy, by the command that the status names", func(t *testing.T) {
		g := guest{m, t, ctx}
		g.unplug(last)
		g.until(settles, "! systemctl is-active mariadb && ! findmnt /srv/data")
		src, err := os.ReadFile(last.Path)
		g.ok(err)
		other, err := qemu.NewDisk(filepath.Join(t.TempDir(), "copy.raw"), "vol0fedcba9876543210", 512*mib)
		g.ok(err)
		g.ok(os.WriteFile(other.Path, src, 0o600))
		before := sum(t, other.Path)
		g.plug(other)
		g.until(settles, "bootagent status | grep -q 'bootagent adopt data --as-copy-of '")
		const pasted = `$(bootagent status | grep -o 'bootagent adopt data [^;]*')`
		g.says(pasted+" </dev/null; echo exit $?", "disk vol0fedcba9876543210 is a copy of volume ", `data        "mysql" of mariadb`, "would write, into the ledger alone:", "exit 3")
		g.says("bootagent adopt data --lost-ledger --yes vol-0fedcba9876543210; echo exit $?", "it is a copy of volume ", "exit 1")
		g.says(pasted+" --yes vol-01; echo exit $?", "it is vol-0fedcba9876543210, and not vol-01", "exit 1")
		if sum(t, other.Path) != before {
			t.Error("the disk was changed, and nobody has confirmed it")
		}
		g.says("SUDO_USER=alice "+pasted+" --yes vol-0fedcba9876543210; echo exit $?", "is being adopted as a copy of volume ", "exit 0")
		g.until(settles, "bootagent wait --timeout 2m && systemctl is-active mariadb") // where another disk was mounted in this boot
		g.says("bootagent status", "was in use when it was copied")
		g.says("journalctl -b --no-pager -u bootagent", "a person has a filesystem adopted", "by: alice")
	})
}

// healer is what xfs_healer of xfsprogs 7.2 is to systemd: a unit that is started for each new XFS
// mount, and requires it.
var healer = map[string]image.File{
	"/etc/systemd/system/healer@.service": {Data: []byte("[Unit]\nRequiresMountsFor=%f\n[Service]\nType=exec\nExecStart=/bin/sleep infinity\n")},
	"/etc/systemd/system/healer-start.service": {Data: []byte(`[Service]
ExecStart=/bin/sh -c 'findmnt --poll=mount --noheadings --output TARGET -t xfs | while read -r at; do systemctl start --no-block "healer@$(systemd-escape --path "$at").service"; done'
`)},
}

// newerXFS makes an XFS filesystem with a feature that no kernel knows yet: a bit of
// sb_features_incompat, and the checksum of the superblock, which is that of its whole sector.
func newerXFS(t *testing.T, path string) {
	t.Helper()
	tool("mkfs.xfs", "-q")(t, path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const features, checksum = 216, 224
	sector := make([]byte, 512)
	if _, err := f.ReadAt(sector, 0); err != nil {
		t.Fatal(err)
	}
	sector[features] |= 0x20
	clear(sector[checksum : checksum+4])
	binary.LittleEndian.PutUint32(sector[checksum:], crc32.Checksum(sector, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := f.WriteAt(sector, 0); err != nil {
		t.Fatal(err)
	}
}

// tool makes a filesystem with its own tool.
func tool(argv ...string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], path)...)
		cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/sbin:"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
}

// patch writes a few bytes.
func patch(at int64, text string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			defer f.Close()
			_, err = f.WriteAt([]byte(text), at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}

// TestAnotherRole boots the same image as a web server: nginx runs and MariaDB, which Debian has
// enabled as well, does not.
func TestAnotherRole(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), runFor)
	defer cancel()
	g := guest{machine(ctx, t, newImage(t), "web", web, nil), t, ctx}
	g.until(settles, "bootagent wait --timeout 60s")
	g.is("active", "systemctl is-active nginx")
	g.is("inactive", "systemctl is-active mariadb")
	g.sh("systemctl start mariadb")
	g.is("inactive", "systemctl is-active mariadb")
	g.is("", "pidof mariadbd")
	g.is("", "ls /var/lib/mysql")
	g.says("systemctl status bootagent", "web: ready since")
	g.healthy()

	t.Run("a service is probed in each way", func(t *testing.T) { probes(guest{g.Machine, t, ctx}) })

	t.Run("user-data that breaks is told, and what runs goes on", func(t *testing.T) {
		g := guest{g.Machine, t, ctx}
		for _, c := range []struct{ userData, want string }{
			{"#bootagent\\nversion: 1\\nrole: wep\\n", "did you mean \"web\""},
			{"#bootagent\\nversion: 1\\nrole: [\\n", "user-data:"},
		} {
			g.sh("cp /etc/bootagent/user-data /root/; printf '%s' >/etc/bootagent/user-data; systemctl restart bootagent", c.userData)
			g.until(settles, "systemctl is-failed bootagent-role")
			g.is("active", "systemctl is-active bootagent")
			g.says("systemctl status bootagent", c.want)
			g.says("bootagent status; echo exit $?", c.want, "then: bootagent retry", "mariadb.service is held", "exit 1")
			g.says("bootagent retry; echo exit $?", c.want, "hint: ", "exit 1")
			g.is("active", "systemctl is-active nginx")
			g.says("mv /root/user-data /etc/bootagent/user-data; bootagent retry; echo exit $?", "there is a plan now", "exit 0")
			g.until(settles, "bootagent wait --timeout 60s && systemctl is-active bootagent-role")
		}
	})

	t.Run("without user-data the agent is idle", func(t *testing.T) {
		g := guest{g.Machine, t, ctx}
		g.sh("mv /etc/bootagent/user-data /root/user-data; systemctl restart bootagent")
		g.is("active", "systemctl is-active bootagent")
		g.says("bootagent status; echo exit $?", "idle since", "has no role", "default-role", "exit 0")
		g.sh("echo 'default-role: web' >>/etc/bootagent/agent.yaml; bootagent retry")
		g.until(settles, "bootagent status | grep -q 'web: ready since'")
		g.sh("mv /root/user-data /etc/bootagent/user-data; bootagent retry")
		g.until(settles, "bootagent wait --timeout 60s")
	})

	t.Run("a role file that is edited counts after a retry, and nothing that runs is touched", func(t *testing.T) {
		g := guest{g.Machine, t, ctx}
		before := g.sh("systemctl show --value --property MainPID nginx")
		g.sh("sed -i 's/^role: web/role: www/' /etc/bootagent/roles.d/web.yaml; sed -i 's/web/www/' /etc/bootagent/user-data")
		g.says("bootagent retry; echo exit $?", "role web is in force, and the new one is www", "nothing was changed", "systemctl reboot", "exit 1")
		g.sh("sed -i 's/^role: www/role: web/' /etc/bootagent/roles.d/web.yaml; sed -i 's/www/web/' /etc/bootagent/user-data")
		g.sh("echo 'unlock-within: 2h' >>/etc/bootagent/agent.yaml")
		g.says("bootagent retry; echo exit $?", "is in force now", "exit 0")
		g.until(settles, "bootagent wait --timeout 60s")
		g.is(before, "systemctl show --value --property MainPID nginx")
	})

	t.Run("a person bypasses what holds a service, and that is gone with the boot", func(t *testing.T) {
		g := guest{g.Machine, t, ctx}
		g.sh(`systemctl stop bootagent; systemctl stop bootagent-grant-nginx.service; cp /etc/bootagent/roles.d/web.yaml /root/
			printf 'version: 1\nrole: web\nsecrets: {tls: {from: "file:///root/missing.age", credential: tls, services: [nginx.service]}}\nservices: {nginx.service: {}}\n' >/etc/bootagent/roles.d/web.yaml
			bootagent guard install && systemctl daemon-reload; systemctl start --no-block bootagent`)
		g.until(settles, "bootagent status | grep -q 'nginx.service is held'")
		g.is("inactive", "systemctl is-active nginx")
		g.says("bootagent bypass cron.service --reason test; echo exit $?", "cron.service is not held", "exit 1")
		g.says("SUDO_USER=alice bootagent bypass nginx.service --reason 'the key is away'; echo exit $?", "nginx.service is granted now", "exit 0")
		g.until(settles, "systemctl is-active nginx")
		g.is("1", "wc -c </run/credentials/nginx.service/tls")
		g.says("bootagent status", "BYPASS of nginx.service in force; web: ", "\nBYPASS of nginx.service by alice since ", "the key is away; it lacks: key: waiting")
		g.says("systemctl status bootagent", "BYPASS of nginx.service in force")
		g.says("systemctl status nginx", "BYPASS: nginx.service is started by a bypass, by alice: the key is away")
		g.says("bootagent bypass nginx.service --reason again; echo exit $?", "is in force already", "exit 1")
		g.sh("systemctl restart bootagent")
		g.says("systemctl is-active nginx; bootagent bypass --list", "active", "nginx.service is started by a bypass, by alice: the key is away")
		g.says("bootagent bypass nginx.service --end", "it is stopped, because this is not done: secret tls: decrypt")
		g.until(settles, "test $(systemctl is-active nginx) = inactive && bootagent status | grep -q 'nginx.service is held'")
		g.is("", "bootagent bypass --list")

		g.sh("systemctl stop bootagent")
		g.says("bootagent bypass nginx.service --reason test; echo exit $?", "which only the agent can give", "exit 1")
		g.is("inactive", "systemctl is-active nginx")
		g.says("bootagent bypass nginx.service --reason test --without-proof --yes nginx.service; echo exit $?", "without the agent", "exit 0")
		g.until(settles, "systemctl is-active nginx")
		g.says("bootagent status", "BYPASS of nginx.service in force", "WITHOUT PROOF")
		g.powerOff()
		g.inOrder("Stopped nginx.service", "Stopped bootagent-grant-nginx.service")
		if err := g.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		g.until(settles, "bootagent status | grep -q 'nginx.service is held'")
		g.is("inactive", "systemctl is-active nginx")
		g.is("", "bootagent bypass --list")
		g.sh("cp /root/web.yaml /etc/bootagent/roles.d/; bootagent guard install && systemctl daemon-reload; bootagent retry")
		g.until(settles, "bootagent wait --timeout 60s")
	})

	t.Run("without the package nothing starts that was held", func(t *testing.T) {
		g := guest{g.Machine, t, ctx}
		g.is("active", "systemctl is-active nginx")
		out := g.sh("dpkg --remove bootagent; echo exit $?")
		for _, word := range []string{"/etc/systemd/system/nginx.service.d/50-held-by-bootagent.conf", "daemon-reload", "exit 0"} {
			if !strings.Contains(out, word) {
				t.Errorf("the removal does not say %q:\n%s", word, out)
			}
		}
		g.is("active", "systemctl is-active nginx")
		g.sh("systemctl stop nginx; systemctl start mariadb")
		g.is("inactive", "systemctl is-active mariadb")
		// What has its grant can be started again in this boot, as the removal says.
		g.sh("systemctl start nginx")
		g.is("active", "systemctl is-active nginx")
	})
}

// TestNothingStartsUngated boots with a generator and a role file that were cut to nothing: the
// guards that were installed hold alone.
func TestNothingStartsUngated(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), runFor)
	defer cancel()
	g := guest{machine(ctx, t, newImage(t), "broken", mysql, map[string]image.File{
		"/usr/lib/systemd/system-generators/bootagent-generator": {Mode: 0o755},
		"/etc/bootagent/roles.d/mysql.yaml":                      {Data: []byte("version: 1\nrole: mysql\nservices")},
	}), t, ctx}
	disk := newDisk(t)
	before := sum(t, disk.Path)
	g.plug(disk)
	g.until(settles, "systemctl is-failed bootagent-role")
	g.is("inactive", "systemctl is-active mariadb")
	g.is("inactive", "systemctl is-active nginx")
	g.sh("systemctl start mariadb nginx")
	g.is("inactive\ninactive", "systemctl is-active mariadb nginx")
	g.says("systemctl status bootagent", "unknown role", "mysql.yaml:3:1")
	g.says("systemctl --failed", "bootagent-role.service")
	g.says("bootagent status", "mariadb.service is held: there is no plan")
	g.unplug(disk)
	if sum(t, disk.Path) != before {
		t.Error("the disk was changed")
	}

	t.Run("a role file that is mended brings it up, on ext4 this time", func(t *testing.T) {
		g := guest{g.Machine, t, ctx}
		g.sh("sed 's/filesystem: xfs/filesystem: ext4/' /usr/share/doc/bootagent/examples/roles.d/mysql.yaml >/etc/bootagent/roles.d/mysql.yaml")
		g.is("", "bootagent guard check | grep -v -e '^checked ' -e '^not checked: keys and kept state: '")
		// A socket such as systemd-imdsd's, which this systemd is too old for. This machine's
		// generator is broken, so guard install adds what hides it.
		g.sh(`cd /etc/systemd/system; printf '[Socket]\nListenStream=/run/systemd/io.systemd.InstanceMetadata\nAccept=yes\n[Install]\nWantedBy=sockets.target\n' >systemd-imdsd.socket; ` +
			`printf '[Service]\nExecStart=/bin/true\n' >systemd-imdsd@.service; systemctl daemon-reload; systemctl enable --now systemd-imdsd.socket`)
		g.says("bootagent guard check; echo exit $?", "mariadb.service: has a guard that differs from what the roles need: run bootagent guard install\n", "exit 1")
		g.sh("bootagent guard install && systemctl daemon-reload")
		g.sh("bootagent retry")

		// A shutdown in the middle of mkfs waits for it, and says so where the console is free.
		g.sh(`cd /usr/sbin && mv mkfs.ext4 mkfs.real && printf '#!/bin/sh\nsleep 15\n/usr/sbin/mkfs.real -t ext4 "$@" && echo made by $0\n' >mkfs.ext4 && chmod 755 mkfs.ext4`)
		g.plug(disk)
		g.until(settles, "systemctl is-active bootagent-make-%s | grep -q activating", serial)
		g.sh("systemctl stop lab-console")
		g.powerOff()
		g.inOrder("stop running (", "Stopped bootagent-make-", "Stopped bootagent-release")
		g.ok(g.Boot(ctx))
		g.says("journalctl -b -1 --no-pager -u bootagent-make-"+serial, "made by")
		g.sh("mv /usr/sbin/mkfs.real /usr/sbin/mkfs.ext4")
		g.until(settles, "bootagent wait --timeout 2m")
		g.is("0", "journalctl -b --no-pager _PID=1 | grep -c 'Starting bootagent-make-'")
		g.says("findmnt --noheadings --output OPTIONS /srv/data", "errors=remount-ro")
		g.is("ext4", "findmnt --noheadings --output FSTYPE /srv/data")
		g.is("active", "systemctl is-active mariadb")
		// The service does not see it, and sees what is mounted later.
		inside := "nsenter --mount --target $(systemctl show --value --property MainPID mariadb)"
		g.is("666\n0", "for into in '' \"%s\"; do $into stat -c %%a /run/systemd/io.systemd.InstanceMetadata; done", inside)
		g.is("tmpfs", "mount -t tmpfs later /mnt; %s findmnt --noheadings --output FSTYPE /mnt; umount /mnt", inside)

		// After the disk was pulled, its journal is replayed by e2fsck before the mount.
		g.unplug(disk)
		g.until(settles, "bootagent status | grep -q 'waiting since'")
		g.plug(disk)
		g.until(settles, "bootagent wait --timeout 2m")
		g.is("active", "systemctl is-active mariadb")
		g.says("journalctl -b --no-pager -u bootagent-check-"+serial, "recovering journal")
		g.powerOff()
	})
}
