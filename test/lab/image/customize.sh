#!/bin/sh
# What the lab's image has beyond Debian's packages: run by mmdebstrap with the root as $1.
# It stands for what an operator bakes. MariaDB and nginx stay as their packages leave them:
# enabled. That they don't start is bootagent's doing.
set -eu
root=$1

rm -f "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap

# An image holds no state: the database that Debian's postinst made goes, its directory stays.
find "$root"/var/lib/mysql -mindepth 1 -delete
# Empty and not "uninitialized": each machine takes an id of its own, without the 3 s of a first
# boot's presets (which would enable every unit of Debian's, sockets of MariaDB too).
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
# systemd cuts the lines of its log on the console to the width of that, which it forgets when
# nobody has it open: hold it, to the very end.
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

# A getty on the serial line hangs up whoever else writes there. The rest is what a machine that
# lives for a minute has no use for; without it the boot takes 19 CPU-seconds and not 25.
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
