#!/bin/bash
# Boot a Debian kernel in QEMU (no KVM needed) with an initramfs of busybox and ctr, and run a shell script there.
#
#   scripts/vm.sh [options] SCRIPT [ARG...]     SCRIPT runs in the guest, by busybox sh, as the last act of init
#
#   --kernel cloud|5.10|6.1|6.12|7.x   Debian's cloud kernel of: bookworm (cloud and 6.1), bullseye, bookworm-backports
#                                      (else trixie), trixie-backports. Default cloud.
#   --modules "overlay veth ..."       loaded by init, in order, with all they depend on. Default overlay; "" = a bare kernel
#   --mount none|dev|v2|v1|hybrid      what init mounts first. none = not even /proc and /dev (default);
#                                      dev = proc, sys, devtmpfs; v2, v1, hybrid = dev and cgroups of that kind
#   --add HOSTPATH:GUESTPATH           put a file or directory into the initramfs, owners and modes as they are
#   --disk FILE                        an image, as /dev/vda (modules: virtio_pci virtio_blk, and its filesystem's); with a cache
#                                      that a sudden end does not write back
#   --mem MIB                          default 512; the guest's root gets half of it
#   --timeout SECONDS                  for the whole guest, default 120
#   --append "WORDS"                   more words for the kernel's command line
#   --console                          show the kernel's console, too, afterwards (stderr)
#   --fetch                            only fetch and unpack the kernel
#
# Prints what the script prints, live, and exits with its status. vm.sh's own troubles: 125 and a line "vm.sh: ..." on
# stderr, 124 if the guest did not end in time. $CTR is the ctr binary (default ./ctr, left out if there is none);
# kernels are kept in $CTR_TEST_CACHE (default ~/.cache/ctr-tests).
#
# In the guest the root is the kernel's own ramfs. The script's stdin is an empty file; its stdout and stderr are the
# second serial port; the first one is the kernel's console; the third one carries the exit status. Three ports, so that
# neither a kernel message nor the script can be taken for the verdict. All that vm.sh needs in the guest is /init,
# /bin (busybox and its names, ctr), and /.vm.

set -euo pipefail

kernel=cloud modules=overlay mounts=none mem=512 limit=120 append='' console='' fetch_only='' disk=''
adds=()

die() { echo "vm.sh: $*" >&2; exit 125; }

while [ $# -gt 0 ]; do
    case $1 in
        --kernel|--modules|--mount|--mem|--timeout|--append|--add|--disk)
            [ $# -ge 2 ] || die "$1 needs a value"
            case $1 in
                --kernel) kernel=$2 ;; --modules) modules=$2 ;; --mount) mounts=$2 ;; --mem) mem=$2 ;;
                --timeout) limit=$2 ;; --append) append=$2 ;; --add) adds+=("$2") ;; --disk) disk=$2 ;;
            esac
            shift 2 ;;
        --console) console=1; shift ;;
        --fetch) fetch_only=1; shift ;;
        --help|-h) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        --) shift; break ;;
        -*) die "unknown option $1 (see --help)" ;;
        *) break ;;
    esac
done
case $mounts in none|dev|v2|v1|hybrid) ;; *) die "--mount takes none, dev, v2, v1 or hybrid, not '$mounts'" ;; esac
# Which of Debian's suites has it; several: the first one that offers it.
case $kernel in
    cloud|6.1) name=6.1 suites=bookworm ;;
    5.10) name=5.10 suites=bullseye ;;
    6.12) name=6.12 suites="bookworm-backports trixie" ;;
    7.x) name=7.x suites=trixie-backports ;;
    *) die "--kernel takes cloud, 5.10, 6.1, 6.12 or 7.x, not '$kernel'" ;;
esac
cache=${CTR_TEST_CACHE:-$HOME/.cache/ctr-tests}
home=$cache/vm/$name
mkdir -p "$home"

