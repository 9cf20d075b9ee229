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
TAB=$(printf '\t')
STATE=${DTLS_STATE:-/var/lib/dtls-deploy}

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
    [ -n "$login_name" ] || login_name=$(id -un)
    case $login_name in
    '' | *[!A-Za-z0-9._-]*) fail account "the account name $login_name is not usable" ;;
    esac
    eval "login_home=~$login_name"
    case $login_home in
    /*) ;;
    *) fail account "account $login_name has no home directory" ;;
    esac
}

# expand PATH: sets $expanded, a leading ~/ replaced by the login account's home.
expand() {
    case $1 in
    "~/"*) expanded=$login_home/${1#"~/"} ;;
    "~") expanded=$login_home ;;
    *) expanded=$1 ;;
    esac
}

# in_account NAME SCRIPT: runs calls of this prelude as that account. Files in
# a user's directory are only ever touched as that user: root would follow the
# symbolic links a user can place there.
in_account() {
    if [ "$1" = "$(id -un)" ]; then
        (eval "$2")
        return
    fi
    [ "$(id -u)" = 0 ] || fail account "cannot act as $1 without root: set ansible_become for this host"
    in_account_uid=$(id -u "$1") && in_account_gid=$(id -g "$1") ||
        fail account "there is no account $1"
    if setpriv --reuid="$in_account_uid" --regid="$in_account_gid" --init-groups true 2>/dev/null; then
        set -- "$2" setpriv --reuid="$in_account_uid" --regid="$in_account_gid" --init-groups /bin/sh
    elif chroot --userspec="$in_account_uid:$in_account_gid" / true 2>/dev/null; then
        set -- "$2" chroot --userspec="$in_account_uid:$in_account_gid" / /bin/sh
    else
        set -- "$2" su -s /bin/sh "$1" -c 'exec /bin/sh'
    fi
    in_account_script=$1
    shift
    printf '%s\n' "$DTLS_PRELUDE" "login_home='${login_home:-/}'" "dtls_calls() { :" \
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
    record account "$(id -u)" "$(id -un)"
    record home "$login_home"
    if [ -d /run/systemd/system ]; then record init systemd; else record init other; fi
    for fact_tool in docker dockerd curl openssl snap; do
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
        [ -d "$fact_left" ] && is_abandoned "$fact_left" && record leftover "$fact_asked" "${fact_left##*/}"
    done
    return 0
}

# is_abandoned DIR: no run takes this long between staging and confirming.
is_abandoned() { [ -n "$(find "$1" -prune -mmin +10 2>/dev/null)" ]; }

