#!/bin/sh
# chroot.sh ROOT COMMAND [ARG...]: runs COMMAND in ROOT, in mount and process namespaces of its own.
# Nothing starts in a chroot, if systemctl and the helpers of packages can tell from /proc that it is one.
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
# Process 1 stays outside, in this shell: by its root they tell.
chroot "$root" "$@" || exit
