#!/bin/bash
# What a container costs: ctr against the floor (bench/floor.c: the kernel's own price) and against its peers.
#
#     scripts/bench.sh [--quick] [--steps] [--rounds N]         as root; CTR=./ctr names the binary
#
#   --rounds N   timed rounds, 300 by default; each runs every command once, in random order (bench/ab.c)
#   --quick      for CI: few rounds, and exit 1 unless the exact numbers hold: the syscalls of run and of ps, the size of the
#                binary, the memory of a supervisor. Times are printed and judge nothing: they are the machine's mood.
#   --steps      also: where the floor's time goes, step by step, and what it gains when one step is left out
#
# Containers that live on their own are bench/lasting.sh's: 1, 100 and 1,000 of them, with --quick 1 and 20.
#
# Prints markdown for docs/benchmarks.md to stdout, progress to stderr. Everything happens below one temporary directory
# and in a mount namespace of the script's own, so what is mounted here is gone with it. State directories lie on a tmpfs, as
# /run does on most machines; images and ctr's CTR_ROOT on the disk that holds $TMPDIR.
set -euo pipefail

max_syscalls=198 # 30 of them are the user namespace and what belongs to it, 7 a sysctl (ports below 1024)
max_bytes=1703936 # 1.625 MiB; the whole, with tar: 450 KB of it are networks and what finds out why they do not work
max_network=64   # syscalls of the default network beside --network none: 60, and a futex or two by chance
max_pss=100      # KiB, of the only supervisor
max_each=12      # syscalls of ps for each container
rounds=300 warmup=20 quick='' steps=''
self=$(realpath "$0")
args=("$@")
. "$(dirname "$self")/bench/lib.sh" # sets $here, to its own folder

while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 rounds=20 warmup=3 ;;
	--steps) steps=1 ;;
	--rounds) rounds=${2:?--rounds wants a number}; shift ;;
	--rounds=*) rounds=${1#*=} ;;
	-h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$self"; exit 0 ;;
	*) die "unknown argument $1 (try --help)" ;;
	esac
	shift
done
case $rounds in '' | *[!0-9]* | 0) die "--rounds $rounds: not a number of rounds" ;; esac
[ "$(id -u)" = 0 ] || die "must be root: the floor and the peers are measured with full isolation"

ctr=$(realpath -m "${CTR:-$here/../../ctr}")

# A mount namespace of our own, once. exec keeps the process: a signal sent to us arrives.
if [ -z "${CTR_BENCH_INSIDE:-}" ]; then
	CTR=$ctr CTR_BENCH_INSIDE=1 exec unshare --mount --propagation private "$self" ${args+"${args[@]}"}
fi
unset CTR_BENCH_INSIDE CTR

# --- tools -----------------------------------------------------------------------------------------------------------------------

need() { # PROGRAM PACKAGE
	command -v "$1" >/dev/null && return
	say "$1 is missing, installing $2"
	{ apt-get install -y "$2" || { apt-get update && apt-get install -y "$2"; }; } >&2 || die "cannot install $2"
}
need musl-gcc musl-tools
need strace strace
need busybox busybox-static

tmp=$(mktemp -d "${TMPDIR:-/tmp}/ctr-bench.XXXXXX")
group=$(basename "$tmp") # the cgroups of runc and crun are named after it
cleanup() {
	# Those of containers that a signal to us has ended.
	sed -n 's/^id //p' "$tmp"/ctr-root/containers/*/record 2>/dev/null | while read -r id; do
		find /sys/fs/cgroup -maxdepth 4 -depth -type d -path "*/ctr/$id" -exec rmdir {} + 2>/dev/null
	done
	for peer in runc crun; do
		command -v $peer >/dev/null && $peer --root "$tmp/run/$peer" delete -f "$group" >/dev/null 2>&1
	done
	find /sys/fs/cgroup -maxdepth 3 -depth -type d -name "$group*" -exec rmdir {} + 2>/dev/null
	umount -l "$tmp/run/v1" "$tmp/run/v1-exec" "$tmp/merged" "$tmp/run" 2>/dev/null
	rm -rf --one-file-system "$tmp"
}
trap 'set +e; cleanup' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

