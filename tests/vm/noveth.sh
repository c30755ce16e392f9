# A kernel that was updated and not started again: it has bridges, and no veth can be loaded. Who asks by name is told what is missing.
state_is_base
expect 'noveth: a network by name fails' 125 '' ctr run --rm --network bridge /rootfs true
says 'noveth: and names the module' "$err" 'modprobe veth' '--network none'
expect 'noveth: without a network it runs' 0 '' ctr run --rm --network none /rootfs true
go ctr run --rm /rootfs true
says 'noveth: nobody asked: what is missing is said all the same' "$err" 'modprobe veth'
expect 'noveth: nothing of it stays' 0 '*' ctr network prune -f
holds 'noveth: no lease either' sh -c '[ -z "$(ls -A /run/ctr/addresses | grep .)" ]'
