# The dtls-deploy prelude: all that ever runs on a daemon or client node.
#
# Every script that the controller sends is this text followed by calls of the
# functions below, each argument in single quotes. It arrives on standard
# input of a POSIX shell (dash, bash, busybox ash), never in argv, and is
# parsed to its end before the first call runs: a transfer that breaks off
# executes nothing. Records go to standard output, one a line, fields separated
# by tabs and encoded (`record`); what tools print goes to standard error.
#
# Needs: a POSIX shell whose printf is built in (an external one would show
# secrets in argv), and coreutils or busybox. No Python, no openssl.

set -u
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${PATH-}
export LC_ALL PATH
umask 077
# Once the controller is gone a write to standard output would end the script
# in the middle of a transaction.
trap '' PIPE
# A redirection that fails ends the shell where a special builtin has it: files
# are made with printf, never with a colon.
TAB='	'
NEWLINE='
'
# A shell that holds keys leaves no core file.
# shellcheck disable=SC3045 # dash, bash and busybox have it
ulimit -c 0 2>/dev/null
# The shell that works on this node, no matter who acts for it.
: "${DTLS_OWNER:=$$}"
STATE=${DTLS_STATE:-/var/lib/dtls-deploy}
# Gone after a boot: what tells a boot from a restart of the daemon.
RUNTIME=${DTLS_RUNTIME:-/run}/dtls-deploy
# Who this is: asked once, and told to those who act for another account.
if [ -n "${DTLS_ACCOUNT_ID-}" ]; then
    ACCOUNT_ID=$DTLS_ACCOUNT_ID
    ACCOUNT=$DTLS_ACCOUNT
else
    # As id -u says it, without a process.
    ACCOUNT_ID=
    if [ -r /proc/self/status ]; then
        while read -r id_word _ id_effective _; do
            case $id_word in Uid:) ACCOUNT_ID=$id_effective && break ;; esac
        done </proc/self/status
    fi
    [ -n "$ACCOUNT_ID" ] || ACCOUNT_ID=$(id -u)
    # Its first line is root's.
    ACCOUNT=
    if [ "$ACCOUNT_ID" = 0 ] && [ -r /etc/passwd ]; then IFS=: read -r ACCOUNT _ id_word _ </etc/passwd; fi
    case $ACCOUNT:${id_word-} in root:0) ;; *) ACCOUNT= ;; esac
    [ -n "$ACCOUNT_ID" ] && [ -n "${ACCOUNT:=$(id -un)}" ] || {
        printf 'failed\taccount\tid does not say who this is\n'
        exit 70
    }
fi

# What has been found out once, whatever the environment says.
own_state=
in_account_name=

# own_state: where this account keeps what it needs to go back, in a place that
# no one else can write. Root's is one for the whole node.
own_state() {
    [ -z "$own_state" ] || return 0
    if [ -z "${DTLS_STATE-}" ] && [ "$ACCOUNT_ID" != 0 ]; then STATE=$login_home/.local/state/dtls-deploy; fi
    [ -d "$STATE" ] || (umask 077 && mkdir -p "$STATE") 2>/dev/null || return 1
    [ -O "$STATE" ] && [ ! -L "$STATE" ] && chmod 700 "$STATE" && own_state=yes
}

# record WORD FIELD...: one line, fields separated by tabs. A field that has any byte
# but printable ASCII, or a percent sign, is printed as % and its bytes in hex: no byte of
# a file, a name, a link target or a tool's output can begin a field or a record.
record() {
    record_line=$1
    shift
    for record_field in "$@"; do
        case $record_field in
        *[!\ -\$\&-~]*) record_hex ;;
        esac
        record_line=$record_line$TAB$record_field
    done
    printf '%s\n' "$record_line"
}

# record_hex: $record_field as % and its bytes in hex, which od separates by blanks.
record_hex() {
    record_ifs=$IFS
    IFS=" $NEWLINE"
    # shellcheck disable=SC2046 # words are what is wanted
    set -- $(printf '%s' "$record_field" | od -An -v -tx1)
    IFS=
    record_field="%$*"
    IFS=$record_ifs
}

# quoted TEXT: sets $quoted, one word of a shell.
quoted() {
    quoted=
    quoted_rest=$1
    while :; do
        case $quoted_rest in
        *"'"*)
            quoted="$quoted${quoted_rest%%"'"*}'\\''"
            quoted_rest=${quoted_rest#*"'"}
            ;;
        *) break ;;
        esac
    done
    quoted="'$quoted$quoted_rest'"
}

# fail STEP MESSAGE: the reason why the script stops, for the controller.
fail() {
    record failed "$1" "$2"
    exit 70
}

require_builtin_printf() {
    case $(type printf 2>&1) in
    *builtin*) ;;
    *) fail shell "the shell's printf is not a builtin: private keys would show in argv" ;;
    esac
}