build ab "$here/ab.c"
build floor "$here/floor.c"

# --- one root for all ------------------------------------------------------------------------------------------------------------

root=$tmp/root
mkdir -p "$root"/{bin,dev,etc,proc,run,sys,tmp} "$tmp"/{bundle,merged,run,ctr-root}
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/true"
ln -s busybox "$root/bin/sh"
chmod 755 "$tmp" # mktemp's 0700 is nobody's root file system
mount -t tmpfs -o mode=755 bench "$tmp/run"

# The peers do not make overlays. They get one that is already there, with the files in /etc.
mkdir -p "$tmp"/run/{upper/etc,work,ctr,runc,crun}
echo bench >"$tmp/run/upper/etc/hostname"
printf '127.0.0.1\tlocalhost\n' >"$tmp/run/upper/etc/hosts"
echo '# no network' >"$tmp/run/upper/etc/resolv.conf"
mount -t overlay -o "lowerdir=$root,upperdir=$tmp/run/upper,workdir=$tmp/run/work" bench "$tmp/merged"

caps=(CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP)
masked_dirs=(/proc/acpi /proc/asound /proc/scsi /sys/firmware /sys/devices/virtual/powercap)
masked_files=(/proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats /proc/sched_debug)
readonly_paths=(/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger)

