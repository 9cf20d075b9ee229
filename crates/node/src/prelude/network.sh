# The network: a node's names, addresses and listeners, which are read only.

# fact_resolve NAME: the addresses that this node gives a name.
fact_resolve() {
    command -v getent >/dev/null 2>&1 || return 0
    fact_left=$(getent ahosts "$1")$NEWLINE
    fact_found=
    while [ -n "${fact_left%"$NEWLINE"}" ]; do
        fact_found="$fact_found${fact_left%% *} "
        fact_left=${fact_left#*"$NEWLINE"}
    done
    record resolved "$1" "$fact_found"
}

# fact_network own|no DROP-IN [PORT...]: with PORTs the node's own addresses, and who listens on
# the ports. A port that the drop-in of a running daemon names is the daemon's and not looked
# for: the kernel takes its time over /proc/net/tcp. With own the addresses under which others
# may reach the node, and the networks that it reaches without a gateway, which tell the
# interface of an IPv4 address where there is no ip: one of its own, a /32, is in none. All in
# one process. Without an awk or the kernel's tables it prints nothing.
fact_network() {
    command -v awk >/dev/null 2>&1 || return 0
    fact_tables=
    fact_own=
    if [ "$1" = own ] && [ -r /proc/net/fib_trie ] && [ -r /proc/net/route ]; then
        fact_own=yes
        record own-address asked
        fact_tables='fib_trie route if_inet6'
    fi
    fact_drop_in=$2
    shift 2
    fact_ports=
    [ $# = 0 ] || fact_ports_of "$@"
    set --
    for fact_file in $fact_tables; do
        [ -r "/proc/net/$fact_file" ] && set -- "$@" "/proc/net/$fact_file"
    done
    [ $# -gt 0 ] || return 0
    # shellcheck disable=SC2016 # the program is awk's
    fact_seen=$({ [ -z "$fact_own" ] || ip -o -4 address show 2>/dev/null </dev/null; } | awk -v ports="$fact_ports" -v own="$fact_own" '
        FILENAME ~ /fib_trie$/ {
            if ($3 == "LOCAL" && ports != "") print "address\t" last $1
            if ($3 == "LOCAL" && own != "" && $1 == "/32" && !(last in seen)) {
                seen[last] = 1
                print "own-address\tv4\t" last
            }
            last = $2
            next
        }
        FILENAME ~ /if_inet6$/ {
            if (ports != "") print "address\t" $1
            if (own != "") print "own-address\tv6\t" $1 "\t" $4 "\t" $5 "\t" $6
            next
        }
        FILENAME ~ /route$/ {
            if ($3 == "00000000" && $8 != "00000000" && $8 != "Mask") {
                print "own-address\troute\t" $1 "\t" $2 "\t" $8
            }
            next
        }
        FILENAME ~ /tcp6?$/ {
            split($2, part, ":")
            if ($4 == "0A" && index(ports, " " part[2] " ")) print part[1], part[2], $10
            next
        }
        $3 == "inet" { sub("/.*", "", $4); print "own-address\ton\t" $2 "\t" $4 }' - "$@") || return 0
    fact_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    for fact_line in $fact_seen; do
        IFS=$fact_old_ifs
        case $fact_line in
        address* | own-address*) printf '%s\n' "$fact_line" ;;
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

# fact_ports_of PORT...: sets $fact_ports, those to look for as the kernel writes them between
# blanks, and adds to $fact_tables.
fact_ports_of() {
    fact_bind=no
    for fact_file in /proc/sys/net/ipv4/ip_nonlocal_bind /proc/sys/net/ipv6/ip_nonlocal_bind; do
        fact_value=0
        [ -r "$fact_file" ] && read -r fact_value <"$fact_file"
        [ "$fact_value" = 0 ] || fact_bind=yes
    done
    record network "$fact_bind"
    fact_listens=
    reader_of "$fact_drop_in"
    if [ "${fact_main_pid:-0}" != 0 ] && [ "$reader" = "$ACCOUNT" ] && [ -f "$fact_drop_in" ] && [ -r "$fact_drop_in" ]; then
        while IFS= read -r fact_line || [ -n "$fact_line" ]; do
            fact_listens="$fact_listens $fact_line"
        done <"$fact_drop_in"
    fi
    fact_ports=' '
    [ -n "$fact_tables" ] || fact_tables='fib_trie if_inet6'
    for fact_port in "$@"; do
        case "$fact_listens " in
        *":$fact_port "*) continue ;;
        esac
        fact_ports="$fact_ports$(printf '%04X' "$fact_port") "
    done
    [ "$fact_ports" = ' ' ] || fact_tables="$fact_tables tcp tcp6"
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
