# Verification: which clients are accepted, tried where the keys are.

# What is asked of a daemon to see what a role allows: the request changes nothing.
PROVE_NOTHING=dtls-deploy-no-such-container

# prove_identity MODE TOOLS URL HOST PORT CA CERTIFICATE KEY [guarded]: talks to the daemon as
# a client of that mode does (tlsverify, tlsverify-ca, tls-cert, tls), with the first
# of the tools that is there, as the account whose directory the key is in; the key stays
# where it is. Of a guarded daemon it also asks for something that changes the daemon.
prove_identity() {
    expand "$8"
    by_reader "$expanded" prove_here "$@"
}

prove_here() {
    prove_mode=$1
    shift
    prove_tool=none
    for prove_candidate in $1; do
        if command -v "$prove_candidate" >/dev/null 2>&1; then
            prove_tool=$prove_candidate
            break
        fi
    done
    shift
    if [ "$ACCOUNT_ID" != 0 ]; then
        expand "~$ACCOUNT"
        HOME=$expanded
        export HOME
    fi
    expand "$4" && prove_ca=$expanded
    expand "$5" && prove_certificate=$expanded
    expand "$6" && prove_key=$expanded
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_TLS DOCKER_CERT_PATH
    prove_url=$1
    prove_host=$2
    prove_port=$3
    if [ "$prove_tool" = none ]; then
        record identity unproved none "neither docker nor curl nor openssl is there"
        return 0
    fi
    # What keeps a tool from its own files says nothing of the daemon; a FIFO would keep
    # it for ever.
    case $prove_mode in
    tlsverify) set -- "$@" "$prove_ca" "$prove_certificate" "$prove_key" ;;
    tlsverify-ca) set -- "$@" "$prove_ca" ;;
    tls-cert) set -- "$@" "$prove_certificate" "$prove_key" ;;
    esac
    shift 6
    prove_guarded=
    case ${1-} in guarded) prove_guarded=$1 && shift ;; esac
    # The CLI reads its settings, too.
    [ ! -e "${HOME-}/.docker/config.json" ] || set -- "$@" "$HOME/.docker/config.json"
    for prove_file; do
        if [ ! -f "$prove_file" ] || [ ! -r "$prove_file" ]; then
            record identity unusable none "$prove_file is not a regular file that ${ACCOUNT:-the account} can read"
            return 0
        fi
    done
    prove_request=version
    # With TLS 1.3 a server refuses after the client thinks it is in: a request that
    # arrives then resets the connection, and the alert that says why may be lost.
    for _ in 1 2 3 4 5 6; do
        prove_with_tool
        case $prove_said in
        *"reset by peer"* | *[Bb]"roken pipe"* | *errno=104* | *errno=32*) ;;
        *) break ;;
        esac
    done
    if [ "$prove_tool" != docker ] && [ "$prove_status" = 0 ]; then
        case $prove_said in
        *ApiVersion*) prove_said= ;;
        *) prove_status=1 ;;
        esac
    fi
    prove_outcome identity 15
    [ -n "$prove_guarded" ] && [ "$prove_tool" != openssl ] || return 0
    prove_request=start
    prove_with_tool
    # docker's own last line says nothing of why.
    prove_said=${prove_said%%"$NEWLINE"*}
    prove_outcome role 15
}

# prove_outcome WORD SECONDS: what came of the tool that was given so long, and the
# last that it said.
prove_outcome() {
    prove_line='
'
    # curl adds a paragraph on how to disable verification.
    prove_last=${prove_said%%"${prove_line}More details here:"*}
    prove_last=${prove_last##*"$prove_line"}
    case $prove_last in *"$TAB"*) prove_last=$(printf '%s' "$prove_last" | tr '\t' ' ') ;; esac
    case $prove_status in
    0) record "$1" accepted "$prove_tool" "$prove_last" ;;
    124) record "$1" timeout "$prove_tool" "no answer within $2 s" ;;
    *) record "$1" refused "$prove_tool" "$prove_last" ;;
    esac
}

