# The dtls-deploy prelude: all that ever runs on a daemon or client node.
#
# Every script that the controller sends is this text followed by calls of the
# functions below, each argument in single quotes. It arrives on standard
# input of a POSIX shell (dash, bash, busybox ash), never in argv, and is
# parsed to its end before the first call runs: a transfer that breaks off
# executes nothing. Records go to standard output, one a line, fields separated
# by tabs; what tools print goes to standard error.
#
# Needs: a POSIX shell whose printf is built in (an external one would show
# secrets in argv), and coreutils or busybox. No Python, no openssl.

set -u
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${PATH-}
export LC_ALL PATH
umask 077
# Once the controller is gone a write to standard output would end the script
# in the middle of a transaction.
trap '' PIPE
# A redirection that fails ends the shell where a special builtin has it: files
# are made with printf, never with a colon.
TAB=$(printf '\t')
# The shell that works on this node, whoever acts for it.
: "${DTLS_OWNER:=$$}"
STATE=${DTLS_STATE:-/var/lib/dtls-deploy}
# Who this is: asked once, and told to those who act for another account.
if [ -n "${DTLS_ACCOUNT_ID-}" ]; then
    ACCOUNT_ID=$DTLS_ACCOUNT_ID
    ACCOUNT=$DTLS_ACCOUNT
else
    ACCOUNT_ID=$(id -u) && ACCOUNT=$(id -un) || {
        printf 'failed\taccount\tid does not say who this is\n'
        exit 70
    }
fi

# own_state: where this account keeps what it needs to go back, in a place that
# nobody else can write. Root's is one for the whole node.
own_state() {
    if [ -z "${DTLS_STATE-}" ] && [ "$ACCOUNT_ID" != 0 ]; then STATE=$login_home/.local/state/dtls-deploy; fi
    [ -d "$STATE" ] || (umask 077 && mkdir -p "$STATE") 2>/dev/null || return 1
    [ -O "$STATE" ] && [ ! -L "$STATE" ] && chmod 700 "$STATE"
}

record() {
    record_line=$1
    shift
    for record_field in "$@"; do record_line=$record_line$TAB$record_field; done
    printf '%s\n' "$record_line"
}

# fail STEP MESSAGE: the reason why the script stops, for the controller.
fail() {
    record failed "$1" "$2"
    exit 70
}

require_builtin_printf() {
    case $(type printf 2>&1) in
    *builtin*) ;;
    *) fail shell "the shell's printf is not a builtin: private keys would show in argv" ;;
    esac
}

# --- accounts ---------------------------------------------------------------

# Home directory of the account that logged in, also below sudo.
login_home() {
    login_name=${SUDO_USER:-}
    [ -n "$login_name" ] || login_name=$ACCOUNT
    case $login_name in
    '' | *[!A-Za-z0-9._-]*) fail account "the account name $login_name is not usable" ;;
    esac
    eval "login_home=~$login_name"
    case $login_home in
    /*) ;;
    *) fail account "account $login_name has no home directory" ;;
    esac
}

# expand PATH: sets $expanded, a leading ~/ replaced by the login account's home, a
# leading ~NAME/ by that account's.
expand() {
    case $1 in
    "~/"*) expanded=$login_home/${1#"~/"} ;;
    "~") expanded=$login_home ;;
    "~"*) expand_for_account "$1" ;;
    *) expanded=$1 ;;
    esac
}

# in_account NAME SCRIPT: runs calls of this prelude as that account. Files in
# a user's directory are only ever touched as that user: root would follow the
# symbolic links a user can place there.
in_account() {
    if [ "$1" = "$ACCOUNT" ]; then
        (eval "$2")
        return
    fi
    [ "$ACCOUNT_ID" = 0 ] || fail account "cannot act as $1 without root: set ansible_become for this host"
    in_account_uid=$(id -u "$1") && in_account_gid=$(id -g "$1") ||
        fail account "there is no account $1"
    in_account_name=$1
    if setpriv --reuid="$in_account_uid" --regid="$in_account_gid" --init-groups true 2>/dev/null; then
        set -- "$2" setpriv --reuid="$in_account_uid" --regid="$in_account_gid" --init-groups /bin/sh
    elif chroot --userspec="$in_account_uid:$in_account_gid" / true 2>/dev/null; then
        set -- "$2" chroot --userspec="$in_account_uid:$in_account_gid" / /bin/sh
    else
        set -- "$2" su -s /bin/sh "$1" -c 'exec /bin/sh'
    fi
    in_account_script=$1
    shift
    printf '%s\n' "DTLS_OWNER=$DTLS_OWNER" "DTLS_ACCOUNT_ID=$in_account_uid" \
        "DTLS_ACCOUNT='$in_account_name'" "$DTLS_PRELUDE" "login_home='${login_home:-/}'" "dtls_calls() { :" \
        "$in_account_script" '}' 'dtls_calls </dev/null; exit $?' | (cd / && "$@")
}

# --- facts ------------------------------------------------------------------

fact_system() {
    record system "$(uname -s)" "$(uname -m)" "$(uname -n)"
    record clock "$(date +%s)"
    if [ -r /proc/uptime ]; then
        read -r fact_uptime _ </proc/uptime
        record uptime "$fact_uptime"
    fi
    fact_uid=$(id -u)
    record account "$fact_uid" "$ACCOUNT"
    record home "$login_home"
    if [ -d /run/systemd/system ]; then record init systemd; else record init other; fi
    for fact_tool in docker dockerd dockerd-rootless.sh curl openssl; do
        command -v "$fact_tool" >/dev/null 2>&1 && record tool "$fact_tool" "$(command -v "$fact_tool")"
    done
    return 0
}

# fact_path PATH: owner and mode of everything on the way to PATH that exists,
# from / downwards, links as themselves and where they lead; who owns the first
# one that is not root's decides as whom to act there.
fact_path() {
    expand "$1"
    fact_asked=$expanded
    while [ ! -d "$expanded" ]; do
        expanded=${expanded%/*}
        [ -n "$expanded" ] || expanded=/
    done
    fact_real=$(readlink -f "$expanded") || fail facts "cannot resolve $expanded"
    set -- /
    for fact_rest in "$expanded" "$fact_real"; do
        [ "$#" = 1 ] || [ "$fact_real" != "$expanded" ] || break
        fact_walked=
        fact_rest=${fact_rest#/}
        while [ -n "$fact_rest" ]; do
            fact_walked=$fact_walked/${fact_rest%%/*}
            set -- "$@" "$fact_walked"
            case $fact_rest in
            */*) fact_rest=${fact_rest#*/} ;;
            *) fact_rest= ;;
            esac
        done
    done
    record path "$fact_asked" $#
    stat -c "%u$TAB%U$TAB%a$TAB%F$TAB%n" "$@" || fail facts "cannot stat the directories of $fact_asked"
    [ "$fact_asked" = "$expanded" ] || return 0
    for fact_left in "$expanded"/.dtls-deploy.*; do
        [ -d "$fact_left" ] || continue
        if is_abandoned "$fact_left"; then
            record leftover "$fact_asked" "${fact_left##*/}"
        else
            record working "${fact_left##*/.dtls-deploy.}" "$fact_left"
        fi
    done
    return 0
}

# process_start PID: sets $process_start, ticks between the machine's boot and the
# process's start; empty where there is no such process.
process_start() {
    process_start=
    [ -r "/proc/$1/stat" ] || return 0
    read -r process_line 2>/dev/null <"/proc/$1/stat" || return 0
    # The name before the last parenthesis may hold anything.
    # shellcheck disable=SC2086 # words are what is wanted
    set -- ${process_line##*) }
    shift 19
    process_start=$1
}

# is_abandoned STAGE: nothing is at work on it any more, and no armed run needs
# it.
is_abandoned() {
    case ${1##*/} in
    .dtls-deploy.done.*) return 0 ;;
    esac
    [ ! -e "$STATE/armed/${1##*/.dtls-deploy.}" ] || return 1
    if [ -r "$1/owner" ] && read -r abandoned_pid abandoned_start <"$1/owner"; then
        case $abandoned_pid in
        '' | *[!0-9]*) ;;
        *)
            # Without a time it was written while its process was killed.
            process_start "$abandoned_pid"
            [ -z "$process_start" ] || [ "$process_start" != "$abandoned_start" ]
            return
            ;;
        esac
    fi
    # Made by a version that did not say whose it is, or not whole.
    [ -n "$(find "$1" -prune -mmin +10 2>/dev/null)" ]
}

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
    if [ "${fact_main_pid:-0}" != 0 ] && [ -f "$1" ] && [ -r "$1" ]; then
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
            fact_holder "$3"
            record listener "$1" "$2" "$fact_owner"
            ;;
        esac
    done
    set +f
    IFS=$fact_old_ifs
    return 0
}

