#!/bin/bash
# The tests that need a machine of their own: ctr in an initramfs, on kernels that this machine does not run.
#
#   tests/vm/run.sh [--all] [--list] [NAME...]
#
# Without --all: Debian's cloud kernel with nothing mounted, with control groups of all kinds, and without overlayfs: about
# 180 s on two processors. With --all: every kernel. NAMEs are combinations as --list prints them (a part of the name is enough).
# $CTR is the binary; default ./ctr, else the last build for musl. VM_JOBS: how many guests at once (default: one a processor).
# Ends with the line "N passed, N failed"; exits 1 if any failed. Of a guest where something failed, all is shown but the lines "ok ...".

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
vm=$top/scripts/vm.sh

# kernel  mounts  modules  the initial root  scripts
# The initial root is a tmpfs (so Debian's kernels do it) or, as rootfstype=ramfs makes it, a real ramfs: another filesystem
# below overlayfs, without extended attributes and limits. disk: one of ext4, and the machine is started three times. io: the same,
# started once, mounted on /disk and with a copy of the small root on it.
fast='
cloud none   overlay tmpfs host,rootfs,doctor,lifecycle,audit,limits,held,userns
cloud v2     overlay tmpfs host,rootfs,doctor,lifecycle,audit,limits,held,userns
cloud v1     overlay tmpfs host,rootfs,doctor,lifecycle,audit,limits,held,userns
cloud hybrid overlay tmpfs host,rootfs,doctor,lifecycle,audit,limits
cloud v2     disk    tmpfs reboot
cloud v2     io      tmpfs io,userns
cloud none   -       tmpfs bare,doctor
cloud v2     net     tmpfs network
cloud none   nonft   tmpfs network
cloud none   noveth  tmpfs noveth
'
more='
cloud none   overlay ramfs host,rootfs,lifecycle
cloud v1     disk    tmpfs reboot
cloud dev    overlay tmpfs host,rootfs,doctor,lifecycle,audit
5.10  none   overlay tmpfs host,rootfs,doctor,lifecycle,audit
5.10  v2     overlay tmpfs host,rootfs,lifecycle
5.10  v1     overlay tmpfs host,rootfs,lifecycle
5.10  v2     disk    tmpfs reboot
5.10  none   -       ramfs bare,doctor
6.12  none   overlay tmpfs host,rootfs,doctor,lifecycle,audit
6.12  v2     overlay tmpfs host,rootfs,lifecycle
6.12  v1     overlay tmpfs host,rootfs,lifecycle
6.12  v2     disk    tmpfs reboot
7.x   none   overlay tmpfs host,rootfs,doctor,lifecycle,audit
7.x   v2     overlay tmpfs host,rootfs,lifecycle
7.x   v1     overlay tmpfs host,rootfs,lifecycle
7.x   v2     disk    tmpfs reboot
7.x   none   -       tmpfs bare,doctor
'
rows=$fast list=
names=()
for arg in "$@"; do
    case $arg in
        --all) rows=$fast$more ;;
        --list) list=1; rows=$fast$more ;;
        -*) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 125 ;;
        *) names+=("$arg"); rows=$fast$more ;;
    esac
done
[ -z "$list" ] || { awk 'NF { printf "%s-%s-%s-%s\n", $1, $2, $3 == "-" ? "bare" : $3, $4 }' <<<"$rows"; exit 0; }

if [ -z "${CTR:-}" ]; then
    for CTR in "$top/ctr" "$top/target/x86_64-unknown-linux-musl/release/ctr"; do [ ! -f "$CTR" ] || break; done
fi
[ -f "$CTR" ] || { echo "run.sh: no ctr binary at $CTR: build it (./build.sh), or say \$CTR" >&2; exit 125; }
export CTR

