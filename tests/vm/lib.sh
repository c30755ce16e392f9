# For the scripts that run in the guest (busybox sh). run.sh puts this file beside them, in /t, and guest.sh sources it.
# There may be no /dev/null, no /proc, nothing: only files on the ramfs. Everything of ours is below /t.

out=/t/out err=/t/err
proc_mounted() { [ -e /proc/self/mounts ]; }

ok() { echo "ok $*"; }
not_ok() { # not_ok NAME WHY: and what the command said
    echo "not ok $*"
    [ ! -s "$out" ] || grep -v '^ok escape' "$out" | sed 's/^/#   out: /' | head -n 15
    [ ! -s "$err" ] || sed 's/^/#   err: /' "$err" | head -n 15
}
# The reason must not hang: a runtime that does not come back is a failure, not a stuck test.
limit=${LIMIT:-40}
go() { # go COMMAND...: its output to $out and $err, its status to $status
    timeout -s KILL "$limit" "$@" >"$out" 2>"$err"
    status=$?
    [ $status != 137 ] || echo "(killed after $limit s, or by itself)" >>"$err"
}
# expect NAME STATUS OUTPUT COMMAND...: OUTPUT is all of stdout, * for "whatever"
expect() {
    expect_name=$1 expect_status=$2 expect_out=$3
    shift 3
    go "$@"
    if [ "$status" != "$expect_status" ]; then
        not_ok "$expect_name" "status $status, not $expect_status"
    elif [ "$expect_out" != '*' ] && [ "$(cat "$out")" != "$expect_out" ]; then
        not_ok "$expect_name" "the output is not '$expect_out'"
    else
        ok "$expect_name"
    fi
}
# says NAME FILE REGEX...: every regex is in that file of the last command
says() {
    says_name=$1 says_file=$2
    shift 2
    for says_regex in "$@"; do
        grep -qiE -e "$says_regex" "$says_file" || { not_ok "$says_name" "nothing like '$says_regex'"; return; }
    done
    ok "$says_name"
}
# holds NAME COMMAND...: true outside, now
holds() {
    holds_name=$1
    shift
    : >"$out"
    : >"$err"
    if "$@" >"$out" 2>"$err"; then ok "$holds_name"; else not_ok "$holds_name" "$*"; fi
}
absent() { [ ! -e "$1" ] && [ ! -L "$1" ]; }

# ---- what the host is, before and after ------------------------------------------------------------------------------

# Mounts (seen by a proc of our own where none is mounted), processes, links, cgroups, files. What is allowed to stay:
# ctr's own empty folders.
state() {
    if proc_mounted; then p=/proc; else p=/t/proc; mkdir -p $p; mount -t proc proc $p; fi
    cut -d' ' -f3-6,9- $p/self/mountinfo | grep -v ' /t/proc ' | sed 's/^/mount /' | sort
    for d in "$p"/[0-9]*; do
        # Kernel threads come and go; they have no command line. So do we, and busybox's timeout, which looks once a second
        # whether what it guards is still there.
        words=$(tr '\0' ' ' 2>/t/discard <"$d/cmdline")
        case $words in ''|'sh '*|'cut '*|'sed '*|'sort '*|'tr '*|'timeout '*) ;; *) echo "process $words" ;; esac
    done | sort
    sed -n 's/^ *\([^ :]*\):.*/link \1/p' $p/net/dev
    if proc_mounted; then
        find /sys/fs/cgroup -type d 2>/t/discard | sed 's/^/cgroup /' | sort
    else
        umount $p
        rmdir $p
    fi
    find / -xdev 2>/t/discard | grep -vE '^/t(/|$)|^/(run|var/lib)/ctr(/|$)|^/(var|var/lib)$' | sed 's/^/file /' | sort
    for d in /run/ctr/containers /var/lib/ctr/containers; do
        [ ! -d $d ] || ls -A $d | sed "s#^#record $d/#"
    done
}
state_is_base() { state >/t/state.base; }
clean() { # clean NAME: nothing is left behind. A dying process is given a moment.
    : >"$out"
    : >"$err"
    for try in 1 2 3 4 5 6 7 8; do
        state >/t/state.now
        if cmp -s /t/state.base /t/state.now; then ok "$1"; return; fi
        sleep 0.3
    done
    diff /t/state.base /t/state.now | grep '^[+-][^+-]' >"$err"
    not_ok "$1" "something is left behind (- before, + after)"
    state_is_base
}
