# shellcheck shell=bash
# Messages, paths, locks, polling and the host's packages: what every command of the lab needs.

# Progress goes to stderr: stdout belongs to the answers (inventory, ssh-config, status, exec, run).
say() { printf 'lab %s: %s\n' "$LAB_NAME" "$*" >&2; }

die() {
    printf 'lab %s: error: %s\n' "${LAB_NAME:-}" "$*" >&2
    exit 1
}

# Taken from every process of a node, booted or entered from outside: these capabilities reach what no
# namespace divides. With CAP_SYS_TIME, `date --set` in a node sets this host's clock.
# shellcheck disable=SC2034 # used by node.sh
LAB_DENIED_CAPABILITIES=(sys_time sys_module sys_rawio)

# Seconds since the shell started, with one decimal. EPOCHREALTIME uses the locale's decimal mark.
LAB_STARTED=${EPOCHREALTIME/[^0-9]/}
elapsed() {
    local microseconds=$((${EPOCHREALTIME/[^0-9]/} - LAB_STARTED))
    printf '%d.%d s' $((microseconds / 1000000)) $((microseconds / 100000 % 10))
}

# poll SECONDS COMMAND...: runs COMMAND every tenth of a second until it succeeds; 1 at the deadline.
poll() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

require_root() {
    ((EUID == 0)) || die "must run as root (it makes namespaces, mounts and cgroups); try: sudo $0"
}

# Installs the Debian packages whose commands are missing on this host; does nothing when all are there.
require_host_packages() {
    local missing=() entry
    for entry in systemd-nspawn:systemd-container mmdebstrap:mmdebstrap ip:iproute2 \
        ssh-keygen:openssh-client nsenter:util-linux flock:util-linux setsid:util-linux; do
        command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
    done
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "missing on this host: ${missing[*]} (Debian package names); there is no apt-get to install them"
    say "installing on this host: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 || say "apt-get update failed; trying with the package lists at hand"
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2 ||
        die "apt-get install failed: ${missing[*]}"
}

# One changing command at a time per lab. The file stays when the lab goes: removing it would let a
# command that waits for the old file and one that opens a new file run at once.
lock_lab() {
    mkdir -p "$LAB_STATE_DIR"
    exec 9>"$LAB_STATE_DIR/$LAB_NAME.lock"
    if ! flock --nonblock 9; then
        say "waiting for another command that changes this lab"
        flock --timeout 300 9 || die "another command has held this lab's lock for 300 s"
    fi
}

# The name of a lab is the name of its namespaces and cgroups, so it belongs to one state directory
# at a time on a host: /run/dtls-lab/NAME is a symbolic link to it.
claim_name() {
    local owner
    mkdir -p /run/dtls-lab
    ln -sT "$LAB_DIR" "/run/dtls-lab/$LAB_NAME" 2>/dev/null && return 0
    owner=$(readlink "/run/dtls-lab/$LAB_NAME" || true)
    if [[ $owner != "$LAB_DIR" ]]; then
        # The state directory may have been deleted with its clone; only a live one is another's.
        [[ ! -d $owner ]] || die "a lab of this name belongs to $owner; take it down there or use --name"
        ln -sfnT "$LAB_DIR" "/run/dtls-lab/$LAB_NAME"
    fi
}

owns_name() { [[ $(readlink "/run/dtls-lab/$LAB_NAME" 2>/dev/null) == "$LAB_DIR" ]]; }

release_name() {
    owns_name || return 0
    rm -f "/run/dtls-lab/$LAB_NAME"
    rmdir --ignore-fail-on-non-empty /run/dtls-lab 2>/dev/null || true
}
