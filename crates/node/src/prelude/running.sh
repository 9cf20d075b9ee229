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

# own_socket PID: sets $own_socket to a unix socket on which it listens, the usual one if that is
# among them; to nothing if there is none.
own_socket() {
    running_files "$1"
    own_sockets=$(running_listens "$1")
    case $NEWLINE$own_sockets$NEWLINE in
    *"$NEWLINE/run/docker.sock$NEWLINE"*) own_socket=/run/docker.sock ;;
    *) own_socket=${own_sockets%%"$NEWLINE"*} ;;
    esac
}

# running_listens PID [PREFIX]: the paths of the unix sockets on which it listens, a line each
# behind PREFIX, but for those that it makes for itself. After running_files.
running_listens() {
    # __SO_ACCEPTCON; a shell that reads a file itself takes a call for each letter.
    running_list=$(grep -e '^[^ ]* [^ ]* [^ ]* 00010000 ' "/proc/$1/net/unix" 2>/dev/null)$NEWLINE
    while [ -n "${running_list%"$NEWLINE"}" ]; do
        running_line=${running_list%%"$NEWLINE"*}
        running_list=${running_list#*"$NEWLINE"}
        # NUMBER: REFERENCES PROTOCOL FLAGS TYPE STATE INODE [PATH]
        running_path=${running_line#*" 00010000 "*" "*" "}
        running_path=${running_path#"${running_path%%[! ]*}"}
        running_inode=${running_path%% *}
        running_path=${running_path#"$running_inode"}
        running_path=${running_path# }
        case $running_sockets in *" $running_inode "*) ;; *) continue ;; esac
        case $running_path in
        */metrics.sock | */libnetwork/*) continue ;;
        /var/run/*) running_path=${running_path#/var} ;;
        esac
        printf '%s\n' "${2-}$running_path"
    done
}

# running_words PID: its command line, one word a line.
running_words() { tr '\n\000' ' \n' 2>/dev/null <"/proc/$1/cmdline"; }

# other_words [PREFIX]: of dockerd's words, one a line, those that say nothing of where it
# listens and how it speaks TLS, behind PREFIX. A configuration file is /etc/docker/daemon.json or was refused.
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
        *) printf '%s\n' "${1-}$other_word" ;;
        esac
    done
}

# unit_look UNIT: sets $unit_shown, what systemd knows of it and, after an empty line, of its
# socket; or what its init script has begun. Asked once for all that is to be seen at one time.
unit_look() {
    if has_systemd; then
        unit_shown=$(systemctl show "$1" "${1%.service}.socket" --no-pager -p InvocationID -p ActiveState \
            -p MainPID -p UnitFileState -p "$AWAY_FROM" -p "$AWAY_TO" </dev/null)
    else
        unit_shown=$(init_show "$1")
    fi
}

# running_seen: what a restart must leave as it is, a line each: words of the command
# line, the data root, the sockets for local users, what starts it at boot, containers.
# Nothing where it does not run. After unit_look.
running_seen() {
    seen_pid=
    seen_enabled=
    seen_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    for seen_line in $unit_shown; do
        case $seen_line in
        MainPID=*) seen_pid=${seen_pid:-${seen_line#*=}} ;;
        UnitFileState=*) seen_enabled=${seen_enabled}enabled$TAB${seen_line#*=}$NEWLINE ;;
        esac
    done
    set +f
    IFS=$seen_old_ifs
    case $seen_pid in '' | 0 | *[!0-9]*) return 0 ;; esac
    [ -r "/proc/$seen_pid/cmdline" ] || return 0
    running_words "$seen_pid" | other_words "word$TAB"
    running_files "$seen_pid"
    [ -z "$running_root" ] || printf '%s\n' "root$TAB$running_root"
    running_listens "$seen_pid" "socket$TAB"
    printf '%s' "$seen_enabled"
    engine_shims "container$TAB"
}
