#!/bin/sh
# alone.sh COMMAND…: runs it where nothing else on this machine can disturb a comparison of "before" and "after", and it
# can disturb nothing else: mount, pid and network namespaces of its own, with a fresh /proc, and a tmpfs on /run and on /var/lib/ctr. Mounts
# are shared in there, as systemd leaves them on most hosts: what must not travel has a way to travel.
mkdir -p /var/lib/ctr || exit
exec unshare --mount --pid --net --fork --kill-child --mount-proc --propagation private sh -c '
    mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=700 tmpfs /var/lib/ctr && mount --make-rshared / || exit
    # As on any host.
    ip link set lo up || exit
    # Not exec: this shell is PID 1 in there, and reaps what the tests leave to it.
    "$@"; exit $?' sh "$@"
