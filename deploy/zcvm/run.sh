#!/usr/bin/env bash
# run.sh WORKDIR GUEST_SCRIPT [BIN...]   boot a guest in QEMU and run GUEST_SCRIPT in it
#
# virtio_net and igb of new kernels bind XDP_ZEROCOPY, which veth never does: this is the only place where
# a machine without such a NIC sees zero-copy. Emulation (TCG): no KVM, no root, no network of the host's.
# QEMU, kernel and busybox are Debian packages, verified by apt and unpacked into WORKDIR, nothing is
# installed; a WORKDIR from an earlier run is used again, by several at once if need be.
#
#   KERNEL=backports   Debian 13's backported kernel: zero-copy (default)
#   KERNEL=bookworm    Debian 12's own 6.1: copy mode, no TCX
#   KERNEL=trixie      Debian 13's own 6.12: copy mode
#   NIC=virtio         virtio_net, 1 queue (default)
#   NIC=igb            Intel 82576 with RSS over 4 queues, with KERNEL=backports only
#   GUEST_ARGS         arguments of GUEST_SCRIPT          GUEST_TIMEOUT   seconds (600)
#
# In the guest: dut0, and peer0 at the other end of the wire; BIN... with their libraries, ip, ss, tc, ethtool
# and busybox in /bin; GUEST_SCRIPT and the scripts beside it in /test. Exits 0 only if GUEST_SCRIPT did.
set -euo pipefail

die() { echo "guest: $*" >&2; exit 1; }
say() { printf '[%3d s] %s\n' $((SECONDS - started)) "$*"; }

started=$SECONDS
# ethtool is in sbin, which users do not have in PATH.
export PATH=$PATH:/usr/sbin:/sbin
[ $# -ge 2 ] || die "usage: run.sh WORKDIR GUEST_SCRIPT [BIN...]"
mkdir -p "$1"
work=$(realpath "$1") script=$(realpath "$2")
shift 2
bins=("$@")
# The kernel for clouds is a quarter of the download, and has no driver but virtio's.
case ${KERNEL:=backports} in
backports) suite=trixie-backports package=linux-image-amd64 ;;
bookworm) suite=bookworm package=linux-image-cloud-amd64 ;;
trixie) suite=trixie package=linux-image-cloud-amd64 ;;
*) die "KERNEL=$KERNEL: backports, bookworm or trixie" ;;
esac
# Zero-copy wants DMA addresses: a modern virtio device behind the IOMMU's API.
case ${NIC:=virtio} in
virtio) driver=virtio_net device=virtio-net-pci,disable-legacy=on,iommu_platform=on ;;
igb) driver=igb device=igb ;;
*) die "NIC=$NIC: virtio or igb" ;;
esac
here=$work/$suite qemu=$work/qemu tools=$work/tools
mkdir -p "$here" "$work"/apt/{lists,cache/archives}/partial

# --- packages: from the mirror that this machine uses already ------------------------------------

# NoLocking: nothing is installed, so dpkg's lock is not needed, nor root.
apt_options=(
    -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::Etc::preferences=$work/apt/preferences" -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o APT::Update::Error-Mode=any
    -o Debug::NoLocking=1 -qq
)

refresh_lists() {
    [ -z "${refreshed:-}" ] || return 0
    local mirror suite
    # shellcheck disable=SC2016 # apt's variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/$') ||
        die "apt's sources name no Debian mirror (a URI that ends in /debian)"
    for suite in bookworm bookworm-backports trixie trixie-backports; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$work/apt/sources.list"
    # Debian 13 is there for its kernel: QEMU with its libc would not run on Debian 12.
    printf 'Package: *\nPin: release n=trixie\nPin-Priority: 1\n' >"$work/apt/preferences"
    apt-get "${apt_options[@]}" update || die "cannot fetch the package lists"
    refreshed=yes
    say "package lists"
}

# unpack DIR: every package in apt's cache
unpack() {
    local deb
    for deb in "$work"/apt/cache/archives/*.deb; do dpkg-deb -x "$deb" "$1" && rm "$deb"; done
}

# download PACKAGE[/suite]...: these alone, without what they depend on
download() {
    (cd "$work/apt/cache/archives" && apt-get "${apt_options[@]}" download "$@") ||
        die "the mirror does not have $* (any more)"
}

exec {lock}>"$work/lock"
flock "$lock"
if ! [ -e "$qemu/.complete" ]; then
    rm -rf "$qemu" "$tools"
    refresh_lists
    # With the libraries that this machine lacks.
    apt-get "${apt_options[@]}" install -y --download-only --no-install-recommends \
        -t bookworm-backports qemu-system-x86 >/dev/null || die "the mirror does not have qemu-system-x86"
    unpack "$qemu"
    download busybox-static kmod/bookworm
    unpack "$tools"
    touch "$qemu/.complete"
    say "QEMU"
fi
busybox=$(find "$tools" -path '*bin/busybox' -type f)
# kmod chooses by its name what it is.
ln -sf "$(find "$tools" -path '*bin/kmod' -type f)" "$work/modinfo"

if ! [ -e "$here/.complete" ]; then
    rm -rf "$here" && mkdir -p "$here"
    refresh_lists
    # The meta package names the version.
    version=$(apt-cache "${apt_options[@]}" show "$package/$suite" |
        sed -n 's/^Depends:.*\(linux-image-[0-9][^ ,]*\).*/\1/p' | sort -V | tail -n 1)
    [ -n "$version" ] || die "$suite has no $package"
    version=${version#linux-image-}
    # Since Debian 13 the kernel package has been split.
    case $KERNEL in
    backports) download "linux-binary-$version" "linux-modules-$version" "linux-base-$version" ;;
    *) download "linux-image-$version" ;;
    esac
    unpack "$here"
    # Debian 12 puts them into /lib and the kernel into /boot.
    [ -e "$here/usr/lib/modules" ] || { mkdir -p "$here/usr/lib" && ln -s ../../lib/modules "$here/usr/lib/modules"; }
    echo "$version" >"$here/.complete"
    say "kernel $version"
