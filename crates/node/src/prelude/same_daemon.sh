# What a restart may not change: compared before anyone confirms it.

# same_daemon UNIT LOCAL CONTAINERS [WORD...]: the daemon runs as before, but for where it
# listens and how it speaks TLS; with `taken` for LOCAL its local sockets may go, and with
# `stop` for CONTAINERS those that run. WORDs are the command
# line that the plan expects where the one before is not to come again. Fails with a record.
same_daemon() {
    same_before=$(cat "$STATE/armed/$RUN/before" 2>/dev/null)
    # It did not run: there is nothing to compare.
    [ -n "$same_before" ] || return 0
    same_unit=$1
    same_local=$2
    same_containers=$3
    shift 3
    # Its files are open when it says that it is ready; an init script may be earlier.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        # The restart has looked already.
        [ -n "${unit_shown-}" ] || unit_look "$same_unit"
        same_after=$(running_seen)
        unit_shown=
        same_compare "$@" && return 0
        case $same_what in "its command line "*) break ;; esac
        sleep 0.3 2>/dev/null || sleep 1
    done
    record failed same-daemon "the restarted daemon is not as it was: $same_what"
    return 1
}

# same_compare [WORD...]: sets $same_what where something differs. Values are not
# named: they may be secrets.
same_compare() {
    same_what=
    same_both word
    [ $# = 0 ] || same_old=$(printf '%s\n' "$@" | other_words)
    if [ "$same_old" != "$same_new" ]; then
        same_flags "$same_old" "$same_new"
        same_what="its command line $same_flags"
        return 1
    fi
    for same_each in root:'data root' enabled:'start at boot'; do
        same_both "${same_each%%:*}"
        if [ -n "$same_old" ] && [ "$same_old" != "$same_new" ]; then
            same_what="its ${same_each#*:} was \"$(printf '%s' "$same_old" | tr '\n' ' ')\" and is \"$(printf '%s' "$same_new" | tr '\n' ' ')\""
            return 1
        fi
    done
    if [ "$same_containers" = go-on ]; then
        # The command line of a container's shim is the same as long as it lives. One may end
        # by itself meanwhile, but not all of them.
        same_both container
        same_what="no container that ran before still runs"
        same_old_ifs=$IFS
        IFS=$NEWLINE
        set -f
        for same_each in $same_old; do
            case $NEWLINE$same_new$NEWLINE in *"$NEWLINE$same_each$NEWLINE"*) same_what= ;; esac
        done
        set +f
        IFS=$same_old_ifs
        [ -n "$same_old" ] || same_what=
        [ -z "$same_what" ] || return 1
    fi
    [ "$same_local" != taken ] || return 0
    same_both socket
    same_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    for same_each in $same_old; do
        case $NEWLINE$same_new$NEWLINE in
        *"$NEWLINE$same_each$NEWLINE"*) ;;
        *) same_what="it does not listen on $same_each any more" ;;
        esac
    done
    set +f
    IFS=$same_old_ifs
    [ -z "$same_what" ]
}

# same_both WORD: sets $same_old and $same_new, what stood and stands behind that word.
same_both() {
    same_lines "$1" "$same_before"
    same_old=$same_lines
    same_lines "$1" "$same_after"
    same_new=$same_lines
}

# same_lines WORD TEXT: sets $same_lines, what stands behind that word.
same_lines() {
    same_lines=
    same_lines_ifs=$IFS
    IFS=$NEWLINE
    set -f
    for same_line in $2; do
        case $same_line in
        "$1$TAB"*) same_lines=$same_lines${same_lines:+$NEWLINE}${same_line#*"$TAB"} ;;
        esac
    done
    set +f
    IFS=$same_lines_ifs
}

# same_flags OLD NEW: sets $same_flags, the flags that are only in one of them.
same_flags() {
    same_flags=
    for same_side in lost gained; do
        same_names=
        same_old_ifs=$IFS
        IFS=$NEWLINE
        set -f
        for same_each in $1; do
            case $NEWLINE$2$NEWLINE in *"$NEWLINE$same_each$NEWLINE"*) continue ;; esac
            case $same_each in
            # One letter, and its value behind it.
            -[!-]?*) same_names="$same_names ${same_each%"${same_each#??}"}" ;;
            -*) same_names="$same_names ${same_each%%=*}" ;;
            *) same_names="$same_names (a value)" ;;
            esac
        done
        set +f
        IFS=$same_old_ifs
        [ -z "$same_names" ] || same_flags="$same_flags${same_flags:+ and }$same_side$same_names"
        set -- "$2" "$1"
    done
    [ -n "$same_flags" ] || same_flags='has another order'
}
