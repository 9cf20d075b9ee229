# shellcheck shell=bash
# libvirt for the test: the host's, where systemd runs one, or one of the test's own in namespaces of its
# own. Called by run.
#
# Of its own means: other networks, processes and mounts than the host's. Bridges, DHCP servers, emulators,
# sockets and whatever libvirt writes are seen by the test alone, beside a host's network of the same name, and end
# with it even when it is killed: the kernel ends all processes of a process namespace with its first.

# The host's own is taken where there is one, unless DTLS_VAGRANT_LIBVIRT says `own`.
system_libvirt() {
    case ${DTLS_VAGRANT_LIBVIRT-} in
        own) return 1 ;;
        system) return 0 ;;
        '') ;;
        *) die "DTLS_VAGRANT_LIBVIRT is own or system, not $DTLS_VAGRANT_LIBVIRT" ;;
    esac
    [[ -d /run/systemd/system ]] && timeout 20 virsh --quiet --connect qemu:///system version >/dev/null 2>&1
}

# unshare holds other signals back until what it has started ends; with this one it ends, and all of that with it.
abandon() {
    trap '' INT TERM
    kill -KILL "$1"
    wait "$1" 2>/dev/null || true
    # Until the last of them is gone, something may still write there.
    rm -rf --one-file-system "$RUN" 2>/dev/null || { sleep 1 && rm -rf --one-file-system "$RUN"; }
    exit 130
}

# in_namespaces COMMAND...: an interrupt ends it and everything in it at once.
in_namespaces() {
    local child code=0
    unshare --net --mount --pid --fork --kill-child --mount-proc "$@" &
    child=$!
    # The number of the process is that of now.
    # shellcheck disable=SC2064
    trap "abandon $child" INT TERM
    wait "$child" || code=$?
    trap - INT TERM
    return "$code"
}

LIBVIRT_PIDS=()

start_libvirt() {
    case $LIBVIRT in
        system)
            export DTLS_LIBVIRT_DRIVER=${DTLS_LIBVIRT_DRIVER:-kvm}
            # `vagrant up` beside this would share these names and addresses.
            local name
            name=$(virsh --quiet --connect qemu:///system net-list --all --name | grep -x dtls-deploy || true)
            [[ -z $name ]] || die "libvirt has a network dtls-deploy already: \`vagrant destroy\` what uses it first"
            ;;
        own)
            # Emulation works on every host; KVM inside a virtual machine, where tests run, often does not.
            export DTLS_LIBVIRT_DRIVER=${DTLS_LIBVIRT_DRIVER:-qemu}
            start_own_libvirt || die "step libvirt: it did not start; its logs are in $RUN/log"
            ;;
    esac
}

# over DIRECTORY: what is written there is written below $RUN/over.
over() {
    local at=$RUN/over$1
    mkdir -p "$at/upper" "$at/work" || return 1
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$at/upper,workdir=$at/work" "$1"
}

# Each mount is checked: without it the next lines would write to the host's files.
private_files() {
    mount --make-rprivate / || return 1
    # Without the host's D-Bus libvirt asks no firewalld, and registers no machines there.
    mount -t tmpfs tmpfs /run || return 1
    over /etc || return 1
    over /var/lib || return 1
    mkdir -p /run/lock "$RUN/log" "$RUN/cache" || return 1
    mount --bind "$RUN/log" /var/log || return 1
    mount --bind "$RUN/cache" /var/cache || return 1
    mkdir -p /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
}

start_own_libvirt() {
    private_files || return 1
    # libvirt looks this account up before it reads that it is not to use it.
    getent passwd libvirt-qemu >/dev/null ||
        echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
    getent group libvirt-qemu >/dev/null || echo 'libvirt-qemu:x:64055:' >>/etc/group
    echo 'auth_unix_rw = "none"' >/etc/libvirt/libvirtd.conf
    # Other accounts and cgroups would have to be set up on the host.
    cat >/etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
CONF
    ip link set lo up
    virtlogd 9>&- >"$RUN/log/virtlogd.out" 2>&1 &
    LIBVIRT_PIDS+=($!)
    libvirtd 9>&- >"$RUN/log/libvirtd.out" 2>&1 &
    LIBVIRT_PIDS+=($!)
    local deadline=$((SECONDS + 60))
    until virsh --quiet --connect qemu:///system version >"$RUN/log/version" 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
    say "$(sed -n 's/^Using API: //p; s/^Running hypervisor: //p' "$RUN/log/version" | paste -sd, | sed 's/^/libvirt /; s/,/, /')"
}

# The image that Vagrant made of the box stays in a host's storage pool; of its own nothing stays.
stop_libvirt() {
    local pid volume
    if [[ $LIBVIRT == system ]]; then
        virsh --quiet --connect qemu:///system vol-list default 2>/dev/null | awk '{ print $1 }' |
            grep "^${BOX_NAME/\//-VAGRANTSLASH-}_vagrant_box_image" | while read -r volume; do
            virsh --quiet --connect qemu:///system vol-delete --pool default "$volume" || true
        done
    fi
    # The last first: libvirtd writes to virtlogd.
    for pid in "${LIBVIRT_PIDS[@]+"${LIBVIRT_PIDS[@]}"}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${LIBVIRT_PIDS[@]+"${LIBVIRT_PIDS[@]}"}"; do
        wait "$pid" 2>/dev/null || true
    done
}
