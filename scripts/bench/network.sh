#!/bin/bash
# What networks cost: run with the default one beside none; bytes by the bridge and to a published port beside the same made by hand with
# ip and nft; a connection to one of a thousand published ports beside one to the only one. Podman's run, where podman is installed.
#
#     scripts/bench/network.sh [--rounds N]      as root; CTR=./ctr names the binary
#
# In a network namespace of its own, with another host in one more. Servers and clients are of the tests' root (tests/root/roots.sh).
set -euo pipefail
rounds=200
[ "${1:-}" != --rounds ] || rounds=$2
top=$(cd "$(dirname "$(realpath "$0")")/../.." && pwd)
ctr=$(realpath -m "${CTR:-$top/ctr}")
cache=${CTR_TEST_CACHE:-${HOME:-/root}/.cache/ctr-tests}
if [ -z "${CTR_BENCH_INSIDE:-}" ]; then
	"$top/tests/root/roots.sh"
	CTR=$ctr CTR_BENCH_INSIDE=1 exec "$top/tests/root/alone.sh" "$0" --rounds "$rounds"
fi
services=$cache/services-root
tmp=$(mktemp -d "${TMPDIR:-/tmp}/ctr-bench.XXXXXX")
busy=$tmp/root
mkdir -p "$busy/bin" "$busy/etc"
cp "$(command -v busybox)" "$busy/bin/busybox"
for name in true sleep httpd; do ln -s busybox "$busy/bin/$name"; done
gcc -O2 -o "$tmp/ab" "$top/scripts/bench/ab.c"
# chroot, and not the file by itself: it has libraries of its own.
served() { chroot "$services" "$@"; }
in_lan() { nsenter -t "$lan" -n chroot "$services" "$@"; }
unshare -n sleep 100000 & lan=$!
unshare -n sleep 100000 & hand=$!
cleanup() {
	"$ctr" ps -aq | while read -r id; do "$ctr" rm -f "$id"; done >/dev/null 2>&1
	kill $lan $hand ${servers:-} 2>/dev/null
	rm -rf "$tmp"
}
trap 'set +e; cleanup' EXIT
for pid in $lan $hand; do until [ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do :; done; done

ip link set lo up
ip link add up0 type veth peer name lan0 netns $lan
ip addr add 192.0.2.1/24 dev up0
ip link set up0 up
nsenter -t $lan -n sh -c 'ip link set lo up; ip addr add 192.0.2.2/24 dev lan0; ip link set lan0 up; ip route add default via 192.0.2.1'
ip route add default via 192.0.2.2

echo "## run"
echo
"$ctr" run --rm "$busy" /bin/true
words=(none "$ctr" run --rm --network none "$busy" /bin/true
	:: bridge "$ctr" run --rm "$busy" /bin/true
	:: 'bridge -p' "$ctr" run --rm -p 8099:80 "$busy" /bin/true)
if command -v podman >/dev/null; then
	# Its own folders, and for crun, which refuses a hybrid machine, no v2 side: all of it in our mount namespace alone.
	mkdir -p /var/lib/containers
	mount -t tmpfs tmpfs /var/lib/containers
	! findmnt -n -t cgroup >/dev/null || ! v2=$(findmnt -n -t cgroup2 -o TARGET | head -n 1) || [ -z "$v2" ] || umount -l "$v2"
	words+=(:: 'podman, none' podman run --rm --network none --rootfs "$busy" /bin/true
		:: 'podman, bridge' podman run --rm --network bridge --rootfs "$busy" /bin/true
		:: 'podman, bridge -p' podman run --rm --network bridge -p 8098:80 --rootfs "$busy" /bin/true)
fi
echo '| --network | median, ms | × none |'
echo '|---|--:|--:|'
"$tmp/ab" -n "$rounds" -w 10 "${words[@]}" | awk -F '\t' '{ printf "| %s | %.2f | **%.2f** [%.2f, %.2f] |\n", $1, $2 / 1000, $6, $7, $8 }'

# By hand: what anybody would do with ip and nft, and no more.
ip link add hand0 type bridge
ip addr add 10.99.0.1/24 dev hand0
ip link set hand0 up
ip link add vh type veth peer name eth0 netns $hand
ip link set vh master hand0 up
nsenter -t $hand -n sh -c 'ip link set lo up; ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.99.0.1'
nft 'table ip hand {
	chain pre { type nat hook prerouting priority -100; tcp dport 5202 fib daddr type local dnat to 10.99.0.2:5201; }
	chain post { type nat hook postrouting priority 100; ip saddr 10.99.0.0/24 oifname != "hand0" masquerade; }
}'
nsenter -t $hand -n chroot "$services" iperf3 -s -D
in_lan iperf3 -s -D
"$ctr" run -d --name iperf -p 5201:5201 "$services" iperf3 -s >/dev/null
own=$("$ctr" inspect -f '{{.NetworkSettings.IPAddress}}' iperf)
bits() { # COMMAND...: of the receiver
	"$@" -J | sed -n '/"sum_received"/,/}/s/.*"bits_per_second":[ \t]*\([0-9.e+]*\).*/\1/p'
}
for try in 1 2 3 4 5 6 7 8 9 10; do served iperf3 -c "$own" -n 1M >/dev/null 2>&1 && break; sleep 0.2; done
echo
echo "## Bytes, iperf3, one second each, fifteen pairs, every other one the other way round; median of the pairs' ratios [and of their thirds]"
echo
echo '| way | by hand, Gbit/s | ctr, Gbit/s | ctr / hand |'
echo '|---|--:|--:|--:|'
way() { # NAME, then the command for each as a word
	local n h c
	: >"$tmp/h"; : >"$tmp/c"
	for ((n = 0; n < 15; n++)); do
		# shellcheck disable=SC2086 # commands
		if ((n % 2)); then bits $2 >>"$tmp/h"; bits $3 >>"$tmp/c"; else bits $3 >>"$tmp/c"; bits $2 >>"$tmp/h"; fi
	done
	paste "$tmp/h" "$tmp/c" | awk '{ print $2 / $1 }' | sort -g >"$tmp/ratios"
	h=$(sort -g "$tmp/h" | sed -n 8p) c=$(sort -g "$tmp/c" | sed -n 8p)
	# shellcheck disable=SC2046 # three words
	printf '| %s | %.2f | %.2f | **%.3f** [%.3f, %.3f] |\n' "$1" $(awk -v h="$h" -v c="$c" 'BEGIN { print h / 1e9, c / 1e9 }') \
		$(sed -n '8p' "$tmp/ratios") $(sed -n '5p;11p' "$tmp/ratios")
}
inside() { "$ctr" exec iperf "$@"; }
by_hand() { nsenter -t $hand -n chroot "$services" "$@"; }
way 'this host to the container' "served iperf3 -c 10.99.0.2 -t 1" "served iperf3 -c $own -t 1"
way 'the container to another host' "by_hand iperf3 -c 192.0.2.2 -t 1" "inside iperf3 -c 192.0.2.2 -t 1"
way 'another host to the published port' "in_lan iperf3 -c 192.0.2.1 -p 5202 -t 1" "in_lan iperf3 -c 192.0.2.1 -p 5201 -t 1"

