# `ctr run host`: a container of the machine's own root, where nothing but the ctr binary is there to begin with.
state_is_base

expect 'host: output and exit status' 7 hi ctr run --rm host sh -c 'echo hi; exit 7'
clean 'host: nothing left behind'
expect 'host: the command is process 1' 0 1 ctr run --rm host sh -c 'echo $$'
expect 'host: /proc is mounted' 0 sh ctr run --rm host sh -c 'cat /proc/1/comm; true'
go ctr run --rm host sh -c 'for d in /proc/[0-9]*; do echo "${d#/proc/}"; done'
if [ "$status" = 0 ] && grep -qx 1 "$out" && ! grep -qvxE '[0-9]' "$out"; then
    ok 'host: /proc shows only the processes of the container'
else
    not_ok 'host: /proc shows only the processes of the container' "status $status"
fi
expect 'host: no network but lo' 0 'lo' ctr run --rm host sh -c 'sed -n "s/^ *\([^ :]*\):.*/\1/p" /proc/net/dev'
expect 'host: /dev/null is one' 0 '' ctr run --rm host sh -c 'echo x >/dev/null; cat /dev/null; [ -c /dev/null ]'

# Nothing written inside reaches the ramfs.
echo before >/t/../canary
state_is_base
expect 'host: a file is made inside' 0 new ctr run --rm host sh -c 'echo new >/x; cat /x'
holds 'host: and is not there outside' absent /x
expect 'host: a file is changed and a directory removed inside' 0 after ctr run --rm host sh -c 'echo after >/canary; rm -r /root; cat /canary'
holds 'host: and is as it was outside' sh -c '[ "$(cat /canary)" = before ] && [ -d /root ]'
expect 'host: the next container sees none of it' 0 before ctr run --rm host sh -c 'cat /canary; [ ! -e /x ]'
clean 'host: nothing left behind by the writers'
rm /canary
state_is_base

expect 'host: not found is 127' 127 '' ctr run --rm host no-such-command
expect 'host: not executable is 126' 126 '' ctr run --rm host /etc/passwd
expect 'host: a signal is 128 + its number' 143 '' ctr run --rm --init host sh -c 'kill -TERM $$'
clean 'host: nothing left behind by those that failed'
expect 'host: --init passes the status on' 3 '' ctr run --rm --init host sh -c 'exit 3'
expect 'host: --init is process 1, the command is not' 0 no ctr run --rm --init host sh -c '[ $$ = 1 ] && echo yes || echo no'
clean 'host: --init leaves nothing behind'
for n in 1 2 3 4 5; do ctr run --rm host true || echo "not ok host: run $n of five"; done
clean 'host: five in a row leave nothing behind'
# A container of the host is not the host: whatever it gets to, it does not write to the ramfs.
go ctr run --rm host /rootfs/bin/escape - ESCAPED
grep '^not ok' "$out"
if [ "$status" = 0 ]; then ok 'host: no attempt gets out'; else not_ok 'host: no attempt gets out' "status $status"; fi
holds 'host: no attempt has left its mark outside' sh -c '[ -z "$(find / -xdev -name ESCAPED)" ]'
clean 'host: nothing left behind by the attempts'