# fact_resolve NAME: the addresses that this node gives a name.
fact_resolve() {
    command -v getent >/dev/null 2>&1 || return 0
    fact_found=$(getent ahosts "$1" | while read -r fact_address _; do printf '%s ' "$fact_address"; done)
    record resolved "$1" "$fact_found"
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
            if [ -L "$expanded" ] && [ "$(id -u)" = 0 ] && [ "$(stat -c %u "$expanded")" != 0 ]; then
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

# fact_armed: runs whose change on this node is neither confirmed nor undone,
# while something here will still see to it. After a power cut nothing does.
fact_armed() {
    for fact_left in "$STATE"/armed/*; do
        [ -d "$fact_left" ] || continue
        fact_left=${fact_left##*/}
        fact_timer=dtls-deploy-rollback-${fact_left%%@*}-${fact_left#*@}
        if systemctl is-active --quiet "$fact_timer.timer" "$fact_timer.service" </dev/null; then
            record armed "$fact_left"
        fi
    done
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
# what was there, absent/ an empty file for each name that was not there.

stage_name() { STAGE=$1/.dtls-deploy.$RUN; }

# expect PATH SHA256|absent: the file is still what the plan was made from.
expect() {
    if [ "$2" = absent ]; then
        if [ -e "$1" ] || [ -L "$1" ]; then fail expect "$1 has appeared since the plan was made"; fi
        return 0
    fi
    [ -e "$1" ] || fail expect "$1 has vanished since the plan was made"
    expect_found=$(sha256sum "$1" 2>/dev/null) || fail expect "$1 cannot be read as $(id -un)"
    [ "${expect_found%% *}" = "$2" ] || fail expect "$1 has changed since the plan was made"
}

# stage_directory DIR MODE set|keep: makes DIR where it is missing and opens its
# stage; an existing one gets the mode with the swap, or keeps its own.
stage_directory() {
    if [ ! -d "$1" ]; then
        stage_made=$1
        while [ ! -d "${stage_made%/*}/" ]; do stage_made=${stage_made%/*}; done
        (umask 022 && mkdir -p "${1%/*}/") && mkdir -m "$2" "$1" || fail stage "cannot make the directory $1"
        stage_name "$1"
        mkdir "$STAGE" "$STAGE/new" "$STAGE/old" "$STAGE/absent" || fail stage "cannot write in $1"
        printf '%s\n' "$stage_made" >"$STAGE/made"
        return 0
    fi
    [ -O "$1" ] || fail stage "$1 belongs to another account than $(id -un)"
    for stage_left in "$1"/.dtls-deploy.*; do
        if [ -d "$stage_left" ] && [ ! -L "$stage_left" ]; then
            is_abandoned "$stage_left" || fail stage "another run is unfinished here: $stage_left"
            rm -rf "$stage_left"
        fi
    done
    stage_mode=$(stat -L -c %a "$1") || fail stage "cannot stat $1"
    # Whoever may write here could exchange the stage itself.
    [ "$3" = keep ] || chmod go-w "$1" || fail stage "cannot set the mode of $1"
    stage_name "$1"
    mkdir "$STAGE" "$STAGE/new" "$STAGE/old" "$STAGE/absent" || fail stage "cannot write in $1"
    [ "$3" = set ] || return 0
    printf '%s\n' "$stage_mode" >"$STAGE/mode"
    printf '%s\n' "$2" >"$STAGE/new-mode"
}

# stage_file DIR NAME MODE CONTENT
stage_file() {
    stage_name "$1"
    (set -C && printf '%s' "$4" >"$STAGE/new/$2") 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    chmod "$3" "$STAGE/new/$2" || fail stage "cannot set the mode of $1/$2"
    stage_keep "$1" "$2"
}

# stage_copy DIR NAME MODE FROM: bytes that the node has already.
stage_copy() {
    stage_name "$1"
    (set -C && cat "$4" >"$STAGE/new/$2") 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    chmod "$3" "$STAGE/new/$2" || fail stage "cannot set the mode of $1/$2"
    stage_keep "$1" "$2"
}

# stage_keep DIR NAME: what is needed to put the old file back.
stage_keep() {
    if [ -e "$1/$2" ] || [ -L "$1/$2" ]; then
        [ -f "$1/$2" ] || fail stage "$1/$2 is not a regular file"
        ln "$1/$2" "$STAGE/old/$2" 2>/dev/null || cp -pP "$1/$2" "$STAGE/old/$2" ||
            fail stage "cannot keep the old $1/$2"
    else
        : >"$STAGE/absent/$2"
    fi
}

# stage_sync DIR NAME...: the staged bytes are on the disk before any rename.
stage_sync() {
    stage_name "$1"
    shift
    stage_left=$#
    while [ "$stage_left" -gt 0 ]; do
        set -- "$@" "$STAGE/new/$1"
        shift
        stage_left=$((stage_left - 1))
    done
    sync "$@" "$STAGE/old" "$STAGE/new" "$STAGE" 2>/dev/null || sync
}

# swap DIR NAME...: one mv process renames a whole set.
swap() {
    stage_name "$1"
    [ -O "$STAGE" ] && [ ! -L "$STAGE" ] || return 1
    swap_directory=$1
    shift
    swap_left=$#
    while [ "$swap_left" -gt 0 ]; do
        set -- "$@" "$STAGE/new/$1"
        shift
        swap_left=$((swap_left - 1))
    done
    mv -f "$@" "$swap_directory/" || return 1
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

# unstage DIR: the change stays; what was kept to undo it goes.
unstage() {
    stage_name "$1"
    rm -rf "$STAGE"
}

# --- dockerd ------------------------------------------------------------------

unit_property() { systemctl show "$1" --no-pager -p "$2" --value </dev/null; }

# arm SECONDS SCRIPT: the node puts everything back by itself when nobody
# confirms in time, be it that the controller is gone or the connection dead.
# Confirming and undoing both begin by renaming the marker `pending`, so that
# exactly one of them happens.
arm() {
    arm_directory=$STATE/armed/$RUN
    mkdir -p "$STATE" "$STATE/armed" && chmod 700 "$STATE" && mkdir "$arm_directory" &&
        printf '%s\n' "$DTLS_PRELUDE" >"$arm_directory/prelude.sh" &&
        printf '%s\n' "$2" >"$arm_directory/undo.sh" && : >"$arm_directory/pending" &&
        cat >"$arm_directory/rollback.sh" <<'ROLLBACK' || fail arm "cannot write in $STATE"
DTLS_PRELUDE=$(cat "$1/prelude.sh")
eval "$DTLS_PRELUDE"
login_home=/
claim rolled-back || exit 0
claimed=yes
. "$1/undo.sh"
give_up restart
ROLLBACK
    systemd-run --quiet --collect --on-active="$1" --timer-property=AccuracySec=1s \
        --unit="$(armed_unit)" /bin/sh "$arm_directory/rollback.sh" "$arm_directory" </dev/null ||
        fail arm "systemd-run failed: the node could not put the old files back by itself"
}

armed_unit() { printf '%s' "dtls-deploy-rollback-${RUN%%@*}-${RUN#*@}"; }

# claim NAME: settles how this run ends on this node; only the first succeeds.
claim() { mv "$STATE/armed/$RUN/pending" "$STATE/armed/$RUN/$1" 2>/dev/null; }

# disarm: it is settled, and the timer has nothing left to do.
disarm() {
    systemctl stop "$(armed_unit).timer" </dev/null 2>/dev/null
    rm -rf "$STATE/armed/$RUN"
}

# settle RUN SECONDS: undoes what a run left unconfirmed here, or waits for the
# node that is undoing it. Called by a run that holds the lock which RUN would
# hold if anybody still directed it; its script may go on here for a while.
settle() {
    case $1 in '' | .* | */*) fail settle "no run is named $1" ;; esac
    settle_directory=$STATE/armed/$1
    # Between arming and renaming are moments: in those its script is not
    # disturbed. One that restarts docker finds out by itself that it lost.
    settle_left=15
    while [ "$settle_left" -gt 0 ] && settle_armed=$(stat -c %Y "$settle_directory/pending" 2>/dev/null) &&
        [ "$(($(date +%s) - settle_armed))" -lt 15 ]; do
        settle_left=$((settle_left - 1))
        sleep 1
    done
    settle_said=
    if [ -e "$settle_directory/pending" ]; then
        settle_said=$(/bin/sh "$settle_directory/rollback.sh" "$settle_directory" </dev/null 2>/dev/null)
    fi
    settle_left=$2
    while [ -d "$settle_directory" ] && [ ! -e "$settle_directory/failed" ]; do
        [ "$settle_left" -gt 0 ] || fail settle "the change of the run $1 is still neither confirmed nor undone after $2 seconds"
        settle_left=$((settle_left - 1))
        sleep 1
    done
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

# confirm UNIT: the restart is proved; from now on these are the bytes that
# dockerd has read.
confirm() {
    claim confirmed || fail confirm "nobody confirmed in time: the node has put the old files back"
    { unit_property "$1" InvocationID && cat "$STATE/pending"; } >"$STATE/.confirmed" &&
        mv -f "$STATE/.confirmed" "$STATE/confirmed" && rm -f "$STATE/pending" ||
        fail confirm "cannot write in $STATE"
    sync "$STATE/confirmed" "$STATE" 2>/dev/null || sync
    disarm
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