work=$(mktemp -d "${TMPDIR:-/tmp}/ctr-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT

# ---- what the host must have ----------------------------------------------------------------------------------------

need() { # need COMMAND PACKAGE ...
    local missing=()
    while [ $# -gt 0 ]; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$1" >"$work/which" || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "missing packages (run as root, or install them yourself): ${missing[*]}"
    exec 8>"$cache/vm/.install.lock"
    flock 8
    { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" ||
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; }
    } >"$work/install" 2>&1 || { tail -n 20 "$work/install" >&2; die "cannot install ${missing[*]}"; }
    exec 8>&-
}
need qemu-system-x86_64 qemu-system-x86 busybox busybox-static cpio cpio xz xz-utils zstd zstd lz4 lz4 depmod kmod flock util-linux
# A dynamic busybox would find no libc in the guest. The name of its loader stands near the beginning of the file.
if head -c 4096 "$(command -v busybox)" | LC_ALL=C grep -qa 'ld-'; then need no-such-command busybox-static; fi

# ---- the kernel -----------------------------------------------------------------------------------------------------

# Where this machine gets Debian from, as lines for another suite: a mirror is known to serve what Debian's archive does.
source_lines() { # source_lines SUITE
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # Both of apt's formats; the archive is the first source that has the machine's own suite.
    {
        cat /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2>>"$work/err" |
            awk -v own="$codename" '$1 == "deb" { i = 2; if ($2 ~ /^\[/) { while ($i !~ /\]$/) i++; i++ } if ($(i+1) == own) print $i }'
        cat /etc/apt/sources.list.d/*.sources 2>>"$work/err" |
            awk -v own="$codename" 'BEGIN { RS = "" } {
                uri = ""; has = 0; n = split($0, line, "\n")
                for (l = 1; l <= n; l++) { m = split(line[l], w, " ")
                    if (w[1] == "URIs:") uri = w[2]
                    if (w[1] == "Suites:") for (k = 2; k <= m; k++) if (w[k] == own) has = 1 }
                if (has && uri != "") print uri }'
    } | awk -v suite="$1" 'NR == 1 { print "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $1, suite, "main" }'
}

# QEMU starts an unpacked kernel, too (PVH), and the emulated processor is saved 1 to 2 s of unpacking.
unpack_image() { # unpack_image BZIMAGE TO
    local magic tool at
    while read -r magic tool; do
        at=$(LC_ALL=C grep -abom1 -P "$magic" "$1" | head -n 1 | cut -d: -f1)
        [ -n "$at" ] || continue
        # What follows the stream makes the tool complain: the first four bytes tell whether it worked.
        tail -c "+$((at + 1))" "$1" | $tool >"$2" 2>>"$work/err" || true
        [ "$(head -c 4 "$2" | tr -d '\177')" != ELF ] || return 0
    done <<'MAGIC'
\x02\x21\x4c\x18 lz4 -dc
\x28\xb5\x2f\xfd zstd -qdc
\xfd7zXZ\x00 xz -dc
\x1f\x8b\x08 gzip -dc
MAGIC
    rm -f "$2"
    return 1
}

fetch_from() { # fetch_from SUITE: the packages of its cloud kernel, unpacked into $home/new
    local state=$work/apt-$1 opts wanted
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
    : >"$state/status"
    source_lines "$1" >"$state/sources.list"
    [ -s "$state/sources.list" ] || { echo "no Debian source configured on this machine"; return 1; }
    opts=(-o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null
        -o Dir::Etc::PreferencesParts=/dev/null -o "Dir::State::Lists=$state/lists" -o "Dir::State::status=$state/status"
        -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)
    apt-get "${opts[@]}" -qq update || return 1
    # The metapackage leads to one image package, or (7.x) to base, binary and modules.
    wanted=$(apt-cache "${opts[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances linux-image-cloud-amd64 | grep -E '^linux-[a-z]+-[0-9]' | sort -u)
    [ -n "$wanted" ] || { echo "the suite $1 has no linux-image-cloud-amd64"; return 1; }
    # shellcheck disable=SC2086 # a list of names
    (cd "$state/debs" && apt-get "${opts[@]}" -qq download $wanted) || return 1
    rm -rf "$home/new" && mkdir "$home/new"
    local deb
    for deb in "$state"/debs/*.deb; do dpkg-deb -x "$deb" "$home/new" || return 1; done
    [ -e "$home/new/lib" ] || ln -s usr/lib "$home/new/lib"
    rm -rf "$home/new/usr/share"
    local image
    image=$(find "$home/new/boot" "$home/new/lib/modules/" \( -name 'vmlinuz*' -o -name 'vmlinux*' \) -type f | head -n 1)
    [ -n "$image" ] || { echo "no vmlinuz in $wanted"; return 1; }
    unpack_image "$image" "$home/new/vmlinux" || cp "$image" "$home/new/vmlinux"
    ls "$home/new/lib/modules/" >"$home/new/version"
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$home/new" "$(cat "$home/new/version")"
}

fetch() {
    local suite
    : >"$work/fetch"
    for suite in $suites; do
        if fetch_from "$suite" >>"$work/fetch" 2>&1; then
            mv "$home/new" "$home/kernel"
            return
        fi
    done
    sed 's/^/  /' "$work/fetch" >&2
    die "cannot get the kernel $kernel from Debian's $suites"
}

if [ ! -d "$home/kernel" ]; then
    exec 9>"$home/lock"
    flock 9
    [ -d "$home/kernel" ] || fetch
    exec 9>&-
fi
version=$(cat "$home/kernel/version")
[ -z "$fetch_only" ] || { echo "$home/kernel $version"; exit 0; }

# ---- the initramfs --------------------------------------------------------------------------------------------------

# Not compressed: unpacking costs the emulated processor more than copying. Archives may follow one another.
pack() { (cd "$1" && find . -print0 | cpio --null -o -H newc --quiet); }

[ $# -ge 1 ] || die "which script? (see --help)"
script=$1
shift
[ -f "$script" ] || die "no script $script"

# Busybox and its names are the same each time.
busybox=$(command -v busybox)
base=$cache/vm/base-$(stat -c %s-%Y "$busybox").cpio
if [ ! -f "$base" ]; then
    mkdir -p "$work"/base/{bin,dev,proc,sys,run,tmp,etc,root}
    chmod 1777 "$work/base/tmp"
    cp "$busybox" "$work/base/bin/busybox"
    "$busybox" --list | grep -v '^busybox$' | (cd "$work/base/bin" && xargs -I{} ln -s busybox {})
    echo 'root:x:0:0:root:/root:/bin/sh' >"$work/base/etc/passwd"
    echo 'root:x:0:' >"$work/base/etc/group"
    pack "$work/base" >"$base.$$"
    mv "$base.$$" "$base"
fi

root=$work/root
mkdir -p "$root/bin" "$root/.vm/modules"
ctr=${CTR-./ctr}
if [ -n "$ctr" ] && [ -f "$ctr" ]; then cp "$ctr" "$root/bin/ctr"; elif [ -n "${CTR:-}" ]; then die "no ctr binary at $CTR"; fi
: >"$root/.vm/stdin"
cp "$script" "$root/.vm/script"

number=100
if [ -n "$modules" ]; then
    for module in $modules; do
        PATH=$PATH:/usr/sbin:/sbin modprobe -d "$home/kernel" -S "$version" --show-depends "$module" 2>"$work/err" |
            tee -a "$work/insmod" >"$work/one" || die "kernel $version has no module $module: $(cat "$work/err")"
    done
    # "insmod FILE [OPTIONS]" or "builtin NAME"; a dependency of two is wanted once.
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' "$work/insmod" | while read -r file; do
        to=$root/.vm/modules/$number-$(basename "$file" | sed 's/\.\(xz\|zst\|gz\)$//')
        case $file in
            *.xz) xz -dc "$file" >"$to" ;;
            *.zst) zstd -qdc "$file" >"$to" ;;
            *.gz) gzip -dc "$file" >"$to" ;;
            *) cp "$file" "$to" ;;
        esac
        number=$((number + 1))
    done
fi

# Init needs nothing mounted: no /proc, no /dev. It makes the serial ports' nodes itself, beside its script.
{
    echo '#!/bin/sh'
    echo 'export PATH=/bin HOME=/root TERM=dumb'
    printf 'set --'
    for arg in "$@"; do printf " '%s'" "${arg//\'/\'\\\'\'}"; done
    echo
    echo "mounts=$mounts"
    cat <<'INIT'
mknod -m 600 /.vm/out c 4 65
mknod -m 600 /.vm/status c 4 66
stty -F /.vm/out raw -echo
exec >/.vm/out 2>&1 </.vm/stdin
for ko in /.vm/modules/*.ko; do
    [ -f "$ko" ] || continue
    # "No such device": a driver for something that this processor lacks, one of several that offer the same.
    insmod "$ko" 2>/.vm/err || grep -q 'No such device' /.vm/err || { echo "vm.sh: cannot load $ko:"; cat /.vm/err; }
done
rm -rf /.vm/modules /.vm/err
case $mounts in dev|v2|v1|hybrid)
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev ;;
esac
# nsdelegate, as systemd has it: a control group namespace is a border then.
case $mounts in v2) mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup ;; v1|hybrid)
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    while read -r controller _ _ enabled; do
        case $controller in '#'*) continue ;; esac
        [ "$enabled" = 1 ] || continue
        # In hybrid two are together, as systemd mounts them, but without the links that it makes.
        case $mounts-$controller in hybrid-cpuacct) continue ;; hybrid-cpu)
            mkdir /sys/fs/cgroup/cpu,cpuacct
            mount -t cgroup -o cpu,cpuacct cgroup /sys/fs/cgroup/cpu,cpuacct
            continue ;;
        esac
        mkdir "/sys/fs/cgroup/$controller"
        # A kernel may know a controller and have dropped its v1 face.
        mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" 2>/.vm/err || rmdir "/sys/fs/cgroup/$controller"
    done </proc/cgroups
    [ "$mounts" = v1 ] || { mkdir /sys/fs/cgroup/unified && mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup/unified; } ;;
esac
(cd / && exec sh /.vm/script "$@")
status=$?
echo "status $status" >/.vm/status
reboot -f
INIT
} >"$root/init"
chmod 755 "$root/init"

for add in ${adds[@]+"${adds[@]}"}; do
    from=${add%%:*} to=$root/${add#*:}
    [ -e "$from" ] || die "--add: no $from"
    case $add in *:/*) ;; *) die "--add takes HOSTPATH:/GUESTPATH, not '$add'" ;; esac
    mkdir -p "$(dirname "$to")"
    if [ -d "$from" ]; then mkdir -p "$to" && cp -a "$from/." "$to/"; else cp -a "$from" "$to"; fi
done
{ cat "$base"; pack "$root"; } >"$work/initramfs"

# ---- the guest ------------------------------------------------------------------------------------------------------

# qemu64: without rdrand getrandom blocks a second; QEMU 7.2's TCG spoils the flags in cmpxchg16b, and 6.12 crashes in its
# allocator. The guest's clock ticks on host time: the timer check can fail on a busy host, for nothing.
set +e
timeout --foreground -k 5 "$limit" qemu-system-x86_64 -accel tcg -cpu qemu64,+rdrand,-cx16 -smp 1 -m "$mem" \
    -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$home/kernel/vmlinux" -initrd "$work/initramfs" \
    ${disk:+-drive "file=$disk,if=virtio,format=raw,cache=writeback"} \
    -append "console=ttyS0 quiet loglevel=4 no_timer_check panic=-1 reboot=t rdinit=/init $append" \
    -serial "file:$work/console" -serial stdio -serial "file:$work/status" </dev/null 2>"$work/qemu"
qemu=$?
set -e
tail_console() { echo "--- the last lines of the console:"; tail -n 25 "$work/console" | tr -d '\r'; cat "$work/qemu"; }
[ -z "$console" ] || { tr -d '\r' <"$work/console"; cat "$work/qemu"; } >&2
status=$(tr -d '\r' <"$work/status" 2>>"$work/err" | sed -n 's/^status \([0-9]*\)$/\1/p')
if [ -n "$status" ]; then
    # What the script cannot see, but whoever runs it must.
    if grep -qE 'BUG:|Oops|WARNING: CPU|general protection' "$work/console"; then
        { echo "vm.sh: the kernel complained ($version):"; tail_console; } >&2
    fi
    exit "$status"
fi
if [ $qemu = 124 ] || [ $qemu = 137 ]; then
    { echo "vm.sh: $(basename "$script") on $version did not end within $limit s: stopped"; tail_console; } >&2
    exit 124
fi
{ echo "vm.sh: the guest ended without a status (kernel $version, qemu exit $qemu)"; tail_console; } >&2
exit 125
