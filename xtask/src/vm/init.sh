#!/bin/sh
# The first process of a virtual machine: makes what a system has, runs the tests, and ends the machine.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t securityfs none /sys/kernel/security
mount -t tmpfs none /tmp
chmod 1777 /tmp
ip link set lo up
for module in /modules/*.ko; do
    [ -e "$module" ] && insmod "$module"
done
. /run.sh 2>&1
echo "vm: over on Linux $(uname -r) after $(cut -d. -f1 /proc/uptime) s"
poweroff -f
