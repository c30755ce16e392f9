# What vm.sh runs in the guest: the scripts named, each in a shell of its own. Exits 1 if any printed "not ok" or broke off.
. /t/lib.sh
if [ -e /t/io ]; then
    mkdir /disk
    mount -t ext4 /dev/vda /disk && cp -a /rootfs /disk/rootfs || echo 'not ok disk: no /dev/vda'
fi
bad=0
for name in "$@"; do
    # A script that ends early, by a mistake in it or otherwise, must not count as one that passed.
    (. "/t/$name.sh"; echo "end of $name") 2>&1 | tee /t/log
    grep -q "^end of $name\$" /t/log || { echo "not ok $name broke off"; bad=1; }
    ! grep -q '^not ok' /t/log || bad=1
done
exit $bad
