#!/usr/bin/env bash
# Makes ./ctr, one static x86_64-unknown-linux-musl binary, on a machine that has next to nothing.
#
#   ./build.sh [--debug-faults] [--out FILE] [--way rustup|plain|debian] [cargo build options]
#
#   --debug-faults   the same with `--features fault` (CTR_FAIL, CTR_KILL, the child's allocator): target/ctr-fault
#   --out FILE       put the binary there, e.g. ./build.sh --no-default-features --out target/ctr-core
#   --way WAY        only this way, instead of the first that works:
#     rustup   a Rust with the musl target (rustup adds it), its standard library rebuilt for size from rust-src
#     plain    the same Rust, the standard library as shipped: no rust-src needed, about 300 KB more
#     debian   the distribution's rustc, cargo and rust-src, and musl-gcc as linker; apt-get installs them if we are root
# Each way has a target folder of its own (target/WAY): different compilers do not throw away each other's work.
# The standard library's rebuild (about half a minute) happens once per folder; a second run takes a second.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

target=x86_64-unknown-linux-musl
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
say() { printf 'build.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

out=ctr way='' extra=()
while [ $# -gt 0 ]; do
    case $1 in
        --debug-faults) extra+=(--features fault); [ "$out" != ctr ] || out=target/ctr-fault ;;
        --out) out=${2:?--out needs a file name}; shift ;;
        --way) way=${2:?--way needs rustup, plain or debian}; shift ;;
        --way=*) way=${1#*=} ;;
        --out=*) out=${1#*=} ;;
        -h | --help) sed -n '2,/^\[/{/^\[/d;s/^# \{0,1\}//;p}' build.sh; exit 0 ;;
        *) extra+=("$1") ;;
    esac
    shift
done
case $way in '' | rustup | plain | debian) ;; *) die "no such way: $way (rustup, plain, debian)" ;; esac
[ "$(uname -sm)" = "Linux x86_64" ] || die "ctr is built on x86_64 Linux, and this is $(uname -sm)"

# The flags are part of what is built: .cargo/config.toml has them, and a caller's would replace them all.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS RUSTC
# sudo and cron forget where rustup lives.
cargo_bin=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
[ ! -d "$cargo_bin" ] || PATH=$cargo_bin:$PATH
targets=${CARGO_TARGET_DIR:-$PWD/target}

