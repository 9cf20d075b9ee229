# Completion of dtls-deploy for bash: the program is asked what fits.
_dtls_deploy() {
    local IFS=$'\v' words=() word glued=false i
    # bash takes --limit=a:b apart at = and at the colon; to the program it is
    # one word.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i > 1)) && [[ $glued == true || $word == [=:]* ]]; then
            words[${#words[@]} - 1]+=$word
            glued=false
            if [[ $word == [=:]* ]]; then
                glued=true
            fi
        else
            words+=("$word")
        fi
    done
    local last=$((${#words[@]} - 1))
    # What bash has taken apart it also puts back: the candidates go without.
    local before=${words[last]}
    before=${before%"${before##*[=:]}"}
    # The words are split at IFS; none of them is a pattern of files.
    local restore
    restore=$(shopt -po noglob)
    set -o noglob
    # shellcheck disable=SC2207
    COMPREPLY=($(_CLAP_IFS=$IFS _CLAP_COMPLETE_INDEX=$last DTLS_DEPLOY_COMPLETE=bash \
        dtls-deploy -- "${words[@]}" 2>/dev/null))
    eval "$restore"
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o bashdefault -F _dtls_deploy dtls-deploy
