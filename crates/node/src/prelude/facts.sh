# Facts: what is read, and never changed.

fact_system() {
    # In this order, whatever the order of the letters. No field has a space.
    # shellcheck disable=SC2046
    set -- $(uname -snm)
    record system "${1-}" "${3-}" "${2-}"
    record clock "$(date +%s)"
    if [ -r /proc/uptime ]; then
        read -r fact_uptime _ </proc/uptime
        record uptime "$fact_uptime"
    fi
    record account "$ACCOUNT_ID" "$ACCOUNT"
    record home "$login_home"
    if has_systemd; then record init systemd; else record init other; fi
    for fact_tool in docker dockerd dockerd-rootless.sh curl openssl; do fact_tool "$fact_tool"; done
    return 0
}

# fact_tool NAME: where it is, as command -v says it, without a process.
fact_tool() {
    fact_left=$PATH:
    while [ -n "$fact_left" ]; do
        fact_at=${fact_left%%:*}
        fact_left=${fact_left#*:}
        if [ -f "$fact_at/$1" ] && [ -x "$fact_at/$1" ]; then
            record tool "$1" "$fact_at/$1"
            return 0
        fi
    done
}

# Directories and links on the ways that fact_path has named, one a line.
fact_ways=

# fact_path PATH: owner and mode of everything on the way to PATH that exists,
# from / downwards, links as themselves and where they lead; who owns the first
# one that is not root's decides as whom to act there. Below that one its owner looks.
fact_path() {
    expand "$1"
    fact_asked=$expanded
    if [ "$ACCOUNT_ID" = 0 ]; then
        fact_path_of_root
    else
        while [ ! -d "$expanded" ]; do
            fact_blocked "$expanded"
            expanded=${expanded%/*}
            [ -n "$expanded" ] || expanded=/
        done
        fact_real "$expanded"
        fact_names "$expanded" "$fact_real"
        fact_stages
    fi
}

# fact_blocked PATH: what is there is no directory, and the way that is asked about needs one.
fact_blocked() { [ ! -e "$1" ] || record blocked "$fact_asked" "$1"; }

# fact_path_of_root: as far as the way is root's, and the first directory that is not.
fact_path_of_root() {
    fact_prefix=
    fact_real=
    fact_rest=${expanded#/}
    reader=$ACCOUNT
    while [ -n "$fact_rest" ]; do
        fact_name=${fact_rest%%/*}
        case $fact_rest in
        */*) fact_rest=${fact_rest#*/} ;;
        *) fact_rest= ;;
        esac
        [ -n "$fact_name" ] || continue
        if [ ! -d "$fact_prefix/$fact_name" ]; then
            fact_blocked "$fact_prefix/$fact_name"
            break
        fi
        fact_prefix=$fact_prefix/$fact_name
        reader_walk "$fact_prefix"
        fact_real=$reader_at
        [ "$reader" = "$ACCOUNT" ] || break
    done
    fact_names "${fact_prefix:-/}" "${fact_real:-/}"
    case $reader in
    "$ACCOUNT") fact_stages ;;
    ?*) fact_for_reader "$fact_asked" "fact_path" "$fact_asked" ;;
    esac
}

# fact_names PATH REAL: a record of the directories on both ways; what stat says of them
# comes with fact_read.
fact_names() {
    fact_one=$1
    fact_other=$2
    set -- /
    for fact_rest in "$fact_one" "$fact_other"; do
        [ "$#" = 1 ] || [ "$fact_other" != "$fact_one" ] || break
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
    record path "$fact_asked" "$@"
    case "$*" in
    *"$NEWLINE"*)
        fact_directories "$@"
        return 0
        ;;
    esac
    for fact_each in "$@"; do
        case $NEWLINE$fact_ways in
        *"$NEWLINE$fact_each$NEWLINE"*) ;;
        *) fact_ways=$fact_ways$fact_each$NEWLINE ;;
        esac
    done
}

# fact_directories PATH...: what stat says of each, links as themselves.
fact_directories() {
    fact_seen=$(stat -c "%u$TAB%U$TAB%a$TAB%F" "$@") || fail facts "cannot stat the directories on a way"
    record directories "$@"
    printf '%s\n' "$fact_seen"
}

