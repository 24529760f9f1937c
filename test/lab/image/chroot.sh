#!/bin/sh
# chroot.sh ROOT COMMAND [ARG...]: runs COMMAND in the directory ROOT. Run it in new mount and PID
# namespaces. systemctl and the maintainer scripts of packages start no units in a chroot; they detect
# one by /proc.
set -eu
root=$1
shift
mount -t proc proc "$root"/proc
mount -t tmpfs -o mode=755 dev "$root"/dev
for node in null zero full random urandom; do
	: >"$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
mount -t tmpfs -o mode=755 run "$root"/run
# They compare their root with that of PID 1, so PID 1, which is this shell, stays outside of ROOT.
chroot "$root" "$@" || exit