json() { printf '"%s",' "$@" | sed 's/^/[/; s/,$/]/'; } # a b -> ["a","b"]
kept=$(json "${caps[@]/#/CAP_}")
cat >"$tmp/bundle/config.json" <<END
{ "ociVersion": "1.0.2",
  "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": ["/bin/true"], "cwd": "/",
    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
    "capabilities": { "bounding": $kept, "effective": $kept, "permitted": $kept },
    "noNewPrivileges": true },
  "root": { "path": "$tmp/merged", "readonly": false },
  "hostname": "bench",
  "mounts": [
    { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"] },
    { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
      "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
    { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64m"] },
    { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
    { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] } ],
  "linux": {
    "cgroupsPath": "/$group",
    "namespaces": [ { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" } ],
    "maskedPaths": $(json "${masked_files[@]}" "${masked_dirs[@]}"),
    "readonlyPaths": $(json "${readonly_paths[@]}") } }
END

# --- the contestants -------------------------------------------------------------------------------------------------------------

names=() binaries=() whats=() # and the array cmd_<n>: its command line
declare -A why                # name -> why it cannot run
add() { # NAME BINARY WHAT COMMAND...
	local -n cmd=cmd_${#names[@]}
	names+=("$1") binaries+=("$2") whats+=("$3")
	cmd=("${@:4}")
	local said
	if ! command -v "$4" >/dev/null; then
		why[$1]="not installed"
	elif ! said=$(${ns[$1]:+nsenter --mount="${ns[$1]}"} "${cmd[@]}" 2>&1 </dev/null); then
		why[$1]="cannot run here: $(printf '%s' "$said" | tail -n 1 | tr '|\t' '/ ')"
	else
		return 0
	fi
	say "$1: ${why[$1]}"
}

# ctr's state is where it is by default; in this mount namespace that is a tmpfs of ours.
mount -t tmpfs -o mode=755 tmpfs /run
unset CTR_STATE
export CTR_ROOT=$tmp/ctr-root

add floor '' "bench/floor.c: the same kernel work in a straight line of C, without cgroup and seccomp filter" \
	"$tmp/floor" "$root" /bin/true

v2=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
v1=$(findmnt -n -t cgroup -o TARGET | head -n 1)
case ${v1:+1}:${v2:+1} in :) layout=none ;; :1) layout=v2 ;; 1:) layout=v1 ;; *) layout=hybrid ;; esac

build floor+ -DSECCOMP=10 ${v2:+-DCGROUP="\"$v2/$group\""} "$here/floor.c"
add floor+ '' "the floor, a seccomp filter (120 instructions, 10 on the way of any syscall)${v2:+, and a group of cgroup v2 entered by CLONE_INTO_CGROUP}" \
	"$tmp/floor+" "$root" /bin/true

add ctr "$ctr" "\`ctr run --rm --network none ROOT /bin/true\`, nothing switched off" \
	"$ctr" run --rm --network none "$root" /bin/true

add 'ctr, host ids' "$ctr" 'the same with `--userns host`: what a range of ids of its own costs' \
	"$ctr" run --rm --network none --userns host "$root" /bin/true
add 'ctr, own ids' "$ctr" 'the same with `--userns required`' \
	"$ctr" run --rm --network none --userns required "$root" /bin/true

bwrap=(bwrap --unshare-pid --unshare-ipc --unshare-uts --unshare-net --unshare-cgroup --as-pid-1 --new-session
	--hostname bench --bind "$tmp/merged" / --proc /proc --ro-bind /sys /sys --dev /dev --tmpfs /dev/shm --mqueue /dev/mqueue)
for path in "${masked_dirs[@]}"; do [ ! -d "$path" ] || bwrap+=(--tmpfs "$path" --remount-ro "$path"); done
for path in "${masked_files[@]}"; do [ ! -e "$path" ] || bwrap+=(--ro-bind /dev/null "$path"); done
[ ! -d /proc/fs ] || bwrap+=(--ro-bind /proc/fs /proc/fs) # bwrap covers the other read-only paths by itself
bwrap+=(--cap-drop ALL)
for cap in "${caps[@]}"; do bwrap+=(--cap-add "CAP_$cap"); done
add bwrap "$(command -v bwrap || :)" "the same namespaces, mounts, masks, capabilities; overlay made beforehand; the machine's /sys bound read-only; no cgroup, no seccomp filter, no keyring, no image, no record" \
	"${bwrap[@]}" /bin/true

aside=''
if [ "$layout" = hybrid ] && without_v2 "$tmp/run/v1"; then
	ns[crun]=$tmp/run/v1
	aside='; in a mount namespace without the cgroup v2 mount, because it refuses hybrid machines'
fi
add crun "$(command -v crun || :)" "an OCI bundle with the same settings; overlay made beforehand; cgroupfs manager$aside; no seccomp filter" \
	crun --root "$tmp/run/crun" run --bundle "$tmp/bundle" "$group"
add runc "$(command -v runc || :)" "the same bundle; overlay made beforehand; cgroupfs manager; no seccomp filter" \
	runc --root "$tmp/run/runc" run --bundle "$tmp/bundle" "$group"

add '(no container)' '' "the busybox \`true\` by itself: what of every row is not the runtime" \
	"$root/bin/true"

# --- exact numbers ---------------------------------------------------------------------------------------------------------------

least=() most=() timed=()
for n in "${!names[@]}"; do
	least[n]='' most[n]=''
	[ -z "${why[${names[n]}]:-}" ] || continue
	say "counting syscalls: ${names[n]}"
	declare -n cmd=cmd_$n
	read -r "least[n]" "most[n]" < <(syscalls "${names[n]}" "${cmd[@]}")
	timed+=(${timed+::} "${names[n]}" ${ns[${names[n]}]:+"mnt=${ns[${names[n]}]}"} "${cmd[@]}")
done

# --- times -----------------------------------------------------------------------------------------------------------------------

say "timing: $rounds rounds"
load=$(cut -d ' ' -f 1 /proc/loadavg)
"$tmp/ab" -n "$rounds" -w "$warmup" "${timed[@]}" >"$tmp/times"

row() { # n
	local name=${names[$1]} bytes='–' calls
	[ ! -f "${binaries[$1]}" ] || bytes=$(stat -L -c %s "${binaries[$1]}" | thousands)
	if [ -n "${why[$name]:-}" ]; then
		echo "| $name | ${why[$name]} | | | | | | $bytes |"
		return
	fi
	calls=${least[$1]}
	[ "$calls" = "${most[$1]}" ] || calls+=–${most[$1]}
	calls=$(thousands <<<"$calls")
	awk -F '\t' -v name="$name" -v calls="$calls" -v bytes="$bytes" '$1 == name {
		printf "| %s | %.2f | %.2f | %.2f | %.2f | **%.2f** [%.2f, %.2f] | %s | %s |\n",
			name, $2 / 1000, $3 / 1000, $4 / 1000, $5 / 1000, $6, $7, $8, calls, bytes }' "$tmp/times"
}

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
memory=$(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)