# fact_see_ways: the same of $fact_ways, and of $reader_way which of them others than root
# can write, as reader_exposed says it; all in one process.
fact_see_ways() {
    fact_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    # shellcheck disable=SC2086 # a path a line
    set -- $reader_way
    fact_number=$#
    for fact_each in $fact_ways; do
        case $NEWLINE$reader_way in *"$NEWLINE$fact_each$NEWLINE"*) ;; *) set -- "$@" "$fact_each" ;; esac
    done
    set +f
    IFS=$fact_old_ifs
    reader_exposed=
    [ $# -gt 0 ] || return 0
    fact_directories "$@"
    while [ "$fact_number" -gt 0 ]; do
        fact_number=$((fact_number - 1))
        fact_line=${fact_seen%%"$NEWLINE"*}
        fact_seen=${fact_seen#*"$NEWLINE"}
        fact_line=${fact_line%"$TAB"*}
        case ${fact_line##*"$TAB"} in
        # Sticky: no account replaces what is another's.
        [1357][0-7][0-7][0-7]) ;;
        *[2367][0-7] | *[2367]) reader_exposed=$reader_exposed${reader_exposed:+$NEWLINE}$1 ;;
        esac
        shift
    done
}

# fact_stages: what runs have left in the directory $expanded, or are at work on.
fact_stages() {
    [ "$fact_asked" = "$expanded" ] || return 0
    for fact_left in "$expanded"/.dtls-deploy.*; do
        [ -d "$fact_left" ] || continue
        if is_abandoned "$fact_left"; then
            record leftover "$fact_asked"
        else
            record working "${fact_left##*/.dtls-deploy.}" "$fact_asked"
        fi
    done
    return 0
}

# fact_at_work: runs of which a script of root's is at work here.
fact_at_work() {
    runs_at_work
    for fact_left in $at_work; do record at-work "$fact_left"; done
    return 0
}

# What accounts are to be asked in the end: a name and a call a line.
fact_calls=

# fact_for_reader PATH FUNCTION ARGUMENT...: a call for the account $reader, which alone
# may say what is at PATH.
fact_for_reader() {
    record asked "$reader" "$1"
    fact_call=$2
    shift 2
    for fact_word in "$@"; do
        quoted "$fact_word"
        fact_call="$fact_call $quoted"
    done
    fact_calls=$fact_calls$reader$TAB$fact_call$NEWLINE
}

# fact_ask_accounts: each account is asked once, the first while this one reads what is its
# own. One that gives no answer in time does not keep the others from being read.
fact_ask_accounts() {
    [ -z "$fact_calls" ] || fact_at_work
    fact_meanwhile=fact_own
    while [ -n "$fact_calls" ]; do
        fact_account=${fact_calls%%"$TAB"*}
        fact_left=$fact_calls
        fact_calls=
        fact_script=
        while [ -n "$fact_left" ]; do
            fact_line=${fact_left%%"$NEWLINE"*}
            fact_left=${fact_left#*"$NEWLINE"}
            case $fact_line in
            "$fact_account$TAB"*) fact_script=$fact_script${fact_line#*"$TAB"}$NEWLINE ;;
            *) fact_calls=$fact_calls$fact_line$NEWLINE ;;
            esac
        done
        account_way "$fact_account"
        ACCOUNT_SECONDS=10
        ACCOUNT_OUTPUT=$((FACT_BYTES * 2))
        exec 7>&1
        fact_status=$(
            {
                {
                    as_account "$fact_account" "${fact_script}fact_read
record done"
                    printf '%s' "$?" >&6
                } | {
                    $fact_meanwhile </dev/null
                    record as "$fact_account"
                    base64
                } >&7 6>&-
            } 6>&1
        )
        exec 7>&-
        record end "$fact_status"
        fact_meanwhile=:
    done
    $fact_meanwhile
}

