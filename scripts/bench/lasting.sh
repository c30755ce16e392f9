#!/bin/bash
# The second half of bench.sh, which starts this in a pid namespace of its own, so that nothing outlives it: what containers
# cost that live on their own. How soon `run -d` is back, `exec` against its floor (enter.c), `ps` among many, and the memory
# of their supervisors. Markdown to stdout; the exact numbers, for the verdict, to $tmp/lasting.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib.sh"
: "${tmp:?started by bench.sh}" "${root:?}" "${ctr:?}" "${rounds:?}" "${warmup:?}" "${group:?}" "${layout:?}" "${quick=}"

build enter "$here/enter.c"
counts=(1 100 1000) ps_rounds=30
[ -z "$quick" ] || counts=(1 20) ps_rounds=10

table() { # TITLE of the ratio; rows from $tmp/times, their syscalls in calls[NAME]
	echo "| | median | p10 | p90 | cpu | $1 | syscalls |"
	echo '|---|--:|--:|--:|--:|--:|--:|'
	while IFS=$'\t' read -r name median p10 p90 cpu ratio low high; do
		awk -v n="$name" -v m="$median" -v a="$p10" -v b="$p90" -v c="$cpu" -v r="$ratio" -v l="$low" -v h="$high" \
			-v s="$(thousands <<<"${calls[$name]}")" \
			'BEGIN { printf "| %s | %.2f | %.2f | %.2f | %.2f | **%.2f** [%.2f, %.2f] | %s |\n", n, m / 1000, a / 1000, b / 1000, c / 1000, r, l, h, s }'
	done <"$tmp/times"
}
declare -A calls
count() { # NAME COMMAND...
	local least most
	read -r least most < <(syscalls "$@")
	calls[$1]=$least
	[ "$least" = "$most" ] || calls[$1]+=–$most
}

# --- start ---------------------------------------------------------------------------------------------------------------------

say "timing: run, run -d"
run=("$ctr" run --network none) away="'$ctr' rm -f bench >/dev/null"
count 'run --rm' "${run[@]}" --rm "$root" /bin/true
after=$away
count run "${run[@]}" --name bench "$root" /bin/true
count 'run -d' "${run[@]}" -d --name bench "$root" /bin/true
after=
"$tmp/ab" -n "$rounds" -w "$warmup" \
	'run --rm' "${run[@]}" --rm "$root" /bin/true :: \
	run "after=$away" "${run[@]}" --name bench "$root" /bin/true :: \
	'run -d' "after=$away" "${run[@]}" -d --name bench "$root" /bin/true >"$tmp/times"
echo
echo 'Containers that stay, with a supervisor, a record on the disk and a log. `run` waits for its end, `run -d` is back when it'
echo 'runs; both are removed outside of the clock. cpu is without the supervisor, syscalls are with it.'
echo
table '× run --rm'
awk -F '\t' '{ m[$1] = $2 } END { printf "\n`run -d` is back after %.2f times the median of `run --rm`, %.2f times that of `run`.\n", m["run -d"] / m["run --rm"], m["run -d"] / m["run"] }' "$tmp/times"

# --- exec ----------------------------------------------------------------------------------------------------------------------

"$ctr" run -d --network none --name bench "$root" /bin/busybox sleep 1000000 >/dev/null
pid=$("$ctr" inspect -f '{{.State.Pid}}' bench)
names=() timed=()
add() { # NAME COMMAND...
	local said
	if ! command -v "$2" >/dev/null; then
		say "exec: $1: not installed"
	elif ! said=$(${ns[$1]:+nsenter --mount="${ns[$1]}"} "${@:2}" 2>&1 </dev/null); then
		say "exec: $1: cannot run here: $(tail -n 1 <<<"$said")"
	else
		count "$@"
		timed+=(${timed+::} "$1" ${ns[$1]:+"mnt=${ns[$1]}"} "${@:2}")
	fi
}
sleeper() { # GROUP -> the bundle's config.json, with a command that stays and a control group of its own
	sed "s|\"args\": \[\"/bin/true\"\]|\"args\": [\"/bin/busybox\", \"sleep\", \"1000000\"]|; s|\"/$group\"|\"/$1\"|" "$tmp/bundle/config.json"
}
for peer in crun runc; do
	command -v $peer >/dev/null || continue
	mkdir -p "$tmp/sleeper-$peer"
	sleeper "$group-$peer" >"$tmp/sleeper-$peer/config.json"
	if [ $peer = crun ] && [ "$layout" = hybrid ]; then
		: "${ns[crun exec]:=$tmp/run/v1-exec}"
		without_v2 "${ns[crun exec]}" || unset 'ns[crun exec]'
	fi
	${ns[$peer exec]:+nsenter --mount="${ns[$peer exec]}"} \
		$peer --root "$tmp/run/$peer" run -d --bundle "$tmp/sleeper-$peer" "$group-$peer" </dev/null >/dev/null 2>"$tmp/err" ||
		say "$peer: cannot start a container: $(tail -n 1 "$tmp/err")"
