# Limits on what a container may use, with control groups of every kind.
mounts=$(cat /t/mounts)
eat='dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo alive'
state_is_base

go ctr run --rm -m 20m /rootfs busybox dd if=/dev/zero of=/dev/null bs=64M count=1
if [ "$status" = 137 ]; then ok 'limits: who takes more memory is killed'; else not_ok 'limits: who takes more memory is killed' "status $status"; fi
says 'limits: and it is said why' "$err" 'out of memory'
expect 'limits: who takes less is not' 0 alive ctr run --rm -m 200m /rootfs sh -c 'busybox dd if=/dev/zero of=/dev/null bs=64M count=1 2>/tmp/x; echo alive'
for size in 512k 256k; do
    expect "limits: $size is enough for a small program" 0 '' ctr run --rm -m $size /rootfs true
done
go ctr run -d --name eater -m 20m /rootfs busybox dd if=/dev/zero of=/dev/null bs=64M count=1
go ctr wait eater
expect 'limits: inspect knows' 0 'true 137' ctr inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' eater
ctr rm eater >/t/discard 2>&1
go ctr run --rm --pids-limit 5 /rootfs sh -c 'i=0; while [ $i -lt 20 ]; do sleep 1 & i=$((i+1)); done; wait'
says 'limits: processes are counted' "$err" 'fork'
# Two that want all they can get: half a processor, by the clock outside.
if proc_mounted; then
    go ctr run -d --name busy --cpus 0.5 /rootfs sh -c 'while :; do :; done & while :; do :; done'
    # Ticks of all shells (those outside wait), and hundredths of a second since boot.
    look() { cat /proc/[0-9]*/stat 2>/t/discard | awk '$2 == "(sh)" { n += $14 + $15 } END { print n }'; sed 's/\.\([0-9]*\) .*/\1/' /proc/uptime; }
    sleep 1
    # Less is what others leave it who keep the machine busy: then another time.
    for try in 1 2 3 4; do
        set -- $(look); sleep 5; set -- "$1" "$2" $(look)
        part=$((($3 - $1) * 1000 / ($4 - $2)))
        [ $part -lt 440 ] || break
    done
    if [ $part -ge 440 ] && [ $part -le 560 ]; then ok "limits: half a processor ($part thousandths)"; else not_ok 'limits: half a processor' "$part thousandths"; fi
    ctr rm -f busy >/t/discard 2>&1
fi
expect 'limits: shares, sets' 0 'Cpus_allowed_list:	0' ctr run --rm --cpu-shares 512 --cpuset-cpus 0 /rootfs grep Cpus_allowed_list /proc/self/status
limit=20 expect 'limits: too many processors' 125 '' ctr run --rm --cpus 1000 /rootfs true
expect 'limits: too little memory' 125 '' ctr run --rm -m 1 /rootfs true
expect 'limits: a live one' 0 '*' ctr run -d --name live -m 100m /rootfs sleep 1000
expect 'limits: update' 0 live ctr update -m 50m --pids-limit 7 --cpus 0.5 live
expect 'limits: inspect knows them' 0 '52428800 7 500000000' ctr inspect -f '{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}' live
expect 'limits: exec is held too' 137 '*' ctr exec live busybox dd if=/dev/zero of=/dev/null bs=64M count=1
ctr rm -f live >/t/discard 2>&1
# Programs ask there how much they may use.
case $mounts in
    v2 | none) file=/sys/fs/cgroup/memory.max ;;
    *) file=/sys/fs/cgroup/memory/memory.limit_in_bytes ;;
esac
for how in '' '--userns host' '--rw'; do
    # shellcheck disable=SC2086 # words
    expect "limits: to be read inside ($how)" 0 67108864 ctr run --rm -m 64m $how /rootfs cat "$file"
done
expect 'limits: not to be written' 1 '*' ctr run --rm -m 64m /rootfs sh -c "echo 1000000000 >$file"
# Device nodes: what is not allowed cannot be opened, wherever the node is.
go ctr run -d --name nodes /rootfs sleep 1000
expect 'limits: the usual devices' 0 '' ctr exec nodes sh -c 'echo x >/dev/null; busybox head -c 1 /dev/urandom >/dev/null'
ctr rm -f nodes >/t/discard 2>&1
# In v2 that is a program, which the kernel must take.
expect 'limits: a device rule that was asked for' 0 '' ctr run --rm --device-cgroup-rule 'c 10:200 rwm' /rootfs sh -c 'echo x >/dev/null'
case $mounts in
    v2)
        expect 'limits: no swappiness in v2' 125 '' ctr run --rm -m 20m --memory-swappiness 5 /rootfs true
        says 'limits: and it is said' "$err" 'v2'
        mkdir -p /sys/fs/cgroup/threads/t
        echo threaded >/sys/fs/cgroup/threads/t/cgroup.type
        expect 'limits: a threaded parent' 125 '' ctr run --rm -m 20m --cgroup-parent /threads /rootfs true
        says 'limits: is named' "$err" 'threaded'
        rmdir /sys/fs/cgroup/threads/t /sys/fs/cgroup/threads
        mkdir /sys/fs/cgroup/full
        sleep 100 & sleeper=$!
        echo $sleeper >/sys/fs/cgroup/full/cgroup.procs
        expect 'limits: a parent with processes' 125 '' ctr run --rm -m 20m --cgroup-parent /full /rootfs true
        says 'limits: and the write that would do it' "$err" 'echo .memory > /sys/fs/cgroup/full/cgroup.subtree_control'
        kill $sleeper; wait $sleeper 2>/t/discard
        sleep 0.3; rmdir /sys/fs/cgroup/full
        mount -o remount,ro /sys/fs/cgroup
        expect 'limits: nothing can be written' 125 '' ctr run --rm -m 20m /rootfs true
        mount -o remount,rw /sys/fs/cgroup ;;
esac
clean 'limits: nothing is left'
