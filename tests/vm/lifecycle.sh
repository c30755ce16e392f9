# Containers that live on their own: every verb in this layout of control groups, small process numbers that come round, a
# wrong clock, and a machine that goes down without a word.
mounts=$(cat /t/mounts)
case $mounts in
    # Where none is mounted (dev: all but that) ctr mounts v2 for itself.
    v2|hybrid|none|dev) groups=yes ;;
    v1) if [ -d /sys/fs/cgroup/freezer ]; then groups=yes; else groups=; fi ;;
    *) groups= ;;
esac
containers=/var/lib/ctr/containers
record() { sed -n "s/^$2 //p" "$containers/$1/record"; } # record NAME KEY
pidof_() { record "$1" pid; }
# becomes NAME WANTED COMMAND...: what the command prints, soon
becomes() {
    becomes_name=$1 becomes_wanted=$2 becomes_n=0
    shift 2
    while [ $becomes_n -lt 100 ]; do
        go "$@"
        [ "$(cat "$out")" != "$becomes_wanted" ] || { ok "$becomes_name"; return; }
        sleep 0.1
        becomes_n=$((becomes_n + 1))
    done
    not_ok "$becomes_name" "the output does not become '$becomes_wanted'"
}
# gone PID: it is no process any more, soon (a zombie is one until init has reaped it)
gone() {
    for gone_n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -0 "$1" 2>/t/discard || return 0
        sleep 0.1
    done
    return 1
}
# is NAME STATE CONTAINER
is() { expect "$1" 0 "$2" ctr inspect -f '{{.State.Status}}' "$3"; }
# clear NAME...: away with them, and nothing is left
clear_() {
    clear_name=$1
    shift
    expect "$clear_name: rm -f" 0 '*' ctr rm -f "$@"
    clean "$clear_name: nothing left behind"
}
state_is_base

# ---- one life ----------------------------------------------------------------------------------------------------------

# It says when it is told to end, and counts, so that it is seen whether it goes on.
busy='trap "echo bye; exit 5" TERM; echo up; n=0; while :; do n=$((n + 1)); echo $n >/n; sleep 0.05; done'
expect 'life: run -d' 0 '*' ctr run -d --name one /rootfs sh -c "$busy"
says 'life: it prints an id' "$out" '^[0-9a-f]{64}$'
expect 'life: ps' 0 'one running' ctr ps --format '{{.Names}} {{.State}}'
expect 'life: its status' 0 '*' ctr ps --format '{{.Status}}'
says 'life: Up' "$out" '^Up '
becomes 'life: logs' up ctr logs one
expect 'life: exec' 7 hi ctr exec one sh -c 'echo hi; exit 7'
expect 'life: exec is in there' 0 sh ctr exec one cat /proc/1/comm
expect 'life: exec -i' 0 typed sh -c 'echo typed | ctr exec -i one cat'
expect 'life: top' 0 '*' ctr top one
expect 'life: inspect' 0 'true 0' ctr inspect -f '{{.State.Running}} {{.State.ExitCode}}' one
expect 'life: cp' 0 '*' ctr cp one:/n /t/n
holds 'life: cp has brought a number' grep -qE '^[0-9]+$' /t/n
expect 'life: a name is taken' 125 '' ctr run -d --name one /rootfs true
expect 'life: rm of a running one is refused' 125 '' ctr rm one

if [ "$groups" ]; then
    expect 'pause: pause' 0 one ctr pause one
    expect 'pause: ps' 0 'one paused' ctr ps --format '{{.Names}} {{.State}}'
    go ctr cp one:/n /t/n
    sleep 0.4
    expect 'pause: cp' 0 '*' ctr cp one:/n /t/n2
    holds 'pause: it stands still' cmp /t/n /t/n2
    limit=10 expect 'pause: exec is refused' 125 '' ctr exec one true
    says 'pause: and says why' "$err" paused
    expect 'pause: a second pause is refused' 125 '' ctr pause one
    expect 'pause: start is refused' 125 '' ctr start one
    expect 'pause: unpause' 0 one ctr unpause one
    is 'pause: ps says running again' running one
    sleep 0.4
    go ctr cp one:/n /t/n2
    holds 'pause: it goes on' sh -c '! cmp -s /t/n /t/n2'
    expect 'pause: a second unpause is refused' 125 '' ctr unpause one
    expect 'pause: pause again' 0 one ctr pause one
    limit=40
else
    expect 'pause: is refused without control groups' 125 '' ctr pause one
    says 'pause: and says why, and what to do' "$err" 'control group' 'ctr doctor'
    is 'pause: it still runs' running one
