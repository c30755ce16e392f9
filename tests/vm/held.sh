# Limits while a container runs: changed, taken back, seen by stats and audit, told when they end it. Device rules, seen from
# inside. Places in the v2 tree where it is not plain how to get a controller.
mounts=$(cat /t/mounts)
case $mounts in v2|none) version=2 ;; *) version=1 ;; esac
# The kernel of --kernel 7.x has no v1 memory any more.
if [ $version = 1 ] && [ ! -d /sys/fs/cgroup/memory ]; then memory=; else memory=yes; fi
big='busybox dd if=/dev/zero of=/dev/null bs=40M count=1'
forks='for i in 1 2 3 4 5 6 7 8; do sleep 0.3 & done; wait; echo all'
soon() { # soon NAME WANTED COMMAND...
    soon_name=$1 soon_wanted=$2
    shift 2
    for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        go "$@"
        [ "$(cat "$out")" != "$soon_wanted" ] || { ok "$soon_name"; return; }
        sleep 0.2
    done
    not_ok "$soon_name" "the output does not become '$soon_wanted'"
}
state_is_base

expect 'held: run -d' 0 '*' ctr run -d --name held --pids-limit 50 ${memory:+-m 100m} /rootfs sleep 1000
if [ $memory ]; then
    # shellcheck disable=SC2086 # words
    expect 'held: 40 MiB fit into 100' 0 '*' ctr exec held $big
    expect 'held: stats' 0 '*' ctr stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' held
    says 'held: stats sees the limit, and one process' "$out" '/ 100(\.0+)?MiB 1'
    # Where ctr has mounted v2 for itself nobody who looks by name sees the group.
    case $mounts in none|dev) ;; *)
        go ctr audit held
        says 'held: audit sees it' "$out" '^✓ memory +100m' '^✓ processes +50' ;;
    esac
    go ctr update -m 20m held
    expect 'held: less, and the same as before' 0 held ctr update -m 100m held
    # shellcheck disable=SC2086
    expect 'held: they fit again' 0 '*' ctr exec held $big
fi
expect 'held: fewer processes' 0 held ctr update --pids-limit 4 held
go ctr exec held sh -c "$forks"
says 'held: they are counted at once' "$err" fork
expect 'held: as many as there are' 0 held ctr update --pids-limit -1 held
expect 'held: they are not counted' 0 all ctr exec held sh -c "$forks"
[ $version = 1 ] || [ ! -e /proc/pressure/cpu ] || {
    go ctr stats --no-stream --format '{{.Pressure}}' held
    says 'held: stats sees pressure' "$out" '[0-9]%? ?/ .*[0-9]'
}
if [ $memory ]; then
    expect 'held: update to less' 0 held ctr update -m 20m held
    # shellcheck disable=SC2086
    expect 'held: 40 do not fit into 20' 137 '*' ctr exec held $big
    if [ $version = 2 ]; then
        # All of it or nothing (memory.oom.group): half a service is none.
        soon 'held: all of it is killed' 'exited true 137' ctr inspect -f '{{.State.Status}} {{.State.OOMKilled}} {{.State.ExitCode}}' held
        go ctr events --since 1h --until 0s --filter container=held --format '{{.Action}}'
        says 'held: events tell' "$out" '^oom$'
    else
        soon 'held: v1 kills one of them' running ctr inspect -f '{{.State.Status}}' held
    fi
fi
ctr rm -f held >/t/discard 2>&1
clean 'held: nothing is left'

# A serial port, which is none of the usual devices.
mknod -m 666 /t/port c 4 66
look() { echo "true <$1 && echo r; true >>$1 && echo w; echo end"; }
state_is_base
if [ $mounts != dev ]; then
    expect 'nodes: what was not asked for is not there' 0 '' ctr run --rm /rootfs sh -c '[ ! -e /dev/port ]'
    # Read-only, by rules: the node's own permissions are anybody's.
    for ids in auto host; do
        expect "nodes: to read, ids of $ids" 0 'r
