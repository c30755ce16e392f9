#!/bin/sh
# roots.sh: makes what tests/root runs of the real Debian, once, in the cache of the tests ($CTR_TEST_CACHE, default
# ~/.cache/ctr-tests): a root filesystem (apt, python3, procps), another with servers and their clients, and a repository of some packages with all that they need beyond it, for apt-get
# to install from inside, where there is no network. Prints nothing when all are there. Needs root, mmdebstrap and apt's own sources.
set -eu
cache=${CTR_TEST_CACHE:-${HOME:-/root}/.cache/ctr-tests}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
if [ ! -x "$cache/debian-root/usr/bin/python3" ]; then
    rm -rf "$cache/debian-root.new" "$cache/debian-root"
    mmdebstrap --quiet --variant=apt --include=python3-minimal,procps,hostname,mount,libcap2-bin bookworm "$cache/debian-root.new"
    mv "$cache/debian-root.new" "$cache/debian-root"
fi
# Servers that people run in containers, and what speaks with them.
if [ ! -x "$cache/services-root/usr/sbin/dnsmasq" ]; then
    rm -rf "$cache/services-root.new" "$cache/services-root"
    # No cluster of PostgreSQL's: the test makes its own.
    # shellcheck disable=SC2016 # $1 is mmdebstrap's
    mmdebstrap --quiet --variant=apt --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --include=nginx-light,postgresql,redis-server,dnsmasq-base,iperf3 \
        --include=curl,wrk,bind9-dnsutils,iproute2,iputils-ping,python3-minimal \
        --essential-hook='mkdir -p "$1/etc/postgresql-common"' \
        --essential-hook='echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
        bookworm "$cache/services-root.new"
    mv "$cache/services-root.new" "$cache/services-root"
fi
# Users of their own (adduser), capabilities of a file (iputils-ping), set-user-id (sudo), services with files of their users.
packages='redis-server nginx-light postgresql iputils-ping sudo'
if [ ! -f "$cache/debs/Packages" ]; then
    new=$cache/debs.new
    rm -rf "$new"
    mkdir -p "$new/partial"
    # What is installed is what the root has; the lists are this machine's, which must be those of the same suite.
    fetch() {
        # shellcheck disable=SC2086 # a list of names
        apt-get -qq -y --no-install-recommends --download-only -o "Dir::State::status=$cache/debian-root/var/lib/dpkg/status" \
            -o "Dir::Cache::archives=$new" -o APT::Sandbox::User=root -o Debug::NoLocking=1 install $packages >"$new/log" 2>&1
    }
    fetch || { apt-get -q update >/dev/null 2>&1 && fetch; } || { cat "$new/log" >&2; exit 1; }
    (
        cd "$new"
        for deb in *.deb; do
            dpkg-deb -f "$deb"
            printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
        done >Packages
        rm -rf partial lock log
    )
    rm -rf "$cache/debs"
    mv "$new" "$cache/debs"
fi