# fact_holder INODE: sets $fact_owner, whose a socket is. Only root can tell.
fact_holder() {
    fact_owner=unknown
    [ "$fact_uid" = 0 ] || return 0
    if [ "${fact_main_pid:-0}" != 0 ]; then
        case $(ls -l "/proc/$fact_main_pid/fd" 2>/dev/null) in
        *"socket:[$1]"*)
            fact_owner=daemon
            return 0
            ;;
        esac
    fi
    # A socket that no process holds is the kernel's: NFS, for instance.
    fact_owner="the kernel or a process that cannot be seen"
    set +f
    # shellcheck disable=SC2012,SC2016 # names are numbers; the program is awk's
    fact_pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v socket="socket:[$1]" '
        /^\/proc\// { split($1, part, "/"); next }
        index($0, socket) { print part[3]; exit }')
    set -f
    if [ -n "$fact_pid" ] && read -r fact_name 2>/dev/null <"/proc/$fact_pid/comm"; then
        fact_owner="$fact_name (process $fact_pid)"
    fi
    return 0
}

# fact_space DIRECTORY...: what is left on the file systems below them, in one
# process. GNU's df counts space and files at once, others only space.
fact_space() {
    fact_left=$#
    while [ "$fact_left" -gt 0 ]; do
        expand "$1"
        record space-of "$expanded"
        while [ ! -d "$expanded" ]; do
            expanded=${expanded%/*}
            [ -n "$expanded" ] || expanded=/
        done
        set -- "$@" "$expanded"
        shift
        fact_left=$((fact_left - 1))
    done
    fact_kind=gnu
    fact_df=$(df -k --output=size,avail,iavail,itotal,target "$@" 2>/dev/null) || {
        fact_kind=posix
        fact_df=$(df -Pk "$@" 2>/dev/null) || return 0
    }
    record space "$fact_kind"
    printf '%s\n' "$fact_df"
}

# fact_files content|hash|stat PATH...: mode, owner, size and times of each file,
# except for stat its SHA-256, and for content the bytes themselves. One process for each kind of
# fact, however many files.
fact_files() {
    fact_want=$1
    shift
    fact_left=$#
    while [ "$fact_left" -gt 0 ]; do
        expand "$1"
        shift
        fact_left=$((fact_left - 1))
        if [ -f "$expanded" ]; then
            if [ -L "$expanded" ] && [ "$ACCOUNT_ID" = 0 ] && [ "$(stat -c %u "$expanded")" != 0 ]; then
                # Root reads nothing that a user's link leads to.
                record other "$expanded"
            elif [ -r "$expanded" ]; then
                set -- "$@" "$expanded"
                [ -L "$expanded" ] && record link "$expanded"
            else
                record unreadable "$expanded"
            fi
        elif [ -e "$expanded" ] || [ -L "$expanded" ]; then
            record other "$expanded"
        else
            record absent "$expanded"
        fi
    done
    [ $# -gt 0 ] || return 0
    record files "$fact_want" $#
    printf '%s\n' "$@"
    stat -L -c "%a$TAB%u$TAB%U$TAB%s$TAB%Z" "$@" || fail facts "a file vanished while it was read"
    [ "$fact_want" = stat ] || sha256sum "$@" || fail facts "a file vanished while it was read"
    if [ "$fact_want" = content ]; then
        cat "$@" || fail facts "a file vanished while it was read"
        printf '\n'
    fi
    record end
}

# fact_unit UNIT: what systemd knows of the unit, and the files it is made of.
fact_unit() {
    [ -d /run/systemd/system ] || return 0
    fact_unit=$1
    fact_shown=$(systemctl show "$1" --no-pager -p LoadState -p ActiveState -p SubState \
        -p FragmentPath -p DropInPaths -p EnvironmentFiles -p InvocationID -p MainPID \
        -p ExecMainStartTimestampMonotonic -p NeedDaemonReload -p UnitFileState </dev/null) ||
        fail facts "systemctl show $1 failed"
    set --
    fact_old_ifs=$IFS
    IFS='
'
    set -f
    for fact_line in $fact_shown; do
        IFS=$fact_old_ifs
        record unit "$fact_line"
        case $fact_line in
        MainPID=*) fact_main_pid=${fact_line#MainPID=} ;;
        FragmentPath=/*) set -- "$@" "${fact_line#FragmentPath=}" ;;
        DropInPaths=/*) for fact_file in ${fact_line#DropInPaths=}; do set -- "$@" "$fact_file"; done ;;
        EnvironmentFiles=/*)
            fact_file=${fact_line#EnvironmentFiles=}
            set -- "$@" "${fact_file%% (*}"
            ;;
        esac
    done
    set +f
    IFS=$fact_old_ifs
    # What systemd has not read yet it will read at the next reload.
    for fact_file in "/etc/systemd/system/$fact_unit.d"/*.conf; do
        [ -f "$fact_file" ] || continue
        record drop-in "$fact_file"
        set -- "$@" "$fact_file"
    done
    [ $# -gt 0 ] && fact_files content "$@"
    fact_armed
    return 0
}

# fact_armed: runs whose change on this node is neither confirmed nor undone.
fact_armed() {
    for fact_left in "$STATE"/armed/*; do
        [ -d "$fact_left" ] || continue
        if [ -e "$fact_left/failed" ]; then
            record undo-failed "${fact_left##*/}"
        else
            record armed "${fact_left##*/}"
        fi
    done
    return 0
}

# fact_engine: containers and swarm of the daemon that fact_unit has found. The
# API is not asked: with fd:// gone from the flags the local socket hangs.
fact_engine() {
    [ -r "/proc/${fact_main_pid:-0}/environ" ] || return 0
    fact_arguments=$(tr '\000' '\n' <"/proc/$fact_main_pid/cmdline")
    set -f
    fact_old_ifs=$IFS
    IFS='
'
    # shellcheck disable=SC2086 # one word a line
    set -- $fact_arguments
    IFS=$fact_old_ifs
    set +f
    engine_records /etc/docker/daemon.json "$@"
}