# fact_real DIRECTORY: sets $fact_real, where its links lead. Without a link on the
# way no one has to be asked.
fact_real() {
    fact_real=$1
    fact_walked=$1
    while [ -n "$fact_walked" ]; do
        if [ -L "$fact_walked" ]; then
            fact_real=$(readlink -f "$1") || fail facts "cannot resolve $1"
            return 0
        fi
        fact_walked=${fact_walked%/*}
    done
    case $1/ in
    *//* | */./* | */../*) fact_real=$(readlink -f "$1") || fail facts "cannot resolve $1" ;;
    esac
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
    if [ -n "${DTLS_AT_WORK-}" ]; then
        # Root acts here for the account, and knows by itself what is at work.
        ! is_of_root "$1"
        return
    fi
    if [ -f "$1/owner" ] && [ -r "$1/owner" ] && read -r abandoned_pid abandoned_start <"$1/owner"; then
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
    fact_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    for fact_line in $fact_df; do record df "$fact_line"; done
    set +f
    IFS=$fact_old_ifs
}

# Bytes of a file that are read: far above any configuration, and the CA's ledger of many
# thousand certificates.
FACT_BYTES=8388608
# What fact_files was asked for: stat, hash, key, content, bundle or certificates, a colon and the
# path, a line each.
fact_wanted=

# fact_files content|bundle|certificates|hash|key|stat PATH...: mode, owner, size and times
# of each file, except for stat its SHA-256, for content the bytes themselves, and for key
# whether it is a private key; all read together by fact_read. For certificates, and for
# bundle where a private key is in the file, its PEM blocks of certificates alone.
fact_files() {
    fact_want=$1
    shift
    for fact_each in "$@"; do
        expand "$fact_each"
        case $expanded in
        # No path of an inventory or of systemd's.
        *"$NEWLINE"*) record other "$expanded" ;;
        *) fact_wanted=$fact_wanted$fact_want:$expanded$NEWLINE ;;
        esac
    done
}

# fact_read [FUNCTION]: all that was asked for: as root what lies on ways that root alone can
# change, and as their owners what does not. One process for each kind of fact, however many
# files. FUNCTION is what else is to be read here: accounts answer meanwhile.
fact_read() {
    fact_beside=${1-}
    fact_content=
    fact_hash=
    fact_key=
    fact_stat=
    fact_bundle=
    fact_mixed=
    fact_each_wanted reader_known
    fact_see_ways
    fact_each_wanted fact_choose
    fact_wanted=
    fact_ask_accounts
}

# fact_own: what this account reads itself.
fact_own() {
    fact_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    fact_find_keys
    # shellcheck disable=SC2086 # a path a line
    set -- $fact_content
    fact_contents=$#
    # shellcheck disable=SC2086
    set -- "$@" $fact_hash
    fact_hashes=$#
    # shellcheck disable=SC2086
    set -- "$@" $fact_stat
    set +f
    IFS=$fact_old_ifs
    [ $# = 0 ] || fact_emit "$@"
    [ -z "$fact_key" ] || fact_keys
    IFS=$NEWLINE
    set -f
    for fact_each in $fact_mixed; do fact_certificates "$fact_each"; done
    set +f
    IFS=$fact_old_ifs
    [ -z "$fact_beside" ] || "$fact_beside"
}

# fact_find_keys: of $fact_bundle, what has no private key in it is printed, and the rest
# comes to $fact_mixed. One look at all of them, and one at each if there is any.
fact_find_keys() {
    # shellcheck disable=SC2086 # a path a line
    if [ -z "$fact_bundle" ] || ! holds_private_key $fact_bundle; then
        fact_content=$fact_content$fact_bundle
        return 0
    fi
    for fact_each in $fact_bundle; do
        if holds_private_key "$fact_each"; then
            fact_hash=$fact_hash$fact_each$NEWLINE
            fact_mixed=$fact_mixed$fact_each$NEWLINE
        else
            fact_content=$fact_content$fact_each$NEWLINE
        fi
    done
}

# holds_private_key FILE...: the first or last line of one's PEM block is in one of them.
# The pattern is not the words themselves: a search for keys in command lines finds none.
holds_private_key() {
    head -q -c "$FACT_BYTES" "$@" 2>/dev/null |
        grep -q -e 'BEGIN .*PRIVATE.KEY' -e 'END .*PRIVATE.KEY'
}

# fact_certificates FILE: the blocks of certificates in it, and whether a private key is
# there, too. A block without its end ends where the next one begins, with a line that says
# nothing of what stands there.
fact_certificates() {
    if holds_private_key "$1"; then record certificates "$1" key; else record certificates "$1"; fi
    head -c "$FACT_BYTES" "$1" 2>/dev/null |
        sed -n '/^-----BEGIN CERTIFICATE-----[[:space:]]*$/,/^-----/{
            /^-----/{
                /^-----BEGIN CERTIFICATE-----[[:space:]]*$/!{
                    /^-----END CERTIFICATE-----[[:space:]]*$/!s/.*/-----/
                }
            }
            p
        }' | base64
    record end
}

