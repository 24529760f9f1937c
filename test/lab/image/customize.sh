#!/bin/sh
# Configures the base of the lab's images. mmdebstrap runs it with the root as $1.
# An operator does the like when baking an image. MariaDB and nginx stay enabled, as their packages
# leave them; bootagent holds them. PostgreSQL and Redis would start in the images whose roles do not
# name them, so an image that has their roles enables them.
set -eu
root=$1

rm -f "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap

# An image has no state: remove the databases that Debian's postinsts made, but keep their directories.
for dir in "$root"/var/lib/mysql "$root"/var/lib/mariadb "$root"/var/lib/postgresql/*/* "$root"/var/lib/redis; do
	[ ! -d "$dir" ] || find "$dir" -mindepth 1 -delete
done
for cluster in "$root"/etc/postgresql/*/*; do
	echo manual >"$cluster"/start.conf
done
systemctl --root="$root" --quiet disable redis-server.service
# Empty and not "uninitialized": each machine makes an ID, and skips the presets of a first boot, which
# take 3 s (and would enable every unit of Debian, including MariaDB's sockets).
: >"$root"/etc/machine-id
rm -f "$root"/var/lib/systemd/random-seed "$root"/var/lib/dbus/machine-id

echo lab >"$root"/etc/hostname
: >"$root"/etc/fstab # the kernel mounts the root read-write

cat >"$root"/etc/systemd/network/80-dhcp.network <<EOF
[Match]
Type=ether
[Network]
DHCP=ipv4
LinkLocalAddressing=no
EOF
cat >"$root"/etc/mysql/mariadb.conf.d/90-lab.cnf <<EOF
[mariadbd]
bind-address = 0.0.0.0
EOF
# systemd cuts the lines of its log to the width of the console. The console loses its width when no
# process has it open, so this service keeps it open until the machine is off.
cat >"$root"/etc/systemd/system/lab-console.service <<EOF
[Unit]
Description=Wide console
DefaultDependencies=no
Before=sysinit.target
[Service]
StandardInput=tty-force
TTYPath=/dev/console
ExecStart=/bin/sh -c "stty cols 200; exec sleep infinity"
SendSIGHUP=no
[Install]
WantedBy=sysinit.target
EOF
systemctl --root="$root" --quiet set-default multi-user.target
systemctl --root="$root" --quiet enable lab-console.service systemd-networkd.service
systemctl --root="$root" --quiet disable systemd-networkd-wait-online.service

# A getty on the serial line would hang up other programs that write there. A machine that runs for a
# minute does not need the other units; without them the boot takes 19 CPU-seconds instead of 25.
for unit in \
	serial-getty@ttyS0.service getty@tty1.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer \
	nvmefc-boot-connections.service nvmf-autoconnect.service \
	systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
	systemd-firstboot.service systemd-repart.service systemd-network-generator.service \
	systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-pstore.service \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service \
	dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	sys-fs-fuse-connections.mount modprobe@fuse.service \
	sys-kernel-config.mount modprobe@configfs.service \
	modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service modprobe@loop.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
mkdir -p "$root"/etc/systemd/system-generators
for what in cryptsetup gpt-auto hibernate-resume integritysetup rc-local system-update veritysetup; do
	ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-$what-generator"
done
