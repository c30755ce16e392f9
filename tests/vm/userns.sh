# Ids of a container's own, where kernel and filesystem can, and what is said where they cannot. Idmapped mounts: ext4 from 5.12 on,
# overlayfs over them from 5.19 on, tmpfs from 6.3 on, ramfs never.
at_least() { [ "$(printf '%s\n' "$1" "$(uname -r)" | sort -V | head -n 1)" = "$1" ]; }
map="cat /proc/self/uid_map"
has_own() { # has_own NAME DIRECTORY OPTION...: a container of this root has them
    own_name=$1 root=$2
    shift 2
    for mode in '' --userns=required; do
        # shellcheck disable=SC2086 # may be no word
        go ctr run --rm $mode "$@" "$root" sh -c "$map; stat -c %u:%g /etc/passwd"
        says "userns: $own_name: ids of its own ${mode:-by default}" "$out" '^ +0 +[12][0-9]{9} +65536$' '^0:0$'
    done
}
has_none() { # has_none NAME DIRECTORY OPTION...: it falls back, and says so; required does not
    own_name=$1 root=$2
    shift 2
    go ctr run --rm "$@" "$root" sh -c "$map"
    says "userns: $own_name: the host's ids" "$out" '^ +0 +0 +4294967295$'
    go ctr run --rm --trace "$@" "$root" true
    says "userns: $own_name: --trace tells" "$err" "the host.s ids instead.*idmap"
    expect "userns: $own_name: required fails" 125 '' ctr run --rm --userns required "$@" "$root" true
    says "userns: $own_name: and says why" "$err" idmap 'userns required' 'userns auto'
    expect "userns: $own_name: run -d" 0 '*' ctr run -d --name fell "$@" "$root" sleep 1000
    expect "userns: $own_name: inspect" 0 '*' ctr inspect -f '{{.Userns.Own}} {{.Userns.Fallback}}' fell
    says "userns: $own_name: tells too" "$out" '^false .*idmap'
    ctr rm -f fell >/t/discard 2>&1
}
state_is_base
if [ "$(cat /t/fstype)" = tmpfs ] && at_least 6.3; then has_own 'the initial root' /rootfs
else has_none 'the initial root' /rootfs; fi
clean 'userns: nothing left behind'
if [ -d /disk/rootfs ]; then
    mkdir /disk/v
    echo outside >/disk/v/file
    if at_least 5.19; then
        has_own 'a disk' /disk/rootfs
        go ctr run --rm --userns required -v /disk/v:/v /disk/rootfs sh -c 'cat /v/file; echo x >/v/new; busybox chown 33:5 /v/new; stat -c %u:%g /v/file'
        says 'userns: a volume on a disk' "$out" '^outside$' '^0:0$'
        holds 'userns: looks right on both sides' [ "$(stat -c %u:%g /disk/v/new)" = 33:5 ]
    else
        has_none 'a disk' /disk/rootfs
    fi
    rm -r /disk/v
    clean 'userns: nothing left behind by those of a disk'
fi