# fact_each_wanted FUNCTION: calls it with each line of $fact_wanted.
fact_each_wanted() {
    fact_left=$fact_wanted
    while [ -n "$fact_left" ]; do
        "$1" "${fact_left%%:*}" "${fact_left%%"$NEWLINE"*}"
        fact_left=${fact_left#*"$NEWLINE"}
    done
}

# reader_known WANT LINE
reader_known() { reader_of "${2#*:}"; }

# fact_choose WANT LINE: who reads the file, and whether it is one to read.
fact_choose() {
    set -- "$1" "${2#*:}"
    reader_of "$2"
    if [ "$reader" != "$ACCOUNT" ]; then
        if [ -n "$reader" ]; then fact_for_reader "$2" fact_files "$1" "$2"; else record exposed "$2"; fi
    elif is_exposed "$2"; then
        record exposed "$2"
    elif [ -f "$2" ]; then
        if [ ! -r "$2" ]; then
            record unreadable "$2"
        else
            case $1 in
            content) fact_content=$fact_content$2$NEWLINE ;;
            bundle) fact_bundle=$fact_bundle$2$NEWLINE ;;
            certificates)
                fact_hash=$fact_hash$2$NEWLINE
                fact_mixed=$fact_mixed$2$NEWLINE
                ;;
            hash) fact_hash=$fact_hash$2$NEWLINE ;;
            key)
                fact_hash=$fact_hash$2$NEWLINE
                fact_key=$fact_key$2$NEWLINE
                ;;
            *) fact_stat=$fact_stat$2$NEWLINE ;;
            esac
        fi
    elif [ -e "$2" ] || [ -L "$2" ]; then
        record other "$2"
    elif is_hidden "$2"; then
        record unreadable "$2"
    else
        record absent "$2"
    fi
}

