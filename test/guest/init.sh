#!/bin/sh
# The first process of a guest. Its disk is only read: what is written goes to memory, and is gone with it. The host gives it two
# directories: its own, with the script to run and for what that brings back, and the checkout that is tested, at the path that it has on
# the host.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb

mount -t tmpfs tmpfs /run
mkdir -p /run/layers/upper /run/layers/work /run/root
modprobe overlay
mount -t overlay -o lowerdir=/,upperdir=/run/layers/upper,workdir=/run/layers/work overlay /run/root
cd /run/root || exit
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm guest
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs run
mount -t tmpfs -o size=75% tmpfs tmp
modprobe -a 9p 9pnet_virtio loop
options=trans=virtio,version=9p2000.L,msize=524288
mount -t 9p -o "$options" guest guest
checkout=$(cat guest/checkout 2> /dev/null)
if [ -n "$checkout" ]; then
  mkdir -p ".$checkout"
  # The checkout does not change while the guest runs, so that what was read once need not be asked for again.
  mount -t 9p -o "$options,ro,cache=loose" checkout ".$checkout"
fi
ip link set lo up 2> /dev/null
# Moved to the root and not only entered: to a process in a mere chroot the kernel gives no user namespace, and so no sandbox.
mount --move . /
exec chroot . /bin/sh -c '
  /lib/systemd/systemd-udevd --daemon 2> /dev/null
  udevadm trigger --subsystem-match=block --action=add
  udevadm settle
  sh /guest/script > /guest/output 2>&1
  echo $? > /guest/status
  sync
  echo o > /proc/sysrq-trigger
  sleep 60
' < /dev/console > /dev/console 2>&1