has() { command -v "$1" >/dev/null; }
# new_enough RUSTC: it runs, and is not older than what Cargo.toml asks for.
new_enough() {
    local have
    have=$("$1" --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
    [ -n "$have" ] && printf '%s\n%s\n' "$oldest" "$have" | sort -V -C
}
has_target() { [ -d "$("$1" --print sysroot)/lib/rustlib/$target/lib" ]; }
has_source() { [ -f "$("$1" --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]; }

# ---- The ways. Each sets `cargo`, `options` and the environment, or returns 1 with a reason in `why`;
# 4 when there is no Rust with the musl target at all, which answers for `rustup` and `plain`.

why=''
# Two lines of a tool's page are what matters: what failed, and the innermost cause.
first_and_last() {
    sed -n '/Stack backtrace/,$d;/^info:/d;/[^ ]/{s/^[ 0-9:]*//;s/^error: //;p}' <<<"$1" | sed -n '1p;$p' | paste -sd'|' | sed 's/|/: /'
}
# rustup_do WORDS...: quiet when it works, one line when not.
rustup_do() {
    local said
    said=$(rustup -q "$@" 2>&1) || { why="rustup $1 $2 $3: $(first_and_last "$said")"; return 1; }
}
# A Rust that has the musl target, from rustup or from anybody; rustup can add what is missing.
rust_with_target() {
    has cc || { why="no C compiler to link with"; return 4; }
    if ! new_enough rustc; then
        has rustup || { why="no Rust $oldest or later"; return 4; }
        say "rustup: installing the stable toolchain, minimal profile"
        rustup_do toolchain install stable --profile minimal --no-self-update || return 4
        export RUSTUP_TOOLCHAIN=stable
        new_enough rustc || { why="rustup's stable toolchain is older than $oldest"; return 4; }
    fi
    if ! has_target rustc; then
        has rustup || { why="$(rustc --version) has no target $target"; return 4; }
        say "rustup: adding the target $target"
        rustup_do target add "$target" || return 4
        has_target rustc || { why="rustup added the target $target, and rustc does not have it"; return 4; }
    fi
    cargo=cargo
}
plain() {
    rust_with_target || return
    options=()
}
rebuild_std=(-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size)
rustup_std() {
    rust_with_target || return
    # A cheap no that would cost a network timeout at every build is remembered.
    local no=$targets/rustup/no-rust-src
    if ! has_source rustc; then
        has rustup || { why="$(rustc --version) comes without its rust-src"; return 1; }
        [ ! -e "$no" ] || { why="rustup could not add rust-src ($no remembers)"; return 1; }
        say "rustup: adding rust-src, to rebuild the standard library for size"
        rustup_do component add rust-src && has_source rustc || { : >"$no"; return 1; }
    fi
    export RUSTC_BOOTSTRAP=1
    without_unwinding rustup
    options=("${rebuild_std[@]}" --config "target.$target.rustflags = [$flags]")
}

# Nothing unwinds (panic=abort): the tables for that are left out, and of the library that reads them the two names that std
# wants are in main.rs. An archive with nothing in it stands for the rest. That is 130 KB less.
without_unwinding() {
    local empty=$targets/$1/no-unwind
    mkdir -p "$empty"
    printf '!<arch>\n' >"$empty/libunwind.a"
    empty=${empty//\\/\\\\}
    flags="\"-C\", \"force-unwind-tables=no\", \"--cfg\", \"no_unwind\", \"-L\", \"native=${empty//\"/\\\"}\""
}

# The distribution's compiler: it has no musl target, but the library's source to make one from.
debian_lacks() { # says what is missing, nothing when all is there
    { [ -x /usr/bin/cargo ] && new_enough /usr/bin/rustc && has_source /usr/bin/rustc; } || echo rust
    has musl-gcc || echo musl-tools
    has cc || echo gcc libc6-dev
    # cargo checks the crates' server against these; a minimal Debian has none.
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -d /etc/pki/tls ] || echo ca-certificates
}
# The first set of packages that apt offers in a version that is not too old. Bookworm's and bullseye's `rustc` are;
# their `rustc-web`, made for browsers that need a recent one, is not.
debian_rust() {
    local set offered
    for set in "rustc-web cargo-web rust-web-src" "rustc cargo rust-src"; do
        offered=$(LC_ALL=C apt-cache policy "${set%% *}" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9][0-9.]*\).*/\1/p')
        if [ -n "$offered" ] && printf '%s\n%s\n' "$oldest" "$offered" | sort -V -C; then
            echo "$set"
            return
        fi
    done
    return 1
}
debian() {
    local lacks packages log=$targets/debian/apt.log
    lacks=$(debian_lacks)
    if [ -n "$lacks" ]; then
        has apt-get || { why="no Rust $oldest or later with the target $target or its rust-src, and no apt-get to install one: install Rust by rustup"; return 1; }
        mkdir -p "${log%/*}"
        if [ "$(id -u)" = 0 ]; then
            say "apt-get: updating the package lists"
            # Its own exit status is no news: one stale third-party list fails it, and the install below tells.
            apt-get -q -o Acquire::Retries=3 update </dev/null >"$log" 2>&1 || true
        fi
        packages=${lacks//$'\n'/ }
        if [[ $packages == rust* ]]; then
            if ! packages=$(debian_rust)${packages#rust}; then
                packages="rustc-web cargo-web rust-web-src${lacks#rust}" packages=${packages//$'\n'/ }
                [ "$(id -u)" != 0 ] || {
                    why="apt offers no Rust $oldest or later (no network? no security suite in its sources?): $(grep -m1 '^[EW]:' "$log" || echo install it by rustup)"
                    return 1
                }
            fi
        fi
        [ "$(id -u)" = 0 ] || {
            why="packages are missing, which takes root: sudo apt-get update && sudo apt-get install -y $packages"
            return 1
        }
        say "apt-get: installing $packages"
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 install --no-remove --no-install-recommends $packages \
            </dev/null >>"$log" 2>&1 || { why="apt-get cannot install $packages: $(grep '^E:' "$log" | tail -n1) (all of it: $log)"; return 1; }
        lacks=$(debian_lacks)
        [ -z "$lacks" ] || { why="apt-get installed $packages, and this is still missing: ${lacks//$'\n'/ }"; return 1; }
    fi
    # gcc's libgcc_eh.a, which musl-gcc would take for it, wants glibc.
    without_unwinding debian
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CC_x86_64_unknown_linux_musl=musl-gcc
    cargo=/usr/bin/cargo
    options=("${rebuild_std[@]}"
        --config "target.$target.linker = \"musl-gcc\""
        --config "target.$target.rustflags = [\"-C\", \"link-self-contained=no\", $flags]")
}

# ---- Fetch, build, look at what came out.

# run_way WAY: 0 built; 1 or 4 this way is not open here; 2 our own code does not build; 3 no other way helps.
run_way() {
    local dir=$targets/$1 fetched std=() locked=()
    case $1 in
        rustup) rustup_std ;;
        plain) plain ;;
        debian) debian ;;
    esac || return
    export CARGO_TARGET_DIR=$dir
    [ "${CI:-}" != true ] || locked=(--locked)
    # Of its own, so that a missing network is one line and not a page. Without ctr's crates no other way helps either;
    # the standard library's own are this way's matter.
    if ! fetched=$("$cargo" fetch -q --target "$target" "${locked[@]}" 2>&1); then
        why="cargo cannot get the crates that Cargo.lock names (no network?): $(first_and_last "$fetched")"
        return 3
    fi
    if [ ${#options[@]} -gt 0 ] && ! fetched=$("$cargo" fetch -q --target "$target" "${options[@]}" 2>&1); then
        why="cargo cannot get the crates of the standard library: $(first_and_last "$fetched")"
        return 1
    fi
    say "$("${RUSTC:-rustc}" --version | cut -d' ' -f1-2), way $1"
    "$cargo" build --release --target "$target" "${locked[@]}" "${options[@]}" "${extra[@]}" && return 0
    # Whose fault? If the standard library was not even finished, this way's; otherwise ours.
    [ $1 = plain ] || {
        shopt -s nullglob
        std=("$dir/$target"/release/deps/libstd-*.rlib "$dir/$target"/release/build/std-*/out/libstd-*.rlib)
        [ ${#std[@]} -gt 0 ] || { why="the standard library does not build here"; return 1; }
    }
    return 2
}
started=$(date +%s)
failed=() status=0
for one in ${way:-rustup plain debian}; do
    [ "$one$status" != plain4 ] || continue
    # In a subshell, so that a way's environment ends with it; the reason comes back by the file.
    mkdir -p "$targets/$one"
    : >"$targets/$one/why"
    status=0
    (run_way "$one" || { status=$?; printf '%s\n' "$why" >"$targets/$one/why"; exit $status; }) || status=$?
    case $status in
        0) break ;;
        2) die "ctr does not compile: cargo says why, above" ;;
        3) die "$(<"$targets/$one/why")" ;;
        *) why=$(<"$targets/$one/why"); failed+=("$one"); [ "$one" = debian ] || say "not by way $one: $why" ;;
    esac
done
[ "$status" = 0 ] || die "cannot build ctr (tried: ${failed[*]}): $why"

built=$targets/$one/$target/release/ctr
# Static means: no interpreter asked for, and no library.
if has readelf; then
    ! readelf -lW "$built" | grep -q INTERP || die "$built asks for a dynamic linker: not static"
    ! readelf -dW "$built" 2>/dev/null | grep -q NEEDED || die "$built needs shared libraries: not static"
else
    ldd "$built" 2>&1 | grep -Eq 'statically|not a dynamic' || die "$built is not static"
fi
version=$("$built" --version </dev/null 2>&1) || die "$built is built, and does not run: ${version:-no word from it}"
# Renamed into place: a running ctr keeps its file, and nobody sees half of one.
if ! cmp -s "$built" "$out"; then
    mkdir -p "$(dirname "$out")"
    cp "$built" "$out.new" && mv "$out.new" "$out"
fi
say "$out: ${version%%$'\n'*}, static, $(stat -c %s "$out") bytes, way $one, $(($(date +%s) - started)) s"