fi
expect 'stop: stop (of a paused one, where there are such)' 0 one ctr stop -t 20 one
expect 'stop: it heard its signal' 0 5 ctr inspect -f '{{.State.ExitCode}}' one
expect 'stop: its last words are in the log' 0 bye ctr logs --tail 1 one
expect 'stop: stop of one that does not run' 0 one ctr stop one
is 'stop: exited' exited one
expect 'stop: exec is refused' 125 '' ctr exec one true
expect 'stop: wait' 0 5 ctr wait one
expect 'start: start' 0 one ctr start one
becomes 'start: its log goes on' "up
bye
up" ctr logs one
expect 'start: start of one that runs' 0 one ctr start one
expect 'restart: restart' 0 one ctr restart -t 20 one
is 'restart: running' running one
expect 'kill: kill' 0 one ctr kill one
becomes 'kill: 137' 'exited 137' ctr inspect -f '{{.State.Status}} {{.State.ExitCode}}' one
clear_ life one
[ -z "$groups" ] || holds 'life: no control group is left' sh -c '[ -z "$(find /sys/fs/cgroup -type d -name "ctr*")" ]'
expect 'rm -f: of one that runs' 0 '*' ctr run -d --name one /rootfs sh -c 'sleep 1000 & sleep 1000'
clear_ 'rm -f' one
expect 'rm -f: with --rm, by itself' 0 '*' ctr run -d --rm --name one /rootfs true
becomes 'rm -f: it has gone' '' ctr ps -aq
clean 'rm -f: --rm leaves nothing behind'

# ---- restart policies, supervisors that are killed -----------------------------------------------------------------------

expect 'policy: on-failure:2' 0 '*' ctr run -d --restart on-failure:2 --name again /rootfs sh -c 'echo run; exit 3'
becomes 'policy: it has failed three times' 'exited 3 2' \
    ctr inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' again
expect 'policy: its log' 0 'run
run
run' ctr logs again
clear_ 'policy' again
expect 'policy: always' 0 '*' ctr run -d --restart always --name again /rootfs sleep 1000
first=$(pidof_ again)
kill -9 "$first"
becomes 'policy: it comes back' 'running 1' ctr inspect -f '{{.State.Status}} {{.RestartCount}}' again
holds 'policy: as another process' [ "$(pidof_ again)" != "$first" ]
expect 'policy: stop' 0 again ctr stop -t 0 again
sleep 0.5
is 'policy: and stays away' exited again
clear_ 'policy: always' again

expect 'orphan: run' 0 '*' ctr run -d --name one /rootfs sh -c "$busy"
kill -9 "$(record one supervisor)"
gone "$(record one supervisor)"
expect 'orphan: ps says so' 0 '*' ctr ps --format '{{.Status}}'
says 'orphan: in words' "$out" 'supervisor'
expect 'orphan: exec' 0 hi ctr exec one echo hi
if [ "$groups" ]; then
    expect 'orphan: pause' 0 one ctr pause one
    is 'orphan: it is paused' paused one
fi
expect 'orphan: stop' 0 one ctr stop -t 20 one
expect 'orphan: start' 0 one ctr start one
expect 'orphan: exec in the new one' 0 hi ctr exec one echo hi
kill -9 "$(record one supervisor)"
clear_ orphan one

# ---- numbers come round ----------------------------------------------------------------------------------------------------

# numbers MAX: /proc may not be mounted. After a round numbers begin at 300.
numbers() {
    if proc_mounted; then p=/proc; else p=/t/proc; mkdir -p $p; mount -t proc proc $p; fi
    echo "$1" >$p/sys/kernel/pid_max
    proc_mounted || { umount $p; rmdir $p; }
}
# taken PID: an innocent process gets this number: $innocent. The numbers below 300 never come again: false for them.
taken() {
    taken_n=0
    while [ $taken_n -lt 1000 ]; do
        sleep 1000 &
        innocent=$!
        [ $innocent != "$1" ] || return 0
        kill -9 $innocent
        wait $innocent 2>/t/discard
        taken_n=$((taken_n + 1))
    done
    innocent=
    return 1
}
while sh -c '[ $$ -lt 320 ]'; do :; done
# A shell wants it for what runs in the background.
null=
[ -e /dev/null ] || { null=made; mknod -m 666 /dev/null c 1 3; }
numbers 380
for verb in 'ps -a' 'stop -t 1' 'kill' 'restart -t 1' 'exec' 'rm -f'; do
    ctr run -d --name old /rootfs sleep 1000 >/t/discard
    pid=$(pidof_ old)
    kill -9 "$(record old supervisor)"
    kill -9 "$pid"
    gone "$pid"
    if ! taken "$pid"; then
        not_ok "numbers: $verb" "no process gets number $pid"
        continue
    fi
    command=
    [ "$verb" != exec ] || command=true
    # shellcheck disable=SC2086 # words
    go ctr $verb ${verb:+$([ "$verb" = 'ps -a' ] || echo old)} $command
    if kill -0 "$innocent" && [ "$status" != 137 ]; then
        ok "numbers: $verb does not touch the stranger"
    else
        not_ok "numbers: $verb does not touch the stranger" "the stranger $pid is dead, or status $status"
    fi
    case $verb in
        'ps -a') says 'numbers: ps says that it has ended' "$out" 'Exited' ;;
        kill|exec) says "numbers: $verb says that it does not run" "$err" 'not running|ended' ;;
        restart*) is 'numbers: restart has started it' running old ;;
    esac
    kill -9 "$innocent"
    wait "$innocent" 2>/t/discard
    go ctr rm -f old
