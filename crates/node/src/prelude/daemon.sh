# The daemon: asked whether it would start, restarted, put back when no one confirms.

# validate_open SETTINGS CA CERTIFICATE KEY: what dockerd reads when it is asked, with the
# staged file where one is staged.
validate_open() {
    validate_directory=$STATE/validate
    own_state && { [ ! -e "$validate_directory" ] || rm -rf "$validate_directory"; } && mkdir "$validate_directory" &&
        printf '%s' "$1" >"$validate_directory/daemon.json" || {
        rm -rf "$validate_directory"
        record failed validate "cannot write in $STATE (disk full or read-only?)"
        return 1
    }
    shift
    for validate_link in tlscacert tlscert tlskey; do
        stage_name "${1%/*}"
        if [ -e "$STAGE/new/${1##*/}" ]; then
            ln -s "$STAGE/new/${1##*/}" "$validate_directory/$validate_link"
        else
            ln -s "$1" "$validate_directory/$validate_link"
        fi
        shift
    done
}

# works_with SETTINGS DOCKERD ARGUMENT...: what dockerd starts with here, as far as is known. One
# that rejects that, too, cannot be asked about other settings.
works_with() {
    works_settings=$1
    shift
    works_words=
    for works_word in "$@"; do
        quoted "$works_word"
        works_words="$works_words $quoted"
    done
}

# works FUNCTION: whether dockerd accepts that, asked in the same way.
works() { printf '%s' "$works_settings" >"$validate_directory/daemon.json" && eval "$1 $works_words"; }

# validate SETTINGS CA CERTIFICATE KEY DOCKERD ARGUMENT...: whether dockerd accepts the new
# settings, after works_with. Before 23.0 it has no such flag, and it may need what only its
# unit sets.
validate() {
    validate_open "$1" "$2" "$3" "$4" || return 1
    shift 4
    validate_why=
    if ! validate_run "$@"; then
        case $validate_status in
        124 | 137) validate_why="dockerd --validate did not end within 20 seconds" ;;
        *)
            validate_said=${validate_said%"${NEWLINE}See '"*}
            validate_last
            validate_why="dockerd refuses the new settings: $validate_said"
            ;;
        esac
        works validate_run || validate_why=
    fi
    rm -rf "$validate_directory"
    [ -n "$validate_why" ] || return 0
    record failed validate "$validate_why"
    return 1
}

# validate_run DOCKERD ARGUMENT...: sets $validate_said and $validate_status.
validate_run() {
    validate_dockerd=$1
    shift
    validate_said=$(
        unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH DTLS_PRELUDE
        exec timeout -k 2 20 "$validate_dockerd" --validate --config-file "$validate_directory/daemon.json" "$@" 2>&1 </dev/null
    )
    validate_status=$?
    return "$validate_status"
}

