# Networks in an initramfs, where there is no ip and no nft beside busybox: with nf_tables, and without it, where user space serves the
# ports. Another host is a container with --network host, which has this host's addresses and no way of its own into a bridge.
grep -q nf_tables /t/modules && nft=yes || nft=
mkdir -p /www && echo 'from the container' >/www/page
# An uplink there is not: an address of this host's on loopback is as good to be reached at.
busybox ip link set lo up
busybox ip addr add 192.0.2.1/32 dev lo
sed -n 's/^ *\([^ :]*\):.*/\1/p' /proc/net/dev >/t/links 2>/t/discard || { mount -t proc proc /proc; mounted=yes; sed -n 's/^ *\([^ :]*\):.*/\1/p' /proc/net/dev >/t/links; }

expect 'network: a container has a link, an address and a way out' 0 '*' ctr run --rm /rootfs busybox ip addr show dev eth0
says 'network: from the default subnet' "$out" 'inet 10\.88\.0\.2/16'
says 'network: as large as others' "$out" 'mtu 1500'
expect 'network: the bridge stays' 0 '*' busybox ip addr show dev ctr0
says 'network: with its address' "$out" '10\.88\.0\.1/16'
expect 'network: this host passes packets on' 0 1 cat /proc/sys/net/ipv4/ip_forward

expect 'network: a server' 0 '*' ctr run -d --name web -p 8080:80 -v /www:/www:ro /rootfs busybox httpd -f -p 80 -h /www
[ "$nft" ] || says 'network: without nf_tables that is said' "$err" 'no nf_tables'
pid=$(ctr inspect -f '{{.State.Pid}}' web)
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    cat "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6" 2>/t/discard | grep -q ':0050 .* 0A ' && break
    sleep 0.1
done
address=$(ctr inspect -f '{{.NetworkSettings.IPAddress}}' web)
for at in 127.0.0.1:8080 192.0.2.1:8080 "$address:80"; do
    expect "network: reached from this host at $at" 0 'from the container' timeout 10 busybox wget -qO- "http://$at/page"
done
for at in 192.0.2.1:8080 "$address:80" web:80 10.88.0.1:8080; do
    expect "network: reached from a neighbour at $at" 0 'from the container' \
        ctr run --rm /rootfs busybox timeout 10 busybox wget -qO- "http://$at/page"
done
expect 'network: reached from itself' 0 'from the container' ctr exec web busybox timeout 10 busybox wget -qO- http://192.0.2.1:8080/page
expect 'network: ctr port' 0 '*' ctr port web
says 'network: what it publishes' "$out" '80/tcp -> 0\.0\.0\.0:8080'
expect 'network: the same port twice' 125 '' ctr run -d --name more -p 8080:80 /rootfs true
says 'network: names who has it' "$err" 'web'

expect 'network: one of our own' 0 '*' ctr network create --subnet 10.77.0.0/24 --internal lab
expect 'network: the drawing' 0 '*' ctr network ls
says 'network: has bridge, cable and port' "$out" ctr0 'ctr-' "$address" 8080
expect 'network: other networks are out of reach' 1 '' ctr run --rm --network lab /rootfs busybox timeout 2 busybox wget -qO- "http://$address/page"

go ctr doctor web
if [ "$status" -le 1 ]; then ok 'network: doctor comes to an end'; else not_ok 'network: doctor comes to an end' "status $status"; fi
says 'network: doctor finds that there is no way outside' "$out" 'way out|no route|uplink'
if [ "$nft" ]; then
    expect 'network: the table' 0 '*' ctr network inspect bridge
else
    says 'network: doctor names what is missing' "$out" 'nf_tables'
    expect 'network: inspect tells' 0 true ctr inspect -f '{{.NetworkSettings.ForwardedInUserSpace}}' web
fi
# A full table of connections: the next one is dropped without a word.
if [ "$nft" ]; then
    most=$(cat /proc/sys/net/netfilter/nf_conntrack_max)
    echo 1 >/proc/sys/net/netfilter/nf_conntrack_max
    go ctr doctor web
    says 'network: doctor names a full table of connections' "$out" 'the table is full|of 1 connections'
    echo "$most" >/proc/sys/net/netfilter/nf_conntrack_max
fi
expect 'network: gone' 0 '*' ctr rm -f web
expect 'network: all of them' 0 '*' ctr network prune -f
for try in 1 2 3 4 5 6 7 8 9 10; do
    sed -n 's/^ *\([^ :]*\):.*/\1/p' /proc/net/dev >/t/links.now
    cmp -s /t/links /t/links.now && break
    sleep 0.3
done
holds 'network: no link is left' cmp /t/links /t/links.now
expect 'network: and no packets are passed on' 0 0 cat /proc/sys/net/ipv4/ip_forward
holds 'network: no lease is left' sh -c '[ -z "$(ls -A /run/ctr/addresses /run/ctr/ports 2>&1 | grep -v :$ | grep .)" ]'
[ -z "${mounted:-}" ] || umount /proc