echo "Machine: Linux $(uname -r), ${cpu:-$(uname -m)}, $(nproc) cores, $memory, cgroups $layout; load before the run $load."
echo "Every command starts \`/bin/true\` (busybox) in a fresh container and waits for it; $rounds rounds after $warmup to warm up,"
echo 'each in random order. Times in milliseconds; "× floor" is the ratio of the medians with its 95 % interval; cpu is the'
echo 'processor time of all its processes; syscalls counts those of all its processes (`strace -f -c`, least–most of three runs).'
echo
echo '| | median | p10 | p90 | cpu | × floor | syscalls | binary, bytes |'
echo '|---|--:|--:|--:|--:|--:|--:|--:|'
for n in "${!names[@]}"; do row "$n"; done
echo
for n in "${!names[@]}"; do echo "- ${names[n]}: ${whats[n]}"; done
# With a --root even for this: crun makes its default one otherwise.
versions=$({ bwrap --version; crun --root "$tmp/run/crun" --version; runc --root "$tmp/run/runc" --version; } 2>/dev/null |
	sed -n 's/^\(bubblewrap\|crun\|runc\)\( version\)\{0,1\} /\1 /p' | paste -s -d , | sed 's/,/, /g') || :
[ -z "$versions" ] || echo "- versions: $versions"

# --- containers that live on their own ---------------------------------------------------------------------------------------------

export tmp root ctr rounds warmup quick group layout
unshare --pid --fork --kill-child --mount --mount-proc --propagation private "$here/lasting.sh"

# --- the filter for system calls ---------------------------------------------------------------------------------------------------

[ -n "$quick" ] || "$here/filter.sh"

# --- where the floor's time goes -------------------------------------------------------------------------------------------------

