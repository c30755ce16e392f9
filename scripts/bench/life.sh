# Containers that live on their own: what starting, entering, listing and looking after them costs. Sourced by bench.sh, at its
# end: uses its $ctr, $tmp, $root, $rounds, $warmup, $quick, its tools, and its folders (a tmpfs on /run, $CTR_ROOT on a disk).

build enter "$here/bench/enter.c"
ln -sf busybox "$root/bin/sleep"
# Containers are ended by us, whatever happens.
leave() { "$ctr" ps -aq | xargs -r "$ctr" rm -f >/dev/null 2>&1 || :; }
trap 'set +e; leave; cleanup' EXIT

many=1000
[ -z "$quick" ] || many=20

# How many KiB a supervisor holds, on average, when nothing has happened for a second: its share of what others hold too.
pss() {
	local sum=0 count=0 pid share
	for pid in $("$ctr" ps -q | xargs -r "$ctr" inspect -f '{{.Supervisor.Pid}}'); do
		share=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup")
		sum=$((sum + share)) count=$((count + 1))
	done
	echo $(((sum + count - 1) / count))
}

say "containers that live on their own"
"$ctr" run -d --network none --name base "$root" /bin/sleep 3600 >/dev/null
inside=$("$ctr" inspect -f '{{.State.Pid}}' base)
# Its control groups, as ctr made them.
id=$("$ctr" inspect -f '{{.Id}}' base)
group2=- door1=-
for dir in /sys/fs/cgroup/ctr/"$id" /sys/fs/cgroup/unified/ctr/"$id"; do [ ! -e "$dir/cgroup.events" ] || group2=$dir; done
[ ! -e "/sys/fs/cgroup/memory/ctr/$id/cgroup.procs" ] || door1=/sys/fs/cgroup/memory/ctr/$id/cgroup.procs
sleep 1.5
held_1=$(pss)
"$tmp/ab" -n "$rounds" -w "$warmup" \
	run "$ctr" run --rm --network none "$root" /bin/true \
	:: "run -d" "$ctr" run -d --rm --network none "$root" /bin/true \
	:: attached "$ctr" run --rm --log-opt max-file=3 --network none "$root" /bin/true >"$tmp/life"
"$tmp/ab" -n "$rounds" -w "$warmup" enter "$tmp/enter" "$inside" "$group2" "$door1" /bin/true :: exec "$ctr" exec base /bin/true >"$tmp/exec"

start_many() { # FROM TO: 16 at a time
	seq "$1" "$2" | xargs -P 16 -I N "$ctr" run -d --network none --name "nN" "$root" /bin/sleep 3600 >/dev/null
}
[ -n "$quick" ] || { start_many 1 99; sleep 2; held_100=$(pss); }
begin=$(date +%s%N)
if [ -n "$quick" ]; then start_many 1 $((many - 1)); else start_many 100 $((many - 1)); fi
started=$((($(date +%s%N) - begin) / 1000000))
sleep 2
held_many=$(pss)
[ "$("$ctr" ps -q | wc -l)" = $many ] || die "ps lists $("$ctr" ps -q | wc -l) containers, not $many"
"$tmp/ab" -n 20 -w 3 ps "$ctr" ps >"$tmp/ps"
strace -f -c -o "$tmp/counts" "$ctr" ps >/dev/null
calls=$(awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { n += $4 } END { print n + 0 }' "$tmp/counts")
begin=$(date +%s%N)
leave
ended=$((($(date +%s%N) - begin) / 1000000))
[ -z "$("$ctr" ps -aq)" ] || die "containers are left: $("$ctr" ps -a)"

echo
echo "Containers that live on their own ($rounds rounds; milliseconds; CTR_ROOT on the disk):"
echo
echo '| | median | p10 | p90 | ratio |'
echo '|---|--:|--:|--:|--:|'
awk -F '\t' '{ printf "| %s | %.2f | %.2f | %.2f | **%.2f** [%.2f, %.2f] |\n", $1, $2 / 1000, $3 / 1000, $4 / 1000, $6, $7, $8 }' "$tmp/life" "$tmp/exec"
echo
echo "- run: \`ctr run --rm … /bin/true\`, the reference for the next two"
echo "- run -d: the same with \`-d\`: a supervisor is forked, and it returns when the command runs"
echo "- attached: the same in the foreground by way of a supervisor, as \`run\` without \`--rm\` does it"
echo "- enter: bench/enter.c, the reference for exec: the same kernel work in a straight line of C: one setns by pidfd, a child in the same control groups, exec, wait"
echo "- exec: \`ctr exec base /bin/true\`"
echo
echo "| with containers | supervisor, KiB PSS each | \`ctr ps\`, ms | its syscalls |"
echo '|--:|--:|--:|--:|'
echo "| 1 | $held_1 | | |"
[ -z "${held_100:-}" ] || echo "| 100 | $held_100 | | |"
awk -F '\t' -v many=$many -v held="$held_many" -v calls="$calls" '{ printf "| %d | %d | %.1f | %d |\n", many, held, $2 / 1000, calls }' "$tmp/ps"
echo
echo "They were started 16 at a time in $started ms, and removed (\`rm -f\`) in $ended ms."

if [ -n "$quick" ]; then
	[ "$held_1" -le 100 ] || { say "a supervisor holds $held_1 KiB, more than 100"; exit 1; }
	[ "$held_many" -le 100 ] || { say "a supervisor among $many holds $held_many KiB, more than 100"; exit 1; }
	[ $((calls / many)) -le 20 ] || { say "ctr ps makes $calls syscalls for $many containers, more than 20 each"; exit 1; }
	say "ok: $held_1 and $held_many KiB a supervisor (at most 100), $calls syscalls for ps of $many"
fi
