# Generations: what the last changes replaced, kept to go back to.

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
    [ ! -e "$GENERATION" ] || rm -rf "$GENERATION"
    { [ -d "$STATE/generations" ] || mkdir -p "$STATE/generations"; } && mkdir "$GENERATION" && printf '' >"$GENERATION/paths" &&
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
    generation_copy "$1" "$3" >"$GENERATION/$generation_count" && printf '%s\n' "$2" >>"$GENERATION/paths" ||
        generation_failed
}

# generation_copy ACCOUNT CALL: what the call prints, as that account.
generation_copy() {
    if [ "$1" = "$ACCOUNT" ]; then
        (eval "$2")
    else
        account_way "$1"
        ACCOUNT_OUTPUT=$FACT_BYTES as_account "$1" "$2"
    fi
}

# generation_back ACCOUNT DIR NAME...: what an account does not put back itself comes from
# the copies, which are not its own.
generation_back() {
    generation_find && [ -n "$generation_found" ] || return 1
    back_account=$1
    back_directory=$2
    shift 2
    back_names=/
    for back_name in "$@"; do back_names=$back_names$back_name/; done
    back_number=0
    while IFS=$TAB read -r back_word back_mode _ _ back_path; do
        case $back_word in
        file) back_number=$((back_number + 1)) ;;
        absent) back_path=$back_mode ;;
        *) continue ;;
        esac
        [ "${back_path%/*}" = "$back_directory" ] || continue
        case $back_names in */"${back_path##*/}"/*) ;; *) continue ;; esac
        quoted "$back_path"
        back_call="rm -f $quoted"
        if [ "$back_word" = file ]; then
            quoted "$back_directory"
            back_call="put_back $quoted"
            quoted "${back_path##*/}"
            back_call="$back_call $quoted $back_mode"
            in_account "$back_account" "$back_call" 3<"$generation_found/$back_number" </dev/null || return 1
        else
            in_account "$back_account" "$back_call" </dev/null || return 1
        fi
    done <"$generation_found/manifest"
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

# generations_keep COUNT: the newest stay, and all of this run, which goes back as a whole;
# of what is older no part of a run, and no key whose certificate has expired.
generations_keep() {
    own_state || return 0
    for generation_each in "$STATE/generations"/.new-*; do
        [ ! -e "$generation_each" ] || rm -rf "$generation_each"
    done
    generation_left=$1
    set --
    for generation_each in "$STATE"/generations/[0-9]*; do
        [ ! -d "$generation_each" ] || set -- "$@" "$generation_each"
    done
    while [ $# -gt "$generation_left" ]; do
        generation_run=${1##*/}
        generation_run=${generation_run#*-}
        generation_run=${generation_run%.*}
        [ "$generation_run" != "$RUN" ] || break
        while [ $# -gt 0 ]; do
            case $1 in
            */[0-9]*-"$generation_run".*) rm -rf "$1" && shift || return 0 ;;
            *) break ;;
            esac
        done
    done
    generation_now=
    for generation_each in "$@"; do
        generation_end=
        while IFS=$TAB read -r generation_word generation_value; do
            [ "$generation_word" != expires ] || generation_end=$generation_value
        done <"$generation_each/manifest"
        case $generation_end in
        '' | 0 | *[!0-9]*) continue ;;
        esac
        [ -n "$generation_now" ] || generation_now=$(date +%s)
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
    rm -rf "$STATE/generations" "$STATE/confirmed" "$STATE/pending" "$STATE/owner" "$STATE/live-restore"
    rmdir "$STATE/armed" "$STATE" 2>/dev/null
    return 0
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
