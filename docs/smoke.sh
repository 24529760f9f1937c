#!/bin/sh
# Looks whether an instance that has just booted with docs/first-instance.md's
# role mysql-ec2 is what it should be, reboots it, and looks again.
#
#   docs/smoke.sh [USER@]HOST KEYFILE
#
# USER has to be root, or may sudo without a password. The instance waits for
# its key, or has it already. A table "smoke" is made in the database "test".
#
# Never run on EC2 so far.
#
# What is in single quotes is the instance's to expand.
# shellcheck disable=SC2016
set -eu

if [ $# -ne 2 ] || [ ! -r "$2" ]; then
	echo "usage: docs/smoke.sh [USER@]HOST KEYFILE" >&2
	exit 2
fi
target=$1 key=$2 failed=0

# on runs a command line on the instance, as root.
on() { printf '%s\n' "$1" | ssh -o ConnectTimeout=10 "$target" sudo -n sh -s; }

# check WHAT LINE is fine if the line succeeds on the instance.
check() {
	if out=$(on "$2" 2>&1); then
		printf 'ok    %s\n' "$1"
	else
		printf 'FAIL  %s\n%s\n' "$1" "$out"
		failed=1
	fi
}

# up brings the key if one is waited for, and waits until the role is ready.
up() {
	tries=0
	until on 'test -e /run/bootagent/status.json' 2>/dev/null; do
		tries=$((tries + 1))
		if [ $tries -ge 60 ]; then
			echo "FAIL  the instance does not answer, or bootagent does not run" >&2
			exit 1
		fi
		sleep 5
	done
	# What is handed in too early or twice does no harm.
	ssh "$target" sudo -n bootagent unlock <"$key"
	if ! on 'bootagent wait --timeout 15m'; then
		on 'bootagent status; journalctl --no-pager -b -u bootagent -n 50' || true
		exit 1
	fi
}

up
check "every unit of every role is held" 'bootagent guard check'
check "the volume is mounted" 'findmnt --noheadings /srv/data'
check "the data directory is on the volume" \
	'test "$(findmnt --noheadings --output MAJ:MIN --target /var/lib/mysql)" = "$(findmnt --noheadings --output MAJ:MIN /srv/data)"'
check "MariaDB runs by its grant" 'systemctl is-active mariadb bootagent-grant-mariadb.service bootagent-role'
check "the secret is in memory, and root's alone" \
	'cd /run/bootagent/secrets/mariadb.service && test "$(stat -f -c %T .)" = ramfs && test "$(stat -c "%a %U" root-sql)" = "400 root"'
check "MariaDB may not reach the metadata service" \
	'systemctl show --property IPAddressDeny mariadb | grep -qF 169.254.169.254'
check "no service of another role runs" '! systemctl is-active --quiet nginx'
check "nothing failed" 'test -z "$(systemctl --failed --quiet --no-legend)"'
check "a row is written" \
	'mariadb -e "CREATE DATABASE IF NOT EXISTS test; CREATE TABLE IF NOT EXISTS test.smoke (at TIMESTAMP); INSERT INTO test.smoke VALUES (NOW())"'
rows=$(on 'mariadb --batch --skip-column-names -e "SELECT COUNT(*) FROM test.smoke"')
boot=$(on 'cat /proc/sys/kernel/random/boot_id')

echo "      reboot"
on 'systemctl reboot' >/dev/null 2>&1 || true
tries=0
until now=$(on 'cat /proc/sys/kernel/random/boot_id' 2>/dev/null) && [ "$now" != "$boot" ]; do
	tries=$((tries + 1))
	if [ $tries -ge 60 ]; then
		echo "FAIL  the instance does not come back" >&2
		exit 1
	fi
	sleep 5
done
up
check "the row is there after the reboot" \
	"test \"\$(mariadb --batch --skip-column-names -e 'SELECT COUNT(*) FROM test.smoke')\" = $rows"
on 'bootagent timeline'
exit $failed
