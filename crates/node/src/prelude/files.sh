# Changing files: staged beside their targets, compared, switched, switched back.

# A directory's changes are staged in a directory of their own inside it
# (same file system, so that a rename is atomic): new/ what will come, old/
# what was there, absent/ an empty file .NAME for each name that was not there, gone/
# one for each name that must not be there any more. Nothing in them has the name of a file that
# a program looks for, as the docker CLI does for meta.json.

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

# stage_open DIR [MISSING]: an empty stage, which says whose it is; MISSING is made
# for it first.
stage_open() {
    process_start "$DTLS_OWNER"
    mkdir ${2+"$2"} "$STAGE" "$STAGE/new" "$STAGE/old" "$STAGE/absent" "$STAGE/gone" &&
        printf '%s %s\n' "$DTLS_OWNER" "$process_start" >"$STAGE/owner" || fail stage "cannot write in $1 (disk full or read-only?)"
}

# begin_work: root says itself what it is at work on. What lies in an account's directory
# is that account's word.
begin_work() {
    [ "$ACCOUNT_ID" = 0 ] || return 0
    process_start "$$"
    mkdir -p "$RUNTIME/work" 2>/dev/null && printf '%s %s\n' "$$" "$process_start" >"$RUNTIME/work/$RUN" || return 0
    trap 'rm -f "$RUNTIME/work/$RUN"; rmdir "$RUNTIME/work" "$RUNTIME" 2>/dev/null' EXIT
}