# engine_records FILE ARGUMENT...: what a dockerd with this daemon.json and this
# command line has under its hands, from its own files.
engine_records() {
    engine_root=/var/lib/docker
    if [ -r "$1" ]; then
        while IFS= read -r engine_line || [ -n "$engine_line" ]; do
            for engine_key in data-root graph; do
                case $engine_line in
                *"\"$engine_key\""*:*\"*\"*)
                    engine_value=${engine_line#*"\"$engine_key\""}
                    engine_value=${engine_value#*\"}
                    engine_root=${engine_value%%\"*}
                    ;;
                esac
            done
        done <"$1"
    fi
    shift
    engine_next=
    for engine_argument in "$@"; do
        if [ -n "$engine_next" ]; then
            engine_root=$engine_argument
            engine_next=
            continue
        fi
        case $engine_argument in
        --data-root=* | --graph=*) engine_root=${engine_argument#*=} ;;
        --data-root | --graph | -g) engine_next=yes ;;
        --live-restore) record engine live-restore true ;;
        --live-restore=*) record engine live-restore "${engine_argument#*=}" ;;
        esac
    done
    engine_count=0
    # shellcheck disable=SC2013 # numbers
    for engine_pid in $(grep -ho '"State":{"Running":true[^}]*"Pid":[0-9]*' \
        "$engine_root"/containers/*/config.v2.json 2>/dev/null); do
        case $engine_pid in
        *'"Pid":'*) [ -d "/proc/${engine_pid##*:}" ] && engine_count=$((engine_count + 1)) ;;
        esac
    done
    record engine containers "$engine_count"
    if [ -e "$engine_root/swarm/docker-state.json" ]; then
        record engine swarm
        if [ -r "$engine_root/swarm/certificates/swarm-node.crt" ]; then
            while IFS= read -r engine_line; do
                record engine swarm-certificate "$engine_line"
            done <"$engine_root/swarm/certificates/swarm-node.crt"
        fi
    fi
    return 0
}

# fact_service UNIT: the state of a unit that is not the daemon's.
fact_service() {
    [ -d /run/systemd/system ] || return 0
    fact_shown=$(systemctl show "$1" --no-pager -p LoadState -p ActiveState -p SubState </dev/null) ||
        fail facts "systemctl show $1 failed"
    printf '%s\n' "$fact_shown" | while IFS= read -r fact_line; do
        record service "$1" "$fact_line"
    done
    return 0
}

# fact_exists PATH...: whether something is there, a link that leads nowhere too.
fact_exists() {
    for fact_path in "$@"; do
        expand "$fact_path"
        if [ -e "$expanded" ] || [ -L "$expanded" ]; then
            record exists yes "$expanded"
        else
            record exists no "$expanded"
        fi
    done
    return 0
}

# --- changing files ----------------------------------------------------------
# A directory's changes are staged in a directory of their own inside it
# (same file system, so that a rename is atomic): new/ what shall come, old/
# what was there, absent/ an empty file for each name that was not there, gone/
# one for each name that shall not be there any more.

stage_name() { STAGE=$1/.dtls-deploy.$RUN; }

# expect PATH SHA256|absent: the file is still what the plan was made from.
expect() {
    if [ "$2" = absent ]; then
        if [ -e "$1" ] || [ -L "$1" ]; then fail expect "$1 has appeared since the plan was made"; fi
        return 0
    fi
    [ -e "$1" ] || fail expect "$1 has vanished since the plan was made"
    expect_found=$(sha256sum "$1" 2>/dev/null) || fail expect "$1 cannot be read as $ACCOUNT"
    [ "${expect_found%% *}" = "$2" ] || fail expect "$1 has changed since the plan was made"
}

# stage_open DIR: an empty stage, which says whose it is.
stage_open() {
    process_start "$DTLS_OWNER"
    mkdir "$STAGE" && printf '%s %s\n' "$DTLS_OWNER" "$process_start" >"$STAGE/owner" &&
        mkdir "$STAGE/new" "$STAGE/old" "$STAGE/absent" "$STAGE/gone" || fail stage "cannot write in $1"
}

# stage_directory DIR MODE set|keep: makes DIR where it is missing and opens its
# stage; an existing one gets the mode with the swap, or keeps its own.
stage_directory() {
    if [ ! -d "$1" ]; then
        stage_made=$1
        while [ ! -d "${stage_made%/*}/" ]; do stage_made=${stage_made%/*}; done
        (umask 022 && mkdir -p "${1%/*}/") && mkdir -m "$2" "$1" || fail stage "cannot make the directory $1"
        stage_name "$1"
        stage_open "$1"
        printf '%s\n' "$stage_made" >"$STAGE/made" || fail stage "cannot write in $1"
        return 0
    fi
    [ -O "$1" ] || fail stage "$1 belongs to another account than $ACCOUNT"
    stage_name "$1"
    for stage_left in "$1"/.dtls-deploy.*; do
        if [ -d "$stage_left" ] && [ ! -L "$stage_left" ] && [ "$stage_left" != "$STAGE" ]; then
            is_abandoned "$stage_left" || fail stage "another run is unfinished here: $stage_left"
            rm -rf "$stage_left"
        fi
    done
    stage_mode=$(stat -L -c %a "$1") || fail stage "cannot stat $1"
    # Whoever may write here could exchange the stage itself.
    [ "$3" = keep ] || chmod go-w "$1" || fail stage "cannot set the mode of $1"
    [ ! -O "$STAGE" ] || [ -L "$STAGE" ] || return 0
    stage_open "$1"
    [ "$3" = set ] || return 0
    printf '%s\n' "$stage_mode" >"$STAGE/mode" && printf '%s\n' "$2" >"$STAGE/new-mode" ||
        fail stage "cannot write in $1"
}

# stage_file DIR NAME MODE CONTENT
stage_file() {
    stage_name "$1"
    [ ! -e "$STAGE/new/$2" ] || rm -f "$STAGE/new/$2"
    (set -C && printf '%s' "$4" >"$STAGE/new/$2") 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    chmod "$3" "$STAGE/new/$2" || fail stage "cannot set the mode of $1/$2"
    stage_keep "$1" "$2"
}

# stage_copy DIR NAME MODE FROM: bytes that the node has already.
stage_copy() {
    stage_name "$1"
    [ ! -e "$STAGE/new/$2" ] || rm -f "$STAGE/new/$2"
    (set -C && cat "$4" >"$STAGE/new/$2") 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    chmod "$3" "$STAGE/new/$2" || fail stage "cannot set the mode of $1/$2"
    stage_keep "$1" "$2"
}

# stage_kept DIR NAME MODE SHA256: bytes from descriptor 3, which root has opened:
# a generation is not for the account to read.
stage_kept() {
    stage_name "$1"
    [ ! -e "$STAGE/new/$2" ] || rm -f "$STAGE/new/$2"
    (set -C && cat <&3 >"$STAGE/new/$2") 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    stage_sum=$(sha256sum "$STAGE/new/$2") && [ "${stage_sum%% *}" = "$4" ] ||
        fail stage "what is kept of $1/$2 is not what was kept"
    chmod "$3" "$STAGE/new/$2" || fail stage "cannot set the mode of $1/$2"
    stage_keep "$1" "$2"
}

# stage_gone DIR NAME: the file shall not be there any more.
stage_gone() {
    stage_name "$1"
    stage_keep "$1" "$2"
    printf '' >"$STAGE/gone/$2" || fail stage "cannot write in $1"
}

# stage_keep DIR NAME: what is needed to put the old file back.
stage_keep() {
    [ ! -e "$STAGE/old/$2" ] || rm -f "$STAGE/old/$2"
    if [ -e "$1/$2" ] || [ -L "$1/$2" ]; then
        [ -f "$1/$2" ] || fail stage "$1/$2 is not a regular file"
        ln "$1/$2" "$STAGE/old/$2" 2>/dev/null || cp -pP "$1/$2" "$STAGE/old/$2" ||
            fail stage "cannot keep the old $1/$2"
    else
        printf '' >"$STAGE/absent/$2" || fail stage "cannot write in $1"
    fi
}

# stage_sync DIR NAME...: the staged bytes are on the disk before any rename.
stage_sync() {
    stage_name "$1"
    stage_above=$1
    shift
    stage_left=$#
    while [ "$stage_left" -gt 0 ]; do
        [ -e "$STAGE/gone/$1" ] || set -- "$@" "$STAGE/new/$1"
        shift
        stage_left=$((stage_left - 1))
    done
    # A directory that was made is in the one above it only when that is synced.
    stage_made=
    [ ! -f "$STAGE/made" ] || read -r stage_made <"$STAGE/made"
    while [ -n "$stage_made" ] && [ "${#stage_above}" -ge "${#stage_made}" ]; do
        stage_above=${stage_above%/*}
        set -- "$@" "${stage_above:-/}"
    done
    sync "$@" "$STAGE/old" "$STAGE/absent" "$STAGE/new" "$STAGE" 2>/dev/null || sync
}

# swap DIR NAME...: one mv process renames a whole set; what shall go, goes.
swap() {
    stage_name "$1"
    [ -O "$STAGE" ] && [ ! -L "$STAGE" ] || return 1
    swap_directory=$1
    shift
    swap_left=$#
    while [ "$swap_left" -gt 0 ]; do
        # What is not in new/ any more has been swapped already.
        [ ! -e "$STAGE/new/$1" ] || set -- "$@" "$STAGE/new/$1"
        [ ! -e "$STAGE/gone/$1" ] || rm -f "$swap_directory/$1" || return 1
        shift
        swap_left=$((swap_left - 1))
    done
    if [ $# -gt 0 ]; then mv -f "$@" "$swap_directory/" || return 1; fi
    if [ -f "$STAGE/new-mode" ]; then
        read -r swap_mode <"$STAGE/new-mode"
        chmod "$swap_mode" "$swap_directory" || return 1
    fi
    sync "$swap_directory" 2>/dev/null || sync
}

# unswap DIR NAME...: puts back what swap replaced; harmless when swap did not
# happen.
unswap() {
    stage_name "$1"
    [ -d "$STAGE" ] || return 0
    unswap_directory=$1
    shift
    unswap_status=0
    unswap_left=$#
    while [ "$unswap_left" -gt 0 ]; do
        if [ -e "$STAGE/new/$1" ]; then
            # It was never put in place: what is there is not ours.
            :
        elif [ -e "$STAGE/old/$1" ] || [ -L "$STAGE/old/$1" ]; then
            set -- "$@" "$STAGE/old/$1"
        elif [ -e "$STAGE/absent/$1" ]; then
            rm -f "$unswap_directory/$1" || unswap_status=1
        fi
        shift
        unswap_left=$((unswap_left - 1))
    done
    if [ $# -gt 0 ]; then mv -f "$@" "$unswap_directory/" || unswap_status=1; fi
    if [ -f "$STAGE/mode" ]; then
        read -r unswap_mode <"$STAGE/mode"
        chmod "$unswap_mode" "$unswap_directory" || unswap_status=1
    fi
    unswap_made=
    [ -f "$STAGE/made" ] && read -r unswap_made <"$STAGE/made"
    # What is kept for another try stays when this one did not succeed.
    [ "$unswap_status" = 0 ] || return 1
    rm -rf "$STAGE"
    if [ -n "$unswap_made" ]; then
        unswap_stop=${unswap_made%/*}
        while [ "$unswap_directory" != "$unswap_stop" ]; do
            rmdir "$unswap_directory" 2>/dev/null || break
            unswap_directory=${unswap_directory%/*}
        done
        unswap_directory=${unswap_stop:-/}
    fi
    sync "$unswap_directory" 2>/dev/null || sync
}

# prune_directory DIR LEVELS: a directory in which nothing is left goes, and so
# many of those above it.
prune_directory() {
    prune_directory=$1
    prune_left=$2
    while [ "$prune_left" -gt 0 ] && rmdir "$prune_directory" 2>/dev/null; do
        prune_directory=${prune_directory%/*}
        prune_left=$((prune_left - 1))
    done
    return 0
}

# require_stage DIR: what is needed to undo is still there.
require_stage() {
    stage_name "$1"
    [ -d "$STAGE" ] || fail undo "what was kept to undo the change in $1 is gone"
}

# sweep DIR: removes what interrupted runs have left.
sweep() {
    for stage_left in "$1"/.dtls-deploy.*; do
        if [ -d "$stage_left" ] && [ ! -L "$stage_left" ] && is_abandoned "$stage_left"; then
            rm -rf "$stage_left" || fail sweep "cannot remove $stage_left"
        fi
    done
}

# unstage DIR: the change stays; what was kept to undo it goes. Where that
# fails the next run knows that it may go.
unstage() {
    stage_name "$1"
    rm -rf "$STAGE" && return 0
    mv "$STAGE" "$1/.dtls-deploy.done.$RUN"
    return 1
}

# --- dockerd ------------------------------------------------------------------

unit_property() { systemctl show "$1" --no-pager -p "$2" --value </dev/null; }

# validate SETTINGS CA CERTIFICATE KEY DOCKERD ARGUMENT...: whether dockerd would
# start with the new settings, with the staged file where one is staged.
validate() {
    validate_directory=$STATE/validate
    own_state && rm -rf "$validate_directory" && mkdir "$validate_directory" &&
        printf '%s' "$1" >"$validate_directory/daemon.json" || {
        record failed validate "cannot write in $STATE"
        return 1
    }
    shift
    for validate_link in tlscacert tlscert tlskey; do
        stage_name "${1%/*}"
        if [ -e "$STAGE/new/${1##*/}" ]; then
            ln -s "$STAGE/new/${1##*/}" "$validate_directory/$validate_link"
        else
            ln -s "$1" "$validate_directory/$validate_link"
        fi
        shift
    done
    validate_dockerd=$1
    shift
    validate_said=$(
        unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH DTLS_PRELUDE
        exec timeout 20 "$validate_dockerd" --validate --config-file "$validate_directory/daemon.json" "$@" 2>&1 </dev/null
    )
    validate_status=$?
    rm -rf "$validate_directory"
    [ "$validate_status" != 0 ] || return 0
    validate_line='
'
    case $validate_said in
    # Before 23.0 it cannot be asked.
    *'unknown flag: --validate'*) return 0 ;;
    *"${validate_line}See '"*) validate_said=${validate_said%"${validate_line}See '"*} ;;
    esac
    if [ "$validate_status" = 124 ]; then
        record failed validate "dockerd --validate did not end within 20 seconds"
        return 1
    fi
    validate_said=${validate_said##*"$validate_line"}
    validate_said=${validate_said##*"$validate_directory/daemon.json: "}
    record failed validate "dockerd refuses the new settings: $(printf '%s' "$validate_said" | tr '\t' ' ')"
    return 1
}

# RESTORE: the unit that puts the old files back when the node boots before
# anybody has confirmed. It is there only while a change is under way.
RESTORE=dtls-deploy-restore.service
UNITS=${DTLS_UNITS:-/etc/systemd/system}
# Gone after a boot: what tells a boot from a restart of the daemon.
RUNTIME=${DTLS_RUNTIME:-/run}/dtls-deploy

# arm SECONDS UNIT PATHS SCRIPT: the node puts everything back by itself when
# nobody confirms in time, be it that the controller is gone, the connection
# dead, or the power cut in between. SCRIPT defines unswap_all and unstage_all;
# PATHS are the directories they need, as RequiresMountsFor= takes them.
#
# Confirming and undoing both begin by renaming the marker `pending`, so that
# exactly one of them happens.
arm() {
    arm_directory=$STATE/armed/$RUN
    arm_wants=$UNITS/$2.wants
    own_state && mkdir -p "$STATE/armed" "$RUNTIME" "$arm_wants" "$arm_directory" &&
        printf '' >"$RUNTIME/$RUN" &&
        process_start "$DTLS_OWNER" && printf '%s %s\n' "$DTLS_OWNER" "$process_start" >"$arm_directory/owner" &&
        printf '%s\n' "$DTLS_PRELUDE" >"$arm_directory/prelude.sh" &&
        printf '%s\n' "$4" >"$arm_directory/undo.sh" &&
        unit_property "$2" ActiveState >"$arm_directory/was" &&
        cat >"$arm_directory/rollback.sh" <<'ROLLBACK' &&
# Puts back what an unconfirmed change of dtls-deploy replaced, and restarts the
# daemon; may be run by hand, as root, and again. `timer` leaves alone what
# somebody else has begun, `boot` restores files only: docker starts after it.
ROLLBACK_DIRECTORY=${0%/*}
DTLS_PRELUDE=$(cat "$ROLLBACK_DIRECTORY/prelude.sh") || exit 1
eval "$DTLS_PRELUDE"
login_home=/
. "$ROLLBACK_DIRECTORY/undo.sh" || exit 1
roll_back "${1-}"
ROLLBACK
        printf '' >"$arm_directory/pending" &&
        cat >"$UNITS/$RESTORE" <<UNIT || fail arm "cannot write in $STATE or $UNITS (disk full or read-only?)"
[Unit]
Description=Puts back what an unconfirmed change of dtls-deploy replaced
DefaultDependencies=no
After=local-fs.target
RequiresMountsFor=$STATE $3
Before=$2
ConditionPathExists=!$RUNTIME/$RUN
ConditionPathExists=$arm_directory/undo.sh
[Service]
Type=oneshot
ExecStart=/bin/sh $arm_directory/rollback.sh boot
UNIT
    ln -sf "../$RESTORE" "$arm_wants/$RESTORE" &&
        { sync "$arm_directory"/* "$arm_directory" "$STATE/armed" "$STATE" "$UNITS/$RESTORE" "$arm_wants" "$UNITS" 2>/dev/null || sync; } ||
        fail arm "cannot write in $UNITS (disk full or read-only?)"
    systemctl stop "$(armed_unit).timer" </dev/null 2>/dev/null
    systemd-run --quiet --collect --on-active="$1" --timer-property=AccuracySec=1s \
        --unit="$(armed_unit)" /bin/sh "$arm_directory/rollback.sh" timer </dev/null ||
        fail arm "systemd-run failed: the node could not put the old files back by itself"
    printf '' >"$arm_directory/armed" || fail arm "cannot write in $STATE (disk full or read-only?)"
}

armed_unit() { printf '%s' "dtls-deploy-rollback-${RUN%%@*}-${RUN#*@}"; }

# claim NAME: settles how this run ends on this node; only the first succeeds.
claim() {
    mv "$STATE/armed/$RUN/pending" "$STATE/armed/$RUN/$1" 2>/dev/null || return 1
    sync "$STATE/armed/$RUN" 2>/dev/null || sync
}

# claim_undo NAME: where nobody can rename it nobody can confirm, either.
claim_undo() { claim "$1" || [ -e "$STATE/armed/$RUN/pending" ]; }

# disarm: it is settled, and neither timer nor boot has anything left to do.
disarm() {
    systemctl stop "$(armed_unit).timer" </dev/null 2>/dev/null
    # While one of these is there, what they need is there.
    rm -f "$UNITS/$UNIT.wants/$RESTORE" "$UNITS/$RESTORE"
    rmdir "$UNITS/$UNIT.wants" 2>/dev/null
    rm -rf "$STATE/armed/$RUN"
    # A unit that could not be removed is for the next boot, not for a restart.
    [ -e "$UNITS/$RESTORE" ] || rm -f "${RUNTIME:?}/$RUN"
}

# give_up [restart|boot]: everything as it was, said as it is; nothing more
# comes after it. With `restart` the daemon has seen the new files, and is
# restarted with the old ones.
give_up() {
    if [ -n "$UNIT" ] && [ -z "${claimed-}" ] && ! claim_undo undone; then
        # The node has begun by itself: it is done there.
        record failed undo 'the node puts the old files back by itself'
        record undone
        exit 71
    fi
    undo_status=0
    unswap_all || undo_status=1
    if [ "$undo_status" = 0 ]; then
        case $UNIT:${1-} in
        ?*:restart) restore_unit || undo_status=1 ;;
        ?*:boot) systemctl daemon-reload </dev/null || undo_status=1 ;;
        *:reload) reload_unit "$RELOADED" || undo_status=1 ;;
        esac
    fi
    if [ "$undo_status" = 0 ]; then
        generation_drop
        [ -z "$UNIT" ] || disarm
        record undone
        # Asked for, it is no failure.
        [ -z "${rolling_back-}" ] || exit 0
    elif [ -n "$UNIT" ] && [ -d "$STATE/armed/$RUN" ]; then
        printf '' >"$STATE/armed/$RUN/failed"
        record undo-failed "$STATE/armed/$RUN/rollback.sh"
    else
        record undo-failed
    fi
    exit 71
}

# still_armed: ends the script where the node has put its old files back itself.
still_armed() {
    [ ! -e "$STATE/armed/$RUN/pending" ] || return 0
    record failed undo 'the node puts the old files back by itself'
    record undone
    exit 71
}

# reopen_socket UNIT: TCP ports of the socket unit that hands them to UNIT. systemd
# closes what its files do not name any more at a reload, and opens what they name
# again only when the socket is started.
reopen_socket() {
    systemctl daemon-reload </dev/null || return 0
    reopen_unit=${1%.service}.socket
    reopen_shown=$(systemctl show "$reopen_unit" --no-pager -p ActiveState -p Listen </dev/null 2>/dev/null)
    case $reopen_shown in
    *ActiveState=active*) ;;
    *) return 0 ;;
    esac
    case $reopen_shown in
    *Listen=[!/@]*:[0-9]*"(Stream)"*) ;;
    *) return 0 ;;
    esac
    # It is not started while its service runs.
    systemctl stop "$1" </dev/null
    systemctl restart "$reopen_unit" </dev/null
    return 0
}

# restore_unit: the daemon with its old files, if it ran with them.
restore_unit() {
    restore_was=$(cat "$STATE/armed/$RUN/was" 2>/dev/null)
    reopen_socket "$UNIT"
    if restart_unit "$UNIT" "$RESTART_WITHIN"; then return 0; fi
    journal_tail "$UNIT"
    # One that did not run before does not have to.
    [ "${restore_was:-active}" != active ]
}

# roll_back [timer|boot]: this run's change is undone, whoever asks.
roll_back() {
    if [ -e "$STATE/armed/$RUN/confirmed" ]; then
        # The power went while what is not needed any more was removed.
        unstage_all
        disarm
        record confirmed
        exit 0
    fi
    # Whoever has begun to undo it goes on; after that there is nothing to do.
    claim_undo rolled-back || [ "${1-}" != timer ] || exit 0
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$STATE/armed/$RUN/undo.sh"
        if [ "${1-}" = boot ]; then
            # Whoever is at it restarts the daemon, whose start waits for this.
            flock -n 9 || exit 0
        else
            flock 9
        fi
        [ -e "$STATE/armed/$RUN/undo.sh" ] || { record undone; exit 0; }
    fi
    claimed=yes
    rolling_back=yes
    if [ "${1-}" = boot ]; then give_up boot; else give_up restart; fi
}

# settle RUN SECONDS: undoes what a run left unconfirmed here, or waits for the
# node that is undoing it. Called by a run that holds the lock which RUN would
# hold if anybody still directed it; its script may go on here for a while.
settle() {
    case $1 in '' | .* | */*) fail settle "no run is named $1" ;; esac
    settle_run=$1
    settle_seconds=$2
    settle_directory=$STATE/armed/$1
    shift 2
    # A script that is still at work there is not disturbed: it ends soon, and
    # whoever is done first has settled it.
    settle_left=$settle_seconds
    for settle_place in "$settle_directory" "$@"; do
        # One that does not say yet whose it is, or whose maker died at that word.
        [ ! -d "$settle_place" ] || [ -s "$settle_place/owner" ] || sleep 1
        while read -r settle_owner settle_start 2>/dev/null <"$settle_place/owner"; do
            process_start "$settle_owner"
            [ -n "$process_start" ] && [ "$process_start" = "$settle_start" ] || break
            [ "$settle_left" -gt 0 ] || fail settle "the run $settle_run is still at work there after $settle_seconds seconds"
            settle_left=$((settle_left - 1))
            sleep 1
        done
    done
    settle_said=
    if [ -d "$settle_directory" ]; then
        settle_said=$(/bin/sh "$settle_directory/rollback.sh" </dev/null 2>/dev/null)
    fi
    if [ -d "$settle_directory" ] && [ -z "$settle_said" ]; then
        # It was cut short before it was armed: nothing has been renamed.
        [ -e "$settle_directory/armed" ] || rm -rf "$settle_directory"
    fi
    if [ -d "$settle_directory" ] && [ ! -e "$settle_directory/failed" ]; then
        fail settle "the change of the run $settle_run can neither be finished nor undone: $settle_directory"
    fi
    # Nobody is at work there: what is left of a stage may go.
    if [ ! -d "$settle_directory" ]; then
        for settle_place in "$@"; do
            [ ! -d "$settle_place" ] || [ -L "$settle_place" ] ||
                mv "$settle_place" "${settle_place%/*}/.dtls-deploy.done.$settle_run"
        done
    fi
    case $settle_said in
    *undo-failed*)
        printf '%s\n' "$settle_said" | while IFS= read -r settle_line; do
            case $settle_line in journal"$TAB"*) printf '%s\n' "$settle_line" ;; esac
        done
        record settled undo-failed
        ;;
    *undone*) record settled undone ;;
    *) record settled by-itself ;;
    esac
}

