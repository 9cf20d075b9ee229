# Steps of the operator's own: command and wait_for.

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
    # What was started a few times within a minute would be stopped, and not started again.
    [ "$2" != restart ] || systemctl reset-failed "$3" </dev/null 2>/dev/null
    own_run "$1" systemctl "$2" "$3"
    own_code=$?
    if [ "$own_code" != 0 ]; then
        journal_tail "$3"
        own_failed "$1" "$own_code"
    fi
    step_state=$(unit_property "$3" ActiveState)
    case $2:$step_state in
    stop:inactive | stop:failed | start:active | restart:active | reload:active) ;;
    start:* | restart:* | reload:*)
        # A oneshot unit is done when it has run.
        [ "$(unit_property "$3" Type)" = oneshot ] && [ "$step_state" = inactive ] && return 0
        journal_tail "$3"
        fail step "$3 is $step_state afterwards"
        ;;
    *) fail step "$3 is $step_state afterwards" ;;
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