# stage_directory DIR MODE: makes DIR where it is missing and opens its stage; the mode of
# an existing one is not ours to change.
stage_directory() {
    own_way "$1"
    # What is kept for going back is put there at the same time.
    [ "$1" != "$STATE" ] || own_state || fail stage "cannot make the directory $1"
    if [ ! -d "$1" ]; then
        stage_made=$1
        while [ ! -d "${stage_made%/*}/" ]; do stage_made=${stage_made%/*}; done
        [ -d "${1%/*}/" ] || (umask 022 && mkdir -p "${1%/*}/") || fail stage "cannot make the directory $1"
        stage_name "$1"
        if [ "$2" = 0700 ]; then
            # Which is the stage's own mode.
            stage_open "$1" "$1"
        else
            mkdir -m "$2" "$1" || fail stage "cannot make the directory $1"
            stage_open "$1"
        fi
        printf '%s\n' "$stage_made" >"$STAGE/made" || fail stage "cannot write in $1 (disk full or read-only?)"
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
    [ ! -O "$STAGE" ] || [ -L "$STAGE" ] || return 0
    stage_open "$1"
}

# stage_file DIR NAME CONTENT
stage_file() {
    stage_name "$1"
    [ ! -e "$STAGE/new/$2" ] || rm -f "$STAGE/new/$2"
    set -C
    { printf '%s' "$3" >"$STAGE/new/$2"; } 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    set +C
    stage_keep "$1" "$2"
}

# stage_program DIR NAME BASE64: a file of any bytes.
stage_program() {
    stage_name "$1"
    [ ! -e "$STAGE/new/$2" ] || rm -f "$STAGE/new/$2"
    (set -C && printf '%s' "$3" | base64 -d >"$STAGE/new/$2") 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    stage_keep "$1" "$2"
}

# stage_copy DIR NAME FROM: bytes that the node has already.
stage_copy() {
    stage_name "$1"
    [ ! -e "$STAGE/new/$2" ] || rm -f "$STAGE/new/$2"
    (set -C && cat "$3" >"$STAGE/new/$2") 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    stage_keep "$1" "$2"
}

# stage_kept DIR NAME SHA256: bytes from descriptor 3, which the account that keeps them
# prints: a generation is not for another account to read.
stage_kept() {
    stage_name "$1"
    [ ! -e "$STAGE/new/$2" ] || rm -f "$STAGE/new/$2"
    (set -C && cat <&3 >"$STAGE/new/$2") 2>/dev/null || fail stage "cannot write $2 in $1 (disk full or read-only?)"
    stage_sum=$(sha256sum "$STAGE/new/$2") && [ "${stage_sum%% *}" = "$3" ] ||
        fail stage "what is kept of $1/$2 is not what was kept"
    stage_keep "$1" "$2"
}

# stage_modes MODE [DIR NAME]...: of staged files, which no one else reads before.
stage_modes() {
    stage_mode=$1
    shift
    stage_left=$(($# / 2))
    while [ "$stage_left" -gt 0 ]; do
        stage_name "$1"
        set -- "$@" "$STAGE/new/$2"
        shift 2
        stage_left=$((stage_left - 1))
    done
    chmod "$stage_mode" "$@" || fail stage "cannot set the mode of $*"
}

# stage_owner DIR NAME: of the file that is there, where the new one is staged and root does it.
stage_owner() {
    stage_name "$1"
    [ "$ACCOUNT_ID" = 0 ] && [ -e "$STAGE/new/$2" ] || return 0
    stage_own=$(stat -L -c %u:%g "$1/$2") && chown "$stage_own" "$STAGE/new/$2" ||
        fail stage "cannot keep the owner of $1/$2"
}

# stage_gone DIR NAME: the file must not be there any more.
stage_gone() {
    stage_name "$1"
    stage_keep "$1" "$2"
    printf '' >"$STAGE/gone/.$2" || fail stage "cannot write in $1 (disk full or read-only?)"
}

# stage_keep DIR NAME: what is needed to put the old file back.
stage_keep() {
    [ ! -e "$STAGE/old/$2" ] || rm -f "$STAGE/old/$2"
    if [ -e "$1/$2" ] || [ -L "$1/$2" ]; then
        [ -f "$1/$2" ] || fail stage "$1/$2 is not a regular file"
        ln "$1/$2" "$STAGE/old/$2" 2>/dev/null || cp -pP "$1/$2" "$STAGE/old/$2" ||
            fail stage "cannot keep the old $1/$2"
    else
        printf '' >"$STAGE/absent/.$2" || fail stage "cannot write in $1 (disk full or read-only?)"
    fi
}

# stage_sync DIR NAME... [/ DIR NAME...]: the staged bytes are on the disk before any
# rename.
stage_sync() {
    stage_left=$#
    stage_word=directory
    while [ "$stage_left" -gt 0 ]; do
        case $stage_word:$1 in
        directory:*)
            stage_word=name
            stage_name "$1"
            stage_above=$1
            set -- "$@" "$STAGE/old" "$STAGE/absent" "$STAGE/new" "$STAGE"
            # A directory that was made is in the one above it only when that is
            # synced.
            stage_made=
            [ ! -f "$STAGE/made" ] || read -r stage_made <"$STAGE/made"
            while [ -n "$stage_made" ] && [ "${#stage_above}" -ge "${#stage_made}" ]; do
                stage_above=${stage_above%/*}
                set -- "$@" "${stage_above:-/}"
            done
            ;;
        name:/) stage_word=directory ;;
        *) [ -e "$STAGE/gone/.$1" ] || set -- "$@" "$STAGE/new/$1" ;;
        esac
        shift
        stage_left=$((stage_left - 1))
    done
    sync "$@" 2>/dev/null || sync
}

# unchanged DIR [NAME SHA256|absent]...: what is about to be replaced is still what the
# plan was made from: someone may have edited it while files were staged. What has been
# replaced already is passed over.
unchanged() {
    unchanged_directory=$1
    shift
    unchanged_sums=
    while [ $# -gt 0 ]; do
        if [ -e "$STAGE/new/$1" ] || { [ -e "$STAGE/gone/.$1" ] && [ -e "$unchanged_directory/$1" ]; }; then
            if [ "$2" != absent ]; then
                unchanged_sums="$unchanged_sums$2  $unchanged_directory/$1$NEWLINE"
            elif [ -e "$unchanged_directory/$1" ] || [ -L "$unchanged_directory/$1" ]; then
                return 1
            fi
        fi
        shift 2
    done
    [ -z "$unchanged_sums" ] || printf '%s' "$unchanged_sums" | sha256sum -c >/dev/null 2>&1
}

# swap DIR [NAME SHA256|absent]...: one mv process renames a whole set; what will go,
# goes.
swap() {
    stage_name "$1"
    [ -O "$STAGE" ] && [ ! -L "$STAGE" ] || return 1
    swap_directory=$1
    unchanged "$@" || {
        record failed expect "a file in $1 has changed since the plan was made"
        return 1
    }
    shift
    swap_left=$(($# / 2))
    while [ "$swap_left" -gt 0 ]; do
        set -- "$@" "$1"
        shift 2
        swap_left=$((swap_left - 1))
    done
    swap_left=$#
    while [ "$swap_left" -gt 0 ]; do
        # What is not in new/ any more has been swapped already.
        [ ! -e "$STAGE/new/$1" ] || set -- "$@" "$STAGE/new/$1"
        [ ! -e "$STAGE/gone/.$1" ] || swap_step rm -f "$swap_directory/$1" || return 1
        shift
        swap_left=$((swap_left - 1))
    done
    [ $# = 0 ] || swap_step mv -f "$@" "$swap_directory/" || return 1
    # What is younger than this mark is another user's.
    printf '' >"$STAGE/swapped" || return 1
}

# swap_step COMMAND...: its own message names the file and the cause.
swap_step() {
    swap_said=$("$@" 2>&1) && return 0
    record failed swap "a file could not be replaced: ${swap_said%%"$NEWLINE"*}"
    return 1
}

# swapped DIR...: what was renamed there lasts over a crash.
swapped() { sync "$@" 2>/dev/null || sync; }

# unswap DIR NAME...: puts back what swap replaced; harmless when swap did not
# happen. Fails with 3 where nothing is there to put back.
unswap() {
    stage_name "$1"
    [ -d "$STAGE" ] || return 3
    unswap_directory=$1
    shift
    unswap_status=0
    unswap_left=$#
    while [ "$unswap_left" -gt 0 ]; do
        unswap_aside "$1"
        if [ -e "$STAGE/new/$1" ]; then
            # It was never put in place: what is there is not ours.
            :
        elif [ -e "$STAGE/gone/.$1" ] && { [ -e "$unswap_directory/$1" ] || [ -L "$unswap_directory/$1" ]; }; then
            # It was never removed.
            :
        elif [ -e "$STAGE/old/$1" ] || [ -L "$STAGE/old/$1" ]; then
            set -- "$@" "$STAGE/old/$1"
        elif [ -e "$STAGE/absent/.$1" ]; then
            rm -f "$unswap_directory/$1" || unswap_status=1
        fi
        shift
        unswap_left=$((unswap_left - 1))
    done
    if [ $# -gt 0 ]; then mv -f "$@" "$unswap_directory/" || unswap_status=1; fi
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

# unswap_aside NAME: what was written there after the swap is kept beside it, and said.
unswap_aside() {
    [ -e "$STAGE/swapped" ] && [ "$unswap_directory/$1" -nt "$STAGE/swapped" ] || return 0
    mv -f "$unswap_directory/$1" "$unswap_directory/$1.kept-by-dtls-deploy" &&
        record kept "$unswap_directory/$1.kept-by-dtls-deploy"
}

# put_back DIR NAME MODE: bytes from descriptor 3, which root has opened, in the place of
# what is there.
put_back() {
    put_back_new=$1/.dtls-deploy.done.back
    rm -rf "$put_back_new"
    (set -C && cat <&3 >"$put_back_new") && chmod "$3" "$put_back_new" && mv -f "$put_back_new" "$1/$2"
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

# unstage DIR...: the change stays; what was kept to undo it goes. Where that fails
# the next run knows that it may go.
unstage() {
    unstage_left=$#
    while [ "$unstage_left" -gt 0 ]; do
        stage_name "$1"
        set -- "$@" "$STAGE"
        shift
        unstage_left=$((unstage_left - 1))
    done
    rm -rf "$@" && return 0
    for unstage_each in "$@"; do
        [ ! -e "$unstage_each" ] || mv "$unstage_each" "${unstage_each%/*}/.dtls-deploy.done.$RUN"
    done
    return 1
}