# prove_with_tool: one try of prove_identity's, with what it was told; what the tool
# said and its exit code go to prove_said and prove_status.
prove_with_tool() {
    case $prove_tool in
    docker)
        # As its people have it: without a certificate of its own the CLI takes what
        # lies in DOCKER_CERT_PATH. It fails without a CA even where it checks nothing.
        set -- docker --tlsverify
        case $prove_mode in tls-cert | tls) set -- docker --tls ;; esac
        case $prove_mode in
        tlsverify | tls-cert)
            set -- "$@" --tlscacert "$prove_ca" --tlscert "$prove_certificate" --tlskey "$prove_key"
            ;;
        *) set -- env "DOCKER_CERT_PATH=${prove_ca%/*}" "$@" ;;
        esac
        set -- "$@" -H "$prove_url"
        case $prove_request in
        start) set -- "$@" start "$PROVE_NOTHING" ;;
        *) set -- "$@" version --format '{{.Server.Version}}' ;;
        esac
        prove_said=$(timeout 15 "$@" 2>&1 </dev/null)
        prove_status=$?
        ;;
    curl)
        set -- --cacert "$prove_ca"
        case $prove_mode in tls-cert | tls) set -- --insecure ;; esac
        case $prove_mode in
        tlsverify | tls-cert) set -- "$@" --cert "$prove_certificate" --key "$prove_key" ;;
        esac
        case $prove_request in
        start) set -- "$@" --request POST "https://${prove_url#tcp://}/containers/$PROVE_NOTHING/start" ;;
        *) set -- "$@" "https://${prove_url#tcp://}/version" ;;
        esac
        prove_said=$(timeout 15 curl -sS "$@" 2>&1 </dev/null)
        prove_status=$?
        ;;
    openssl)
        # An address is not a host name to openssl.
        prove_at=$prove_host
        prove_kind=-verify_hostname
        case $prove_host in
        *:*)
            prove_at="[$prove_host]"
            prove_kind=-verify_ip
            ;;
        *[!0-9.]*) ;;
        *) prove_kind=-verify_ip ;;
        esac
        set -- -verify_return_error "$prove_kind" "$prove_host" -CAfile "$prove_ca"
        case $prove_mode in tls-cert | tls) set -- ;; esac
        case $prove_mode in
        tlsverify | tls-cert) set -- "$@" -cert "$prove_certificate" -key "$prove_key" ;;
        esac
        prove_said=$({ printf 'GET /version HTTP/1.0\r\nHost: %s\r\n\r\n' "$prove_host" && sleep 1; } |
            timeout 15 openssl s_client -quiet "$@" -connect "$prove_at:$prove_port" 2>&1)
        prove_status=$?
        ;;
    esac
}

# fact_pair CERTIFICATE KEY: whether the two belong together, where openssl is there
# to check it. It compares public keys; the private one is never printed.
fact_pair() {
    expand "$2"
    by_reader "$expanded" pair_here "$@"
}

pair_here() {
    expand "$1" && pair_certificate=$expanded
    expand "$2" && pair_key=$expanded
    if ! command -v openssl >/dev/null 2>&1; then
        record pair unknown none "openssl is not there"
    elif [ ! -f "$pair_certificate" ] || [ ! -f "$pair_key" ]; then
        record pair unknown openssl "they are not both files"
    elif pair_public=$(openssl x509 -in "$pair_certificate" -noout -pubkey 2>/dev/null </dev/null) &&
        pair_own=$(openssl pkey -in "$pair_key" -pubout -passin pass: 2>/dev/null </dev/null); then
        if [ "$pair_public" = "$pair_own" ]; then
            record pair fits openssl ""
        else
            record pair differs openssl ""
        fi
    else
        record pair unknown openssl "openssl cannot read them"
    fi
}

# fact_key_file PATH: whether a key file is encrypted, as its first lines say.
fact_key_file() {
    expand "$1"
    by_reader "$expanded" key_file_here "$1"
}

key_file_here() {
    expand "$1"
    if [ ! -f "$expanded" ]; then
        record keyfile absent none ""
    elif grep -q -e '^-----BEGIN ENCRYPTED PRIVATE KEY-----' -e '^Proc-Type: 4,ENCRYPTED' "$expanded"; then
        record keyfile encrypted none ""
    else
        record keyfile plain none ""
    fi
}