# validate_last: $validate_said as its last line, without where dockerd read it.
validate_last() {
    validate_said=${validate_said##*"$NEWLINE"}
    validate_said=${validate_said##*"$validate_directory/daemon.json: "}
    validate_said=$(printf '%s' "$validate_said" | tr '\t' ' ')
}

# dry_start SETTINGS CA CERTIFICATE KEY DOCKERD ARGUMENT...: whether dockerd starts with the
# new settings, after works_with. --validate does not check all of them: a registry mirror that
# is not a URL stops the start alone.
dry_start() {
    command -v unshare >/dev/null 2>&1 || return 0
    validate_open "$1" "$2" "$3" "$4" || return 1
    shift 4
    dry_failed=
    if ! dry_run "$@"; then
        validate_last
        dry_failed=$validate_said
        works dry_run || dry_failed=
    fi
    rm -rf "$validate_directory"
    [ -n "$dry_failed" ] || return 0
    record failed validate "dockerd would not start with the new daemon.json and flags: ${dry_failed#failed to start daemon: }"
    return 1
}

# dry_run DOCKERD ARGUMENT...: a start in places of its own, with a network and mounts of its
# own. It ends where dockerd cannot make its temporary directory, after it has checked its
# settings and before it opens storage or containerd (moby, daemon.NewDaemon). Fails where it
# ends before that, and sets $validate_said; one that does not end is not a refusal. One that
# gets past that end finds neither the data nor the containerd of the running daemon.
dry_run() {
    dry_dockerd=$1
    shift
    rm -rf "$validate_directory/dry" && mkdir "$validate_directory/dry" && printf '' >"$validate_directory/dry/file" || return 0
    validate_said=$(
        unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH DTLS_PRELUDE
        DOCKER_TMPDIR=$validate_directory/dry/file/tmp
        export DOCKER_TMPDIR
        exec timeout -k 2 20 unshare -n -m "$dry_dockerd" --config-file "$validate_directory/daemon.json" \
            --data-root "$validate_directory/dry/data" --exec-root "$validate_directory/dry/exec" \
            --pidfile "$validate_directory/dry/pid" --containerd "$validate_directory/dry/file/containerd" \
            -H "unix://$validate_directory/dry/socket" "$@" 2>&1 </dev/null
    )
    dry_status=$?
    case $dry_status:${validate_said##*"$NEWLINE"} in
    0:* | 124:* | 137:* | 143:* | *"$validate_directory/dry/file"*) ;;
    *) return 1 ;;
    esac
}

# ask_aside CALLS: what dockerd says to these before anything is staged. Nothing is written
# but in memory, in mounts that end with the calls.
ask_aside() {
    unshare -m true 2>/dev/null || return 0
    printf '%s\n' "$DTLS_PRELUDE" "login_home=/" "ask_calls() {" "aside_state || return 0" "$1" "}" 'ask_calls </dev/null' |
        unshare -m /bin/sh
    return 0
}

# aside_state: $STATE is memory that nothing else sees. Nothing that dockerd reads is below
# any of these.
aside_state() {
    for aside_place in "$STATE" /mnt /media /srv; do
        [ -d "$aside_place" ] && [ ! -L "$aside_place" ] || continue
        mount -t tmpfs -o mode=0700 tmpfs "$aside_place" 2>/dev/null || return 1
        STATE=$aside_place
        return 0
    done
    return 1
}

# RESTORE: the unit that puts the old files back when the node boots before
# anyone has confirmed. It is there only while a change is under way.
RESTORE=dtls-deploy-restore.service
UNITS=${DTLS_UNITS:-/etc/systemd/system}
# arm SECONDS UNIT PATHS SCRIPT: the node puts everything back by itself when
# no one confirms in time, be it that the controller is gone, the connection
# dead, or the power cut in between. SCRIPT defines unswap_all and unstage_all;
# PATHS are the directories they need, as RequiresMountsFor= takes them.
#
# Confirming and undoing both begin by renaming the marker `pending`, so that
# exactly one of them happens.
arm() {
    arm_directory=$STATE/armed/$RUN
    arm_wants=$UNITS/$2.wants
    has_systemd || arm_wants=
    own_state && mkdir -p "$STATE/armed" "$RUNTIME" ${arm_wants:+"$arm_wants"} "$arm_directory" &&
        printf '' >"$RUNTIME/$RUN" &&
        process_start "$DTLS_OWNER" && printf '%s %s\n' "$DTLS_OWNER" "$process_start" >"$arm_directory/owner" &&
        printf '%s\n' "$DTLS_PRELUDE" >"$arm_directory/prelude.sh" &&
        printf '%s\n' "$4" >"$arm_directory/undo.sh" &&
        unit_look "$2" && printf '%s\n' "${unit_shown%%"$NEWLINE$NEWLINE"*}" >"$arm_directory/was" &&
        running_seen >"$arm_directory/before" &&
        cat >"$arm_directory/rollback.sh" <<'ROLLBACK' &&
# Puts back what an unconfirmed change of dtls-deploy replaced, and restarts the
# daemon; may be run by hand, as root, and again. `timer` leaves alone what
# someone else has begun, `boot` restores files only: docker starts after it.
ROLLBACK_DIRECTORY=${0%/*}
DTLS_PRELUDE=$(cat "$ROLLBACK_DIRECTORY/prelude.sh") || exit 1
eval "$DTLS_PRELUDE"
login_home=/
. "$ROLLBACK_DIRECTORY/undo.sh" || exit 1
if [ "${1-}" = timer ]; then roll_back_again; else roll_back "${1-}"; fi
ROLLBACK
        printf '' >"$arm_directory/pending" ||
        fail arm "cannot write in $STATE${arm_wants:+ or $UNITS} (disk full or read-only?)"
    if [ -n "$arm_wants" ]; then
        arm_units "$@"
    else
        { sync "$arm_directory"/* "$arm_directory" "$STATE/armed" "$STATE" 2>/dev/null || sync; } &&
            arm_process "$arm_directory" "$1"
    fi
    printf '' >"$arm_directory/armed" || fail arm "cannot write in $STATE (disk full or read-only?)"
}

# arm_units SECONDS UNIT PATHS: a unit for the next boot, and a transient timer.
arm_units() {
    # Everyone may read it: systemd warns of a unit that not everyone can.
    (umask 022 && cat >"$UNITS/$RESTORE") <<UNIT || fail arm "cannot write in $UNITS (disk full or read-only?)"
[Unit]
Description=Puts back what an unconfirmed change of dtls-deploy replaced
DefaultDependencies=no
After=local-fs.target
RequiresMountsFor=$STATE $3
Before=$2
ConditionPathExists=!$RUNTIME/$RUN
ConditionPathExists=$arm_directory/undo.sh
[Service]
Type=oneshot
LimitCORE=0
ExecStart=/bin/sh $arm_directory/rollback.sh boot
UNIT
    ln -sf "../$RESTORE" "$arm_wants/$RESTORE" &&
        { sync "$arm_directory"/* "$arm_directory" "$STATE/armed" "$STATE" "$UNITS/$RESTORE" "$arm_wants" "$UNITS" 2>/dev/null || sync; } ||
        fail arm "cannot write in $UNITS (disk full or read-only?)"
    # That of an earlier transaction of this run.
    [ ! -e "/run/systemd/transient/$(armed_unit).timer" ] ||
        systemctl stop "$(armed_unit).timer" </dev/null 2>/dev/null
    systemd-run --quiet --collect --on-active="$1" --timer-property=AccuracySec=1s \
        --property=LimitCORE=0 --unit="$(armed_unit)" /bin/sh "$arm_directory/rollback.sh" timer </dev/null ||
        fail arm "systemd-run failed: the node could not put the old files back by itself (is the file system of /run full?)"
}

armed_unit() { printf '%s' "dtls-deploy-rollback-${RUN%%@*}-${RUN#*@}"; }

# claim NAME: settles how this run ends on this node; only the first succeeds.
claim() {
    mv "$STATE/armed/$RUN/pending" "$STATE/armed/$RUN/$1" 2>/dev/null || return 1
    sync "$STATE/armed/$RUN" 2>/dev/null || sync
}

# claim_undo NAME: where no one can rename it no one can confirm, either.
claim_undo() { claim "$1" || [ -e "$STATE/armed/$RUN/pending" ]; }

# disarm: it is settled, and neither timer nor boot has anything left to do.
disarm() {
    if has_systemd; then
        systemctl stop "$(armed_unit).timer" </dev/null 2>/dev/null
        # While one of these is there, what they need is there.
        rm -f "$UNITS/$UNIT.wants/$RESTORE" "$UNITS/$RESTORE"
        rmdir "$UNITS/$UNIT.wants" 2>/dev/null
    else
        end_process
    fi
    rm -rf "$STATE/armed/$RUN"
    [ ! -e "$MOTD/dtls-deploy" ] || rm -f "$MOTD/dtls-deploy"
    # A unit that could not be removed is for the next boot, not for a restart.
    [ -e "$UNITS/$RESTORE" ] || rm -f "${RUNTIME:?}/$RUN"
}

# undo_as ACCOUNT CALLS DIR NAME...: a part of an undo. What an account does not do in its
# own directory in time keeps the daemon waiting for nothing: it comes from the copies that
# root keeps, and what cannot be put there either is left over.
undo_as() {
    in_account "$1" "$2" && return 0
    undo_as_status=$?
    if [ "$1" = "$ACCOUNT" ]; then
        [ "$undo_as_status" = 3 ]
        return
    fi
    undo_as_account=$1
    shift 2
    if [ "$undo_as_status" = 3 ] && ! { generation_find && [ -n "$generation_found" ]; }; then return 0; fi
    { [ "$undo_as_status" != 124 ] && generation_back "$undo_as_account" "$@"; } || undo_without="${undo_without-} $1"
    return 0
}

# undo_alone [boot]: one at a time undoes a change; with the process that does it its lock
# ends, and another can take over. Fails where there is nothing left to undo.
undo_alone() {
    command -v flock >/dev/null 2>&1 || return 0
    exec 9<"$STATE/armed/$RUN/undo.sh" || return 0
    if [ "${1-}" = boot ]; then
        # The process that works on it restarts the daemon, whose start waits for this.
        flock -n 9 || exit 0
    else
        flock 9
    fi
    [ -e "$STATE/armed/$RUN/undo.sh" ]
}

# give_up [restart|boot]: everything as it was, said as it is; nothing more
# comes after it. With `restart` the daemon has seen the new files, and is
# restarted with the old ones.
give_up() {
    if [ -n "$UNIT" ] && [ -z "${claimed-}" ]; then
        if ! claim_undo undone; then
            # The node has begun by itself: it is done there.
            record failed expired 'the node puts the old files back by itself'
            record undone
            exit 71
        fi
        [ ! -e "$STATE/armed/$RUN/undo.sh" ] || undo_alone || :
    fi
    ACCOUNT_SECONDS=10
    undo_without=
    undo_status=0
    unswap_all || undo_status=1
    if [ "$undo_status" = 0 ]; then
        case $UNIT:${1-} in
        # A node that shuts down starts no unit; its next boot reads the old files.
        ?*:restart)
            [ -z "${GUARD-}" ] || guard_start
            shuts_down || restore_unit || shuts_down || undo_status=1
            ;;
        ?*:boot) ! has_systemd || systemctl daemon-reload </dev/null || undo_status=1 ;;
        *:reload) reload_unit "$RELOADED" || undo_status=1 ;;
        esac
    fi
    [ -z "${GUARD-}" ] || guard_back
    if [ -n "$undo_without" ]; then
        record failed undo "these could not be put back as they were:$undo_without"
        undo_status=1
    fi
    if [ "$undo_status" = 0 ]; then
        generation_drop
        [ -z "$UNIT" ] || disarm
        record undone
        # Asked for, it is no failure.
        [ -z "${rolling_back-}" ] || exit 0
    elif [ -n "$UNIT" ] && [ -e "$UNITS/$RESTORE" ] && shuts_down; then
        # What could not be put back in a node that ends is put back at its next boot.
        record undone
    elif [ -n "$UNIT" ] && [ -d "$STATE/armed/$RUN" ]; then
        printf '' >"$STATE/armed/$RUN/failed"
        record undo-failed "$STATE/armed/$RUN/rollback.sh"
        # The node tries again now, and not only when its timer fires.
        case ${rolling_back-} in
        timer | boot) ;;
        *) ! has_systemd || systemctl start --no-block "$(armed_unit).service" </dev/null >/dev/null 2>&1 ;;
        esac
    else
        record undo-failed
    fi
    exit 71
}

# shuts_down: is_stopping, and says so.
shuts_down() {
    is_stopping || return 1
    record stopping
}

# is_stopping: the whole node shuts down or reboots. systemctl itself is ended with the session
# that it runs in, and is asked again. In the last moments systemd has given its place to
# systemd-shutdown, and nothing answers any more.
is_stopping() {
    has_systemd || return 1
    for stopping_try in 1 2 3 4 5 6 7 8 9 10; do
        stopping_state=$(timeout 5 systemctl is-system-running </dev/null 2>/dev/null)
        stopping_status=$?
        read -r stopping_first 2>/dev/null </proc/1/comm
        case $stopping_state,$stopping_first in
        stopping,* | offline,* | *,systemd-shutdow*) return 0 ;;
        ,* | unknown,*) [ "$stopping_status" != 124 ] || return 1 ;;
        *) return 1 ;;
        esac
        sleep 0.2
    done
    return 1
}

# still_armed: ends the script where the node has put its old files back itself.
still_armed() {
    [ ! -e "$STATE/armed/$RUN/pending" ] || return 0
    record failed expired 'the node puts the old files back by itself'
    record undone
    exit 71
}

# reopen_socket UNIT: TCP ports of the socket unit that hands them to UNIT. systemd
# closes what its files do not name any more at a reload, and opens what they name
# again only when the socket is started.
reopen_socket() {
    has_systemd || return 0
    systemctl daemon-reload </dev/null || return 0
    reopen_unit=${1%.service}.socket
    reopen_shown=$(systemctl show "$reopen_unit" --no-pager -p ActiveState -p Listen </dev/null 2>/dev/null)
    case $reopen_shown in
    *ActiveState=active*) ;;
    *) return 0 ;;
    esac
    case $reopen_shown in
    *Listen=[!/@]*:[0-9]*"(Stream)"*) ;;
    *) return 0 ;;
    esac
    # It is not started while its service runs.
    systemctl stop "$1" </dev/null
    systemctl restart "$reopen_unit" </dev/null
    return 0
}

# restore_unit: the daemon with its old files, if it ran with them.
restore_unit() {
    restore_was=$(cat "$STATE/armed/$RUN/was" 2>/dev/null)
    restart_before=
    reopen_socket "$UNIT"
    if restart_unit "$UNIT" "$RESTART_WITHIN"; then return 0; fi
    journal_tail "$UNIT"
    # One that did not run before does not have to.
    case $restore_was in
    '' | *ActiveState=active*) return 1 ;;
    esac
}

# roll_back [timer|boot]: this run's change is undone, no matter who asks.
roll_back() {
    if [ -e "$STATE/armed/$RUN/confirmed" ]; then
        # The power went while what is not needed any more was removed.
        unstage_all
        disarm
        record confirmed
        exit 0
    fi
    claim_undo rolled-back || [ "${1-}" != timer ] || command -v flock >/dev/null 2>&1 || exit 0
    # One who has begun may have died, or failed: begun is not done.
    undo_alone "${1-}" || { record undone; exit 0; }
    claimed=yes
    rolling_back=${1:-yes}
    if [ "${1-}" = boot ]; then give_up boot; else give_up restart; fi
}

# Where those who log in see it, if this system has it (pam_motd).
MOTD=${DTLS_RUNTIME:-/run}/motd.d

# roll_back_again: what the timer starts. An undo that fails, because a disk is full or
# dockerd does not start yet, is tried again with a growing pause for about a day.
roll_back_again() {
    again_directory=$STATE/armed/$RUN
    again_pause=5
    for again_try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        if (roll_back timer) || [ ! -d "$again_directory" ]; then
            rm -f "$MOTD/dtls-deploy" 2>/dev/null
            exit 0
        fi
        again_said="dtls-deploy: an interrupted change of Docker could not be undone (attempt $again_try); next attempt in $again_pause s. By hand, as root: sh $again_directory/rollback.sh"
        printf '%s\n' "$again_said"
        (umask 022 && mkdir -p "$MOTD" && printf '%s\n' "$again_said" >"$MOTD/dtls-deploy") 2>/dev/null
        sleep "$again_pause"
        again_pause=$((again_pause * 2))
        [ "$again_pause" -lt 3600 ] || again_pause=3600
    done
    exit 71
}

# settle RUN SECONDS: undoes what a run left unconfirmed here, or waits for the
# node that is undoing it. Called by a run that holds the lock which RUN would
# hold if anyone still directed it; its script may go on here for a while. The script
# defines settle_stages WORD, which waits for those at work in its stages, and gives them
# up, each as the account whose directory it is.
settle() {
    case $1 in '' | .* | */*) fail settle "no run is named $1" ;; esac
    settle_run=$1
    settle_directory=$STATE/armed/$1
    settle_wait "$2" "$settle_directory"
    settle_stages settle_wait || fail settle "the run $settle_run is still at work there after $2 seconds"
    settle_said=
    if [ -d "$settle_directory" ]; then
        settle_said=$(/bin/sh "$settle_directory/rollback.sh" </dev/null 2>/dev/null)
    fi
    if [ -d "$settle_directory" ] && [ -z "$settle_said" ]; then
        # It was cut short before it was armed: nothing has been renamed.
        [ -e "$settle_directory/armed" ] || rm -rf "$settle_directory"
    fi
    if [ -d "$settle_directory" ] && [ ! -e "$settle_directory/failed" ]; then
        fail settle "the change of the run $settle_run can neither be finished nor undone: $settle_directory"
    fi
    # No one is at work there: what is left of a stage may go.
    [ -d "$settle_directory" ] || settle_stages settle_give_up
    case $settle_said in
    *undo-failed*)
        printf '%s\n' "$settle_said" | while IFS= read -r settle_line; do
            case $settle_line in journal"$TAB"*) printf '%s\n' "$settle_line" ;; esac
        done
        record settled undo-failed
        ;;
    *undone*) record settled undone ;;
    *) record settled by-itself ;;
    esac
}