# fact_emit PATH...: the first $fact_contents with their bytes, those up to $fact_hashes
# with their SHA-256. The controller takes a piece of the bytes for a file's only if it has
# the SHA-256 that was said of it.
fact_emit() {
    fact_seen=$(stat -L -c "%a$TAB%u$TAB%U$TAB%s$TAB%.9Z$TAB%F" "$@") || fail facts "a file vanished while it was read"
    fact_number=0
    fact_printed=0
    fact_stats=
    fact_to_print=
    fact_to_hash=
    for fact_each in "$@"; do
        shift
        fact_number=$((fact_number + 1))
        fact_line=${fact_seen%%"$NEWLINE"*}
        fact_seen=${fact_seen#*"$NEWLINE"}
        fact_size=${fact_line#*"$TAB"*"$TAB"*"$TAB"}
        case $fact_line in
        *"${TAB}regular file" | *"${TAB}regular empty file") ;;
        *) fact_size=$((FACT_BYTES * 5)) ;;
        esac
        # A program is hashed, and not printed.
        fact_most=$FACT_BYTES
        [ "$fact_number" -le "$fact_contents" ] || fact_most=$((FACT_BYTES * 4))
        if [ "${fact_size%%"$TAB"*}" -gt "$fact_most" ]; then
            record other "$fact_each"
            continue
        fi
        set -- "$@" "$fact_each"
        fact_stats=$fact_stats${fact_line%"$TAB"*}$NEWLINE
        if [ "$fact_number" -le "$fact_contents" ]; then
            fact_to_print=$fact_to_print$fact_each$NEWLINE
            fact_printed=$((fact_printed + 1))
        fi
        [ "$fact_number" -gt "$fact_hashes" ] || fact_to_hash=$fact_to_hash$fact_each$NEWLINE
    done
    [ $# -gt 0 ] || return 0
    fact_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    # shellcheck disable=SC2086 # a path a line
    fact_sums=$([ -z "$fact_to_hash" ] || sha256sum $fact_to_hash) || fail facts "a file vanished while it was read"
    for fact_each in "$@"; do
        if [ -L "$fact_each" ]; then record file "$fact_each" link; else record file "$fact_each"; fi
    done
    printf '%s' "$fact_stats"
    record hashes
    for fact_line in $fact_sums; do
        # A name with a backslash makes sha256sum start the line with one.
        fact_line=${fact_line#"\\"}
        printf '%s\n' "${fact_line%% *}"
    done
    record contents "$fact_printed"
    # shellcheck disable=SC2086 # a path a line
    [ -z "$fact_to_print" ] || head -q -c "$FACT_BYTES" $fact_to_print | base64
    record end
    set +f
    IFS=$fact_old_ifs
}

# is_hidden PATH: a directory on the way is closed to this account, which cannot tell whether
# PATH is there.
is_hidden() {
    [ "$ACCOUNT_ID" != 0 ] || return 1
    hidden_below=${1%/*}
    while [ -n "$hidden_below" ] && [ ! -d "$hidden_below" ]; do hidden_below=${hidden_below%/*}; done
    [ -n "$hidden_below" ] && [ ! -x "$hidden_below" ]
}

# fact_unit UNIT [SOCKET]: what systemd knows of the unit, and the files it is made of;
# where there is no systemd, of the init script. Of its socket unit likewise.
fact_unit() {
    fact_socket=${2-}
    fact_drop_ins=/etc/systemd/system/$1.d
    if has_systemd; then
        fact_shown=$(systemctl show "$@" --no-pager -p LoadState -p ActiveState -p SubState \
            -p FragmentPath -p DropInPaths -p EnvironmentFiles -p InvocationID -p MainPID \
            -p ExecMainStartTimestampMonotonic -p NeedDaemonReload -p UnitFileState -p WantedBy -p RequiredBy \
            -p ExecStart -p Environment </dev/null) ||
            fail facts "systemctl show $1 failed"
    else
        fact_shown=$(init_show "$1")
        fact_drop_ins=/nonexistent
    fi
    # systemd makes it right before it starts the process, on the files' own clock.
    if fact_started=$(stat -c %.9Z "/run/systemd/units/invocation:$1" 2>/dev/null); then
        record unit-started "$fact_started"
    fi
    # An empty line is between two units.
    fact_shown_socket=${fact_shown#*"

"}
    fact_shown=${fact_shown%%"

"*}
    fact_made_of unit drop-in "$fact_drop_ins"
    if has_systemd; then
        if fact_is_plain; then
            record unit-plain
        else
            fact_loaded unit-loaded "$1" Service ExecStartEx Environment || fact_loaded unit-loaded "$1" Service ExecStart Environment
        fi
        [ -z "$fact_odd" ] || fact_loaded unit-loaded "$1" Unit DropInPaths
        fact_linked unit-link
    fi
    if [ -n "$fact_socket" ] && has_systemd; then
        fact_shown=$fact_shown_socket
        fact_made_of socket socket-drop-in "/etc/systemd/system/$fact_socket.d"
        [ -z "$fact_odd" ] || fact_loaded socket-loaded "$fact_socket" Unit DropInPaths
        fact_linked socket-link
    fi
    fact_armed
    return 0
}

# fact_linked WORD: where the directory of drop-ins is a link, where it leads: systemd names its
# drop-ins by that.
fact_linked() {
    [ -L "$fact_drop_ins" ] || return 0
    fact_real=$(readlink -f "$fact_drop_ins" 2>/dev/null) && record "$1" "$fact_drop_ins" "$fact_real"
    return 0
}

# fact_is_plain: no line of the files $fact_loaded_files quotes anything, has a specifier or gives
# ExecStart a prefix, so that systemctl's words, a blank between them, are systemd's words. Only
# where root alone decides what is read: its bus is asked otherwise, which takes longer.
fact_is_plain() {
    [ -z "$fact_odd" ] && [ -n "$fact_loaded_files" ] || return 1
    fact_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    # shellcheck disable=SC2086 # a path a line
    set -- $fact_loaded_files
    set +f
    IFS=$fact_old_ifs
    for fact_file in "$@"; do
        case $fact_file in
        /etc/systemd/* | /run/systemd/* | /lib/systemd/* | /usr/lib/systemd/*) ;;
        *) return 1 ;;
        esac
        [ -f "$fact_file" ] && [ ! -L "$fact_file" ] && [ ! -L "${fact_file%/*}" ] || return 1
    done
    grep -qE -e '^[[:space:]]*[^#;[:space:]].*["\\%'\'']' -e '^[[:space:]]*ExecStart[[:space:]]*=[[:space:]]*[-@:+!|]' "$@" 2>/dev/null
    [ $? = 1 ]
}

# fact_loaded WORD UNIT INTERFACE PROPERTY...: what systemd has loaded of the unit, as JSON,
# which tells one word from the next. Nothing where its bus cannot be asked.
fact_loaded() {
    command -v busctl >/dev/null 2>&1 || return 0
    fact_word=$1
    unit_object "$2"
    fact_interface=org.freedesktop.systemd1.$3
    shift 3
    fact_said=$(timeout 10 busctl --json=short get-property org.freedesktop.systemd1 \
        "$unit_object" "$fact_interface" "$@" 2>/dev/null </dev/null) || return 1
    for fact_property in "$@"; do
        record "$fact_word" "${fact_property%Ex}" "${fact_said%%"$NEWLINE"*}"
        fact_said=${fact_said#*"$NEWLINE"}
    done
}

# unit_object UNIT: sets $unit_object, the unit's path on the bus: letters and digits stay,
# but for a digit at the beginning (sd_bus_path_encode(3)).
unit_object() {
    unit_object=
    unit_left=$1
    while [ -n "$unit_left" ]; do
        unit_letter=${unit_left%"${unit_left#?}"}
        unit_left=${unit_left#?}
        case $unit_object$unit_letter in
        [0-9] | *[!A-Za-z0-9]) unit_letter=$(printf '_%02x' "'$unit_letter") ;;
        esac
        unit_object=$unit_object$unit_letter
    done
    unit_object=/org/freedesktop/systemd1/unit/$unit_object
}

# fact_made_of WORD DROP-IN DIRECTORY: what $fact_shown says of a unit, a record WORD
# a line, and the files that it is made of; sets $fact_loaded_files, those that systemd has loaded,
# and $fact_odd where a name among them cannot be told from the next, and systemd has to be asked
# again. Of the directory those are named that
# systemd may not have read yet: it will at the next reload.
fact_made_of() {
    fact_word=$1
    fact_drop_in=$2
    fact_drop_ins=$3
    fact_odd=
    fact_loaded_files=
    set --
    fact_old_ifs=$IFS
    IFS='
'
    set -f
    for fact_line in $fact_shown; do
        IFS=$fact_old_ifs
        record "$fact_word" "$fact_line"
        case $fact_line in
        MainPID=*) fact_main_pid=${fact_line#MainPID=} ;;
        FragmentPath=/*)
            set -- "$@" "${fact_line#FragmentPath=}"
            fact_loaded_files=$fact_loaded_files${fact_line#FragmentPath=}$NEWLINE
            ;;
        DropInPaths=*)
            fact_left=${fact_line#DropInPaths=}
            while [ -n "$fact_left" ]; do
                case $fact_left in
                # One with a blank in it is quoted.
                '"'*)
                    fact_odd=yes
                    fact_left=${fact_left#'"'}
                    fact_file=${fact_left%%'"'*}
                    fact_left=${fact_left#*'"'}
                    ;;
                *) fact_file=${fact_left%% *} ;;
                esac
                case $fact_left in *' '*) fact_left=${fact_left#*' '} ;; *) fact_left= ;; esac
                [ -e "$fact_file" ] || fact_odd=yes
                fact_loaded_files=$fact_loaded_files$fact_file$NEWLINE
                case $fact_file in /*[!\\].conf) set -- "$@" "$fact_file" ;; esac
            done
            ;;
        EnvironmentFiles=/*)
            fact_file=${fact_line#EnvironmentFiles=}
            set -- "$@" "${fact_file%% (*}"
            ;;
        esac
    done
    set +f
    IFS=$fact_old_ifs
    for fact_file in "$fact_drop_ins"/*.conf; do
        [ -f "$fact_file" ] || continue
        record "$fact_drop_in" "$fact_file"
        set -- "$@" "$fact_file"
    done
    [ $# -gt 0 ] && fact_files content "$@"
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
    if [ "${fact_main_pid:-0}" = 0 ]; then
        # One that has ended may have left its containers running.
        [ -z "$(engine_shims)" ] || record engine unknown
        return 0
    fi
    [ -r "/proc/$fact_main_pid/environ" ] || return 0
    running_files "$fact_main_pid"
    fact_arguments=$(running_words "$fact_main_pid")
    set -f
    fact_old_ifs=$IFS
    IFS=$NEWLINE
    # shellcheck disable=SC2086 # one word a line
    set -- $fact_arguments
    IFS=$fact_old_ifs
    set +f
    engine_records "$running_root" "$@"
}

# engine_shims [PREFIX]: the process of each of docker's running containers that keeps it, a
# command line each, behind PREFIX. containerd starts one for a container, whatever the runtime.
engine_shims() {
    # shellcheck disable=SC2013 # paths without blanks
    for engine_comm in $(grep -ls '^containerd-shim' /proc/[0-9]*/comm); do
        engine_words=$(tr '\000' ' ' 2>/dev/null <"${engine_comm%comm}cmdline")
        case " $engine_words" in
        *' -namespace moby '* | *' --namespace moby '* | *' -namespace=moby '*) printf '%s\n' "${1-}$engine_words" ;;
        esac
    done
}

# engine_records ROOT [WORD...]: what a dockerd with its data in ROOT, which is empty where
# it is not known, and with this command line has under its hands.
engine_records() {
    engine_root=$1
    shift
    [ $# = 0 ] || record engine command "$@"
    for engine_word in "$@"; do
        case $engine_word in
        --live-restore) record engine live-restore true ;;
        --live-restore=*) record engine live-restore "${engine_word#*=}" ;;
        esac
    done
    if [ -z "$engine_root" ] || [ ! -r "$engine_root/containers" ]; then
        if [ -n "$engine_root" ] || [ -n "$(engine_shims)" ]; then
            record engine unknown
        else
            record engine containers 0
        fi
        return 0
    fi
    engine_count=0
    set -- "$engine_root"/containers/*/config.v2.json
    [ -e "$1" ] || set --
    # shellcheck disable=SC2013 # numbers
    [ $# = 0 ] || for engine_pid in $(grep -ho '"State":{"Running":true[^}]*"Pid":[0-9]*' "$@" 2>/dev/null); do
        case $engine_pid in
        *'"Pid":'*) [ -d "/proc/${engine_pid##*:}" ] && engine_count=$((engine_count + 1)) ;;
        esac
    done
    engine_shim_count=0
    for engine_directory in "$engine_root"/containers/*/; do
        [ -d "$engine_directory" ] || break
        engine_found=${engine_found-$(engine_shims)}
        engine_id=${engine_directory%/}
        case "$engine_found " in
        *[=/\ ]"${engine_id##*/}"[/\ ]*) engine_shim_count=$((engine_shim_count + 1)) ;;
        esac
    done
    # The source that knows of more is right: what a file says of a container may be of another
    # form, and an old shim may not name it.
    [ "$engine_shim_count" -le "$engine_count" ] || engine_count=$engine_shim_count
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
    has_systemd || return 0
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

