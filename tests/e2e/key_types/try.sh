#!/bin/sh
# Tries this client's tools on a daemon, with the files of ~/.docker.
#
#   try.sh DAEMON DIRECTORY     DIRECTORY is where sdk.py is
#
# One line a try: the tool, yes or no, what it said; with tabs between them.
daemon=$1 directory=$2
cd ~/.docker || exit 1

try() {
    name=$1
    shift
    if said=$(timeout 20 "$@" 2>&1); then
        printf '%s\tyes\t\n' "$name"
    else
        printf '%s\tno\t%s\n' "$name" "$(printf %s "$said" | tr '\n\t' '| ')"
    fi
}

# s_client ends well without an answer: the answer has to be there.
# shellcheck disable=SC2016
request='printf "GET /version HTTP/1.0\r\n\r\n" | openssl s_client -quiet -x509_strict -verify_return_error \
    -verify_hostname "$0" -CAfile ca.pem -cert cert.pem -key key.pem -connect "$0:2376" "$@" 2>&1 |
    { answer=$(cat); printf "%s\n" "$answer"; case $answer in *\"ApiVersion\"*) exit 0 ;; *) exit 1 ;; esac; }'

try docker docker --tlsverify -H "tcp://$daemon:2376" version
for version in 1.2 1.3; do
    try curl curl -sS --fail "--tlsv$version" --tls-max "$version" \
        --cacert ca.pem --cert cert.pem --key key.pem "https://$daemon:2376/version"
done
try openssl openssl verify -x509_strict -check_ss_sig -CAfile ca.pem ca.pem
try openssl openssl verify -x509_strict -purpose sslclient -CAfile ca.pem cert.pem
for version in tls1_2 tls1_3; do
    try openssl sh -c "$request" "$daemon" "-$version"
done
try openssl-level-3 sh -c "$request" "$daemon" -cipher 'DEFAULT@SECLEVEL=3'
if command -v python3 >/dev/null; then
    try python python3 "$directory/sdk.py" "$daemon"
fi