done
# The supervisor's number is another's; and a container of run --rm whose ctr was killed, with a stranger in its place.
ctr run -d --name old /rootfs sleep 1000 >/t/discard
kill -9 "$(record old supervisor)"
if gone "$(record old supervisor)" && taken "$(record old supervisor)"; then
    expect "numbers: stop, when the supervisor's number is a stranger's" 0 old ctr stop -t 0 old
    holds 'numbers: the stranger lives' kill -0 "$innocent"
    kill -9 "$innocent"
    wait "$innocent" 2>/t/discard
else
    not_ok "numbers: the supervisor's" 'no process gets its number'
fi
go ctr rm -f old
ctr run --rm --name old /rootfs sleep 1000 &
ours=$!
# Its record is whole a moment after its birth.
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    sleep 0.1
    pid=$(sed -n 's/^pid //p' /run/ctr/containers/old/record 2>/t/discard)
    ! grep -q '^ticks' /run/ctr/containers/old/record 2>/t/discard || break
done
kill -9 $ours
wait $ours 2>/t/discard
if [ "$pid" ] && gone "$pid" && taken "$pid"; then
    expect 'numbers: the next command takes away a killed run --rm' 0 '' ctr ps -aq
    holds 'numbers: and not the stranger' kill -0 "$innocent"
    kill -9 "$innocent"
    wait "$innocent" 2>/t/discard
else
    not_ok 'numbers: run --rm' "no process gets its number '$pid'"
fi
expect 'numbers: a hundred runs, several rounds' 0 '' sh -c 'n=0; while [ $n -lt 100 ]; do ctr run --rm /rootfs true || exit; n=$((n + 1)); done'
numbers 32768
[ -z "$null" ] || rm /dev/null
clean 'numbers: nothing left behind'

# ---- a wrong clock -----------------------------------------------------------------------------------------------------------

clock() { date -s "$1" >/t/discard; }
sane='^Up (Less than a second|About an? (minute|hour)|[0-9]+ (second|minute|hour|day|week|month|year)s?)$'
begun=$(date +%s)
clock '1970-01-01 02:00:00'
expect 'clock: run -d in 1970' 0 '*' ctr run -d --name one /rootfs sh -c "$busy"
becomes 'clock: logs in 1970' up ctr logs one
go ctr logs -t one
says 'clock: their time' "$out" '^1970-01-01T02:0.*Z up'
go ctr ps --format '{{.Status}}'
says 'clock: ps in 1970' "$out" "$sane"
clock '2040-06-01 02:00:00'
go ctr ps --format '{{.Status}}'
says 'clock: ps after it was set to 2040' "$out" "$sane"
go ctr exec one sh -c 'echo later >/proc/1/fd/1'
becomes 'clock: logs from two times' 'up
later' ctr logs one
expect 'clock: logs --since' 0 later ctr logs --since 1m one
expect 'clock: logs --until' 0 up ctr logs --until 2039-01-01T00:00:00Z one
expect 'clock: restart in 2040' 0 one ctr restart -t 20 one
becomes 'clock: logs in 2040' 'up
later
bye
up' ctr logs one
expect 'clock: made in 2040' 0 '*' ctr run -d --name two /rootfs sh -c 'trap "" TERM; while :; do sleep 0.1; done'
clock '1970-01-01 03:00:00'
go ctr ps --format '{{.Names}} {{.RunningFor}}, {{.Status}}'
says 'clock: ps, of what was made in the future' "$out" '^one .*, Up ' '^two .*, Up '
cp "$out" /t/shown
holds 'clock: no time is unknown or negative' sh -c '! grep -E "unknown|-[0-9]" /t/shown'
expect 'clock: logs, of what was said in the future' 0 up ctr logs --tail 1 one
expect 'clock: stop back in 1970' 0 one ctr stop -t 20 one
expect 'clock: start' 0 one ctr start one
expect 'clock: finished before it was made: ps -a' 0 '*' ctr ps -a
# How long is waited has nothing to do with what time it is.
[ -z "$null" ] || mknod -m 666 /dev/null c 1 3
ctr stop -t 3 two >/t/discard 2>&1 &
stopping=$!
sleep 0.5
clock '2040-06-01 02:00:00'
sleep 1
holds 'clock: stop -t 3 has not ended after 1.5 s, and 70 years' kill -0 $stopping
clock '1970-01-01 03:00:00'
for n in 1 2 3 4 5 6 7 8 9 10; do kill -0 $stopping 2>/t/discard || break; sleep 1; done
holds 'clock: but soon after 3' sh -c "! kill -0 $stopping"
kill -9 $stopping 2>/t/discard
wait $stopping
[ -z "$null" ] || rm /dev/null
go ctr rm -f two
clock '2040-06-01 02:00:00'
expect 'clock: restarts, begun in 2040' 0 '*' ctr run -d --restart always --name two /rootfs false
becomes 'clock: its second restart' yes sh -c '[ "$(ctr inspect -f "{{.RestartCount}}" two)" -ge 2 ] && echo yes'
clock '1970-01-01 03:00:00'
n=$(ctr inspect -f '{{.RestartCount}}' two)
becomes 'clock: go on in 1970' yes sh -c "[ \$(ctr inspect -f '{{.RestartCount}}' two) -gt $n ] && echo yes"
clock "@$((begun + 60))"
go ctr ps --format '{{.Names}} {{.Status}}'
says 'clock: ps, with the right time at last' "$out" '^one Up ' '^two (Up|Restarting)'
go ctr events --since 1970-01-01T00:00:00Z --until 2041-01-01T00:00:00Z
clear_ clock one two

