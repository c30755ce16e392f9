#!/usr/bin/env bash
# Proves README's two first commands on a clean machine: a minimal Debian with git, and root, and nothing else.
#
#   scripts/clean-machine.sh [--no-cache] [--keep]
#
# The machine is a Debian root made by mmdebstrap from this machine's own Debian sources (security and updates too), with
# its resolver, hosts and certificates copied in. It gets namespaces of its own (mounts, pids, hostname, ipc; the network
# is this machine's) and its root is *pivoted* to, not chrooted: `/` is a mount, as on a machine with a disk, and nothing
# of this machine is mounted below it but /sys. /proc, /dev, /dev/pts are fresh. In there, with an empty environment:
#   git clone (or, when the checkout has changes or no commit yet, a copy of its files)
#   ./build.sh                              must make a static ctr; a second run must be quick
#   ./ctr run host sh -c 'echo $$'          must print 1 and leave no mount behind
# and then once more as README types it, on a terminal: ./ctr run -it host sh
#
# Cached in $CTR_TEST_CACHE (~/.cache/ctr-tests), which saves downloads and nothing else: the minimal root as a tarball
# (a week), apt's .deb files, cargo's index and .crate files. Nothing unpacked, installed or compiled is kept. --no-cache
# does without. --keep leaves the root for a look and says where.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=$PWD
cache=${CTR_TEST_CACHE:-${HOME:-/root}/.cache/ctr-tests}/clean-machine
use_cache=yes keep=no
for arg; do
    case $arg in
        --no-cache) use_cache=no ;;
        --keep) keep=yes ;;
        *) echo "usage: scripts/clean-machine.sh [--no-cache] [--keep]" >&2; exit 2 ;;
    esac
done
skip() { echo "skip: clean-machine: $*"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
fail() { echo "FAIL: $*"; echo "0 passed, 1 failed"; exit 1; }
say() { echo "clean-machine: $*"; }

[ "$(id -u)" = 0 ] || skip "needs root"
for tool in mmdebstrap unshare pivot_root tar git; do
    command -v $tool >/dev/null || skip "needs $tool"
done
unshare -mpf true 2>/dev/null || skip "may not make namespaces here"
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# Debian's own entries alone: a third party's would put more on the machine than "nothing".
sources() {
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)|$(ORIGIN)' 'Created-By: Packages' \
        | sed -n 's/|Debian$//p' | sort -u
}
list=$(sources)
if ! grep -q " $suite " <<<"$list"; then
    apt-get -q update </dev/null >/dev/null 2>&1 || true
    list=$(sources)
