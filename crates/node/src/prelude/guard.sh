# The guard's journal: who asked the daemon for what.

# guard_asked PLUGIN PROGRAM SOCKET: sets $guard_is_asked to yes or no, by a request on the daemon's
# local socket that a guard rejects; to `silent` if there is no answer, and to nothing if it
# cannot be tried. `docker info` names a plugin that dockerd has read in daemon.json, whether or
# not it asks it.
guard_asked() {
    guard_is_asked=
    # An older program does not know the request.
    grep -q -s -F "$1-asked" "$2" || return 0
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_TLS DOCKER_CERT_PATH
    if command -v docker >/dev/null 2>&1; then
        guard_said=$(timeout 5 docker -H "unix://$3" ps -q --filter "name=$1-asked" 2>&1 </dev/null)
    elif command -v curl >/dev/null 2>&1; then
        guard_said=$(timeout 5 curl -sS --unix-socket "$3" "http://localhost/_ping?$1-asked" 2>&1 </dev/null)
    else
        return 0
    fi
    guard_status=$?
    case $guard_status:$guard_said in
    *"$1-asked"*) guard_is_asked=yes ;;
    0:*) guard_is_asked=no ;;
    *) guard_is_asked=silent ;;
    esac
}

# fact_guard PLUGIN PROGRAM: a record if the daemon that fact_unit has found has a guard, and does
# not ask it.
fact_guard() {
    [ -e "$2" ] || return 0
    [ "$ACCOUNT_ID" = 0 ] && [ "${fact_main_pid:-0}" != 0 ] && [ -r "/proc/$fact_main_pid/fd" ] || return 0
    own_socket "$fact_main_pid"
    [ -n "$own_socket" ] || return 0
    guard_asked "$1" "$2" "$own_socket"
    [ "$guard_is_asked" != no ] || record guard-not-asked
}

# guard_sessions SERIAL...: what clients with these certificates have open, as far as the
# journal of the last day tells: exec sessions that run, and containers that run and were
# attached to.
guard_sessions() {
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_TLS DOCKER_CERT_PATH
    for sessions_serial; do
        set -- "$@" "DTLS_SERIAL=$sessions_serial"
        shift
    done
    sessions_begun=$(timeout 10 journalctl -q --no-pager -t dtls-deploy-guard -o cat --since -1d \
        DTLS_DECISION=allowed "$@" </dev/null 2>/dev/null |
        grep -E '^allowed (POST|GET) (/exec/[^/ ]+/start|/containers/[^/ ]+/attach(/ws)?) ' |
        sort -u | tail -n 200)
    [ -n "$sessions_begun" ] || return 0
    sessions_now=$(timeout 10 docker ps -q --no-trunc </dev/null 2>/dev/null |
        timeout 10 xargs -r docker inspect --format '{{.Name}} {{.Id}}{{range .ExecIDs}} {{.}}{{end}} .' 2>/dev/null)
    while read -r _ _ sessions_path _; do
        sessions_id=${sessions_path#/*/}
        sessions_id=${sessions_id%%/*}
        while read -r sessions_name sessions_ids; do
            case $sessions_path in
            /exec/*) case $sessions_ids in *" $sessions_id "*) record session exec "${sessions_name#/}" ;; esac ;;
            *) case "$sessions_name $sessions_ids" in "/$sessions_id "* | *" $sessions_id"*) record session attach "${sessions_name#/}" ;; esac ;;
            esac
        done <<END
$sessions_now
END
    done <<END
$sessions_begun
END
}

# guard_audit SECONDS COUNT IDENTITY all|denied: the newest entries of the guard's journal in
# that time, of one identity or of everyone; and always what the guard says of itself.
guard_audit() {
    audit_since=-${1}s
    audit_count=$2
    audit_identity=$3
    audit_which=$4
    audit_unit=_SYSTEMD_UNIT=dtls-deploy-guard.service
    set -- "$audit_unit" DTLS_DECISION=rejected
    [ "$audit_which" = denied ] || set -- "$@" DTLS_DECISION=allowed
    [ -z "$audit_identity" ] || set -- "$@" "DTLS_IDENTITY=$audit_identity"
    set -- "$@" + "$audit_unit" SYSLOG_IDENTIFIER=dtls-deploy-guard PRIORITY=4
    record audit
    timeout 5 journalctl --sync </dev/null 2>/dev/null
    # Backwards: with --since, an older journalctl takes the oldest instead of the newest.
    timeout 25 journalctl -q --no-pager -o json -r -n "$audit_count" --since "$audit_since" \
        --output-fields=MESSAGE,DTLS_DECISION,DTLS_REASON,DTLS_IDENTITY,DTLS_ROLE,DTLS_SERIAL,DTLS_METHOD,DTLS_PATH \
        "$@" </dev/null 2>/dev/null | base64
    record end
}
