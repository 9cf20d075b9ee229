# The network: a node's names, addresses and listeners, which are looked at only.

# fact_resolve NAME: the addresses that this node gives a name.
fact_resolve() {
    command -v getent >/dev/null 2>&1 || return 0
    fact_found=$(getent ahosts "$1" | while read -r fact_address _; do printf '%s ' "$fact_address"; done)
    record resolved "$1" "$fact_found"
}

# fact_network DROP-IN PORT...: the node's own addresses, and who listens on the
# ports. A port that the drop-in of a running daemon names is the daemon's and not
# looked for: the kernel takes its time over /proc/net/tcp. Without an awk nothing
# is said.
fact_network() {
    command -v awk >/dev/null 2>&1 || return 0
    fact_bind=no
    for fact_file in /proc/sys/net/ipv4/ip_nonlocal_bind /proc/sys/net/ipv6/ip_nonlocal_bind; do
        fact_value=0
        [ -r "$fact_file" ] && read -r fact_value <"$fact_file"
        [ "$fact_value" = 0 ] || fact_bind=yes
    done
    record network "$fact_bind"
    fact_listens=
    reader_of "$1"
    if [ "${fact_main_pid:-0}" != 0 ] && [ "$reader" = "$ACCOUNT" ] && [ -f "$1" ] && [ -r "$1" ]; then
        while IFS= read -r fact_line || [ -n "$fact_line" ]; do
            fact_listens="$fact_listens $fact_line"
        done <"$1"
    fi
    shift
    # As the kernel writes them.
    fact_ports=
    for fact_port in "$@"; do
        case "$fact_listens " in
        *":$fact_port "*) ;;
        *) fact_ports="$fact_ports $(printf '%04X' "$fact_port")" ;;
        esac
    done
    fact_tables='fib_trie if_inet6'
    [ -z "$fact_ports" ] || fact_tables="$fact_tables tcp tcp6"
    set --
    for fact_file in $fact_tables; do
        [ -r "/proc/net/$fact_file" ] && set -- "$@" "/proc/net/$fact_file"
    done
    [ $# -gt 0 ] || return 0
    # shellcheck disable=SC2016 # the program is awk's
    fact_seen=$(awk -v ports=" $fact_ports " '
        FILENAME ~ /fib_trie$/ { if ($3 == "LOCAL") print "address\t" last $1; last = $2; next }
        FILENAME ~ /if_inet6$/ { print "address\t" $1; next }
        $4 == "0A" {
            split($2, part, ":")
            if (index(ports, " " part[2] " ")) print part[1], part[2], $10
        }' "$@") || return 0
    fact_old_ifs=$IFS
    IFS='
'
    set -f
    for fact_line in $fact_seen; do
        IFS=$fact_old_ifs
        case $fact_line in
        address*) printf '%s\n' "$fact_line" ;;
        *)
            # shellcheck disable=SC2086 # three words
            set -- $fact_line
            fact_listener "$1" "$2" "$3"
            ;;
        esac
    done
    set +f
    IFS=$fact_old_ifs
    return 0
}

# fact_own_addresses: the node's addresses, and the networks that it reaches without
# a gateway, which tell the interface of an IPv4 address where there is no ip: one of
# its own, a /32, is in none. Without an awk or the kernel's tables nothing is said.
fact_own_addresses() {
    command -v awk >/dev/null 2>&1 || return 0
    [ -r /proc/net/fib_trie ] && [ -r /proc/net/route ] || return 0
    record own-address asked
    set -- /proc/net/fib_trie /proc/net/route
    [ -r /proc/net/if_inet6 ] && set -- "$@" /proc/net/if_inet6
    # shellcheck disable=SC2016 # the program is awk's
    awk '
        FILENAME ~ /fib_trie$/ {
            if ($3 == "LOCAL" && $1 == "/32" && !(last in seen)) {
                seen[last] = 1
                print "own-address\tv4\t" last
            }
            last = $2
            next
        }
        FILENAME ~ /route$/ {
            if ($3 == "00000000" && $8 != "00000000" && $8 != "Mask") {
                print "own-address\troute\t" $1 "\t" $2 "\t" $8
            }
            next
        }
        { print "own-address\tv6\t" $1 "\t" $4 "\t" $5 "\t" $6 }' "$@"
    command -v ip >/dev/null 2>&1 || return 0
    # shellcheck disable=SC2016 # the program is awk's
    ip -o -4 address show 2>/dev/null | awk '
        $3 == "inet" { sub("/.*", "", $4); print "own-address\ton\t" $2 "\t" $4 }'
}

# fact_listener ADDRESS PORT INODE: whose a socket is. Only root can tell.
fact_listener() {
    if [ "$ACCOUNT_ID" != 0 ]; then
        record listener "$1" "$2" unknown
        return 0
    fi
    if [ "${fact_main_pid:-0}" != 0 ]; then
        case $(ls -l "/proc/$fact_main_pid/fd" 2>/dev/null) in
        *"socket:[$3]"*)
            record listener "$1" "$2" daemon
            return 0
            ;;
        esac
    fi
    set +f
    # shellcheck disable=SC2012,SC2016 # names are numbers; the program is awk's
    fact_pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v socket="socket:[$3]" '
        /^\/proc\// { split($1, part, "/"); next }
        index($0, socket) { print part[3]; exit }')
    set -f
    if [ -n "$fact_pid" ] && read -r fact_name 2>/dev/null <"/proc/$fact_pid/comm"; then
        record listener "$1" "$2" process "$fact_pid" "$fact_name"
    else
        # One that no process holds is the kernel's: NFS, for instance.
        record listener "$1" "$2" hidden
    fi
}