# fact_account NAME: the home of an account, empty where there is none.
fact_account() {
    if id -u "$1" >/dev/null 2>&1; then
        expand "~$1"
        record named-account "$1" "$expanded"
    else
        record named-account "$1" ""
    fi
}

# fact_away UNIT: for how long it was away when it was restarted last, in
# microseconds of systemd's clock: from the beginning of its stop to its word that
# it is ready, which dockerd gives when its sockets are served
# (moby/moby, cmd/dockerd/daemon.go, notifyReady).
fact_away() {
    if has_systemd; then
        away_shown=$(systemctl show "$1" --no-pager -p "$AWAY_FROM" -p "$AWAY_TO" </dev/null)
        away_times "$away_shown"
    else
        # What restarted it has taken the time.
        read -r away_from away_to 2>/dev/null <"${DTLS_RUNTIME:-/run}/dtls-deploy/away" || return 0
        away_record
    fi
}

AWAY_FROM=ActiveExitTimestampMonotonic
AWAY_TO=ActiveEnterTimestampMonotonic

# away_times SHOWN: the same, from what systemctl has shown.
away_times() {
    away_from=${1#*"$AWAY_FROM="}
    away_from=${away_from%%[!0-9]*}
    away_to=${1#*"$AWAY_TO="}
    away_to=${away_to%%[!0-9]*}
    away_record
}

away_record() {
    case $away_from:$away_to in
    :* | *: | *[!0-9:]*) return 0 ;;
    esac
    [ "$away_from" -gt 0 ] || return 0
    if [ "$away_to" -gt "$away_from" ]; then
        record away "$((away_to - away_from))" "$away_from"
    elif read -r away_to _ 2>/dev/null </proc/uptime; then
        # It has not come back: away until now, which has hundredths of a second.
        away_to=${away_to%.*}${away_to#*.}0000
        [ "$away_to" -gt "$away_from" ] || away_to=$away_from
        record away "$((away_to - away_from))" "$away_from" still
    fi
    return 0
}

# fact_generations: what the last change here has kept, and what is now where its files
# were. Root takes the login's word for what is kept for that account, too: a node may have
# been acted on as that account before. An account says so when root keeps something here
# that it cannot read.
fact_generations() {
    fact_of_login=$login_home/.local/state/dtls-deploy
    if [ "$ACCOUNT_ID" != 0 ]; then
        [ ! -d "$STATE" ] || [ -x "$STATE" ] || record hidden-generations "$STATE"
        STATE=${DTLS_STATE:-$fact_of_login}
    elif [ -n "${SUDO_USER-}" ] && [ "$SUDO_USER" != root ] && [ -d "$fact_of_login/generations" ]; then
        account_way "$SUDO_USER"
        quoted "$fact_of_login"
        fact_kept "$SUDO_USER" "$(as_account "$SUDO_USER" "generations_told $quoted")"
    fi
    fact_kept "$ACCOUNT" "$(generations_told "$STATE")"
}

# fact_kept KEEPER TOLD: asks for what generations_told has named. An account can name
# nothing but its own.
fact_kept() {
    kept_keeper=$1
    fact_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    # shellcheck disable=SC2086 # a line each
    set -- $2
    set +f
    IFS=$fact_old_ifs
    for kept_line in "$@"; do
        kept_path=${kept_line#*"$TAB"}
        if [ "$kept_keeper" != "$ACCOUNT" ]; then
            reader_of "$kept_path/"
            [ "$reader" = "$kept_keeper" ] || continue
        fi
        case $kept_line in
        generation"$TAB"*) record generation "$kept_path" "$kept_keeper" ;;
        directory"$TAB"*) fact_path "$kept_path" ;;
        content"$TAB"*) fact_files content "$kept_path" ;;
        hash"$TAB"*) fact_files hash "$kept_path" ;;
        esac
    done
}

