# shellcheck shell=bash
# One node's life: prepare, start, wait, stop, cut, remove, and commands inside it.
#
# A node is running while its cgroup holds a process. That is the only record of it: no pid files,
# which could name a stranger after a crash.

node_dir() { echo "$LAB_DIR/nodes/$1"; }

# Where cgroup v2 is mounted on this host, on its own or beside the v1 hierarchies.
cgroup_mount() { awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts; }

# The directory of the node's cgroup; empty when it has none.
node_cgroup() {
    local path
    path=$(cat "$(node_dir "$1")/cgroup" 2>/dev/null) || return 0
    [[ ! -d $(cgroup_mount)$path ]] || echo "$(cgroup_mount)$path"
}

node_is_running() {
    local cgroup
    cgroup=$(node_cgroup "$1")
    [[ -n $cgroup ]] && grep -qx 'populated 1' "$cgroup/cgroup.events" 2>/dev/null
}

node_has_ended() { ! node_is_running "$1"; }

# The host's pid of the node's systemd; fails while there is none.
leader_of() {
    local cgroup pid
    cgroup=$(node_cgroup "$1")
    # Where its systemd, or on a node without it the init script lab-cgroup, has moved itself.
    [[ -n $cgroup && -e $cgroup/payload/init.scope/cgroup.procs ]] || return 1
    while read -r pid; do
        if grep -qE '^NSpid:.*[[:space:]]1$' "/proc/$pid/status" 2>/dev/null; then
            echo "$pid"
            return 0
        fi
    done <"$cgroup/payload/init.scope/cgroup.procs"
    return 1
}

# node_failed NODE STEP WHAT: says which node and which step failed, and what its console said last.
# One write, because nodes are waited for in parallel.
node_failed() {
    local node=$1 step=$2 what=$3 console last hint=
    console=$(node_dir "$node")/console.log
    last=$(tail -n 15 "$console" 2>/dev/null | tr -d '\r' | sed 's/^/  | /' || true)
    # systemd says this of the limit on inotify instances, which all nodes of a host share.
    [[ $last != *'Too many open files'* ]] ||
        hint=$'\n  hint: raise fs.inotify.max_user_instances on this host, or start fewer nodes'
    printf 'lab %s: error: %s: step %s: %s\n  last lines of %s:\n%s%s\n' \
        "$LAB_NAME" "$node" "$step" "$what" "$console" "$last" "$hint" >&2
    return 1
}

# Makes what survives a reset: host keys, so that known_hosts stays valid, and the machine id.
prepare_node() {
    local dir
    dir=$(node_dir "$1")
    mkdir -p "$dir/host-keys/etc/ssh"
    # `ssh-keygen -A` makes what is missing; an RSA key of its length takes a second.
    ssh-keygen -q -t rsa -b 2048 -N '' -f "$dir/host-keys/etc/ssh/ssh_host_rsa_key" || return 1
    ssh-keygen -A -f "$dir/host-keys" >/dev/null || return 1
    sed -i "s/ [^ ]*$/ root@$1/" "$dir"/host-keys/etc/ssh/ssh_host_*_key.pub
    tr -d - </proc/sys/kernel/random/uuid >"$dir/machine-id"
    role_of "$1" >"$dir/role"
    cp "$LAB_DIR/rootfs-$(release_of "$1")" "$dir/rootfs"
    hosts_file >"$dir/hosts"
}

