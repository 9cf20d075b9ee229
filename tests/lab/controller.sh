# shellcheck shell=bash
# The controller: the SSH identity that every node accepts, and commands that run on this host but in
# the lab's network, with the lab's ~/.ssh and /etc/hosts in place of the user's.

# OpenSSH takes the home directory from the password database, not from $HOME.
home_of_caller() { getent passwd "$EUID" | cut -d: -f6; }

prepare_controller() {
    local node type
    install -d -m 0700 "$LAB_DIR/ssh"
    ssh-keygen -q -t ed25519 -N '' -C "controller of lab $LAB_NAME" -f "$LAB_DIR/ssh/id_ed25519" ||
        die "step controller: cannot make the SSH key"
    for node in $(all_nodes); do
        for type in ed25519 ecdsa rsa; do
            printf '%s,%s ' "$node" "$(address_of "$node")"
            cut -d' ' -f1,2 "$(node_dir "$node")/host-keys/etc/ssh/ssh_host_${type}_key.pub"
        done
    done >"$LAB_DIR/ssh/known_hosts"
    # The host's own name stays resolvable: sudo and others look it up.
    {
        hosts_file
        echo "127.0.0.1 $(uname -n)"
    } >"$LAB_DIR/hosts"
    # A bind mount needs something to be mounted on; ssh itself makes this directory on first use.
    [[ -d $(home_of_caller)/.ssh ]] || install -d -m 0700 "$(home_of_caller)/.ssh"
}

# Replaces this process by COMMAND: working directory, standard streams, terminal, signals and exit
# code are the command's own.
run_command() {
    network_is_up || die "is not up; start it with: lab --name $LAB_NAME up"
    # shellcheck disable=SC2016 # the inner shell expands these
    exec env -u SSH_AUTH_SOCK nsenter "--net=$(namespace_path controller)" \
        unshare --mount --propagation slave bash -c '
            mount --bind "$1" "$2" && mount --bind "$3" /etc/hosts || exit 125
            shift 3
            exec "$@"' run "$LAB_DIR/ssh" "$(home_of_caller)/.ssh" "$LAB_DIR/hosts" "$@"
}