# settle_wait SECONDS PLACE...: until those at work there have ended: they end soon, and
# the process that is done first has settled it.
settle_wait() {
    settle_left=$1
    shift
    for settle_place in "$@"; do
        [ -z "${DTLS_AT_WORK-}" ] || is_of_root "$settle_place" || continue
        # One that does not say yet whose it is, or whose maker died at that word.
        [ ! -d "$settle_place" ] || [ -s "$settle_place/owner" ] || sleep 1
        while [ -f "$settle_place/owner" ] && read -r settle_owner settle_start 2>/dev/null <"$settle_place/owner"; do
            process_start "$settle_owner"
            [ -n "$process_start" ] && [ "$process_start" = "$settle_start" ] || break
            [ "$settle_left" -gt 0 ] || fail settle "another run is still at work in $settle_place"
            settle_left=$((settle_left - 1))
            sleep 1
        done
    done
}

# settle_give_up 0 STAGE...: what is left of them may be removed by the next run.
settle_give_up() {
    shift
    for settle_place in "$@"; do
        [ ! -d "$settle_place" ] || [ -L "$settle_place" ] ||
            mv "$settle_place" "${settle_place%/*}/.dtls-deploy.done.${settle_place##*/.dtls-deploy.}"
    done
}

# remember FILE...: SHA-256 of everything dockerd is about to read, kept until
# the restart is confirmed.
remember() {
    own_state || fail remember "cannot write in $STATE (disk full or read-only?)"
    rm -f "$STATE/pending"
    remember_left=$#
    while [ "$remember_left" -gt 0 ]; do
        [ -f "$1" ] && set -- "$@" "$1"
        shift
        remember_left=$((remember_left - 1))
    done
    sha256sum "$@" >"$STATE/pending" || fail remember "cannot write in $STATE (disk full or read-only?)"
}

