# Without systemd: docker restarted by its init script, what it said, and a process
# that puts the old files back where a transient timer would.

# init_mark UNIT: from here on is what the daemon says next.
init_mark() {
    init_log=${DTLS_LOGS:-/var/log}/${1%.service}.log
    init_size=0
    [ ! -f "$init_log" ] || init_size=$(($(wc -c <"$init_log")))
}

# init_said: what it has said since.
init_said() {
    [ -f "$init_log" ] || return 0
    # One that has been rotated since is read from its beginning.
    [ "$(($(wc -c <"$init_log")))" -ge "$init_size" ] || init_size=0
    tail -c "+$((init_size + 1))" "$init_log" 2>/dev/null
}

# init_call UNIT VERB SECONDS: the init script, with the surroundings of a boot. The
# daemon keeps what it is begun with: descriptors of a lock or of the connection
# would stay open as long as it runs.
init_call() {
    init_begun=$RUNTIME/init
    mkdir -p "$RUNTIME" || init_begun=/dev/null
    # Where init is not Debian's there may be no `service`.
    if [ -z "${DTLS_ETC-}" ] && command -v service >/dev/null 2>&1; then
        set -- "$3" service "${1%.service}" "$2"
    else
        set -- "$3" "${DTLS_ETC:-/etc}/init.d/${1%.service}" "$2"
    fi
    (
        trap - PIPE
        umask 022
        cd /
        exec timeout "$1" env -i PATH="$PATH" "$2" "$3" ${4+"$4"}
    ) </dev/null >"$init_begun" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
}

# init_restart UNIT SECONDS: succeeds only when another process is there, and is
# ready: the script ends as soon as dockerd has begun.
init_restart() {
    init_daemon "$1"
    init_before=$init_pid-$process_start
    init_mark "$1"
    read -r init_from _ </proc/uptime
    # Debian's script cannot restart what has been stopped.
    init_verb=restart
    [ -n "$init_pid" ] || init_verb=start
    init_call "$1" "$init_verb" "$2" || return 1
    init_ready "$1" "$2" || return 1
    read -r init_to _ </proc/uptime
    # For the account of how long it was away.
    printf '%s0000 %s0000\n' "${init_from%.*}${init_from#*.}" "${init_to%.*}${init_to#*.}" >"$RUNTIME/away" 2>/dev/null
    restart_after=$(unit_property "$1" InvocationID)
    [ -n "$restart_after" ]
}

# init_ready UNIT SECONDS: dockerd says in its log when it serves. Where it does not
# log that, its local socket is asked, and without one it counts that it lives.
init_ready() {
    read -r init_now _ </proc/uptime
    init_end=$((${init_now%.*} + $2))
    init_alone=0
    init_alive=0
    while [ "${init_now%.*}" -lt "$init_end" ]; do
        init_daemon "$1"
        if [ -z "$init_pid" ]; then
            # It is begun in the background: for a moment no one is there.
            init_alone=$((init_alone + 1))
            init_alive=0
            [ "$init_alone" -lt 15 ] || return 1
        elif [ "$init_pid-$process_start" != "$init_before" ]; then
            init_alone=0
            init_alive=$((init_alive + 1))
            if init_said | grep -q 'API listen on'; then return 0; fi
            if [ $((init_alive % 10)) = 0 ] && init_answers; then return 0; fi
            [ "$init_alive" -lt 75 ] || return 0
        fi
        sleep 0.2 2>/dev/null || sleep 1
        read -r init_now _ </proc/uptime
    done
    return 1
}

# init_answers: whether the local socket does.
init_answers() {
    (
        unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
        if command -v curl >/dev/null 2>&1; then
            timeout 5 curl -fsS --unix-socket /var/run/docker.sock http://localhost/_ping
        else
            timeout 5 docker -H unix:///var/run/docker.sock version
        fi
    ) </dev/null >/dev/null 2>&1
}

# init_tail UNIT: the last words of the init script and of the daemon.
init_tail() {
    [ -n "${init_log-}" ] || init_mark "$1"
    {
        [ ! -f "$RUNTIME/init" ] || tail -n 3 "$RUNTIME/init"
        init_said | tail -n 15
    } 2>/dev/null | tr '\t' ' ' | while IFS= read -r init_line; do
        record journal "$init_line"
    done
    return 0
}

# arm_process DIRECTORY SECONDS: a process that outlives this script and the
# connection, and puts the old files back when no one confirms. A boot ends it.
arm_process() {
    end_process
    cat >"$1/wait.sh" <<'WAIT' || fail arm "cannot write in $STATE (disk full or read-only?)"
# Waits for a word about a change of dtls-deploy, and puts the old files back when
# none comes. Arguments: its directory, seconds.
trap '' HUP
cd / || exit 1
read -r wait_now _ </proc/uptime
wait_end=$((${wait_now%.*} + $2))
printf '' >"$1/waiting"
# Also while someone confirms or undoes it: they may die at that.
while [ -d "$1" ] && [ "${wait_now%.*}" -lt "$wait_end" ]; do
    sleep 1
    read -r wait_now _ </proc/uptime
done
# From here on it is not to be ended.
rm -f "$1/waiter"
[ ! -d "$1" ] || exec /bin/sh "$1/rollback.sh" timer
WAIT
    process_own_session=
    ! command -v setsid >/dev/null 2>&1 || process_own_session=setsid
    $process_own_session /bin/sh "$1/wait.sh" "$1" "$2" \
        </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    process_pid=$!
    process_left=50
    until [ -e "$1/waiting" ]; do
        [ "$process_left" -gt 0 ] ||
            fail arm 'no process could be left behind: the node could not put the old files back by itself'
        process_left=$((process_left - 1))
        sleep 0.1 2>/dev/null || sleep 1
    done
    process_start "$process_pid"
    if [ -z "$process_start" ] || ! printf '%s %s\n' "$process_pid" "$process_start" >"$1/waiter"; then
        fail arm 'the process that would put the old files back cannot be told from others'
    fi
}

# end_process: while it only waits.
end_process() {
    read -r end_pid end_start 2>/dev/null <"$STATE/armed/$RUN/waiter" || return 0
    process_start "$end_pid"
    [ -n "$process_start" ] && [ "$process_start" = "$end_start" ] || return 0
    # After a boot even both numbers may be another's.
    case $(tr '\000' ' ' 2>/dev/null <"/proc/$end_pid/cmdline") in
    *"$STATE/armed/$RUN/wait.sh "*) kill "$end_pid" 2>/dev/null ;;
    esac
    return 0
}
