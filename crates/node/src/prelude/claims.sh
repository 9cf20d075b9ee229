# Claims: what decides whether a path of the inventory is what it should be.

# fact_keys: which of the files in $fact_key, a path a line, begin as a private key in PEM
# does, the names of keys alone. None of their bytes are printed.
fact_keys() {
    keys_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    # The first line that begins a block of PEM, with its number: PATH:NUMBER:LINE. The
    # parameters that openssl ecparam writes in front of a key are passed over.
    # shellcheck disable=SC2086 # a path a line
    keys_found=$NEWLINE$(grep -E -n -m 1 -e '^-----BEGIN ([^E]|E[^C]|EC P[^A])' $fact_key /dev/null 2>/dev/null)
    for keys_path in $fact_key; do
        case $keys_found in
        *"$NEWLINE$keys_path:"[1-8]":-----BEGIN PRIVATE KEY-----"* | \
            *"$NEWLINE$keys_path:"[1-8]":-----BEGIN RSA PRIVATE KEY-----"* | \
            *"$NEWLINE$keys_path:"[1-8]":-----BEGIN EC PRIVATE KEY-----"* | \
            *"$NEWLINE$keys_path:"[1-8]":-----BEGIN ENCRYPTED PRIVATE KEY-----"*) record declared key "$keys_path" ;;
        esac
    done
    set +f
    IFS=$keys_old_ifs
}

# fact_former PATH...: what dockerd has read at its last confirmed restart in other
# places than these, as root's own record says; settings and units left out.
fact_former() {
    [ -r "$STATE/confirmed" ] || return 0
    former_wanted=
    for former_path in "$@"; do
        expand "$former_path"
        former_wanted="$former_wanted $expanded "
    done
    set --
    while read -r former_hash former_path; do
        case $former_path in
        /*) ;;
        *) continue ;;
        esac
        case $former_path in
        /etc/docker/daemon.json | /etc/default/* | /etc/sysconfig/* | /etc/init.d/* | *.service | *.socket | *.conf) continue ;;
        esac
        case $former_wanted in
        *" $former_path "*) continue ;;
        esac
        record declared former "$former_hash" "$former_path"
        set -- "$@" "$former_path"
    done <"$STATE/confirmed"
    [ $# -gt 0 ] || return 0
    fact_files hash "$@"
    former_directory=
    for former_path in "$@"; do
        [ "${former_path%/*}" != "$former_directory" ] || continue
        former_directory=${former_path%/*}
        fact_path "$former_directory"
    done
}

# fact_sudo always|recorded: whether sudo records what the account that logs in sends
# to it; recorded: asked only where it has recorded something already, which costs
# nothing elsewhere. sudo says what counts for that account (sudoers(5), log_input,
# log_stdin and the tags LOG_INPUT and NOLOG_INPUT).
fact_sudo() {
    [ "$ACCOUNT_ID" = 0 ] && [ -n "${SUDO_USER-}" ] || return 0
    [ "$1" = always ] || [ -d /var/log/sudo-io ] || return 0
    sudo_said=$(timeout 5 sudo -n -l -U "$SUDO_USER" 2>/dev/null </dev/null) || return 0
    sudo_words "$sudo_said"
}

# sudo_words TEXT: the word in what sudo has listed that makes it record input.
sudo_words() {
    sudo_records=
    sudo_tagged=
    set -f
    sudo_old_ifs=$IFS
    IFS=" ,:$TAB
"
    for sudo_word in $1; do
        case $sudo_word in
        log_input | log_stdin | log_ttyin) sudo_records=${sudo_records:-$sudo_word} ;;
        LOG_INPUT) sudo_tagged=LOG_INPUT ;;
        NOLOG_INPUT) sudo_tagged=${sudo_tagged:-no} ;;
        esac
    done
    set +f
    IFS=$sudo_old_ifs
    case $sudo_tagged in
    LOG_INPUT) sudo_records=LOG_INPUT ;;
    no) sudo_records= ;;
    esac
    [ -z "$sudo_records" ] || record declared sudo "$sudo_records"
    return 0
}
