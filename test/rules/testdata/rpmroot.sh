#!/bin/sh
# rpmroot.sh ROOT RPM-ARGUMENT...: runs rpm on a system in the directory ROOT. The system has the programs
# of this host in /usr, and keeps what rpm writes. Run it as root in a mount namespace of its own.
set -eu
root=$1
shift
mkdir -p "$root/usr" "$root/dev" "$root/etc" "$root/run" "$root/tmp" "$root/var" "$root.upper" "$root.work"
mount -t overlay -o "lowerdir=/usr,upperdir=$root.upper,workdir=$root.work" usr "$root/usr"
for link in bin sbin lib lib64; do
	[ -h "$root/$link" ] || ln -s "usr/$link" "$root/$link"
done
: >"$root/dev/null"
mount --bind /dev/null "$root/dev/null"

# The scripts of the package find only the programs of what it requires.
mkdir -p "$root/only"
for program in cat find sed sort systemctl tr; do
	ln -sf "/usr/bin/$program" "$root/only/$program"
done
exec rpm --root "$root" --dbpath /var/lib/rpm --define '_install_script_path /only' "$@" </dev/null
