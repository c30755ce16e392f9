#!/bin/bash
# What the built-in filter for system calls costs, started by bench.sh (not with --quick): a loop of calls that number and
# architecture decide about (getpid) and one of calls whose argument is looked at (ioctl), outside and inside, in turn; and a real
# workload with and without it. Markdown to stdout.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib.sh"
: "${tmp:?started by bench.sh}" "${root:?}" "${ctr:?}" "${rounds:?}"

build calls "$here/calls.c"
cp "$tmp/calls" "$root/bin/calls"
run=("$ctr" run --rm --network none)
off=(--security-opt seccomp=unconfined)
turns=15

say "timing: system calls outside and inside, $turns turns"
for ((n = 0; n < turns; n++)); do
	for call in getpid ioctl; do
		"$tmp/calls" $call >>"$tmp/$call.outside"
		"$tmp/calls" $call trivial >>"$tmp/$call.trivial"
		"${run[@]}" "${off[@]}" "$root" /bin/calls $call >>"$tmp/$call.unconfined"
		"${run[@]}" "$root" /bin/calls $call >>"$tmp/$call.inside"
	done
done
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo
echo "One system call, nanoseconds, medians of $turns turns (each the median of 100 loops of 20,000 calls):"
echo
echo '| | outside | inside, seccomp=unconfined | outside, behind a filter of one instruction | inside | inside ÷ outside | inside ÷ one instruction |'
echo '|---|--:|--:|--:|--:|--:|--:|'
for call in getpid ioctl; do
	awk -v n=$call -v o="$(median "$tmp/$call.outside")" -v u="$(median "$tmp/$call.unconfined")" \
		-v t="$(median "$tmp/$call.trivial")" -v i="$(median "$tmp/$call.inside")" \
		'BEGIN { printf "| %s | %.0f | %.0f | %.0f | %.0f | %.2f | **%.2f** |\n", n, o, u, t, i, i / o, i / t }'
done

say "timing: a real workload with and without the filter"
work='cd /; for n in 1 2 3; do tar -cf - bin/busybox | gzip -1 | gzip -dc | tar -xf - -O | sha256sum; find /proc/self /sys/class | wc -l; done'
"$tmp/ab" -n 25 -w 2 \
	'seccomp=unconfined' "${run[@]}" "${off[@]}" "$root" /bin/busybox sh -c "$work" :: \
	'the built-in filter' "${run[@]}" "$root" /bin/busybox sh -c "$work" >"$tmp/work"
echo
echo "A real workload (three times: tar, gzip, gunzip, untar and sha256sum of busybox in pipes, and a find through procfs and sysfs),"
echo 'milliseconds:'
echo
echo '| | median | p10 | p90 | cpu | × unconfined |'
echo '|---|--:|--:|--:|--:|--:|'
awk -F '\t' '{ printf "| %s | %.2f | %.2f | %.2f | %.2f | **%.3f** [%.3f, %.3f] |\n", $1, $2 / 1000, $3 / 1000, $4 / 1000, $5 / 1000, $6, $7, $8 }' "$tmp/work"
