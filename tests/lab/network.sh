# shellcheck shell=bash
# The lab's network: one namespace per node and one for the controller, which also holds the bridge.
# Nothing is made in the host's own network namespace, and no route leads out of the lab.

namespace() { echo "dtls-$LAB_NAME-$1"; }
namespace_path() { echo "/run/netns/dtls-$LAB_NAME-$1"; }

# `ip netns add` turns /run/netns into a mount point; the lock keeps one lab from removing it
# while another is about to use it.
with_namespace_lock() {
    (
        exec 8>/run/lock/dtls-lab-netns.lock
        flock 8
        "$@" 8>&-
    )
}

add_namespaces() {
    local node
    for node in controller $(all_nodes); do
        ip netns add "$(namespace "$node")" || return 1
    done
}

remove_namespaces() {
    local path
    for path in "/run/netns/dtls-$LAB_NAME-controller" "/run/netns/dtls-$LAB_NAME-node"[0-9]*; do
        [[ -e $path ]] || continue
        ip netns delete "${path##*/}" || return 1
    done
    # rmdir succeeds only where no other namespace is left, and only then has the mount gone for good.
    if [[ -d /run/netns && -z $(ls -A /run/netns) ]]; then
        umount /run/netns 2>/dev/null || true
        rmdir /run/netns 2>/dev/null || true
    fi
}

network_up() {
    local node controller
    controller=$(namespace controller)
    with_namespace_lock add_namespaces || die "step network: cannot make the network namespaces"
    {
        echo 'link set lo up'
        echo 'link add lab0 type bridge forward_delay 0'
        echo 'addr add 10.0.0.1/24 dev lab0'
        echo 'link set lab0 up'
        for node in $(all_nodes); do
            echo "link add $node type veth peer name eth0 netns $(namespace "$node")"
            echo "link set $node master lab0 up"
        done
    } | ip -n "$controller" -batch - || die "step network: cannot build the bridge in namespace $controller"
    for node in $(all_nodes); do
        {
            echo 'link set lo up'
            echo "addr add $(address_of "$node")/24 dev eth0"
            echo 'link set eth0 up'
        } | ip -n "$(namespace "$node")" -batch - || die "$node: step network: cannot set the address"
        # dockerd cannot set it itself: /proc/sys is read-only inside the node.
        ip netns exec "$(namespace "$node")" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' ||
            die "$node: step network: cannot set net.ipv4.ip_forward"
    done
}

network_is_up() { [[ -e $(namespace_path controller) ]]; }

network_down() { with_namespace_lock remove_namespaces || die "cannot remove the lab's network namespaces"; }

# True when an SSH server answers on the address of NODE.
ssh_answers() {
    # shellcheck disable=SC2016 # the inner shell expands these
    timeout 1 nsenter "--net=$(namespace_path controller)" bash -c '
        exec 3<>"/dev/tcp/$1/22" && read -r -t 1 banner <&3 && [[ $banner == SSH-2.0-* ]]' \
        ssh_answers "$(address_of "$1")" 2>/dev/null
}
