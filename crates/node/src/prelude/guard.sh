# The guard's journal: who asked the daemon for what.

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