# prove_socket UNIT: the unit's daemon still answers on the socket that local users have.
# Root knows from the kernel which sockets are that daemon's: another program may have
# taken the usual path.
prove_socket() {
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_TLS DOCKER_CERT_PATH
    prove_path=/var/run/docker.sock
    prove_pid=$(unit_property "$1" MainPID)
    if [ -n "$prove_pid" ] && [ "$prove_pid" != 0 ] && [ -r "/proc/$prove_pid/fd" ]; then
        prove_own || return 0
    fi
    if command -v docker >/dev/null 2>&1; then
        prove_tool=docker
        prove_said=$(timeout 10 docker -H "unix://$prove_path" version --format '{{.Server.Version}}' 2>&1 </dev/null)
        prove_status=$?
    elif command -v curl >/dev/null 2>&1; then
        prove_tool=curl
        prove_said=$(timeout 10 curl -sS --unix-socket "$prove_path" http://localhost/_ping 2>&1 </dev/null)
        prove_status=$?
    else
        record socket unproved none "neither docker nor curl is there"
        return 0
    fi
    prove_outcome socket 10
}

# prove_guard PLUGIN FILE...: dockerd asks its guard, which answers. The first file is its
# program. After prove_socket, if the daemon has a local socket.
prove_guard() {
    guard_lacks=
    prove_plugin=$1
    shift
    guard_lack -x "$1"
    for prove_file; do
        guard_lack -s "$prove_file"
    done
    for prove_unit in "$prove_plugin.socket" "$prove_plugin.path"; do
        [ "$(unit_property "$prove_unit" ActiveState)" = active ] ||
            guard_lacks="${guard_lacks:+$guard_lacks, }$prove_unit does not run"
    done
    guard_lack -S "/run/docker/plugins/$prove_plugin.sock"
    grep -q -s -F "\"$prove_plugin\"" /etc/docker/daemon.json ||
        guard_lacks="${guard_lacks:+$guard_lacks, }daemon.json does not name it"
    if [ -n "$guard_lacks" ]; then
        record guard refused node "$guard_lacks"
    elif [ -z "${prove_path-}" ]; then
        # The clients show whether it answers.
        record guard accepted systemd "has its socket open, and its files are complete"
    else
        prove_asked "$1"
    fi
}

# prove_asked PROGRAM: dockerd asks the guard now, whatever its files say.
prove_asked() {
    guard_asked "$prove_plugin" "$1" "$prove_path"
    case $guard_is_asked in
    yes) record guard accepted dockerd "has asked it" ;;
    no) record guard refused node "dockerd does not ask it" ;;
    silent) record guard refused node "a request that it must reject gets no answer" ;;
    *) record guard unproved none "its program is of an older version, or neither docker nor curl is there" ;;
    esac
}

# guard_lack TEST PATH: a file of the guard that is not what it should be.
guard_lack() {
    [ "$1" "$2" ] && return 0
    case $guard_lacks in *"$2"*) return 0 ;; esac
    guard_lacks="${guard_lacks:+$guard_lacks, }$2 is missing"
}

# prove_own: sets $prove_path to a socket of the process $prove_pid. Fails with a record
# where it has none, or where another program has bound the same path.
prove_own() {
    own_socket "$prove_pid"
    prove_path=$own_socket
    if [ -z "$prove_path" ]; then
        record socket refused kernel "the daemon listens on no local socket"
        return 1
    fi
    prove_bound=0
    while read -r _ _ _ prove_flags _ _ _ prove_each; do
        case $prove_flags:${prove_each#/var} in
        "00010000:$prove_path") prove_bound=$((prove_bound + 1)) ;;
        esac
    done <"/proc/$prove_pid/net/unix"
    [ "$prove_bound" -gt 1 ] || return 0
    # The process that has bound it last answers, and systemd's socket of that name may be the other.
    if command -v docker >/dev/null 2>&1; then
        prove_said=$(timeout 10 docker -H "unix://$prove_path" info --format '{{.DockerRootDir}}' 2>/dev/null </dev/null)
    else
        prove_said=$(timeout 10 curl -sS --unix-socket "$prove_path" http://localhost/info 2>/dev/null </dev/null)
        prove_said=${prove_said#*'"DockerRootDir":"'}
        prove_said=${prove_said%%'"'*}
    fi
    [ "$prove_said" != "$running_root" ] || return 0
    record socket refused kernel "another program answers on $prove_path in place of the daemon"
    return 1
}