fi
grep -q " $suite " <<<"$list" || skip "apt here has no source of Debian's $suite"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/ctr-clean-machine.XXXXXX")
root=$work/root
cleanup() {
    # Everything was mounted in the machine's own mount namespace, which is gone: this removes files only.
    [ "$keep" = yes ] && { say "kept: $root"; return; }
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# ---- The root
mkdir -p "$root"
if [ $use_cache = yes ]; then mkdir -p "$cache"; else cache=$work/cache; mkdir "$cache"; fi
tarball=$cache/$suite-$(sha256sum <<<"$list" | cut -c1-12).tar
find "$cache" -maxdepth 1 -type f -name '*.tar' -mtime +7 -delete
if [ ! -s "$tarball" ]; then
    say "mmdebstrap $suite, minbase"
    printf '%s\n' "$list" >"$work/sources.list"
    mmdebstrap --quiet --format=tar --variant=minbase --include=git,ca-certificates "$suite" "$tarball.new" "$work/sources.list" \
        </dev/null >"$work/mmdebstrap.log" 2>&1 || { tail -n 20 "$work/mmdebstrap.log"; fail "mmdebstrap"; }
    mv "$tarball.new" "$tarball"
fi
tar -C "$root" --numeric-owner --exclude='./dev/*' -xf "$tarball"
# A throw-away root: dpkg need not sync every file to the disk.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
cat /etc/resolv.conf >"$root/etc/resolv.conf"
cat /etc/hosts >"$root/etc/hosts"
cat /etc/ssl/certs/ca-certificates.crt >"$root/etc/ssl/certs/ca-certificates.crt"
for tool in sudo rustup rustc cargo cc musl-gcc; do
    [ ! -e "$root/usr/bin/$tool" ] || fail "the clean machine is not clean: it has $tool"
done

# ---- The checkout
to=$root/root/ctr
if git rev-parse -q --verify HEAD >/dev/null 2>&1 && [ -z "$(git status --porcelain)" ]; then
    say "git clone of $(git rev-parse --short HEAD)"
    # The checkout may be another user's, CI's for one, and git clone minds.
    printf '[safe]\n\tdirectory = *\n' >"$work/gitconfig"
    GIT_CONFIG_GLOBAL=$work/gitconfig git clone -q "file://$here" "$to"
else
    say "copy of the working tree: it has changes, or no commit"
    mkdir "$to"
    git ls-files -zco --exclude-standard | while IFS= read -r -d '' file; do
        [ ! -e "$file" ] || printf '%s\0' "$file"
    done | tar -c --null -T - | tar -C "$to" -xo
fi

# ---- Inside: PID 1 of the clean machine
cat >"$work/inside" <<'INSIDE'
set -eu
root=$1 cache=$2
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs dev/shm
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 dev/${node%:*} c 1 ${node#*:}
done
mknod -m 666 dev/tty c 5 0
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
if [ "$cache" != none ]; then
    mkdir -p "$cache/debs/partial" "$cache/cargo" root/.cargo/registry
    mount --bind "$cache/debs" var/cache/apt/archives
    mount --bind "$cache/cargo" root/.cargo/registry
fi
hostname clean-machine
mkdir .outside
pivot_root . .outside
umount -l /.outside
rmdir /.outside
exec env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb ${CI:+CI=$CI} \
    bash /root/newcomer
INSIDE
cat >"$root/root/newcomer" <<'NEWCOMER'
set -eu
fail() { echo "FAIL: $*"; exit 1; }
cd /root/ctr
echo '$ ./build.sh'
./build.sh || fail "./build.sh exits with $?"
start=$(date +%s)
./build.sh >/dev/null 2>&1 || fail "./build.sh fails the second time"
[ $(($(date +%s) - start)) -le 10 ] || fail "./build.sh takes $(($(date +%s) - start)) s with nothing to do"
cp /proc/self/mountinfo /root/before
echo '$ ./ctr run host sh -c '\''echo $$'\'
# In a network of its own: the machine's own interfaces are left alone.
said=$(unshare -n ./ctr run host sh -c 'echo $$') || fail "./ctr run exits with $?"
echo "$said"
[ "$said" = 1 ] || fail "the shell is not PID 1: '$said'"
echo '$ ./ctr run -it host sh'
said=$(printf 'echo pid:$$; tty; exit 7\n' | unshare -n script -qec './ctr run -it host sh' /dev/null) && code=0 || code=$?
echo "$said"
case $said in *pid:1*) ;; *) fail "no shell as PID 1 on a terminal" ;; esac
[ $code = 7 ] || fail "the shell's exit status 7 came out as $code"
cmp /root/before /proc/self/mountinfo || fail "mounts are left behind"
echo newcomer: all well
NEWCOMER
say "in the clean machine:"
[ $use_cache = yes ] && inner_cache=$cache || inner_cache=none
# unshare dies with us, and its child, PID 1 in there, with it: nothing can stay behind.
unshare -mpfui --kill-child --propagation private bash "$work/inside" "$root" "$inner_cache" </dev/null 2>&1 | tee "$work/log" || true
grep -qx 'newcomer: all well' "$work/log" || fail "$(grep '^FAIL: ' "$work/log" | tail -n1 | cut -c7- | grep . || echo "the clean machine stopped early")"
echo "1 passed, 0 failed"
