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

# The release "sysv" is bookworm with sysvinit as init.
suite_of() { [[ $1 == sysv ]] && echo bookworm || echo "$1"; }

customize_sysv() {
    local root=$1
    # Clocks and kernel settings are the host's.
    rm -f "$root"/etc/rc?.d/[SK]??hwclock.sh "$root"/etc/rc?.d/[SK]??procps || return 1
    # No consoles to log in on.
    sed -i '/getty/d' "$root/etc/inittab" || return 1
    # docker's script would mount cgroup v1 beside what the node has, unless this file speaks of cgroups.
    echo 'cgroup2 /sys/fs/cgroup cgroup2 noauto 0 0' >>"$root/etc/fstab" || return 1
    # The interface is not the node's to take down: it is there when it boots again.
    echo 'NETDOWN=no' >>"$root/etc/default/halt" || return 1
    # A host may not let its containers raise limits; units say LimitNOFILE=, and systemd does what it can.
    sed -i 's/ulimit -n 1048576/ulimit -n "$(ulimit -Hn)"/; s/ulimit -p unlimited/ulimit -p "$(ulimit -Hp)"/' \
        "$root/etc/init.d/docker" || return 1
    # In cgroup v2 a group with processes cannot hand controllers down: they go where systemd has its init,
    # and docker may use the rest.
    cat >"$root/etc/init.d/lab-cgroup" <<'SCRIPT' || return 1
#!/bin/sh
### BEGIN INIT INFO
# Provides:          lab-cgroup
# Required-Start:    mountkernfs mountdevsubfs
# Required-Stop:
# X-Start-Before:    mountall
# Default-Start:     S
# Default-Stop:
# Short-Description: Moves every process into a cgroup of its own.
### END INIT INFO
[ "$1" = start ] || exit 0
# mountkernfs has put another /sys over the one that had it.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
mkdir -p /sys/fs/cgroup/init.scope
for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo "$pid" >/sys/fs/cgroup/init.scope/cgroup.procs; done 2>/dev/null
exit 0
SCRIPT
    chmod 0755 "$root/etc/init.d/lab-cgroup" || return 1
    chroot "$root" update-rc.d lab-cgroup defaults || return 1
    # When the file is there everything has been started, docker included: its script does not wait for it.
    cat >"$root/etc/rc.local" <<'SCRIPT' || return 1
#!/bin/sh
for link in /etc/rc2.d/S??docker; do
    [ ! -e "$link" ] || timeout 30 sh -c 'until docker version >/dev/null 2>&1; do sleep 0.1; done'
done
touch /run/lab-booted
SCRIPT
    chmod 0755 "$root/etc/rc.local" || return 1
}

# ensure_rootfs RELEASE: prints the name of the directory below the state directory, building it first
# where it is missing. The hash covers suite, packages and recipe (as bash sees it: without comments).
# $LAB_PACKAGES are more packages, separated by commas: what is compared with dtls-deploy needs some on nodes.
ensure_rootfs() {
    local name packages release=$1 ROOTFS_SUITE
    ROOTFS_SUITE=$(suite_of "$1")
    packages=$("$LAB_SOURCE/provision" packages "$1")${LAB_PACKAGES:+,$LAB_PACKAGES}
    # Docker's SDK for Python on the first Python that asks for strict certificates (3.13).
    [[ $release != trixie ]] || packages+=,python3-docker
    local ROOTFS_PACKAGES=$packages
    name=rootfs-$({
        echo "$ROOTFS_SUITE $ROOTFS_PACKAGES $(dpkg --print-architecture)"
        declare -f bootstrap_rootfs customize_rootfs
        [[ $release != sysv ]] || declare -f customize_sysv
    } | sha256sum | cut -c1-16)
    if [[ ! -d $LAB_STATE_DIR/$name ]]; then
        # In a subshell, so that the lock is released however the build ends.
        (
            exec 8>"$LAB_STATE_DIR/rootfs.lock"
            flock 8
            [[ ! -d $LAB_STATE_DIR/$name ]] || exit 0
            say "building the nodes' root file system ($release) in $LAB_STATE_DIR/$name"
            # The lock is ours: whatever is there was left by a build that died.
            rm -rf --one-file-system "$LAB_STATE_DIR/$name.building"
            bootstrap_rootfs "$LAB_STATE_DIR/$name.building" >"$LAB_STATE_DIR/rootfs.log" 2>&1 8>&- 9>&- &&
                customize_rootfs "$LAB_STATE_DIR/$name.building" >>"$LAB_STATE_DIR/rootfs.log" 2>&1 &&
                { [[ $release != sysv ]] ||
                    customize_sysv "$LAB_STATE_DIR/$name.building" >>"$LAB_STATE_DIR/rootfs.log" 2>&1; } &&
                mv -T "$LAB_STATE_DIR/$name.building" "$LAB_STATE_DIR/$name" || {
                tail -n 20 "$LAB_STATE_DIR/rootfs.log" >&2
                exit 1
            }
            say "root file system built ($(elapsed))"
        ) || die "step rootfs: the build failed; the whole log is $LAB_STATE_DIR/rootfs.log"
    fi
    echo "$name"
}
