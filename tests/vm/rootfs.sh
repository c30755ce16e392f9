# `ctr run DIRECTORY`: a root filesystem that lies in the ramfs, and the rest of the ramfs out of its reach.
token=s3cret-$$-token
echo $token >/secret-outside
state_is_base

expect 'rootfs: output and exit status' 7 hi ctr run --rm /rootfs sh -c 'echo hi; exit 7'
expect 'rootfs: the command is process 1' 0 1 ctr run --rm /rootfs sh -c 'echo $$'
expect 'rootfs: its own files' 0 'a small root' ctr run --rm /rootfs cat /etc/motd
expect 'rootfs: no file of the ramfs' 0 '' ctr run --rm /rootfs sh -c '[ ! -e /secret-outside ] && [ ! -e /init ] && [ ! -e /t ]'
expect 'rootfs: a file is made inside' 0 '' ctr run --rm /rootfs touch /made
holds 'rootfs: and is not there outside' absent /rootfs/made
expect 'rootfs: no path up' 1 '' ctr run --rm /rootfs cat /../secret-outside
expect 'rootfs: --init passes the status on' 3 '' ctr run --rm --init /rootfs sh -c 'exit 3'
clean 'rootfs: nothing left behind'

# The prober finds a way out of a chroot, or its silence below proves nothing.
go unshare -m chroot /rootfs /bin/escape $token
if grep -q '^not ok escape: chroot-escape' "$out"; then ok 'rootfs: the prober gets out of a mere chroot'
else not_ok 'rootfs: the prober gets out of a mere chroot' "status $status"; fi
rm -rf /rootfs/esc-*

escape() { # escape NAME OPTION...
    how=$1
    shift
    go ctr run --rm "$@" /rootfs /bin/escape $token ESCAPED
    grep 'ok escape: ' "$out" | sed "s/ok escape: /&$how: /"
    # All of them must have spoken: 19, as many as there are in escape.c.
    n=$(grep -c 'ok escape: ' "$out")
    if [ "$status" = 0 ] && [ "$n" -ge 19 ]; then ok "rootfs: $how: no attempt gets out"
    else not_ok "rootfs: $how: no attempt gets out" "status $status, $n attempts"; fi
}
state_is_base
escape overlay
escape init --init
holds 'rootfs: no attempt has left its mark outside' sh -c '[ -z "$(find / -xdev -name ESCAPED)" ]'
clean 'rootfs: nothing left behind by the attempts'
escape rw --rw
holds 'rootfs: no attempt with --rw has left its mark outside' sh -c '[ -z "$(find / -xdev -name ESCAPED | grep -v ^/rootfs/)" ]'
rm -rf /rootfs/esc-* /rootfs/ESCAPED
clean 'rootfs: nothing left behind by the attempts with --rw'
rm -f /secret-outside