echo
echo "## A thousand ports"
echo
cat >"$services/tmp/connect.py" <<'P'
import socket, sys, time
took = []
for _ in range(400):
    begin = time.perf_counter_ns()
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    took.append(time.perf_counter_ns() - begin)
    s.close()
print(sorted(took)[len(took) // 2] / 1000)
P
cat >"$services/tmp/accept.py" <<'P'
import socket, sys
s = socket.create_server(("", int(sys.argv[1])), backlog=1000)
while True:
    s.accept()[0].close()
P
connect() { in_lan python3 /tmp/connect.py 192.0.2.1 "$1"; }
"$ctr" run -d --name one -p 8080:80 "$services" python3 /tmp/accept.py 80 >/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do connect 8080 >/dev/null 2>&1 && break; sleep 0.2; done
: >"$tmp/h"; : >"$tmp/c"
for ((n = 0; n < 9; n++)); do
	connect 8080 >>"$tmp/h"
	"$ctr" run -d --name many -p 10000-10998:1000-1998 "$services" python3 /tmp/accept.py 1998 >/dev/null
	for try in 1 2 3 4 5 6 7 8 9 10; do connect 10998 >/dev/null 2>&1 && break; sleep 0.2; done
	connect 10998 >>"$tmp/c"
	"$ctr" rm -f many >/dev/null
done
awk -v h="$(sort -g "$tmp/h" | sed -n 5p)" -v c="$(sort -g "$tmp/c" | sed -n 5p)" \
	'BEGIN { printf "A connection to the only published port takes %.1f µs (median), to one of a thousand %.1f: **%.3f** times.\n", h, c, c / h }'
rm -f "$services/tmp/connect.py" "$services/tmp/accept.py"
