# A machine with a disk is started three times: its power fails, then it goes down in order, and each time its containers are
# remembered. run.sh starts it; which time this is stands on the disk.
mkdir -p /disk
mount -t ext4 /dev/vda /disk || not_ok 'disk: no /dev/vda'
export CTR_ROOT=/disk/ctr
time=$(cat /disk/time 2>/t/discard || echo 1)
containers=$CTR_ROOT/containers
record() { sed -n "s/^$2 //p" "$containers/$1/record"; } # record NAME KEY
runs() { sleep 0.2; ctr run -d "$@" >/t/discard || not_ok "run -d $*"; }
# states NAME WANTED: what ps -a says of all, in the order of their names
states() {
    ctr ps -a --format '{{.Names}} {{.State}}' >/t/states 2>"$err"
    sort /t/states >"$out"
    if [ "$(cat "$out")" = "$2" ]; then ok "$1"; else not_ok "$1" 'ps -a says'; fi
}
started='always
unless
failing'

case $time in
1)
    runs --name stopped --restart unless-stopped /rootfs sleep 1000
    expect 'first: stop' 0 stopped ctr stop -t 0 stopped
    expect 'first: create' 0 '*' ctr create --name never --restart always /rootfs sleep 1000
    runs --name not /rootfs sleep 1000
    runs --rm --name away /rootfs sleep 1000
    echo 2 >/disk/time
    # What was said so far was long ago. What comes now is all that the disk may lose, and must not.
    sync
    runs --name always --restart always /rootfs sh -c 'echo run; sleep 1000'
    runs --name unless --restart unless-stopped /rootfs sh -c 'trap "exit 7" TERM; while :; do sleep 0.1; done'
    runs --name failing --restart on-failure /rootfs sleep 1000
    expect 'first: pause' 0 failing ctr pause failing
    expect 'first: all of them run' 0 5 sh -c 'ctr ps -q | grep -c .'
    record always boot >/t/boot
    # The supervisors have a moment to sync, and the power is gone: nobody hears of it, the disk's cache is lost.
    sleep 1
    echo 'status 0' >/.vm/status
    sleep 0.5
    echo b >/proc/sysrq-trigger
    sleep 60
    not_ok 'first: the power did not fail' ;;
2)
    state_is_base
    states 'power: all are listed, as exited' 'always exited
failing exited
never created
not exited
stopped exited
unless exited'
    expect 'power: why' 0 '*' ctr ps -a --filter name=not --format '{{.Status}}'
    says 'power: in words' "$out" restarted
    holds 'power: of the one with --rm nothing is left' absent "$containers/away"
    expect 'power: its log can be read' 0 '*' ctr logs always
    expect 'power: exec is refused' 125 '' ctr exec not true
    expect 'power: start --restart-policy' 0 "$started" ctr start --restart-policy
    states 'power: those run that asked for it' 'always running
failing running
never created
not exited
stopped exited
unless running'
    expect 'power: and work' 0 hi ctr exec always echo hi
    # In order: SIGTERM for everybody, and the disk is unmounted.
    for c in always unless failing; do kill -TERM "$(record $c supervisor)"; done
    limit=20
    for c in always unless failing; do expect "down: $c is at its end" 0 '*' ctr wait $c; done
    for n in 1 2 3 4 5 6 7 8 9 10; do
        ! umount /disk 2>/t/discard || break
        sleep 0.3
    done
    holds 'down: the disk can be unmounted' sh -c '! grep -q " /disk " /proc/mounts'
    mount -t ext4 /dev/vda /disk
    echo 3 >/disk/time
    umount /disk ;;
3)
    state_is_base
    states 'again: all are listed, as exited' 'always exited
failing exited
never created
not exited
stopped exited
unless exited'
    expect 'again: how it ended is known' 0 7 ctr inspect -f '{{.State.ExitCode}}' unless
    expect 'again: start --restart-policy' 0 "$started" ctr start --restart-policy
    expect 'again: they work' 0 hi ctr exec unless echo hi
    expect 'again: rm -f' 0 '*' ctr rm -f always unless failing never not stopped
    holds 'again: nothing is left on the disk' sh -c "[ -z \"\$(ls -A $containers)\" ]"
    clean 'again: nothing left behind'
    umount /disk ;;
*) not_ok "the disk says that this is time '$time'" ;;
esac
