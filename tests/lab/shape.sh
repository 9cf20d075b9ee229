# shellcheck shell=bash
# The lab's nodes: names, addresses and roles, and the files that list them (hosts, inventory, ssh_config).

# node_list DAEMONS CLIENTS [NODE=RELEASE...]: one line per node, "NAME ADDRESS ROLE RELEASE". The first
# three are the published three-node procedure; more daemons and then more clients follow.
node_list() {
    local daemons=$1 clients=$2 number=4 i
    shift 2
    {
        printf '%s\n' 'node1 10.0.0.10 client' 'node2 10.0.0.11 ca' 'node3 10.0.0.12 daemon'
        for ((i = 1; i < daemons; i++, number++)); do echo "node$number 10.0.0.$((number + 9)) daemon"; done
        for ((i = 1; i < clients; i++, number++)); do echo "node$number 10.0.0.$((number + 9)) client"; done
    } | awk -v default="$ROOTFS_SUITE" -v chosen="$*" '
        BEGIN { for (n = split(chosen, choice, " "); n > 0; n--) { split(choice[n], part, "="); release[part[1]] = part[2] } }
        { print $0, ($1 in release ? release[$1] : default) }'
}

# check_release NODE=RELEASE DAEMONS CLIENTS
check_release() {
    [[ $1 =~ ^node([1-9][0-9]*)=(bookworm|trixie|sysv)$ ]] ||
        die "--on takes NODE=RELEASE, and the releases are bookworm, trixie and sysv, not '$1'"
    ((BASH_REMATCH[1] <= $2 + $3 + 1)) || die "--on $1: there is no such node"
}

check_shape() {
    local value
    for value in "$1" "$2"; do
        [[ $value =~ ^[1-9][0-9]{0,2}$ ]] || die "--daemons and --clients take a number from 1 on, not '$value'"
    done
    (($1 + $2 <= 244)) || die "at most 244 daemons and clients together: the lab's network is 10.0.0.0/24"
}

# All readers of the shape go through these; `shape` is written by `up`.
all_nodes() { awk '{ print $1 }' "$LAB_DIR/shape"; }
address_of() { awk -v node="$1" '$1 == node { print $2 }' "$LAB_DIR/shape"; }
role_of() { awk -v node="$1" '$1 == node { print $3 }' "$LAB_DIR/shape"; }
release_of() { awk -v node="$1" '$1 == node { print $4 }' "$LAB_DIR/shape"; }
all_releases() { awk '{ print $4 }' "$LAB_DIR/shape" | sort -u; }

require_lab() { [[ -e $LAB_DIR/shape ]] || die "is not up; start it with: lab --name $LAB_NAME up"; }

require_node() {
    require_lab
    [[ -n $(role_of "$1") ]] || die "no node '$1'; the nodes are: $(all_nodes | paste -sd ' ')"
}

# No 127.0.1.1 line: a daemon told to listen on its own name must get its real address.
hosts_file() {
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n10.0.0.1 controller\n'
    awk '{ print $2, $1 }' "$LAB_DIR/shape"
}

inventory() {
    local group role
    echo 'all:'
    echo '  children:'
    for group in ca:ca daemons:daemon clients:client; do
        role=${group#*:}
        printf '    %s:\n      hosts:\n' "${group%%:*}"
        awk -v role="$role" '$3 == role {
            printf "        %s:\n          ansible_host: %s\n          ansible_user: ubuntu\n", $1, $2
        }' "$LAB_DIR/shape"
    done
}

# An ssh_config for use outside `lab run`: the proxy command enters the controller's network namespace
# and borrows netcat from the nodes' root file system, so that the host needs none.
ssh_config() {
    local node
    for node in $(all_nodes); do
        cat <<CONFIG
Host $node
    HostName $(address_of "$node")
    User ubuntu
    IdentityFile "$LAB_DIR/ssh/id_ed25519"
    IdentitiesOnly yes
    UserKnownHostsFile "$LAB_DIR/ssh/known_hosts"
    StrictHostKeyChecking yes
    ProxyCommand nsenter "--net=$(namespace_path controller)" chroot "$LAB_STATE_DIR/$(<"$LAB_DIR/rootfs")" /bin/busybox nc %h %p

CONFIG
    done
}
