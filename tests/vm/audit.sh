# `ctr audit` in each layout of control groups: a container as it should be, and limits as they work, the smallest up the tree.
mounts=$(cat /t/mounts)
state_is_base
expect 'audit: a container' 0 '*' ctr run -d --name audited /rootfs sleep 1000
expect 'audit: as it should be' 0 '*' ctr audit audited
says 'audit: its namespaces' "$out" '^✓ mounts +its own' '^✓ processes +its own' '^✓ network +its own' '^✓ cgroups +its own'
says 'audit: its files' "$out" '^✓ root ' '^✓ host paths +none' '^✓ hidden ' '^✓ read-only ' "^✓ kernel's own +none"
says 'audit: its devices' "$out" '^✓ nodes ' '^✓ nodev '
says 'audit: its leaks' "$out" '^✓ descriptors +[0-9]+, none leads out'
holds 'audit: nothing unseen but control groups that are not there' sh -c '! grep "^?" /t/out | grep -vE "rules|memory|swap|processes|cpu|processors|block io|group|sysctls|core_pattern|suid_dumpable|kernel log|perf events"'
id=$(ctr inspect -f '{{.Id}}' audited)
case $mounts in
    v2)
        echo +memory +pids >/sys/fs/cgroup/cgroup.subtree_control
        echo +memory +pids >/sys/fs/cgroup/ctr/cgroup.subtree_control
        if [ -e "/sys/fs/cgroup/ctr/$id/memory.max" ]; then
            ctr audit audited >"$out"
            says 'audit: no limit' "$out" '^! memory +no limit' '^! processes +no limit'
            echo 200M >"/sys/fs/cgroup/ctr/$id/memory.max"
            echo 77 >"/sys/fs/cgroup/ctr/$id/pids.max"
            ctr audit audited >"$out"
            says 'audit: its own limits' "$out" '^✓ memory +200m' '^✓ processes +77'
            echo 100M >/sys/fs/cgroup/ctr/memory.max
            ctr audit audited >"$out"
            says 'audit: a tighter one above' "$out" '^✓ memory +100m, by /sys/fs/cgroup/ctr$'
            echo max >/sys/fs/cgroup/ctr/memory.max
        fi ;;
    v1|hybrid)
        own=/sys/fs/cgroup/memory/ctr/$id
        if [ -e "$own/memory.limit_in_bytes" ]; then
            ctr audit audited >"$out"
            says 'audit: no limit' "$out" '^! memory +no limit'
            echo 200M >"$own/memory.limit_in_bytes"
            ctr audit audited >"$out"
            says 'audit: its own limit' "$out" '^✓ memory +200m'
        fi ;;
    # ctr has mounted v2 for itself: the group is there, and nobody who looks by name sees its limits.
    none) ;;
esac
expect 'audit: a process of the host' 1 '*' ctr audit --pid 1
says 'audit: it is not confined' "$out" '^✗ mounts' '^✗ capabilities'
expect 'audit: rm -f' 0 '*' ctr rm -f audited
case $mounts in
    v2) [ ! -d /sys/fs/cgroup/ctr ] || echo -memory -pids >/sys/fs/cgroup/ctr/cgroup.subtree_control; echo -memory -pids >/sys/fs/cgroup/cgroup.subtree_control ;;
esac
clean 'audit: leaves nothing behind'