done
say "timing: exec"
# Its control groups, as ctr made them.
id=$("$ctr" inspect -f '{{.Id}}' bench) group2=- door1=-
for dir in /sys/fs/cgroup/ctr/"$id" /sys/fs/cgroup/unified/ctr/"$id"; do [ ! -e "$dir/cgroup.events" ] || group2=$dir; done
[ ! -e "/sys/fs/cgroup/memory/ctr/$id/cgroup.procs" ] || door1=/sys/fs/cgroup/memory/ctr/$id/cgroup.procs
add enter "$tmp/enter" "$pid" - - /bin/true
add 'enter, groups' "$tmp/enter" "$pid" "$group2" "$door1" /bin/true
add 'ctr exec' "$ctr" exec bench /bin/true
add nsenter nsenter -t "$pid" -m -p -i -u -n -C /bin/true
add 'crun exec' crun --root "$tmp/run/crun" exec "$group-crun" /bin/true
add 'runc exec' runc --root "$tmp/run/runc" exec "$group-runc" /bin/true
"$tmp/ab" -n "$rounds" -w "$warmup" "${timed[@]}" >"$tmp/times"
echo
echo '`exec` of `/bin/true` in a container that runs. enter is bench/enter.c: pidfd_open, one setns, clone, exec, wait, and nothing'
echo 'besides; with groups the child is also put into the control groups of the container, as ctr, crun and runc do it. nsenter is'
echo 'util-linux'"'"'. Neither drops capabilities or looks up a user.'
echo
table '× enter'
for peer in crun runc; do
	command -v $peer >/dev/null && ${ns[$peer exec]:+nsenter --mount="${ns[$peer exec]}"} \
		$peer --root "$tmp/run/$peer" delete -f "$group-$peer" >/dev/null 2>&1 || :
done
"$ctr" rm -f bench >/dev/null

# --- many ----------------------------------------------------------------------------------------------------------------------

