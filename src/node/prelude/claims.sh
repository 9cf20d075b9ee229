# Claims: what decides whether a path of the inventory is what it should be.

# fact_keys: which of the files in $fact_key, a path a line, begin as a private key in PEM
# does, the names of keys alone. Of their bytes nothing goes out.
fact_keys() {
    keys_old_ifs=$IFS
    IFS=$NEWLINE
    set -f
    # The first line that begins a block of PEM, with its number: PATH:NUMBER:LINE.
    # shellcheck disable=SC2086 # a path a line
    keys_found=$NEWLINE$(grep -n -m 1 -e '^-----BEGIN ' $fact_key /dev/null 2>/dev/null)
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