if [ -n "$steps" ]; then
	build marks -DTIMES "$here/floor.c"
	say "timing the floor's steps"
	for ((i = 0; i < rounds; i++)); do "$tmp/marks" "$root" /bin/true >/dev/null 2>>"$tmp/marks.out"; done
	echo
	echo "The floor's steps in $rounds runs, microseconds of all calls of one kind together:"
	echo
	echo '| step | calls | median | p10 | p90 |'
	echo '|---|--:|--:|--:|--:|'
	awk -F '\t' '
		!($1 in at) { at[$1] = ++k }
		{ sum[$1] += $2; calls[$1]++ }
		$1 == "run, exit, wait" {
			for (name in sum) printf "%d\t%s\t%d\t%d\n", at[name], name, calls[name], sum[name]
			split("", sum); split("", calls)
		}' "$tmp/marks.out" | sort -t $'\t' -k 1,1n -k 4,4n | awk -F '\t' '
		function row() {
			if (n) printf "| %s | %d | %.1f | %.1f | %.1f |\n", name, calls, v[int(n / 2) + 1] / 1000, v[int(n / 10) + 1] / 1000, v[int(n * 0.9) + 1] / 1000
			n = 0
		}
		$2 != name { row() }
		{ name = $2; calls = $3; v[++n] = $4 }
		END { row() }'

	timed=('nothing' "$tmp/floor" "$root" /bin/true)
	for drop in netns ipcns utsns cgroupns 'umount old root' sysfs 'readonly path' mqueue devpts 'shm tmpfs' 'mask directory' \
		'mask file' 'etc files' symlink 'lo up' keyring setsid 'bounding set'; do
		file="without-${drop// /-}"
		build "$file" -DDROP="\"$drop\"" "$here/floor.c"
		timed+=(:: "$drop" "$tmp/$file" "$root" /bin/true)
	done
	for depth in 10 390; do
		build "seccomp-$depth" -DSECCOMP=$depth "$here/floor.c"
		timed+=(:: "*with* a seccomp filter, $depth deep" "$tmp/seccomp-$depth" "$root" /bin/true)
	done
	if [ -n "$v2" ]; then
		build cgroup -DCGROUP="\"$v2/$group\"" "$here/floor.c"
		timed+=(:: '*with* a cgroup v2' "$tmp/cgroup" "$root" /bin/true)
	fi
	say "timing the floor with one step left out"
	echo
	echo "The floor with one step left out (or added), $rounds rounds, milliseconds:"
	echo
	echo '| left out | median | cpu | × floor |'
	echo '|---|--:|--:|--:|'
	"$tmp/ab" -n "$rounds" -w "$warmup" "${timed[@]}" |
		awk -F '\t' '{ printf "| %s | %.2f | %.2f | %.3f [%.3f, %.3f] |\n", $1, $2 / 1000, $5 / 1000, $6, $7, $8 }'
fi

# --- CI's verdict ----------------------------------------------------------------------------------------------------------------

if [ -n "$quick" ]; then
	bad=
	[ -z "${why[ctr]:-}" ] || die "ctr: ${why[ctr]}"
	for n in "${!names[@]}"; do [ "${names[n]}" != ctr ] || count=${most[n]}; done
	bytes=$(stat -L -c %s "$ctr")
	[ "$count" -le $max_syscalls ] || { say "ctr run makes $count syscalls, more than $max_syscalls"; bad=1; }
	# In a network namespace of its own: the machine's interfaces are left alone. The second run finds the bridge there.
	# Both are counted in the same way: a call that was begun again counts twice here, and once with -c.
	network=$(unshare -n sh -c '
		calls() { strace -f -qq -o "$3" "$1" run --rm --network "$4" "$2" /bin/true; grep -vc "resumed>\|^[0-9]* +++\|^[0-9]* ---" "$3"; }
		"$1" run --rm "$2" /bin/true
		echo $(($(calls "$@" bridge) - $(calls "$@" none)))
		"$1" network prune -f >/dev/null' sh "$ctr" "$root" "$tmp/network")
	[ "$network" -le $max_network ] || { say "the default network makes $network syscalls more than none, more than $max_network"; bad=1; }
	[ "$bytes" -le $max_bytes ] || { say "$ctr has $bytes bytes, more than $max_bytes"; bad=1; }
	value() { sed -n "s/^$1 //p" "$tmp/lasting"; } # KEY
	pss=$(value pss) each=$(value each) left=$(value left)
	[ "$pss" -le $max_pss ] || { say "a supervisor has $pss KiB of its own (PSS), more than $max_pss"; bad=1; }
	awk -v n="$each" -v most=$max_each 'BEGIN { exit !(n <= most) }' || { say "ctr ps makes $each syscalls for each container, more than $max_each"; bad=1; }
	[ "$left" = 0/0/0 ] || { say "left behind, containers/files/processes: $left"; bad=1; }
	[ -z "$bad" ] || exit 1
	say "ok: $count syscalls (at most $max_syscalls), $network more with the default network (at most $max_network), $bytes bytes (at most $max_bytes), a supervisor of $pss KiB (at most $max_pss)," \
		"$each syscalls of ps for a container (at most $max_each)"
fi
