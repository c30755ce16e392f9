# A disk, held back: writes and reads of four MiB at one a second. Direct, because v1 counts nothing else.
mounts=$(cat /t/mounts)
seconds() { # seconds COMMAND...: how long it takes, in tenths, to $took; from the kernel's clock
    begun=$(sed 's/\..*//' /proc/uptime)
    go "$@"
    took=$(($(sed 's/\..*//' /proc/uptime) - begun))
}
write='busybox dd if=/dev/zero of=/d/file bs=64k count=64 oflag=direct'
read='busybox dd if=/d/file of=/dev/null bs=64k count=64 iflag=direct'
mkdir /disk/d
state_is_base
# shellcheck disable=SC2086 # words
for what in write read; do
    eval "words=\$$what"
    seconds ctr run --rm -v /disk/d:/d /rootfs $words
    if [ "$status" = 0 ] && [ $took -le 2 ]; then ok "io: a free $what"; else not_ok "io: a free $what" "status $status, $took s"; fi
    seconds ctr run --rm --device-$what-bps /dev/vda:1m -v /disk/d:/d /rootfs $words
    if [ "$status" = 0 ] && [ $took -ge 3 ] && [ $took -le 9 ]; then ok "io: a held $what ($took s)"
    else not_ok "io: a held $what" "status $status, $took s"; fi
done
# shellcheck disable=SC2086
seconds ctr run --rm --device-write-iops /dev/vda:16 -v /disk/d:/d /rootfs $write
if [ "$status" = 0 ] && [ $took -ge 3 ] && [ $took -le 9 ]; then ok "io: sixteen writes a second ($took s)"
else not_ok 'io: sixteen writes a second' "status $status, $took s"; fi
expect 'io: no such device' 125 '' ctr run --rm --device-write-bps /dev/none:1m /rootfs true
rm -r /disk/d
state_is_base
clean 'io: nothing is left'
