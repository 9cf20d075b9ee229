#!/bin/dash
# Stands in a node's /usr/local/bin under the name of every command there is,
# where the product's scripts find it first. Writes down which command was
# asked for, and at the one that /run/faults/target names does what is asked;
# then becomes the real command. tests/faults/node.rs installs it.
#
# Needs only builtins on the common path: a run has hundreds of commands.

name=${0##*/}
for directory in /usr/sbin /usr/bin; do
    if [ -x "$directory/$name" ]; then
        real=$directory/$name
        break
    fi
done
faults=/run/faults
# Scripts of the product come from an SSH session, or set LC_ALL first of all;
# what systemd and dockerd start does neither.
if [ ! -e $faults/active ] || [ -z "${LC_ALL-}${SUDO_USER-}${SSH_CONNECTION-}" ]; then
    exec "$real" "$@"
fi

# A step is its command line without what differs from run to run.
text=$name
for argument in "$@"; do
    case $argument in
    *'
'*) argument=$(printf '%s' "$argument" | /usr/bin/tr '\n\t' '  ') ;;
    esac
    text="$text $argument"
done
case $text in
*[0-9]T[0-9]*Z-* | */proc/[0-9]* | *ports=* | *127.0.0.1:239* | */tmp.* | *.new.* | *[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*)
    text=$(printf '%s' "$text" | /usr/bin/sed \
        -e 's/[0-9]\{8\}T[0-9]\{6\}Z-[A-Za-z0-9_-]*\(@[A-Za-z0-9_-]*\)\{0,1\}/RUN/g' \
        -e 's/tmp\.[A-Za-z0-9]\{10\}/TMP/g' -e 's/\.new\.[0-9]*/.new.PID/g' -e 's/[0-9a-f]\{64\}/HASH/g' \
        -e 's/[0-9]\{6\}-RUN/NUMBER-RUN/g' -e 's|/proc/[0-9]\{1,\}/|/proc/PID/|g' \
        -e 's|\(/proc/PID/[a-z]*\)\( /proc/PID/[a-z]*\)*|\1|g' -e 's/ports=[ 0-9A-F]*/ports=PORTS /' \
        -e 's/127\.0\.0\.1:239[89]/127.0.0.1:PORT/g')
    ;;
esac
printf '%s\n' "$text" >>$faults/log

want=
if [ -e $faults/target ]; then
    { IFS= read -r kind && read -r occurrence && IFS= read -r want; } <$faults/target
fi
# Of two at the same moment both may count the other: the first to make the request
# is the one.
if [ "$text" = "$want" ] && [ "$(/usr/bin/grep -cxF -e "$text" $faults/log)" -ge "$occurrence" ] &&
    (set -C && : >$faults/request) 2>/dev/null; then
    [ "$kind" = error ] && exit 1
    # The harness does the rest from outside.
    while [ ! -e $faults/go ]; do /usr/bin/sleep 0.02; done
fi
exec "$real" "$@"