# remember FILE...: SHA-256 of everything dockerd is about to read, kept until
# the restart is confirmed.
remember() {
    mkdir -p "$STATE" && chmod 700 "$STATE" || fail remember "cannot write in $STATE"
    rm -f "$STATE/pending"
    remember_left=$#
    while [ "$remember_left" -gt 0 ]; do
        [ -f "$1" ] && set -- "$@" "$1"
        shift
        remember_left=$((remember_left - 1))
    done
    sha256sum "$@" >"$STATE/pending" || fail remember "cannot write in $STATE"
}

# restart_unit UNIT SECONDS: reads the unit files anew, restarts, and succeeds
# only when a new invocation of the unit is active.
restart_unit() {
    restart_before=$(unit_property "$1" InvocationID)
    systemctl daemon-reload </dev/null || return 1
    # Repeated restarts run into StartLimitBurst, which stops a running daemon
    # and then refuses to start it.
    systemctl reset-failed "$1" docker.socket </dev/null 2>/dev/null
    if timeout "$2" systemctl restart "$1" </dev/null; then :; else return 1; fi
    restart_after=$(systemctl show "$1" --no-pager -p InvocationID -p ActiveState </dev/null)
    case $restart_after in
    *ActiveState=active*) ;;
    *) return 1 ;;
    esac
    restart_after=${restart_after#*InvocationID=}
    restart_after=${restart_after%%[!0-9a-f]*}
    [ -n "$restart_after" ] && [ "$restart_after" != "$restart_before" ] || return 1
}