# ---- a machine that goes down without a word -----------------------------------------------------------------------------------

ctr run -d --name always --restart always /rootfs sh -c 'echo run; sleep 1000' >/t/discard
ctr run -d --name unless --restart unless-stopped /rootfs sleep 1000 >/t/discard
ctr run -d --name stopped --restart unless-stopped /rootfs sleep 1000 >/t/discard
ctr run -d --name failing --restart on-failure /rootfs sleep 1000 >/t/discard
ctr run -d --name view --restart always host sleep 1000 >/t/discard
ctr run -d --name not /rootfs sleep 1000 >/t/discard
ctr run -d --rm --name away /rootfs sleep 1000 >/t/discard
ctr create --name never --restart always /rootfs sleep 1000 >/t/discard
ctr stop -t 0 stopped >/t/discard 2>&1
[ -z "$groups" ] || ctr pause failing >/t/discard
# Another boot: nobody lives, what was in /run is gone, the boot has another id.
for c in always unless failing view not away; do
    kill -9 "$(record $c supervisor)" "$(pidof_ $c)"
done
# In a v1 freezer even SIGKILL waits; a machine that goes down does not.
for f in /sys/fs/cgroup/freezer/ctr/*/freezer.state; do [ ! -e "$f" ] || echo THAWED >"$f"; done
for c in always unless failing view not away; do gone "$(pidof_ $c)"; done
rm -rf /run/ctr
find /sys/fs/cgroup -depth -type d -path '*/ctr*' 2>/t/discard | while read -r d; do rmdir "$d" || echo "not ok boot: cannot remove $d"; done
for f in "$containers"/*/record; do sed -i 's/^boot .*/boot 00000000-1111-2222-3333-444444444444/' "$f"; done
go ctr ps -a --format '{{.Names}} {{.State}}'
sort "$out" >/t/sorted
holds 'boot: all are listed, as exited' [ "$(cat /t/sorted)" = 'always exited
failing exited
never created
not exited
stopped exited
unless exited
view exited' ]
expect 'boot: why' 0 '*' ctr ps -a --filter name=not --format '{{.Status}}'
says 'boot: in words' "$out" restarted
expect 'boot: the log is there' 0 run ctr logs always
expect 'boot: start --restart-policy' 0 'always
unless
failing
view' ctr start --restart-policy
becomes 'boot: those run that asked for it' 'always
failing
unless
view' sh -c 'ctr ps --format "{{.Names}}" | sort'
expect 'boot: a second time nothing happens' 0 '' ctr start --restart-policy
expect 'boot: start of one that did not' 0 not ctr start not
expect 'boot: and it works' 0 hi ctr exec not echo hi
clear_ boot always unless stopped failing view not never

# ---- the initial root -----------------------------------------------------------------------------------------------------------

expect 'initramfs: run -d host' 0 '*' ctr run -d --name view host sh -c 'echo x >/x; echo up; sleep 1000'
says 'initramfs: says that its writes are in memory' "$err" memory
becomes 'initramfs: it runs' up ctr logs view
expect 'initramfs: exec sees what it wrote' 0 x ctr exec view cat /x
holds 'initramfs: the machine does not' absent /x
expect 'initramfs: cp' 0 '*' ctr cp view:/x /t/x
expect 'initramfs: stop' 0 view ctr stop -t 0 view
expect 'initramfs: start' 0 view ctr start view
clear_ initramfs view
