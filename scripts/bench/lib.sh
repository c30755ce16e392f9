# What bench.sh and bench/lasting.sh share.
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

say() { echo "bench: $*" >&2; }
die() { say "$*"; exit 1; }

# shellcheck disable=SC2154 # $tmp is the caller's
build() { musl-gcc -static -Os -s -o "$tmp/$1" "${@:2}"; }

thousands() { sed -E ':a; s/([0-9])([0-9]{3})($|[^0-9])/\1,\2\3/; ta'; }

declare -A ns # name -> the mount namespace that a command runs in, if not ours

# The syscalls of all processes of a command, three times: who has threads does not do the same twice.
syscalls() { # NAME COMMAND... -> "least most"
	for _ in 1 2 3; do
		${ns[$1]:+nsenter --mount="${ns[$1]}"} strace -f -c -o "$tmp/counts" "${@:2}" >/dev/null 2>&1 </dev/null || true
		awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { n += $4 } END { print n + 0 }' "$tmp/counts"
		[ -z "${after:-}" ] || eval "$after" # what takes away what it leaves
	done | sort -n | awk 'NR == 1 { least = $1 } END { print least, $1 }'
}

# crun refuses a hybrid machine when the v2 side has any controller. It gets a view of the machine without that side: a mount
# namespace in which it is unmounted, kept by a bind of its nsfs file. The machine's own mount stays.
without_v2() { # FILE
	local v1 v2
	v2=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
	v1=$(findmnt -n -t cgroup -o TARGET | head -n 1)
	[ -n "$v1" ] && [ -n "$v2" ] || return 1
	: >"$1"
	# Again, because Linux 6.18 numbers namespaces by processor, and refuses (EINVAL) to bind one whose number is not above ours.
	for _ in {1..20}; do
		# shellcheck disable=SC2016 # $1 is the inner shell's
		unshare --mount="$1" --propagation private sh -c 'umount -l "$1"' sh "$v2" 2>/dev/null && return
	done
	return 1
}
