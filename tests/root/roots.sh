#!/bin/sh
# roots.sh: makes the real Debian root filesystem that tests/root runs (apt, python3, procps), once, in the cache of the
# tests ($CTR_TEST_CACHE, default ~/.cache/ctr-tests). Prints nothing when it is there. Needs root, mmdebstrap and apt's
# own sources; the tests themselves run without a network.
set -eu
cache=${CTR_TEST_CACHE:-${HOME:-/root}/.cache/ctr-tests}
[ ! -x "$cache/debian-root/usr/bin/python3" ] || exit 0
mkdir -p "$cache"
rm -rf "$cache/debian-root.new" "$cache/debian-root"
mmdebstrap --quiet --variant=apt --include=python3-minimal,procps,hostname,mount,libcap2-bin bookworm "$cache/debian-root.new"
mv "$cache/debian-root.new" "$cache/debian-root"
