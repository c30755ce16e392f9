#!/usr/bin/env bash
# All tests: installs what they need, runs scripts/check, then the virtual machines, the benchmarks' short form and the clean
# machine. The last line counts: `N passed, N failed, N skipped`. Exit 1 on any failure; with CI=true also on any skip.
#
#   scripts/test.sh [SUITE...]     all of them, or the named ones
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

# What the tests run, not what ctr needs (which is nothing). One line each: for what.
packages=(
    musl-tools musl-dev         # the floor program of scripts/bench.sh; build.sh where it must link by itself
    gcc libc6-dev               # cargo's linker on this machine, for unit tests
    busybox-static cpio         # tests/root's small root filesystem, the virtual machines' initramfs
    mmdebstrap                  # tests/root's Debian root, the clean machine
    qemu-system-x86             # tests/vm
    strace                      # the count of syscalls, errors injected at any of them
    iproute2 procps util-linux nftables iptables # what a test looks at the host with
    gzip zstd                   # what archives are compressed with
    curl                        # a client of what a container publishes
    uidmap                      # newuidmap: an ordinary user's ranges of ids
    tmux                        # a terminal to type on
    perl git ca-certificates    # layers.sh; the clean machine's clone
)
install_packages() {
    local lack=() package log=target/test-logs/packages.log
    for package in "${packages[@]}"; do
        [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || lack+=("$package")
    done
    [ ${#lack[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "test.sh: not root, so these stay missing and tests will skip: ${lack[*]}"
        return 0
    fi
    mkdir -p target/test-logs
    echo "installing ${lack[*]}"
    # Its exit status is no news: one stale third-party list fails it, and the install tells.
    apt-get -q -o Acquire::Retries=3 update >"$log" 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 install --no-install-recommends "${lack[@]}" >>"$log" 2>&1 || {
        tail -n 20 "$log"
        echo "test.sh: apt-get cannot install what the tests need"
        echo "0 passed, 1 failed, 0 skipped"
        exit 1
    }
}
if command -v apt-get >/dev/null; then
    install_packages
else
    echo "test.sh: no apt-get here; the tests want: ${packages[*]}"
fi

. scripts/check
# shellcheck disable=SC2154
suite vm 2400 tests/vm/run.sh || true
suite bench 900 scripts/bench.sh --quick || true
suite clean-machine 1200 scripts/clean-machine.sh || true
finish