# Starts NODE and returns at once.
start_node() {
    local node=$1 dir cgroup descriptor
    dir=$(node_dir "$node")
    rm -f "$dir/cgroup"
    local boot=(unshare --mount --propagation slave "$LAB_SOURCE/boot-node"
        "$dir" "$node" "dtls-$LAB_NAME-$node" "$(namespace_path "$node")"
        "$(printf 'CAP_%s\n' "${LAB_DENIED_CAPABILITIES[@]^^}" | paste -sd ,)")
    if [[ -d /run/systemd/system ]]; then
        # systemd runs this host, so the cgroup tree is its own: ask it for a delegated scope.
        # Written from systemd-run(1) and systemd.resource-control(5); not exercised by the selftest
        # on a host whose PID 1 is something else.
        boot=(systemd-run --scope --quiet --collect --unit="dtls-$LAB_NAME-$node"
            -p Delegate=yes -- "${boot[@]}")
        cgroup=
    else
        # Below the cgroup of the caller, so that its limits go on applying. Without a cgroup for each
        # node the nodes' systemds would see each other's units.
        cgroup=$(cgroup_mount)$(sed -n 's/^0:://p' /proc/self/cgroup)
        cgroup=${cgroup%/}/dtls-$LAB_NAME-$node
        mkdir -p "$cgroup" || return 1
    fi
    (
        exec </dev/null >"$dir/console.log" 2>&1
        # A node outlives this command: an inherited descriptor would keep the lock, or a pipe of the caller's, open.
        for descriptor in "/proc/$BASHPID/fd"/*; do
            descriptor=${descriptor##*/}
            ((descriptor <= 2 || descriptor == 255)) || eval "exec $descriptor>&-"
        done
        [[ -z $cgroup ]] || echo "$BASHPID" >"$cgroup/cgroup.procs"
        exec setsid "${boot[@]}"
    ) &
    disown
}

# The state of the node's systemd: starting, running, degraded, ...; empty while it cannot answer.
# Without systemd it is running once the last of its init scripts has run.
node_state() {
    local leader
    leader=$(leader_of "$1") || return 0
    if [[ $(release_of "$1") == sysv ]]; then
        if [[ -e /proc/$leader/root/run/lab-booted ]]; then echo running; else echo starting; fi
        return 0
    fi
    nsenter --target "$leader" --mount --uts --ipc --net --pid -- \
        /usr/bin/systemctl is-system-running 2>/dev/null || true
}

node_is_booted_or_dead() {
    case $(node_state "$1") in running | degraded) return 0 ;; esac
    # A process that was started a moment ago may not have entered its cgroup yet.
    [[ -e $(node_dir "$1")/cgroup ]] && node_has_ended "$1"
}

# wait_node NODE fresh|again: until the node has booted and answers on port 22.
# A fresh node must come up without a failed unit. One that is started again has what its disk says:
# a unit that fails, or that never finishes starting, is reported, and the node counts as up.
wait_node() {
    local node=$1 kind=$2 state
    if ! poll 60 node_is_booted_or_dead "$node"; then
        [[ $kind == again ]] || { node_failed "$node" boot "not finished after 60 s"; return 1; }
        say "$node: boot is not finished after 60 s"
    fi
    state=$(node_state "$node")
    if [[ -z $state ]] && node_has_ended "$node"; then
        node_failed "$node" boot "the node ended"
        return 1
    elif [[ $state == degraded ]]; then
        state="failed units: $(node_exec "$node" root systemctl --failed --plain --no-legend |
            awk '{ print $1 }' | paste -sd ' ')"
        [[ $kind == again ]] || { node_failed "$node" boot "$state"; return 1; }
        say "$node: $state"
    fi
    poll 10 ssh_answers "$node" || { node_failed "$node" ssh "no SSH server answers on $(address_of "$node"):22"; return 1; }
}

# start_nodes fresh|again NODE...: all in parallel; fails when one of them does, after all have been waited for.
start_nodes() {
    local kind=$1 node pids=() failed=0
    shift
    for node in "$@"; do
        start_node "$node" || { node_failed "$node" start "cannot make its cgroup" || true; failed=1; }
    done
    for node in "$@"; do
        wait_node "$node" "$kind" &
        pids+=($!)
    done
    for node in "${pids[@]}"; do wait "$node" || failed=1; done
    return $failed
}

