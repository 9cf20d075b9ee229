# Completion of dtls-deploy for bash: asks the program for candidates.
_dtls_deploy() {
    local IFS=$'\v' words=() word glued=false i
    # bash splits --limit=a:b at = and at the colon; the program expects one word.
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
    # bash keeps the part that it split off, so the candidates omit it.
    local before=${words[last]}
    before=${before%"${before##*[=:]}"}
    # The words are split at IFS; none of them is a file pattern.
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