# The memory of some processes that is theirs (PSS), in KiB: "median most".
pss() { # PID...
	for p in "$@"; do awk '/^Pss:/ { print $2 }' "/proc/$p/smaps_rollup"; done | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)], v[NR] }'
}
conmons() { # N -> their PSS; – if there is none
	local n id
	command -v conmon >/dev/null && command -v runc >/dev/null || return 0
	mkdir -p "$tmp/run/conmon" "$tmp/run/exits"
	for ((n = 0; n < $1; n++)); do
		id=$group-c$n
		mkdir -p "$tmp/run/conmon/$id"
		sleeper "$id" >"$tmp/run/conmon/$id/config.json"
		# As podman starts it, but for what is podman's own (its exit command, its sockets).
		conmon --api-version 1 -c "$id" -u "$id" -n "$id" -r "$(command -v runc)" --runtime-arg "--root=$tmp/run/runc" -b "$tmp/run/conmon/$id" \
			-p "$tmp/run/conmon/$id/pid" --conmon-pidfile "$tmp/run/conmon/$id/conmon" -l "k8s-file:$tmp/run/conmon/$id/log" \
			--exit-dir "$tmp/run/exits" --log-level error </dev/null >/dev/null 2>>"$tmp/err" || break
		for _ in {1..50}; do [ ! -s "$tmp/run/conmon/$id/pid" ] || break; sleep 0.1; done
		runc --root "$tmp/run/runc" start "$id" 2>>"$tmp/err" || break
	done
	if [ "$n" -lt "$1" ]; then
		say "conmon: cannot start a container: $(tail -n 1 "$tmp/err")"
	else
		sleep 1.5
		# shellcheck disable=SC2046 # numbers
		pss $(cat "$tmp"/run/conmon/*/conmon)
	fi
	for id in "$tmp"/run/conmon/*; do runc --root "$tmp/run/runc" delete -f "$(basename "$id")" 2>/dev/null || :; done
	rm -rf "$tmp/run/conmon"
}

none=$("$ctr" ps -aq | wc -l)
[ "$none" = 0 ] || die "there are containers left before the many"
count 'ps' "$ctr" ps
bare=${calls[ps]#*–}
have=0 rows=() started=0
for n in "${counts[@]}"; do
	say "starting $n containers"
	begun=$(date +%s%N)
	seq $((have + 1)) "$n" | xargs -P 16 -I{} "$ctr" run -d --network none --name 'bench-{}' "$root" /bin/busybox sleep 1000000 >/dev/null
	started=$(($(date +%s%N) - begun))
	have=$n
	[ "$("$ctr" ps -q | wc -l)" = "$n" ] || die "of $n containers, $("$ctr" ps -q | wc -l) run"
	# They give back what they do not need when they were quiet for half a second.
	sleep 2
	# shellcheck disable=SC2046 # numbers
	read -r median most < <(pss $(sed -n 's/^supervisor //p' "$CTR_ROOT"/containers/*/record))
	count ps "$ctr" ps
	"$tmp/ab" -n "$ps_rounds" -w 3 ps "$ctr" ps >"$tmp/times"
	read -r _ middle low high _ <"$tmp/times"
	beside=–
	if [ -z "$quick" ] && [ "$n" -le 100 ]; then
		read -r m x < <(conmons "$n") && beside="$m (most $x)"
	fi
	rows+=("| $n | $median (most $most) | $beside | $(awk -v m="$middle" -v a="$low" -v b="$high" 'BEGIN { printf "%.2f [%.2f, %.2f]", m / 1000, a / 1000, b / 1000 }') | $(thousands <<<"${calls[ps]}") |")
	each=$(awk -v all="${calls[ps]#*–}" -v bare="$bare" -v n="$n" 'BEGIN { printf "%.1f", (all - bare) / n }')
	[ "$n" != 1 ] || echo "pss $most" >>"$tmp/lasting"
done
echo "each $each" >>"$tmp/lasting"
say "removing them"
begun=$(date +%s%N)
# shellcheck disable=SC2046 # ids
"$ctr" rm -f $("$ctr" ps -aq) >/dev/null
removed=$(($(date +%s%N) - begun))
left=$("$ctr" ps -aq | wc -l)/$(find "$CTR_ROOT/containers" -mindepth 1 | wc -l)/$(find /proc -maxdepth 1 -name '[0-9]*' -exec sh -c 'readlink "$1/exe"' sh {} \; | grep -c "^$ctr" || :)
echo "left $left" >>"$tmp/lasting"
echo
echo "Many containers (\`sleep\`), started 16 at a time, then quiet for two seconds. PSS of one supervisor in KiB, median (and the most);"
echo "beside it conmon's, as podman starts it, with runc. \`ctr ps\` in milliseconds, median [p10, p90] of $ps_rounds; its syscalls:"
echo "$bare without any container, $each more for each."
echo
echo '| containers | supervisor, PSS | conmon, PSS | `ctr ps` | syscalls |'
echo '|--:|--:|--:|--:|--:|'
printf '%s\n' "${rows[@]}"
echo
awk -v n="$((have - ${counts[-2]}))" -v all="$have" -v a="$started" -v b="$removed" -v left="$left" 'BEGIN {
	printf "The last %d were started in %.1f s, all %d removed by one `ctr rm -f` in %.1f s; containers, files and processes left: %s.\n", n, a / 1e9, all, b / 1e9, left }'