# restart_new UNIT SECONDS: with the new files.
restart_new() {
    restart_unit "$@" || return 1
    # Where nobody reads this any more nobody will confirm: a failure, too.
    record restarted "$1" "$restart_after"
}

# journal_tail UNIT: why it did not start, in the unit's own words.
journal_tail() {
    journalctl -u "$1" -n 15 --no-pager -o cat </dev/null 2>/dev/null | while IFS= read -r journal_line; do
        record journal "$journal_line"
    done
    return 0
}

# confirm UNIT: the restart is proved, and what is there stays.
confirm() {
    claim confirmed || [ -e "$STATE/armed/$RUN/confirmed" ] ||
        fail confirm "nobody confirmed in time: the node has put the old files back"
}

# remember_restart UNIT: from now on these are the bytes that dockerd has read.
remember_restart() {
    [ -e "$STATE/pending" ] || return 0
    { unit_property "$1" InvocationID && cat "$STATE/pending"; } >"$STATE/.confirmed" &&
        mv -f "$STATE/.confirmed" "$STATE/confirmed" && rm -f "$STATE/pending" || return 1
    sync "$STATE/confirmed" "$STATE" 2>/dev/null || sync
}

# --- generations ----------------------------------------------------------------
# What a change replaces is kept, in a directory that only this account reads:
# 1, 2, ... are the files, `sums` their SHA-256, and `manifest` says where each
# was, with its mode and owner, and what was not there:
#
#   run RUN
#   expires SECONDS               notAfter of the certificate in it
#   directory PATH
#   missing PATH TOP              a directory that was not there, from TOP on
#   file MODE UID GID PATH        the first line is of file 1, and so on
#   absent PATH
#
# separated by tabs. `rollback` goes back to the newest.

