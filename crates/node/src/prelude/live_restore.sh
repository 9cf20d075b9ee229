# live-restore: turned on before a restart, without one.

# reload_unit UNIT: dockerd reads daemon.json again, on SIGHUP. A setting that is
# not in the file any more stays as it was until the next restart.
reload_unit() {
    if ! has_systemd; then
        init_daemon "$1"
        [ -n "$init_pid" ] && kill -s HUP "$init_pid"
        return
    fi
    systemctl reload "$1" </dev/null || systemctl kill --kill-who=main -s HUP "$1" </dev/null
}

# enable_live_restore UNIT: reloads, and succeeds only when dockerd was seen to
# have live-restore on.
enable_live_restore() {
    if has_systemd; then
        reload_cursor=$(journalctl -u "$1" -n 1 -o cat --show-cursor --no-pager </dev/null 2>/dev/null)
        reload_cursor=${reload_cursor##*-- cursor: }
    else
        init_mark "$1"
        reload_cursor=log
    fi
    reload_unit "$1" || return 1
    reload_left=20
    while [ "$reload_left" -gt 0 ]; do
        if [ -n "$reload_cursor" ] && reload_said "$1" |
            grep -Eq 'eloaded configuration.*live-restore(-enabled)?\\*": *true'; then
            return 0
        fi
        reload_left=$((reload_left - 1))
        sleep 0.2 2>/dev/null || sleep 1
    done
    # The journal is elsewhere, or dockerd does not log at this level.
    (
        unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
        if command -v docker >/dev/null 2>&1; then
            [ "$(timeout 5 docker -H unix:///var/run/docker.sock info --format '{{.LiveRestoreEnabled}}' </dev/null 2>/dev/null)" = true ]
        else
            timeout 5 curl -sS --unix-socket /var/run/docker.sock http://localhost/info </dev/null 2>/dev/null |
                grep -q '"LiveRestoreEnabled":true'
        fi
    )
}

# reload_said UNIT: what it has said since.
reload_said() {
    if has_systemd; then
        journalctl -u "$1" --after-cursor="$reload_cursor" -o cat --no-pager </dev/null 2>/dev/null
    else
        init_said
    fi
}

# record_reload UNIT LINES: dockerd goes on running, and these are the bytes
# that it has read.
record_reload() {
    own_state &&
        { unit_property "$1" InvocationID && printf '%s' "$2"; } >"$STATE/.confirmed" &&
        keep_records confirmed || fail reload "cannot write in $STATE"
}
