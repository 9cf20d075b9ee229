# shellcheck shell=bash
# The nodes' root file systems, one for each Debian release in use: built once, cached under the state
# directory, shared read-only (as the lower layer of an overlay) by all nodes of all labs.

ROOTFS_SUITE=bookworm
# No mirror is named: mmdebstrap then uses Debian's default and this host's apt proxy settings.
# No docs and no translations, and no fsync while unpacking: the result is renamed into place when complete.
bootstrap_rootfs() {
    mmdebstrap --mode=root --variant=minbase --format=directory --quiet \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='force-unsafe-io' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include="$ROOTFS_PACKAGES" "$ROOTFS_SUITE" "$1"
}

customize_rootfs() {
    local root=$1 unit
    chroot "$root" useradd --uid 1000 --user-group --create-home --shell /bin/bash ubuntu || return 1
    echo 'ubuntu ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/ubuntu" || return 1
    chmod 0440 "$root/etc/sudoers.d/ubuntu" || return 1

    # Units of docker-ce start /usr/bin/dockerd; Debian installs /usr/sbin/dockerd.
    ln -s /usr/sbin/dockerd "$root/usr/bin/dockerd" || return 1
    # `lab unit` replaces the vendor's unit; this is the way back.
    install -D -m 0644 "$root/lib/systemd/system/docker.service" \
        "$root/usr/share/dtls-lab/docker.service.debian" || return 1

    # Nothing of this has work to do on a node of the lab. Every unit costs boot time, and every path
    # unit one of the inotify instances that all nodes of a host share (fs.inotify.max_user_instances).
    for unit in getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer \
        dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-pstore.service \
        systemd-ask-password-console.path systemd-ask-password-wall.path \
        systemd-networkd.service systemd-networkd.socket \
        sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
        sys-fs-fuse-connections.mount dev-hugepages.mount; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit" || return 1
    done

    # Host keys belong to a node, not to the image; machine-id likewise.
    rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub "$root/etc/machine-id" || return 1
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin || return 1
}

# ensure_rootfs RELEASE: prints the name of the directory below the state directory, building it first
# where it is missing. The hash covers suite, packages and recipe (as bash sees it: without comments).
# $LAB_PACKAGES are more packages, separated by commas: what is compared with dtls-deploy needs some on nodes.
ensure_rootfs() {
    local name packages ROOTFS_SUITE=$1
    packages=$("$LAB_SOURCE/provision" packages "$1")${LAB_PACKAGES:+,$LAB_PACKAGES}
    local ROOTFS_PACKAGES=$packages
    name=rootfs-$({
        echo "$ROOTFS_SUITE $ROOTFS_PACKAGES $(dpkg --print-architecture)"
        declare -f bootstrap_rootfs customize_rootfs
    } | sha256sum | cut -c1-16)
    if [[ ! -d $LAB_STATE_DIR/$name ]]; then
        # In a subshell, so that the lock is released however the build ends.
        (
            exec 8>"$LAB_STATE_DIR/rootfs.lock"
            flock 8
            [[ ! -d $LAB_STATE_DIR/$name ]] || exit 0
            say "building the nodes' root file system ($ROOTFS_SUITE) in $LAB_STATE_DIR/$name"
            # The lock is ours: whatever is there was left by a build that died.
            rm -rf --one-file-system "$LAB_STATE_DIR/$name.building"
            bootstrap_rootfs "$LAB_STATE_DIR/$name.building" >"$LAB_STATE_DIR/rootfs.log" 2>&1 8>&- 9>&- &&
                customize_rootfs "$LAB_STATE_DIR/$name.building" >>"$LAB_STATE_DIR/rootfs.log" 2>&1 &&
                mv -T "$LAB_STATE_DIR/$name.building" "$LAB_STATE_DIR/$name" || {
                tail -n 20 "$LAB_STATE_DIR/rootfs.log" >&2
                exit 1
            }
            say "root file system built ($(elapsed))"
        ) || die "step rootfs: the build failed; the whole log is $LAB_STATE_DIR/rootfs.log"
    fi
    echo "$name"
}