work=$(mktemp -d "${TMPDIR:-/tmp}/ctr-vm-tests.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The first guest's kernel is fetched before all else: that also installs what vm.sh needs (busybox, say).
"$vm" --fetch >"$work/fetch"
command -v musl-gcc >>"$work/fetch" || apt-get install -y musl-tools >>"$work/fetch" 2>&1 || { cat "$work/fetch" >&2; exit 125; }
musl-gcc -static -Os -Wall -Wextra -Wno-unused-result -o "$work/escape" "$here/escape.c"

# A small root filesystem: what `ctr run /rootfs` runs.
root=$work/rootfs
mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp}
chmod 1777 "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for name in cat echo false find grep kill ls mount mkdir rm sed sh sleep stat touch true umount; do ln -s busybox "$root/bin/$name"; done
cp "$work/escape" "$root/bin/escape"
echo 'a small root' >"$root/etc/motd"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
# With --rw these are mounted on; ctr would make them in the directory, as it was asked to write there.
touch "$root"/etc/{hostname,hosts,resolv.conf}

guest() { # guest NAME KERNEL MOUNTS MODULES FSTYPE SCRIPTS: its output to $work/NAME.log, its status to $work/NAME.status
    local status=0 t=$work/t-$1 modules=$4 times=1 disk=() begun=$SECONDS
    case $modules in
        -) modules= ;;
        net) modules="overlay bridge veth nf_tables nft_chain_nat nft_nat nft_masq nft_fib_inet nft_ct" ;;
        nonft) modules="overlay bridge veth" ;;
        noveth) modules="overlay bridge nf_tables nft_chain_nat nft_nat nft_masq nft_fib_inet nft_ct" ;;
        disk|io)
            [ "$4" = io ] || times=3
            modules="overlay virtio_pci virtio_blk ext4" disk=(--disk "$work/$1.disk")
            truncate -s 64M "$work/$1.disk"
            PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F "$work/$1.disk" ;;
    esac
    mkdir "$t"
    cp "$here"/*.sh "$t"
    echo "$3" >"$t/mounts"
    echo "$modules" >"$t/modules"
    echo "$5" >"$t/fstype"
    [ "$4" != io ] || touch "$t/io"
    while [ $((times--)) -gt 0 ] && [ $status = 0 ]; do
        # shellcheck disable=SC2086 # a list of scripts
        "$vm" --kernel "$2" --mount "$3" --modules "$modules" --append "$([ "$5" = tmpfs ] || echo "rootfstype=$5")" ${disk+"${disk[@]}"} \
            --timeout 600 --add "$t:/t" --add "$root:/rootfs" "$here/guest.sh" ${6//,/ } </dev/null >>"$work/$1.log" 2>&1 || status=$?
    done
    echo "$status $((SECONDS - begun))" >"$work/$1.status"
}

passed=0 failed=0
report() { # report NAME
    local status seconds good bad
    read -r status seconds <"$work/$1.status"
    good=$(grep -c '^ok ' "$work/$1.log" || true)
    bad=$(grep -c '^not ok ' "$work/$1.log" || true)
    # A guest that died, hung or failed without a word has failed.
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
        echo "not ok $1: the guest ended with status $status" >>"$work/$1.log"
    fi
    echo "$1: $good ok, $bad not ok, $seconds s"
    [ "$bad" = 0 ] || grep -v "^ok " "$work/$1.log" | sed "s/^/    /"
    passed=$((passed + good)) failed=$((failed + bad))
}

jobs=${VM_JOBS:-$(nproc)} running=0 order=()
while read -r kernel mounts modules fstype scripts; do
    [ -n "$kernel" ] || continue
    name=$kernel-$mounts-$([ "$modules" = - ] && echo bare || echo "$modules")-$fstype
    if [ ${#names[@]} -gt 0 ]; then
        for want in "${names[@]}"; do case $name in *"$want"*) want=; break ;; esac; done
        [ -z "$want" ] || continue
    fi
    order+=("$name")
    if [ "$running" -ge "$jobs" ]; then wait -n || true; running=$((running - 1)); fi
    guest "$name" "$kernel" "$mounts" "$modules" "$fstype" "$scripts" &
    running=$((running + 1))
done <<<"$rows"
[ ${#order[@]} -gt 0 ] || { echo "run.sh: no such combination: ${names[*]} (see --list)" >&2; exit 125; }
wait
for name in "${order[@]}"; do report "$name"; done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
