# Accounts of a node, and acting for another one.

# Home directory of the account that logged in, also below sudo.
login_home() {
    login_name=${SUDO_USER:-}
    [ -n "$login_name" ] || login_name=$ACCOUNT
    case $login_name in
    '' | *[!A-Za-z0-9._-]*) fail account "the account name $login_name is not usable" ;;
    esac
    eval "login_home=~$login_name"
    case $login_home in
    /*) ;;
    *) fail account "account $login_name has no home directory" ;;
    esac
}

# expand PATH: sets $expanded, a leading ~/ replaced by the login account's home, a
# leading ~NAME/ by that account's.
expand() {
    case $1 in
    "~/"*) expanded=$login_home/${1#"~/"} ;;
    "~") expanded=$login_home ;;
    "~"*) expand_for_account "$1" ;;
    *) expanded=$1 ;;
    esac
}

# in_account NAME SCRIPT: runs calls of this prelude as that account. Files in
# a user's directory are only ever touched as that user: root would follow the
# symbolic links a user can place there.
in_account() {
    if [ "$1" = "$ACCOUNT" ]; then
        (eval "$2")
        return
    fi
    [ "$ACCOUNT_ID" = 0 ] || fail account "cannot act as $1 without root: set ansible_become for this host"
    # Asked once for calls that follow each other.
    if [ "$1" != "$in_account_name" ]; then
        in_account_uid=$(id -u "$1") && in_account_gid=$(id -g "$1") ||
            fail account "there is no account $1"
        in_account_name=$1
        if setpriv --reuid="$in_account_uid" --regid="$in_account_gid" --init-groups true 2>/dev/null; then
            in_account_how=setpriv
        elif chroot --userspec="$in_account_uid:$in_account_gid" / true 2>/dev/null; then
            in_account_how=chroot
        else
            in_account_how=su
        fi
    fi
    case $in_account_how in
    setpriv) set -- "$2" setpriv --reuid="$in_account_uid" --regid="$in_account_gid" --init-groups /bin/sh ;;
    chroot) set -- "$2" chroot --userspec="$in_account_uid:$in_account_gid" / /bin/sh ;;
    *) set -- "$2" su -s /bin/sh "$1" -c 'exec /bin/sh' ;;
    esac
    in_account_script=$1
    shift
    printf '%s\n' "DTLS_OWNER=$DTLS_OWNER" "DTLS_ACCOUNT_ID=$in_account_uid" \
        "DTLS_ACCOUNT='$in_account_name'" "$DTLS_PRELUDE" "login_home='${login_home:-/}'" "dtls_calls() { :" \
        "$in_account_script" '}' 'dtls_calls </dev/null; exit $?' | (cd / && "$@")
}

# expand_for_account PATH: sets $expanded for ~NAME or ~NAME/...; where there is no
# such account, to a place where nothing can be.
expand_for_account() {
    account_name=${1#"~"}
    account_rest=
    case $account_name in
    */*)
        account_rest=/${account_name#*/}
        account_name=${account_name%%/*}
        ;;
    esac
    case $account_name in
    '' | [-.]* | *[!A-Za-z0-9._-]*) fail account "the account name $account_name is not usable" ;;
    esac
    eval "expanded=~$account_name"
    case $expanded in
    /*) expanded=${expanded%/}$account_rest ;;
    *) expanded=/nonexistent/$account_name$account_rest ;;
    esac
}
