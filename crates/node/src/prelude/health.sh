# What else may keep docker from being reached: for doctor.

# fact_health TOOL...: what confines dockerd, which docker it is, and which of the
# tools are missing. After fact_unit, which knows the daemon's process.
fact_health() {
    fact_value=
    if [ -r /sys/fs/selinux/enforce ]; then
        # Its one line has no end.
        read -r fact_value </sys/fs/selinux/enforce || [ -n "$fact_value" ] || fact_value=
        record health selinux "$fact_value"
    fi
    if [ "${fact_main_pid:-0}" != 0 ] && [ -r "/proc/$fact_main_pid/attr/current" ]; then
        fact_value=$(tr -d '\000\n\t' 2>/dev/null <"/proc/$fact_main_pid/attr/current")
        record health label "$fact_value"
    fi
    for fact_tool in dockerd docker; do
        command -v "$fact_tool" >/dev/null 2>&1 || continue
        # The command line asks its daemon even so, and the local socket may hang.
        fact_value=$(DOCKER_HOST=tcp://127.0.0.1:1 timeout 10 "$fact_tool" --version 2>/dev/null </dev/null | tr '\t' ' ')
        record health "$fact_tool" "${fact_value%%,*}"
    done
    for fact_tool in "$@"; do
        command -v "$fact_tool" >/dev/null 2>&1 || record health missing "$fact_tool"
    done
    return 0
}

# fact_lookup NAME: as fact_resolve, also where there is no getent: /etc/hosts
# first, then the name servers. Where neither can be asked nothing is reported.
fact_lookup() {
    if command -v getent >/dev/null 2>&1; then
        fact_resolve "$1"
        return 0
    fi
    fact_found=
    if [ -r /etc/hosts ]; then
        while read -r fact_address fact_names || [ -n "$fact_address" ]; do
            case $fact_address in
            '' | '#'*) continue ;;
            esac
            set -f
            # shellcheck disable=SC2086 # one word a name
            for fact_name in ${fact_names%%#*}; do
                [ "$fact_name" != "$1" ] || fact_found="$fact_found$fact_address "
            done
            set +f
        done </etc/hosts
    fi
    if [ -z "$fact_found" ]; then
        command -v nslookup >/dev/null 2>&1 && command -v awk >/dev/null 2>&1 || return 0
        # Old busybox says "Address 1: 10.0.0.1 name".
        fact_found=$(timeout 10 nslookup "$1" 2>/dev/null </dev/null | awk '
            /^Name:/ { named = 1; next }
            named && /^Address/ {
                for (i = 2; i <= NF; i++)
                    if ($i ~ /^[0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*[0-9a-fA-F]$/) { printf "%s ", $i; break }
            }')
    fi
    record resolved "$1" "$fact_found"
}
