# A rescue kernel without overlayfs: what needs it says so and leaves nothing; what does not need it works.
state_is_base
expect 'bare: host fails without overlayfs' 125 '' ctr run --rm host true
says 'bare: the message names overlay, and what to do' "$err" overlay 'try:|hint'
clean 'bare: nothing left behind by the failure'
expect 'bare: a directory fails without overlayfs' 125 '' ctr run --rm /rootfs true
says 'bare: that message too' "$err" overlay 'try:|hint'
clean 'bare: nothing left behind by that failure'
expect 'bare: --rw needs no overlayfs' 0 '' ctr run --rm --rw /rootfs true
expect 'bare: --rw, output and exit status' 7 hi ctr run --rm --rw /rootfs sh -c 'echo hi; exit 7'
clean 'bare: --rw leaves nothing behind'
expect 'bare: --rw writes to the directory' 0 '' ctr run --rm --rw /rootfs touch /made
holds 'bare: where it is to be seen' test -f /rootfs/made
rm -f /rootfs/made

token=s3cret-$$-token
echo $token >/secret-outside
go ctr run --rm --rw /rootfs /bin/escape $token
grep '^not ok' "$out"
if [ "$status" = 0 ]; then ok 'bare: no attempt gets out of --rw'; else not_ok 'bare: no attempt gets out of --rw' "status $status"; fi
rm -rf /rootfs/esc-* /secret-outside
clean 'bare: --rw leaves nothing else behind'

go ctr doctor
if [ "$status" -lt 125 ]; then ok 'bare: doctor runs'; else not_ok 'bare: doctor runs' "status $status"; fi
says 'bare: doctor names overlay' "$out" overlay

# Nor are there bridges. Nobody asked for one: that is said, and it starts. Who asks by name is told what is missing.
expect 'bare: without a network it starts' 0 '*' ctr run --rm --rw /rootfs cat /proc/net/dev
says 'bare: and says so' "$err" 'no network' 'modprobe'
expect 'bare: a network by name fails' 125 '' ctr run --rm --rw --network bridge /rootfs true
says 'bare: with what to do' "$err" 'bridge' 'modprobe (bridge|veth)' '--network none'
clean 'bare: no network leaves nothing behind'