# restart_unit UNIT SECONDS: reads the unit files again, restarts, and succeeds
# only when a new invocation of the unit is active; sets $restart_after to it.
restart_unit() {
    if ! has_systemd; then
        init_restart "$1" "$2"
        return
    fi
    # Repeated restarts run into StartLimitBurst, which stops a running daemon
    # and then refuses to start it.
    systemctl reset-failed "$1" docker.socket </dev/null 2>/dev/null &
    restart_reset=$!
    [ -n "$restart_before" ] || restart_before=$(unit_property "$1" InvocationID)
    systemctl daemon-reload </dev/null || return 1
    wait "$restart_reset"
    if timeout "$2" systemctl restart "$1" </dev/null; then :; else return 1; fi
    unit_look "$1"
    restart_shown=${unit_shown%%"$NEWLINE$NEWLINE"*}
    case $restart_shown in
    *ActiveState=active*) ;;
    *) return 1 ;;
    esac
    restart_after=${restart_shown#*InvocationID=}
    restart_after=${restart_after%%[!0-9a-f]*}
    [ -n "$restart_after" ] && [ "$restart_after" != "$restart_before" ] || return 1
}

# keep_records NAME...: what was written beside each becomes the record, on the disk
# whole before it has the name.
keep_records() {
    keep_left=$#
    while [ "$keep_left" -gt 0 ]; do
        set -- "$@" "$STATE/.$1"
        shift
        keep_left=$((keep_left - 1))
    done
    sync "$@" 2>/dev/null || sync
    for keep_each in "$@"; do
        mv -f "$keep_each" "$STATE/${keep_each##*/.}" || return 1
    done
    sync "$STATE" 2>/dev/null || sync
}

