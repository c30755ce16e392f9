# `ctr doctor`: a table about this host, which names what is missing.
state_is_base
go ctr doctor
if [ "$status" -lt 125 ] && [ -s "$out" ]; then ok 'doctor: prints a table'; else not_ok 'doctor: prints a table' "status $status"; fi
says 'doctor: names the kernel' "$out" "$(uname -r | cut -d- -f1 | cut -d+ -f1)"
says 'doctor: names overlayfs and cgroups' "$out" overlay cgroup
if grep -q overlay /t/modules; then :; else says 'doctor: overlayfs is missing' "$out" 'overlay.*(no|missing|not|absent)'; fi
[ "$(cat /t/mounts)" != none ] || says 'doctor: no cgroup is mounted' "$out" 'cgroup.*(no|none|missing|not)'
clean 'doctor: leaves nothing behind'
