# shellcheck shell=bash
# The box: Debian as the lab's nodes have it, with a kernel, networkd and what Vagrant expects of a box.
# Built once with Debian's own tools, cached under the state directory. Called by run; sets BOX, a directory with
# `box`, `vmlinuz` and `initrd.img`.

BOX_SUITE=bookworm
BOX_SIZE=4 # GiB, most of it a hole
# The whole disk is the file system and there is no boot loader: libvirt boots the kernel. Interfaces
# keep the order in which libvirt adds them: eth0 is Vagrant's, eth1 the nodes'.
# shellcheck disable=SC2034 # used by run
BOX_KERNEL_ARGS='root=/dev/vda rw console=ttyS0 net.ifnames=0'

# Everything that `provision machine` would install is there, so that it asks no mirror: the machines'
# network leads nowhere. No mirror is named here: mmdebstrap uses Debian's default and this host's proxy settings.
bootstrap_box() {
    mmdebstrap --mode=root --variant=minbase --format=directory --quiet \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='force-unsafe-io' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include="$BOX_PACKAGES,linux-image-cloud-amd64,udev,kmod,iptables" "$BOX_SUITE" "$1"
}

customize_box() {
    local root=$1 unit key
    # What Vagrant logs in with first, and replaces at once by a key of the machine's own.
    key=$(dpkg -L vagrant | grep '/keys/vagrant\.pub$') || return 1
    chroot "$root" useradd --uid 1000 --user-group --create-home --shell /bin/bash vagrant || return 1
    echo 'vagrant ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant" || return 1
    chmod 0440 "$root/etc/sudoers.d/vagrant" || return 1
    install -d -m 0700 -o 1000 -g 1000 "$root/home/vagrant/.ssh" || return 1
    install -m 0600 -o 1000 -g 1000 "$key" "$root/home/vagrant/.ssh/authorized_keys" || return 1

    # As Debian's installer leaves them: the name is on the loopback until provision has been there.
    echo debian >"$root/etc/hostname" || return 1
    printf '127.0.0.1 localhost\n127.0.1.1 debian\n' >"$root/etc/hosts" || return 1
    echo '/dev/vda / ext4 errors=remount-ro 0 1' >"$root/etc/fstab" || return 1

    # Vagrant looks the lease up by the card's address; networkd would ask with an identifier of its own.
    cat >"$root/etc/systemd/network/80-vagrant.network" <<'NETWORK' || return 1
[Match]
Name=eth0

[Network]
DHCP=ipv4

[DHCPv4]
ClientIdentifier=mac
NETWORK
    chroot "$root" systemctl --quiet enable systemd-networkd.service || return 1
    # Every machine has host keys of its own, made when it first boots.
    cat >"$root/etc/systemd/system/ssh-host-keys.service" <<'UNIT' || return 1
[Unit]
Description=SSH host keys
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
UNIT
    chroot "$root" systemctl --quiet enable ssh-host-keys.service || return 1
    rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub || return 1
    : >"$root/etc/machine-id" || return 1

    # Nothing of this has work to do here, and an emulated processor takes long for each.
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit" || return 1
    done
    # systemd would otherwise take the first boot for one after an upgrade, and build the databases of
    # hardware, users and messages again: minutes of emulation.
    touch "$root/etc/.updated" "$root/var/.updated" || return 1
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin || return 1
}

# pack_box ROOT DIRECTORY: the file system in ROOT as a box of Vagrant's provider libvirt.
pack_box() {
    local root=$1 directory=$2 parts=$2/parts
    mkdir -p "$parts" || return 1
    cp "$root"/boot/vmlinuz-* "$directory/vmlinuz" || return 1
    cp "$root"/boot/initrd.img-* "$directory/initrd.img" || return 1
    rm -f "$root"/boot/* || return 1
    truncate -s "${BOX_SIZE}G" "$directory/disk" || return 1
    mke2fs -q -t ext4 -d "$root" "$directory/disk" || return 1
    qemu-img convert -O qcow2 "$directory/disk" "$parts/box.img" || return 1
    echo "{\"provider\": \"libvirt\", \"format\": \"qcow2\", \"virtual_size\": $BOX_SIZE}" \
        >"$parts/metadata.json" || return 1
    tar -C "$parts" -cf "$directory/box" metadata.json box.img || return 1
    rm -rf "$parts" "$directory/disk"
}

# The hash covers suite, packages and recipe, as bash sees it: without comments.
build_box() {
    local started=$EPOCHSECONDS building=$STATE/box.building
    BOX_PACKAGES=$("$REPOSITORY/tests/lab/provision" packages "$BOX_SUITE")
    BOX=$STATE/box-$({
        echo "$BOX_SUITE $BOX_PACKAGES $BOX_SIZE"
        declare -f bootstrap_box customize_box pack_box
    } | sha256sum | cut -c1-16)
    [[ ! -d $BOX ]] || return 0
    say "building the box in $BOX"
    rm -rf --one-file-system "$building" "$building.root"
    mkdir -p "$building"
    if ! {
        bootstrap_box "$building.root" &&
            customize_box "$building.root" &&
            pack_box "$building.root" "$building"
    } >"$STATE/box.log" 2>&1 9>&-; then
        tail -n 20 "$STATE/box.log" >&2
        die "the box was not built; the whole log is $STATE/box.log"
    fi
    rm -rf --one-file-system "$building.root"
    # Of an older recipe.
    rm -rf --one-file-system "$STATE"/box-*
    mv -T "$building" "$BOX"
    say "built in $((EPOCHSECONDS - started)) s"
}
