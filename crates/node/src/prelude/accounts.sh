# Accounts of a node, and acting for another one.

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

# Seconds that what runs as another account may take: it, and what it began, is then
# killed. An account can stop and hang its own processes, and nothing waits for it longer.
ACCOUNT_SECONDS=30
# Bytes that are read of what it prints.
ACCOUNT_OUTPUT=65536

# Accounts whose time was up, each between spaces.
account_gone=

# in_account NAME SCRIPT: runs calls of this prelude as that account. Files in
# a user's directory are only ever touched as that user: root would follow the
# symbolic links a user can place there. What such calls print is that account's word
# and no more: it reaches the controller as one field of an `as` record.
in_account() {
    if [ "$1" = "$ACCOUNT" ]; then
        (eval "$2")
        return
    fi
    # One whose time was up once is not waited for again.
    case $account_gone in *" $1 "*) return 124 ;; esac
    account_way "$1"
    in_account_said=$(as_account "$1" "$2")
    in_account_status=$?
    [ -z "$in_account_said" ] || record as "$1" "$in_account_status" "$in_account_said"
    account_ended "$1" "$in_account_status"
}

# account_ended NAME STATUS: says so where its time was up.
account_ended() {
    case $2 in
    124 | 137 | 143)
        account_gone="$account_gone $1 "
        record failed account "what runs as $1 did not end within $ACCOUNT_SECONDS seconds and was killed"
        ;;
    esac
    return "$2"
}

# account_way NAME: sets how to become that account; asked once for calls that follow
# each other.
account_way() {
    [ "$ACCOUNT_ID" = 0 ] || fail account "cannot act as $1 without root: set ansible_become for this host"
    [ "$1" != "$in_account_name" ] || return 0
    # uid=1000(NAME) gid=1000(NAME) groups=...
    in_account_ids=$(id "$1") || fail account "there is no account $1"
    in_account_uid=${in_account_ids#uid=}
    in_account_uid=${in_account_uid%%[!0-9]*}
    in_account_gid=${in_account_ids#*" gid="}
    in_account_gid=${in_account_gid%%[!0-9]*}
    case $in_account_uid:$in_account_gid in
    :* | *:) fail account "id $1 says no number" ;;
    esac
    in_account_name=$1
    in_account_tool=$(command -v setpriv)
    # util-linux's; busybox has a link of that name, which knows less.
    if [ -f "$in_account_tool" ] && [ ! -L "$in_account_tool" ]; then
        in_account_how=setpriv
    elif setpriv --reuid="$in_account_uid" --regid="$in_account_gid" --init-groups true 2>/dev/null; then
        in_account_how=setpriv
    elif chroot --userspec="$in_account_uid:$in_account_gid" / true 2>/dev/null; then
        in_account_how=chroot
    else
        in_account_how=su
    fi
}

# as_account NAME SCRIPT: the calls as that account, after account_way; at most
# $ACCOUNT_OUTPUT bytes of what they print, and their status. Descriptor 3 goes to them.
as_account() {
    as_script=$2
    case $in_account_how in
    setpriv) set -- setpriv --reuid="$in_account_uid" --regid="$in_account_gid" --init-groups /bin/sh ;;
    chroot) set -- chroot --userspec="$in_account_uid:$in_account_gid" / /bin/sh ;;
    *) set -- su -s /bin/sh "$1" -c 'exec /bin/sh' ;;
    esac
    quoted "${login_home:-/}"
    as_script="login_home=$quoted${NEWLINE}dtls_calls() { :$NEWLINE$as_script$NEWLINE}${NEWLINE}dtls_calls </dev/null; exit \$?$NEWLINE"
    runs_of_root
    as_script="DTLS_OWNER=$DTLS_OWNER
DTLS_AT_WORK=' $of_root '
DTLS_ACCOUNT_ID=$in_account_uid
DTLS_ACCOUNT='$in_account_name'
$DTLS_PRELUDE
$as_script"
    # The account can take copies of its descriptors into a process that outlives the deadline:
    # none of them may be the connection's, which ends with its last copy.
    # 4 takes the status and 5 what is printed past the reader, whose end does not depend
    # on who still holds the other end of its pipe.
    exec 5>&1
    as_status=$(
        {
            {
                as_feed | (cd / && exec timeout -k 2 "$ACCOUNT_SECONDS" "$@") 2>/dev/null 4>&- 5>&- 6>&- 7>&- 9>&-
                printf '%s' "$?" >&4
            } | timeout -k 1 "$((ACCOUNT_SECONDS + 3))" head -c "$ACCOUNT_OUTPUT" >&5 4>&-
        } 4>&1
    )
    exec 5>&-
    return "${as_status:-1}"
}

# runs_at_work: sets $at_work to the runs of which a script of root's is at work here.
runs_at_work() {
    at_work=
    for work_each in "$RUNTIME"/work/*; do
        [ -f "$work_each" ] && read -r work_pid work_start <"$work_each" || continue
        process_start "$work_pid"
        [ -z "$process_start" ] || [ "$process_start" != "$work_start" ] || at_work="$at_work ${work_each##*/}"
    done
}

# runs_of_root: sets $of_root to those, and to the ones that wait for a confirmation.
runs_of_root() {
    runs_at_work
    of_root=$at_work
    for work_each in "$STATE"/armed/*; do
        [ ! -d "$work_each" ] || of_root="$of_root ${work_each##*/}"
    done
    # Names of runs need no quotes.
    case $of_root in *[!A-Za-z0-9._@\ -]*) of_root= ;; esac
}

# is_of_root STAGE: its run is one of those, as root has told who acts for it. What lies in an
# account's directory is only that account's word.
is_of_root() {
    case $DTLS_AT_WORK in *" ${1##*/.dtls-deploy.} "*) ;; *) return 1 ;; esac
}