# generation_find: sets $generation_found to this transaction's.
generation_find() {
    generation_found=
    own_state || return 1
    for generation_each in "$STATE"/generations/[0-9]*-"$RUN.$SEQUENCE"; do
        [ ! -d "$generation_each" ] || generation_found=$generation_each
    done
}

generation_open() {
    own_state || fail generation "cannot keep the old files in $STATE (disk full or read-only?)"
    GENERATION=$STATE/generations/.new-$RUN.$SEQUENCE
    generation_count=0
    generation_lines='
'
    rm -rf "$GENERATION"
    mkdir -p "$STATE/generations" && mkdir "$GENERATION" && printf '' >"$GENERATION/paths" &&
        printf "run$TAB%s\n" "$RUN" >"$GENERATION/manifest" || generation_failed
}

generation_failed() { fail generation "cannot keep the old files in $STATE (disk full or read-only?)"; }

# generation_directory PATH
generation_directory() { generation_line "directory$TAB$1"; }

# generation_line LINE: once, however often it is asked for.
generation_line() {
    case $generation_lines in
    *"
$1
"*) return 0 ;;
    esac
    generation_lines="$generation_lines$1
"
    printf '%s\n' "$1" >>"$GENERATION/manifest" || generation_failed
}

# generation_missing PATH TOP
generation_missing() { generation_line "missing$TAB$1$TAB$2"; }

# generation_file ACCOUNT PATH CALL: CALL prints the file; it runs as the account
# that owns the directory.
generation_file() {
    if [ ! -e "$2" ]; then
        generation_line "absent$TAB$2"
        return 0
    fi
    case $generation_lines in
    *"
copy $2
"*) return 0 ;;
    esac
    generation_lines="${generation_lines}copy $2
"
    generation_count=$((generation_count + 1))
    in_account "$1" "$3" >"$GENERATION/$generation_count" && printf '%s\n' "$2" >>"$GENERATION/paths" ||
        generation_failed
}