# Orderly: what the power button does. SIGRTMIN+4 makes systemd start poweroff.target.
power_off_node() {
    local leader
    node_is_running "$1" || return 0
    leader=$(leader_of "$1") || die "$1: step stop: no systemd to ask; use --cut"
    if [[ $(release_of "$1") == sysv ]]; then
        # sysvinit has no such signal.
        nsenter --target "$leader" --mount --uts --ipc --net --pid -- /sbin/poweroff
    else
        kill -s RTMIN+4 "$leader"
    fi
    # systemd itself gives the last processes 90 s (containers kept by live-restore take all of it).
    poll 120 node_has_ended "$1" ||
        { node_failed "$1" stop "still running 120 s after it was asked to power off; use --cut" || true; exit 1; }
    remove_cgroup "$1"
}

# Power cut: every process of the node ends at once, systemd-nspawn included, and nothing is flushed.
cut_node() {
    local cgroup
    cgroup=$(node_cgroup "$1")
    [[ -n $cgroup ]] || return 0
    echo 1 >"$cgroup/cgroup.kill" 2>/dev/null || true
    poll 20 node_has_ended "$1" || die "$1: step cut: processes are left in $cgroup"
    remove_cgroup "$1"
}

# A scope of systemd's goes away by itself; the cgroups made by hand are ours to remove, leaves first.
remove_cgroup() {
    local cgroup
    cgroup=$(node_cgroup "$1")
    [[ -z $cgroup ]] || find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
    rm -f "$(node_dir "$1")/cgroup"
}

# Takes the node's disk away; host keys and machine id stay.
wipe_node() {
    local dir
    dir=$(node_dir "$1")
    rm -rf --one-file-system "$dir/installed" "$dir/upper" "$dir/work" "$dir/docker"
}

# node_exec NODE USER COMMAND...: runs COMMAND in the node.
node_exec() { (enter_node "$@"); }

# Replaces this process by COMMAND in the node's namespaces, with the environment and working directory of
# a login and no capability that the node itself does not have.
enter_node() {
    local node=$1 user=$2 leader uid gid home shell
    shift 2
    leader=$(leader_of "$node") || die "$node is not running; start it with: lab --name $LAB_NAME start $node"
    IFS=: read -r _ _ uid gid _ home shell < <(grep "^$user:" "/proc/$leader/root/etc/passwd" || true) || true
    [[ -n ${uid:-} ]] || die "$node has no user '$user'"
    exec nsenter --target "$leader" --mount --uts --ipc --net --pid -- \
        /usr/bin/env -i --chdir="$home" HOME="$home" USER="$user" LOGNAME="$user" SHELL="$shell" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        TERM="${TERM:-dumb}" LANG=C.UTF-8 \
        setpriv --bounding-set="$(printf -- '-%s\n' "${LAB_DENIED_CAPABILITIES[@]}" | paste -sd ,)" \
        --reuid="$uid" --regid="$gid" --init-groups -- "$@"
}

# set_docker_unit NODE debian|guide|docker-ce: replaces the vendor's docker.service, where the package
# installs it, and restarts docker with it.
set_docker_unit() {
    local node=$1 variant=$2 unit=/lib/systemd/system/docker.service
    [[ $(role_of "$node") == daemon ]] || die "$node is no daemon node: it has no docker.service to replace"
    [[ $(release_of "$node") != sysv ]] || die "$node has no systemd that would read a unit"
    case $variant in
        debian) node_exec "$node" root cp /usr/share/dtls-lab/docker.service.debian "$unit" ;;
        guide | docker-ce) node_exec "$node" root tee "$unit" <"$LAB_SOURCE/units/docker.service.$variant" >/dev/null ;;
        *) die "unit: debian, guide or docker-ce, not '$variant'" ;;
    esac
    # reset-failed clears the start counter: the unit allows three starts a minute.
    node_exec "$node" root sh -c 'systemctl daemon-reload && systemctl reset-failed docker.service docker.socket &&
        systemctl restart docker.service' ||
        die "$node: step unit: docker does not start with the unit '$variant'; see: lab exec $node -- journalctl -u docker"
}