# generations_told STATE: the generations of the last run there, and what is to be looked
# at for them, a line each.
generations_told() {
    told_last=
    for told_each in "$1"/generations/[0-9]*; do
        [ ! -f "$told_each/manifest" ] || told_last=${told_each##*/}
    done
    [ -n "$told_last" ] || return 0
    told_last=${told_last#*-}
    for told_each in "$1"/generations/[0-9]*-"${told_last%.*}".*; do
        [ ! -f "$told_each/manifest" ] || generation_told "$told_each"
    done
}

# generation_told DIRECTORY
generation_told() {
    printf '%s\n' "generation$TAB$1" "content$TAB$1/manifest"
    [ ! -f "$1/sums" ] || printf '%s\n' "content$TAB$1/sums"
    while IFS=$TAB read -r told_word told_mode _ _ told_path; do
        case $told_word in
        directory | missing) printf '%s\n' "directory$TAB$told_mode" ;;
        absent) printf '%s\n' "hash$TAB$told_mode" ;;
        file) printf '%s\n' "hash$TAB$told_path" ;;
        esac
    done <"$1/manifest"
    for told_file in "$1"/[0-9]*; do
        [ -f "$told_file" ] || continue
        # Keys are never read, only hashed.
        if grep -q 'PRIVATE KEY' "$told_file"; then told_word='hash'; else told_word='content'; fi
        printf '%s\n' "$told_word$TAB$told_file"
    done
}