end' ctr run --rm --userns $ids --device /t/port:/dev/port:r /rootfs sh -c "$(look /dev/port)"
        expect "nodes: to write, ids of $ids" 0 'w
end' ctr run --rm --userns $ids --device /t/port:/dev/port:w /rootfs sh -c "$(look /dev/port)"
        expect "nodes: both, ids of $ids" 0 'r
w
end' ctr run --rm --userns $ids --device /t/port:/dev/port /rootfs sh -c "$(look /dev/port)"
    done
    # With a mount of its own that lets nodes live nothing but the rules is left.
    own="mount -t tmpfs none /tmp && for n in 4:66 1:3; do busybox mknod -m 666 /tmp/\$n c \${n%:*} \${n#*:} && echo made \$n; done; $(look /tmp/4:66)"
    go ctr run -d --name nodes --userns host /rootfs sleep 1000
    expect 'nodes: one that is made inside' 0 '*' ctr exec --privileged nodes sh -c "$own"
    cp "$out" /t/shown
    holds 'nodes: the usual ones live, nobody else can be read or written' sh -c "grep -qx 'made 1:3' /t/shown && ! grep -qx '[rw]' /t/shown && grep -qx end /t/shown"
    ctr rm -f nodes >/t/discard 2>&1
    go ctr run -d --name nodes --userns host --device-cgroup-rule 'c 4:66 rm' /rootfs sleep 1000
    expect 'nodes: with a rule to make and to read it' 0 'made 4:66
made 1:3
r
end' ctr exec --privileged nodes sh -c "$own"
    ctr rm -f nodes >/t/discard 2>&1
    go ctr run -d --name nodes --userns host --device-cgroup-rule 'c 4:* rwm' /rootfs sleep 1000
    expect 'nodes: with a rule for all of its kind' 0 'made 4:66
made 1:3
r
w
end' ctr exec --privileged nodes sh -c "$own"
    ctr rm -f nodes >/t/discard 2>&1
fi
rm /t/port
clean 'nodes: nothing is left'

# shellcheck disable=SC2086
if [ $mounts = v2 ]; then
    off() { echo "-memory -pids -cpu -io -cpuset" >/sys/fs/cgroup/cgroup.subtree_control; }
    off
    holds 'tree: no controller is switched on' [ -z "$(cat /sys/fs/cgroup/cgroup.subtree_control)" ]
    expect 'tree: ctr switches it on' 137 '*' ctr run --rm -m 20m /rootfs $big
    off
    expect 'tree: all the way down' 137 '*' ctr run --rm -m 20m --cgroup-parent /a/b /rootfs $big
    rmdir /sys/fs/cgroup/a/b /sys/fs/cgroup/a
    # A limit above is a limit.
    mkdir /sys/fs/cgroup/tight
    echo 20M >/sys/fs/cgroup/tight/memory.max
    expect 'tree: held by the group above' 137 '*' ctr run --rm -m 200m --cgroup-parent /tight /rootfs $big
    rmdir /sys/fs/cgroup/tight
    clean 'tree: nothing is left'
    # In a container: its group is the root of all that is seen there, and it is full.
    cat >/t/inside <<'INSIDE'
ctr run --rm --userns host -m 20m /inner true
echo "full $?"
mkdir /sys/fs/cgroup/leaf
for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo $pid >/sys/fs/cgroup/leaf/cgroup.procs; done
ctr run --rm --userns host -m 20m /inner true
echo "room $?"
ctr run --rm --userns host -m 20m /inner busybox dd if=/dev/zero of=/dev/null bs=40M count=1
echo "held $?"
INSIDE
    expect 'nested: a full root, then one with room' 0 'full 125
room 0
held 137' ctr run --rm --privileged --userns host -m 200m --pids-limit 100 -v /t:/t -v /bin/ctr:/bin/ctr -v /rootfs:/inner --tmpfs /run --tmpfs /var/lib/ctr /rootfs sh /t/inside
    says 'nested: and says which write it was' "$err" 'subtree_control' 'memory'
    rm /t/inside
    clean 'nested: nothing is left'
fi