# generation_close EXPIRES: it is on the disk, whole, or it is not there.
generation_close() {
    if generation_find && [ -n "$generation_found" ]; then return 0; fi
    set -- "$1"
    while IFS= read -r generation_path; do set -- "$@" "$generation_path"; done <"$GENERATION/paths"
    printf "expires$TAB%s\n" "$1" >>"$GENERATION/manifest" || generation_failed
    shift
    rm -f "$GENERATION/paths"
    if [ $# -gt 0 ]; then
        stat -L -c "file$TAB%a$TAB%u$TAB%g$TAB%n" "$@" >>"$GENERATION/manifest" &&
            (cd "$GENERATION" && sha256sum [0-9]* >sums) || generation_failed
    fi
    generation_number=0
    for generation_each in "$STATE"/generations/[0-9]*; do
        [ -d "$generation_each" ] || continue
        generation_number=${generation_each##*/}
        generation_number=${generation_number%%-*}
    done
    while :; do
        case $generation_number in
        0?*) generation_number=${generation_number#0} ;;
        *) break ;;
        esac
    done
    generation_number=$(printf '%06d' $((generation_number + 1)))
    sync "$GENERATION"/* "$GENERATION" 2>/dev/null || sync
    mv "$GENERATION" "$STATE/generations/$generation_number-$RUN.$SEQUENCE" || generation_failed
    sync "$STATE/generations" "$STATE" 2>/dev/null || sync
}

# generation_drop: nothing was replaced.
generation_drop() {
    generation_find || return 0
    rm -rf "$STATE/generations/.new-$RUN.$SEQUENCE" ${generation_found:+"$generation_found"}
}

# generations_keep COUNT: the newest stay; of what is older nothing, and no key
# whose certificate has expired.
generations_keep() {
    own_state || return 0
    rm -rf "$STATE/generations"/.new-*
    generation_left=$1
    set --
    for generation_each in "$STATE"/generations/[0-9]*; do
        [ ! -d "$generation_each" ] || set -- "$@" "$generation_each"
    done
    while [ $# -gt "$generation_left" ]; do
        rm -rf "$1"
        shift
    done
    generation_now=$(date +%s)
    for generation_each in "$@"; do
        generation_end=$(sed -n "s/^expires$TAB//p" "$generation_each/manifest")
        case $generation_end in
        '' | 0 | *[!0-9]*) continue ;;
        esac
        [ "$generation_end" -lt "$generation_now" ] || continue
        for generation_file in "$generation_each"/[0-9]*; do
            if grep -q 'PRIVATE KEY' "$generation_file" 2>/dev/null; then rm -f "$generation_file"; fi
        done
    done
    return 0
}

# generation_forget DIRECTORY: the node has gone back to it.
generation_forget() { rm -rf "$1"; }

# forget: nothing of what this node kept stays; a CA's agent is not ours to
# remove.
forget() {
    own_state || return 0
    rm -rf "$STATE/generations" "$STATE/confirmed" "$STATE/pending"
    rmdir "$STATE/armed" "$STATE" 2>/dev/null
    return 0
}

# fact_generation: the newest generation, and what is now where its files were.
fact_generation() {
    fact_newest=
    if [ -z "${DTLS_STATE-}" ] && [ "$ACCOUNT_ID" != 0 ]; then STATE=$login_home/.local/state/dtls-deploy; fi
    for fact_each in "$STATE"/generations/[0-9]*; do
        [ ! -f "$fact_each/manifest" ] || fact_newest=$fact_each
    done
    [ -n "$fact_newest" ] || return 0
    record generation "$fact_newest"
    fact_files content "$fact_newest/manifest"
    [ ! -f "$fact_newest/sums" ] || fact_files content "$fact_newest/sums"
    set --
    while IFS=$TAB read -r fact_word fact_mode _ _ fact_path; do
        case $fact_word in
        directory | missing) fact_path "$fact_mode" ;;
        absent) set -- "$@" "$fact_mode" ;;
        file) set -- "$@" "$fact_path" ;;
        esac
    done <"$fact_newest/manifest"
    [ $# = 0 ] || fact_files hash "$@"
    for fact_how in content hash; do
        set --
        for fact_each in "$fact_newest"/[0-9]*; do
            [ -f "$fact_each" ] || continue
            # Keys are never read, only hashed.
            if grep -q 'PRIVATE KEY' "$fact_each"; then fact_kind='hash'; else fact_kind='content'; fi
            [ "$fact_kind" != "$fact_how" ] || set -- "$@" "$fact_each"
        done
        [ $# = 0 ] || fact_files "$fact_how" "$@"
    done
}

# --- live-restore ---------------------------------------------------------------

# reload_unit UNIT: dockerd reads daemon.json anew, on SIGHUP. A setting that is
# not in the file any more stays as it was until the next restart.
reload_unit() {
    systemctl reload "$1" </dev/null || systemctl kill --kill-who=main -s HUP "$1" </dev/null
}

# enable_live_restore UNIT: reloads, and succeeds only when dockerd was seen to
# have live-restore on.
enable_live_restore() {
    reload_cursor=$(journalctl -u "$1" -n 1 -o cat --show-cursor --no-pager </dev/null 2>/dev/null)
    reload_cursor=${reload_cursor##*-- cursor: }
    reload_unit "$1" || return 1
    reload_left=20
    while [ "$reload_left" -gt 0 ]; do
        if [ -n "$reload_cursor" ] &&
            journalctl -u "$1" --after-cursor="$reload_cursor" -o cat --no-pager </dev/null 2>/dev/null |
            grep -Eq 'eloaded configuration.*live-restore(-enabled)?\\*": *true'; then
            return 0
        fi
        reload_left=$((reload_left - 1))
        sleep 0.2 2>/dev/null || sleep 1
    done
    # The journal is elsewhere, or dockerd does not log at this level.
    (
        unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
        if command -v docker >/dev/null 2>&1; then
            [ "$(timeout 5 docker -H unix:///var/run/docker.sock info --format '{{.LiveRestoreEnabled}}' </dev/null 2>/dev/null)" = true ]
        else
            timeout 5 curl -sS --unix-socket /var/run/docker.sock http://localhost/info </dev/null 2>/dev/null |
                grep -q '"LiveRestoreEnabled":true'
        fi
    )
}

# record_reload UNIT LINES: dockerd goes on running, and these are the bytes
# that it has read.
record_reload() {
    own_state &&
        { unit_property "$1" InvocationID && printf '%s' "$2"; } >"$STATE/.confirmed" &&
        mv -f "$STATE/.confirmed" "$STATE/confirmed" || fail reload "cannot write in $STATE"
    sync "$STATE/confirmed" "$STATE" 2>/dev/null || sync
}

# --- steps of the operator's own ----------------------------------------------
# What a program says goes to files first: one that leaves a process behind
# would keep a pipe open.

# own_tail STREAM FILE: its last lines, one record each.
own_tail() {
    tail -c 4000 "$2" | tail -n 12 | tr '\000' '?' | while IFS= read -r own_line || [ -n "$own_line" ]; do
        record said "$1" "$own_line"
    done
    return 0
}

# own_run SECONDS ARGV...: the program with the arguments as they are.
own_run() {
    own_seconds=$1
    shift
    own_directory=$(mktemp -d) || fail step "cannot make a temporary directory"
    # The program gets the surroundings it would have without this script.
    (
        trap - PIPE
        umask 022
        unset DTLS_PRELUDE
        exec timeout "$own_seconds" "$@" </dev/null >"$own_directory/out" 2>"$own_directory/err"
    )
    own_status=$?
    own_tail stdout "$own_directory/out"
    own_tail stderr "$own_directory/err"
    rm -rf "$own_directory"
    return "$own_status"
}

own_failed() {
    case $2 in
    124 | 143) fail step "it did not end within $1 seconds" ;;
    127) fail step "there is no such program on the node" ;;
    126) fail step "the program cannot be executed" ;;
    *) fail step "it ended with exit code $2" ;;
    esac
}

# own_command SECONDS ARGV...
own_command() {
    own_run "$@"
    own_code=$?
    [ "$own_code" = 0 ] || own_failed "$1" "$own_code"
}

# own_service SECONDS VERB UNIT: systemctl, and whether it holds.
own_service() {
    own_run "$1" systemctl "$2" "$3"
    own_code=$?
    if [ "$own_code" != 0 ]; then
        journal_tail "$3"
        own_failed "$1" "$own_code"
    fi
    own_state=$(unit_property "$3" ActiveState)
    case $2:$own_state in
    stop:inactive | stop:failed | start:active | restart:active | reload:active) ;;
    start:* | restart:* | reload:*)
        # A oneshot unit is done when it has run.
        [ "$(unit_property "$3" Type)" = oneshot ] && [ "$own_state" = inactive ] && return 0
        journal_tail "$3"
        fail step "$3 is $own_state afterwards"
        ;;
    *) fail step "$3 is $own_state afterwards" ;;
    esac
}

# own_wait_path SECONDS there|gone PATH
own_wait_path() {
    own_left=$1
    while :; do
        if [ -e "$3" ] || [ -L "$3" ]; then own_found=there; else own_found=gone; fi
        [ "$own_found" = "$2" ] && return 0
        [ "$own_left" -gt 0 ] || fail step "$3 is not $2 after $1 seconds"
        own_left=$((own_left - 1))
        sleep 1
    done
}

# --- proof ----------------------------------------------------------------------

# prove_identity TOOLS URL HOST PORT CA CERTIFICATE KEY: shows the identity to the
# daemon with the first of the tools that is there; the key stays where it is.
prove_identity() {
    prove_tool=none
    for prove_candidate in $1; do
        if command -v "$prove_candidate" >/dev/null 2>&1; then
            prove_tool=$prove_candidate
            break
        fi
    done
    shift
    expand "$4" && prove_ca=$expanded
    expand "$5" && prove_certificate=$expanded
    expand "$6" && prove_key=$expanded
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
    case $prove_tool in
    docker)
        prove_said=$(timeout 15 docker --tlsverify --tlscacert "$prove_ca" --tlscert "$prove_certificate" \
            --tlskey "$prove_key" -H "$1" version --format '{{.Server.Version}}' 2>&1 </dev/null)
        prove_status=$?
        ;;
    curl)
        prove_said=$(timeout 15 curl -sS --cacert "$prove_ca" --cert "$prove_certificate" \
            --key "$prove_key" "https://${1#tcp://}/version" 2>&1 </dev/null)
        prove_status=$?
        ;;
    openssl)
        prove_said=$({ printf 'GET /version HTTP/1.0\r\nHost: %s\r\n\r\n' "$2" && sleep 1; } |
            timeout 15 openssl s_client -quiet -verify_return_error -verify_hostname "$2" \
                -CAfile "$prove_ca" -cert "$prove_certificate" -key "$prove_key" -connect "$2:$3" 2>&1)
        prove_status=$?
        ;;
    *)
        record identity unproved none "neither docker nor curl nor openssl is there"
        return 0
        ;;
    esac
    prove_last=$(printf '%s\n' "$prove_said" | tail -n 1 | tr '\t' ' ')
    if [ "$prove_tool" != docker ] && [ "$prove_status" = 0 ]; then
        case $prove_said in
        *ApiVersion*) prove_last= ;;
        *) prove_status=1 ;;
        esac
    fi
    if [ "$prove_status" = 0 ]; then
        record identity accepted "$prove_tool" "$prove_last"
    elif [ "$prove_status" = 124 ]; then
        record identity timeout "$prove_tool" "no answer within 15 s"
    else
        record identity refused "$prove_tool" "$prove_last"
    fi
}

# fact_pair CERTIFICATE KEY: whether the two belong together, where openssl is there
# to say so. It compares public keys; of the private one nothing goes out.
fact_pair() {
    expand "$1" && pair_certificate=$expanded
    expand "$2" && pair_key=$expanded
    if ! command -v openssl >/dev/null 2>&1; then
        record pair unknown none "openssl is not there"
    elif [ ! -f "$pair_certificate" ] || [ ! -f "$pair_key" ]; then
        record pair unknown openssl "they are not both files"
    elif pair_public=$(openssl x509 -in "$pair_certificate" -noout -pubkey 2>/dev/null </dev/null) &&
        pair_own=$(openssl pkey -in "$pair_key" -pubout -passin pass: 2>/dev/null </dev/null); then
        if [ "$pair_public" = "$pair_own" ]; then
            record pair fits openssl ""
        else
            record pair differs openssl ""
        fi
    else
        record pair unknown openssl "openssl cannot read them"
    fi
}

# fact_key_file PATH: whether a key file is encrypted, as its first lines say.
fact_key_file() {
    expand "$1"
    if [ ! -f "$expanded" ]; then
        record keyfile absent none ""
    elif grep -q -e '^-----BEGIN ENCRYPTED PRIVATE KEY-----' -e '^Proc-Type: 4,ENCRYPTED' "$expanded"; then
        record keyfile encrypted none ""
    else
        record keyfile plain none ""
    fi
}

# prove_socket: the daemon still answers on the socket that local users have.
prove_socket() {
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
    if command -v docker >/dev/null 2>&1; then
        prove_tool=docker
        prove_said=$(timeout 10 docker -H unix:///var/run/docker.sock version --format '{{.Server.Version}}' 2>&1 </dev/null)
        prove_status=$?
    elif command -v curl >/dev/null 2>&1; then
        prove_tool=curl
        prove_said=$(timeout 10 curl -sS --unix-socket /var/run/docker.sock http://localhost/_ping 2>&1 </dev/null)
        prove_status=$?
    else
        record socket unproved none "neither docker nor curl is there"
        return 0
    fi
    prove_last=$(printf '%s\n' "$prove_said" | tail -n 1 | tr '\t' ' ')
    if [ "$prove_status" = 0 ]; then
        record socket accepted "$prove_tool" "$prove_last"
    elif [ "$prove_status" = 124 ]; then
        record socket timeout "$prove_tool" "no answer within 10 s"
    else
        record socket refused "$prove_tool" "$prove_last"
    fi
}

# --- accounts besides the login's ---------------------------------------------

# expand_for_account PATH: sets $expanded for ~NAME or ~NAME/...; where there is no
# such account, to a place where nothing can be.
expand_for_account() {
    account_name=${1#"~"}
    account_rest=
    case $account_name in
    */*)
        account_rest=/${account_name#*/}
        account_name=${account_name%%/*}
        ;;
    esac
    case $account_name in
    '' | [-.]* | *[!A-Za-z0-9._-]*) fail account "the account name $account_name is not usable" ;;
    esac
    eval "expanded=~$account_name"
    case $expanded in
    /*) expanded=${expanded%/}$account_rest ;;
    *) expanded=/nonexistent/$account_name$account_rest ;;
    esac
}

# fact_account NAME: the home of an account, empty where there is none.
fact_account() {
    if id -u "$1" >/dev/null 2>&1; then
        expand "~$1"
        record named-account "$1" "$expanded"
    else
        record named-account "$1" ""
    fi
}

# prove_as_owner ARGUMENT...: prove_identity with the files of the account that this
# is, whose own settings of the docker command line count.
prove_as_owner() {
    expand "~$ACCOUNT"
    HOME=$expanded
    export HOME
    prove_identity "$@"
}

# forget_as_login: what was kept for the account that logged in, while this node was
# acted on without root. Done as that account: root would follow its links.
forget_as_login() {
    [ "$ACCOUNT_ID" = 0 ] && [ -n "${SUDO_USER-}" ] && [ "$SUDO_USER" != root ] || return 0
    # shellcheck disable=SC2016 # expanded there
    in_account "$SUDO_USER" 'rm -rf "$login_home/.local/state/dtls-deploy/generations" &&
        { rmdir "$login_home/.local/state/dtls-deploy" 2>/dev/null || :; }' ||
        fail forget "cannot remove what is kept in $login_home/.local/state/dtls-deploy"
}

# fact_away UNIT: for how long it was away when it was restarted last, in
# microseconds of systemd's clock: from the beginning of its stop to its word that
# it is ready, which dockerd gives when its sockets are served
# (moby/moby, cmd/dockerd/daemon.go, notifyReady).
fact_away() {
    away_from=$(unit_property "$1" ActiveExitTimestampMonotonic)
    away_to=$(unit_property "$1" ActiveEnterTimestampMonotonic)
    case $away_from:$away_to in
    :* | *: | *[!0-9:]*) return 0 ;;
    esac
    if [ "$away_from" -gt 0 ] && [ "$away_to" -gt "$away_from" ]; then
        record away "$((away_to - away_from))"
    fi
    return 0
}

# --- what else may keep docker from being reached -----------------------------

# fact_socket UNIT: what systemd knows of a socket unit, and the files it is made
# of, those that systemd has not read yet included.
fact_socket() {
    [ -d /run/systemd/system ] || return 0
    fact_unit=$1
    fact_shown=$(systemctl show "$1" --no-pager -p LoadState -p ActiveState -p FragmentPath \
        -p DropInPaths -p NeedDaemonReload </dev/null) || return 0
    set --
    fact_old_ifs=$IFS
    IFS='
'
    set -f
    for fact_line in $fact_shown; do
        IFS=$fact_old_ifs
        record socket "$fact_line"
        case $fact_line in
        FragmentPath=/*) set -- "$@" "${fact_line#FragmentPath=}" ;;
        DropInPaths=/*) for fact_file in ${fact_line#DropInPaths=}; do set -- "$@" "$fact_file"; done ;;
        esac
    done
    set +f
    IFS=$fact_old_ifs
    for fact_file in "/etc/systemd/system/$fact_unit.d"/*.conf; do
        [ -f "$fact_file" ] || continue
        record socket-drop-in "$fact_file"
        set -- "$@" "$fact_file"
    done
    [ $# -gt 0 ] && fact_files content "$@"
    return 0
}

# fact_health TOOL...: what confines dockerd, which docker it is, and which of the
# tools are missing. After fact_unit, which knows the daemon's process.
fact_health() {
    fact_value=
    if [ -r /sys/fs/selinux/enforce ]; then
        # Its one line has no end.
        read -r fact_value </sys/fs/selinux/enforce || [ -n "$fact_value" ] || fact_value=
        record health selinux "$fact_value"
    fi
    if [ "${fact_main_pid:-0}" != 0 ] && [ -r "/proc/$fact_main_pid/attr/current" ]; then
        fact_value=$(tr -d '\000\n\t' 2>/dev/null <"/proc/$fact_main_pid/attr/current")
        record health label "$fact_value"
    fi
    for fact_tool in dockerd docker; do
        command -v "$fact_tool" >/dev/null 2>&1 || continue
        # The command line asks its daemon even so, and the local socket may hang.
        fact_value=$(DOCKER_HOST=tcp://127.0.0.1:1 timeout 10 "$fact_tool" --version 2>/dev/null </dev/null | tr '\t' ' ')
        record health "$fact_tool" "${fact_value%%,*}"
    done
    for fact_tool in "$@"; do
        command -v "$fact_tool" >/dev/null 2>&1 || record health missing "$fact_tool"
    done
    return 0
}

# fact_lookup NAME: as fact_resolve, also where there is no getent: /etc/hosts
# first, then the name servers. Where neither can be asked nothing is said.
fact_lookup() {
    if command -v getent >/dev/null 2>&1; then
        fact_resolve "$1"
        return 0
    fi
    fact_found=
    if [ -r /etc/hosts ]; then
        while read -r fact_address fact_names || [ -n "$fact_address" ]; do
            case $fact_address in
            '' | '#'*) continue ;;
            esac
            set -f
            # shellcheck disable=SC2086 # one word a name
            for fact_name in ${fact_names%%#*}; do
                [ "$fact_name" != "$1" ] || fact_found="$fact_found$fact_address "
            done
            set +f
        done </etc/hosts
    fi
    if [ -z "$fact_found" ]; then
        command -v nslookup >/dev/null 2>&1 && command -v awk >/dev/null 2>&1 || return 0
        # Old busybox says "Address 1: 10.0.0.1 name".
        fact_found=$(timeout 10 nslookup "$1" 2>/dev/null </dev/null | awk '
            /^Name:/ { named = 1; next }
            named && /^Address/ {
                for (i = 2; i <= NF; i++)
                    if ($i ~ /^[0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*[0-9a-fA-F]$/) { printf "%s ", $i; break }
            }')
    fi
    record resolved "$1" "$fact_found"
}
