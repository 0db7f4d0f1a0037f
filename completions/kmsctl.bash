_kmsctl_complete() {
    local IFS=$'\013'
    local rest="${COMP_LINE:0:COMP_POINT}" words=() index=-1 before="" last="" place part joined reply
    COMPREPLY=()
    if compopt +o nospace 2>/dev/null; then
        local spaces=true
    else
        local spaces=false
    fi
    for ((place = 0; place <= COMP_CWORD; place++)); do
        part="${COMP_WORDS[place]}"
        joined=false
        if [[ $place -gt 0 && $rest != [[:space:]]* && ($part =~ ^[:=]+$ || $last =~ ^[:=]+$) ]]; then
            joined=true
        fi
        while [[ $rest == [[:space:]]* ]]; do
            rest="${rest:1}"
        done
        $joined || { before=""; index=$((index + 1)); }
        if [[ $place -eq $COMP_CWORD ]]; then
            [[ $rest == *"$2" ]] && before+="${rest%"$2"}"
            # Bash closes a quote by itself.
            before="${before#[\"\']}"
            words[index]="$before$2"
        elif [[ $rest == "$part"* ]]; then
            rest="${rest#"$part"}"
            before+="$part"
            words[index]="$before"
        else
            return
        fi
        last="$part"
    done
    words+=("${COMP_WORDS[@]:COMP_CWORD+1}")
    for reply in $(
        _CLAP_IFS="$IFS" \
        _CLAP_COMPLETE_INDEX="$index" \
        _CLAP_COMPLETE_COMP_TYPE="$COMP_TYPE" \
        COMPLETE="bash" \
        kmsctl -- "${words[@]}"
    ); do
        [[ $reply == "$before"* ]] && COMPREPLY+=("${reply#"$before"}")
    done
    if $spaces && [[ "${COMPREPLY-}" =~ [=/:]$ ]]; then
        compopt -o nospace
    fi
}
if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _kmsctl_complete kmsctl
else
    complete -o nospace -o bashdefault -F _kmsctl_complete kmsctl
fi
# Completes: apply config demo doctor exporter expose history keep notifier ratelimit rule runbook states status undo util verify virusprot
