# Daemons without systemd: what their init script has begun. Said in systemd's
# words, so that readers of facts need not know which of the two it is.

has_systemd() { [ -d "${DTLS_SYSTEMD:-/run/systemd/system}" ]; }

# init_daemon UNIT: sets $init_pid and $process_start of the daemon's process; both
# are empty where it does not run. The first of the files is dockerd's own, without a
# newline, the second that of Debian's script; a number that was left in one may be
# another process's by now.
init_daemon() {
    init_pid=
    process_start=
    for init_file in "${DTLS_RUN:-/var/run}/${1%.service}.pid" "${DTLS_RUN:-/var/run}/${1%.service}-ssd.pid"; do
        [ -r "$init_file" ] || continue
        init_pid=
        read -r init_pid <"$init_file" || :
        case $init_pid in
        '' | *[!0-9]*) continue ;;
        esac
        init_comm=
        read -r init_comm 2>/dev/null <"/proc/$init_pid/comm" || :
        [ "$init_comm" = dockerd ] || continue
        process_start "$init_pid"
        [ -z "$process_start" ] || return 0
    done
    init_pid=
    process_start=
}

# init_show UNIT: the properties that systemctl would show. The environment files are
# those that Debian's script reads, and OpenRC's. Ticks are hundredths of a second on
# every machine that docker is built for, and with a number they may come again after
# a boot.
init_show() {
    init_name=${1%.service}
    init_script=${DTLS_ETC:-/etc}/init.d/$init_name
    if [ -f "$init_script" ]; then
        printf 'LoadState=loaded\nFragmentPath=%s\n' "$init_script"
    else
        printf 'LoadState=not-found\nFragmentPath=\n'
    fi
    for init_file in "${DTLS_ETC:-/etc}/default/$init_name" "${DTLS_ETC:-/etc}/conf.d/$init_name"; do
        [ ! -f "$init_file" ] || printf 'EnvironmentFiles=%s\n' "$init_file"
    done
    init_daemon "$1"
    if [ -n "$init_pid" ]; then
        read -r init_boot </proc/sys/kernel/random/boot_id
        printf 'ActiveState=active\nMainPID=%s\nExecMainStartTimestampMonotonic=%s\nInvocationID=%s\n' \
            "$init_pid" "${process_start}0000" "$init_pid-$process_start-$init_boot"
    else
        printf 'ActiveState=inactive\nMainPID=0\nInvocationID=\n'
    fi
    return 0
}

unit_property() {
    if has_systemd; then
        systemctl show "$1" --no-pager -p "$2" --value </dev/null
    else
        init_show "$1" | sed -n "s/^$2=//p"
    fi
}