fi
exec {lock}>&-
version=$(<"$here/.complete")
modules=$here/usr/lib/modules/$version
kernel=$modules/vmlinuz
[ -e "$kernel" ] || kernel=$here/boot/vmlinuz-$version

# --- initramfs -------------------------------------------------------------------------------------

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp,run/netns,var/lib,modules,test}
cp "$busybox" "$root/bin/busybox"
cp "${script%/*}"/*.sh "$root/test"

# add_module NAME: after what it depends on, which is the order of loading. The modules say it themselves:
# depmod would read thousands of them to know it of these few.
add_module() {
    local file other
    [ ! -e "$root/modules/$1.ko" ] && ! grep -q "/$1\.ko" "$modules/modules.builtin" || return 0
    file=$(find "$modules/" -name "$1.ko*" -print -quit)
    [ -n "$file" ] || die "kernel $version has no module $1"
    for other in $("$work/modinfo" -F depends "$file" | tr , ' '); do add_module "$other"; done
    case $file in
    *.xz) "$busybox" xz -dc "$file" >"$root/modules/$1.ko" ;;
    *.ko) cp "$file" "$root/modules/$1.ko" ;;
    *) die "cannot unpack $file" ;;
    esac
    echo "$1.ko" >>"$root/modules/order"
}
# The NICs, the relay's TAP, clsact with its classifier for kernels without TCX, and where there is one who
# tells ss of AF_XDP sockets.
for module in virtio_pci virtio_net "$driver" tun sch_ingress cls_bpf af_packet; do add_module "$module"; done
[ "$suite" != trixie-backports ] || add_module xsk_diag

# add_binary FILE: with its libraries; without debug information, which would triple the boot
add_binary() {
    local file target
    file=$(readlink -f "$(command -v "$1")") || die "no program $1"
    target=$root/bin/$(basename "$1")
    strip -o "$target" "$file" 2>/dev/null || cp "$file" "$target"
    { ldd "$file" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -Ln "$library" "$root$library"
    done
}
for bin in ip ss tc ethtool "${bins[@]}"; do add_binary "$bin"; done

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin HOME=/tmp
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmp /tmp
/bin/ip link set lo up
while read -r module; do insmod "/modules/$module"; done </modules/order
for device in /sys/class/net/*; do
    case $(cat "$device/address") in
    52:54:00:00:00:01) /bin/ip link set "${device##*/}" name dut0 ;;
    52:54:00:00:00:02) /bin/ip link set "${device##*/}" name peer0 ;;
    esac
done
echo "guest: kernel $(uname -r), up after $(cut -d' ' -f1 /proc/uptime) s"
cd /test
sh $(cat /args)
echo "guest: exit status $?"
poweroff -f
INIT
chmod +x "$root/init"
echo "${script##*/} ${GUEST_ARGS:-}" >"$root/args"
# Not compressed: unpacking costs an emulated CPU more than reading.
(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null) >"$here/initramfs.$NIC.${script##*/}"
say "initramfs $(du -h "$here/initramfs.$NIC.${script##*/}" | cut -f1)"

# --- boot ------------------------------------------------------------------------------------------

# A hub joins the two NICs.
# shellcheck disable=SC2054 # QEMU's commas
options=(
    -L "$qemu/usr/share/qemu" -L "$qemu/usr/share/seabios"
    -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1G
    -nodefaults -no-user-config -display none -serial stdio -no-reboot
    -kernel "$kernel" -initrd "$here/initramfs.$NIC.${script##*/}"
    -append "console=ttyS0 panic=-1 loglevel=4 mitigations=off"
    -netdev hubport,id=n0,hubid=0 -netdev hubport,id=n1,hubid=0
    -device "$device,netdev=n0,mac=52:54:00:00:00:01,romfile="
    -device virtio-net-pci,netdev=n1,mac=52:54:00:00:00:02,romfile=
)
status=0
LD_LIBRARY_PATH=$qemu/usr/lib/x86_64-linux-gnu:$qemu/lib/x86_64-linux-gnu \
    timeout --foreground "${GUEST_TIMEOUT:-600}" "$qemu/usr/bin/qemu-system-x86_64" "${options[@]}" </dev/null 2>&1 |
    tr -d '\r' | tee "$here/serial.$NIC.log" || status=$?
if grep -q '^guest: exit status 0$' "$here/serial.$NIC.log"; then
    say "PASS ${script##*/} with $driver on $version"
else
    say "FAIL ${script##*/} with $driver on $version (QEMU's status $status)"
    exit 1
fi