# as_feed: $as_script. What does not fit into a pipe would wait for its reader, which the
# account can stop: another process waits then, and has a deadline.
as_feed() {
    if [ "${#as_script}" -lt 60000 ]; then
        printf '%s' "$as_script"
    else
        printf '%s' "$as_script" | timeout -k 1 "$((ACCOUNT_SECONDS + 3))" cat
    fi
}

# The account whose word it is what lies at a path, by directory; see reader_of.
reader_cache=$NEWLINE
# The owner of each directory that is the first on a way that is not root's.
reader_owners=$NEWLINE
# Directories on the way to what was asked about, all of them root's, one a line.
reader_way=

# reader_of PATH: sets $reader to the account that reads there: this one, or for root the
# owner of the first directory on the way that is not root's, links followed; empty where
# no one can be trusted with the way, because a link lies in a directory like /tmp.
reader_of() {
    reader=$ACCOUNT
    [ "$ACCOUNT_ID" = 0 ] || return 0
    reader_directory=${1%/*}
    case $reader_cache in
    *"$NEWLINE$reader_directory$TAB"*)
        reader=${reader_cache#*"$NEWLINE$reader_directory$TAB"}
        reader=${reader%%"$NEWLINE"*}
        ;;
    *)
        reader_walk "$reader_directory"
        reader_cache=$reader_cache$reader_directory$TAB$reader$NEWLINE
        ;;
    esac
    if [ "$reader" = "$ACCOUNT" ] && { [ -L "$1" ] || [ -d "$1" ]; }; then reader_walk "$1"; fi
}

# reader_walk PATH: the same, name by name from / on.
reader_walk() {
    reader=$ACCOUNT
    reader_rest=${1#/}
    reader_at=
    reader_links=0
    while [ -n "$reader_rest" ]; do
        reader_name=${reader_rest%%/*}
        case $reader_rest in
        */*) reader_rest=${reader_rest#*/} ;;
        *) reader_rest= ;;
        esac
        case $reader_name in
        '' | .) continue ;;
        ..)
            reader_at=${reader_at%/*}
            continue
            ;;
        esac
        if [ -L "$reader_at/$reader_name" ]; then
            reader_links=$((reader_links + 1))
            # Whose link it is does not matter where root alone could have put it there.
            if [ "$reader_links" -gt 20 ] || [ -k "${reader_at:-/}" ]; then
                reader=
                return 0
            fi
            reader_to=$(readlink "$reader_at/$reader_name" && printf .) || return 0
            reader_to=${reader_to%"$NEWLINE".}
            case $reader_to in /*) reader_at= ;; esac
            reader_rest=$reader_to/$reader_rest
            continue
        fi
        reader_at=$reader_at/$reader_name
        [ -d "$reader_at" ] || return 0
        if [ ! -O "$reader_at" ]; then
            reader_owner
            return 0
        fi
        case $NEWLINE$reader_way in
        *"$NEWLINE$reader_at$NEWLINE"*) ;;
        *) reader_way=$reader_way$reader_at$NEWLINE ;;
        esac
    done
}

# reader_owner: sets $reader to the account whose $reader_at is. Asked once: all above it is
# root's, and no other account can put another one there.
reader_owner() {
    case $reader_owners in
    *"$NEWLINE$reader_at$TAB"*)
        reader=${reader_owners#*"$NEWLINE$reader_at$TAB"}
        reader=${reader%%"$NEWLINE"*}
        ;;
    *)
        reader=$(stat -c %U "$reader_at") || reader=
        [ "$reader" != UNKNOWN ] || reader=
        reader_owners=$reader_owners$reader_at$TAB$reader$NEWLINE
        ;;
    esac
}

# reader_exposed: sets $reader_exposed to those of $reader_way that others than root can
# write, one a line.
reader_exposed() {
    reader_exposed=
    [ -n "$reader_way" ] || return 0
    reader_ifs=$IFS
    IFS=$NEWLINE
    set -f
    # shellcheck disable=SC2086 # a word a line
    reader_exposed=$(find $reader_way -prune -perm /022 ! -perm -1000 2>/dev/null)
    set +f
    IFS=$reader_ifs
}

# is_exposed PATH: it lies below one of them.
is_exposed() {
    [ -n "$reader_exposed" ] || return 1
    is_exposed_left=$reader_exposed$NEWLINE
    while [ -n "$is_exposed_left" ]; do
        case $1 in "${is_exposed_left%%"$NEWLINE"*}"/*) return 0 ;; esac
        is_exposed_left=${is_exposed_left#*"$NEWLINE"}
    done
    return 1
}

# own_way DIRECTORY: seen by the one who acts, when it acts: what root writes lies on a way
# that root alone can change.
own_way() {
    [ "$ACCOUNT_ID" = 0 ] || return 0
    reader_walk "$1"
    [ "$reader" = "$ACCOUNT" ] || fail stage "others than root can change the way to $1"
    reader_exposed
    ! is_exposed "$1/" || fail stage "others than root can write in a directory on the way to $1"
}

# by_reader PATH FUNCTION ARGUMENT...: calls the function as the account that reads there.
by_reader() {
    reader_of "$1"
    shift
    case $reader in
    "$ACCOUNT") "$@" ;;
    '') record failed account "$2 cannot be looked at safely: others than root can change the way to it" ;;
    *)
        by_reader_call=$1
        shift
        for by_reader_word in "$@"; do
            quoted "$by_reader_word"
            by_reader_call="$by_reader_call $quoted"
        done
        in_account "$reader" "$by_reader_call"
        ;;
    esac
}

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
