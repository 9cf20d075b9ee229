# The running dockerd, as the kernel knows it: its words, its files, its sockets. Nothing
# of it is derived from configuration.

# running_files PID: sets $running_root, the directory that holds its data, and
# $running_sockets, the inodes of its sockets with blanks around each. dockerd has its
# database of volumes open as long as it runs, wherever its data are: with userns-remap
# they are in DATA/UID.GID.
running_files() {
    running_root=
    running_sockets=' '
    running_list=$(ls -l "/proc/$1/fd" 2>/dev/null)
    running_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    for running_line in $running_list; do
        case $running_line in
        *' -> socket:['*']')
            running_line=${running_line##*'['}
            running_sockets=$running_sockets${running_line%']'}' '
            ;;
        *' -> /'*/volumes/metadata.db)
            running_root=${running_line#*' -> '}
            running_root=${running_root%/volumes/metadata.db}
            ;;
        esac
    done
    set +f
    IFS=$running_old_ifs
}

# running_listens PID: the paths of the unix sockets on which it listens, a line each, but
# for those that it makes for itself. After running_files.
running_listens() {
    [ -r "/proc/$1/net/unix" ] || return 0
    while read -r _ _ _ running_flags _ _ running_inode running_path; do
        # __SO_ACCEPTCON
        [ "$running_flags" = 00010000 ] || continue
        case $running_sockets in *" $running_inode "*) ;; *) continue ;; esac
        case $running_path in
        */metrics.sock | */libnetwork/*) continue ;;
        /var/run/*) running_path=${running_path#/var} ;;
        esac
        printf '%s\n' "$running_path"
    done <"/proc/$1/net/unix"
}

# running_words PID: its command line, one word a line.
running_words() { tr '\n\000' ' \n' 2>/dev/null <"/proc/$1/cmdline"; }

# other_words: of dockerd's words, one a line, those that say nothing of where it listens
# and how it speaks TLS. A configuration file is /etc/docker/daemon.json or was refused.
other_words() {
    other_skipped=
    while IFS= read -r other_word || [ -n "$other_word" ]; do
        if [ -n "$other_skipped" ]; then
            other_skipped=
            continue
        fi
        case $other_word in
        -H | --host | --tlscacert | --tlscert | --tlskey | --config-file) other_skipped=yes ;;
        -H* | --host=* | --tls | --tls=* | --tlsverify | --tlsverify=*) ;;
        --tlscacert=* | --tlscert=* | --tlskey=* | --config-file=*) ;;
        *) printf '%s\n' "$other_word" ;;
        esac
    done
}

# running_seen UNIT: what a restart must leave as it is, a line each: words of the command
# line, the data root, the sockets for local users, what starts it at boot, containers.
# Nothing where it does not run.
running_seen() {
    seen_pid=$(unit_property "$1" MainPID)
    case $seen_pid in '' | 0 | *[!0-9]*) return 0 ;; esac
    [ -r "/proc/$seen_pid/cmdline" ] || return 0
    running_words "$seen_pid" | other_words | sed "s/^/word$TAB/"
    running_files "$seen_pid"
    [ -z "$running_root" ] || printf '%s\n' "root$TAB$running_root"
    running_listens "$seen_pid" | sort -u | sed "s/^/socket$TAB/"
    if has_systemd; then
        systemctl show "$1" "${1%.service}.socket" --no-pager -p UnitFileState </dev/null |
            sed -n "s/^UnitFileState=/enabled$TAB/p"
    fi
    engine_shims | sed "s/^/container$TAB/"
}