# uptime_now: sets $uptime, in hundredths of a second.
uptime_now() {
    uptime=0
    if [ -r /proc/uptime ] && read -r uptime _ </proc/uptime; then
        # Leading zeros would make it octal.
        uptime=${uptime%.*}${uptime#*.}
        uptime=${uptime#"${uptime%%[!0]*}"}
    fi
    uptime=${uptime:-0}
}

# The units of the daemon's guard, the first of which holds the others.
GUARD_UNITS="dtls-deploy-guard.socket dtls-deploy-guard.path dtls-deploy-guard.service"

# guard_start: where the guard's files are there, it runs with them before dockerd asks it. Its
# socket stays open meanwhile, so that no request fails.
guard_start() {
    has_systemd || return 0
    systemctl daemon-reload </dev/null || return 1
    [ -e "$UNITS/dtls-deploy-guard.socket" ] || return 0
    systemctl start dtls-deploy-guard.socket dtls-deploy-guard.path </dev/null &&
        systemctl restart dtls-deploy-guard.service </dev/null
}

# guard_stop: where they are gone, it ends, after dockerd has ceased to ask it.
guard_stop() {
    has_systemd && [ ! -e "$UNITS/dtls-deploy-guard.socket" ] || return 0
    # The words are units.
    # shellcheck disable=SC2086
    systemctl stop $GUARD_UNITS </dev/null 2>/dev/null
    # shellcheck disable=SC2086
    systemctl reset-failed $GUARD_UNITS </dev/null 2>/dev/null
    # A unit whose file is gone has forgotten to remove it.
    rm -f /run/docker/plugins/dtls-deploy-guard.sock
    # Its service keeps the program there.
    rm -f /etc/dtls-deploy-guard/program /etc/dtls-deploy-guard/program.new
    rmdir /etc/dtls-deploy-guard 2>/dev/null
    return 0
}

# guard_back: as the files say that were put back.
guard_back() {
    guard_start 2>/dev/null
    guard_stop
    return 0
}

# restart_new UNIT SECONDS: with the new files; says how long it took, and for how
# long the daemon was away, both in their own units.
restart_new() {
    uptime_now
    restart_from=$uptime
    restart_before=
    while IFS= read -r restart_line; do
        case $restart_line in
        InvocationID=*) restart_before=${restart_line#InvocationID=} ;;
        esac
    done <"$STATE/armed/$RUN/was"
    restart_unit "$@" || return 1
    printf '%s\n' "$restart_after" >"$STATE/armed/$RUN/restarted"
    uptime_now
    record took "$(((uptime - restart_from) * 10))"
    if has_systemd; then away_times "$restart_shown"; else fact_away "$1"; fi
    # Where no one reads this any more no one will confirm: a failure, too.
    record restarted "$1" "$restart_after"
}

# journal_tail UNIT: why it did not start, in the unit's own words.
journal_tail() {
    if ! has_systemd; then
        init_tail "$1"
        return 0
    fi
    # What the daemon has said last may not have reached the journal yet.
    timeout 5 journalctl --sync </dev/null 2>/dev/null
    journalctl -u "$1" -n 15 --no-pager -o cat </dev/null 2>/dev/null | while IFS= read -r journal_line; do
        record journal "$journal_line"
    done
    return 0
}

# confirm UNIT: the restart is proved, and what is there stays.
confirm() {
    claim confirmed || [ -e "$STATE/armed/$RUN/confirmed" ] ||
        fail confirm "no confirmation arrived in time: the node, or another run, has undone the change"
}

# remember_restart UNIT [OWNER]: from now on these are the bytes that dockerd has read,
# and this is whose daemon it is. A restart since then was not seen.
remember_restart() {
    remember_names=
    if [ -n "${2-}" ]; then
        printf '%s' "$2" >"$STATE/.owner" || return 1
        remember_names=owner
    fi
    if [ -e "$STATE/pending" ]; then
        if [ -e "$STATE/armed/$RUN/restarted" ]; then
            cat "$STATE/armed/$RUN/restarted" "$STATE/pending" >"$STATE/.confirmed" || return 1
        else
            unit_property "$1" InvocationID >"$STATE/.confirmed" && cat "$STATE/pending" >>"$STATE/.confirmed" || return 1
        fi
        remember_names="$remember_names confirmed"
    fi
    # shellcheck disable=SC2086 # names are words
    [ -z "$remember_names" ] || keep_records $remember_names || return 1
    rm -f "$STATE/pending"
}
