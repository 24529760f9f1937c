#!/bin/sh
# static.sh on|off DEVICE: "on" disables bootagent and installs static units that start MariaDB on its
# volume; "off" does the reverse. Both persist over a reboot. No unit of the role may run.
set -eu
etc=/etc/systemd/system
generator=/etc/systemd/system-generators/bootagent-generator
device=$(systemd-escape --path --suffix=device "$2")
wants=$etc/$device.wants

case $1 in
on)
	systemctl --quiet disable bootagent.service
	bootagent guard remove >/dev/null
	mkdir -p "$(dirname $generator)" $etc/mariadb.service.d "$wants"
	ln -sf /dev/null $generator
	# The guard was the last thing that kept the agent's transient units loaded.
	systemctl daemon-reload
	cat >$etc/srv-data.mount <<-END
		[Mount]
		What=$2
		Where=/srv/data
		Type=xfs
		Options=nosuid,nodev
	END
	cat >$etc/var-lib-mysql.mount <<-END
		[Unit]
		BindsTo=srv-data.mount
		After=srv-data.mount
		[Mount]
		What=/srv/data/mysql
		Where=/var/lib/mysql
		Options=bind,nosuid,nodev
	END
	cat >$etc/mariadb.service.d/volume.conf <<-END
		[Unit]
		BindsTo=srv-data.mount var-lib-mysql.mount
		After=srv-data.mount var-lib-mysql.mount
	END
	ln -sf /lib/systemd/system/mariadb.service "$wants/mariadb.service"
	systemctl daemon-reload
	for mount in srv-data var-lib-mysql; do
		path=$(systemctl show --value --property=FragmentPath $mount.mount)
		test "$path" = $etc/$mount.mount || { echo "$mount.mount is $path" >&2; exit 1; }
	done
	;;
off)
	rm -rf $etc/srv-data.mount $etc/var-lib-mysql.mount $etc/mariadb.service.d/volume.conf "$wants" $generator
	bootagent guard install >/dev/null
	systemctl daemon-reload
	bootagent guard check
	systemctl --quiet enable bootagent.service
	;;
esac
