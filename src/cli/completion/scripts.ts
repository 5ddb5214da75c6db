/**
 * What a shell reads to complete `coppice`. Each asks the command itself with the line as far as it is typed, and gets the kind of the
 * word, then one candidate a line, with a tab before what it means. Nothing of it is evaluated by the shell. Paths are the
 * shell's own business.
 */
export const scripts: Readonly<Record<'bash' | 'zsh' | 'fish', string>> = {
  bash: String.raw`# bash completion for coppice, printed by "coppice completion bash"

_coppice() {
  local kind candidate _
  COMPREPLY=()
  {
    IFS= read -r kind || return 0
    while IFS=$'\t' read -r candidate _; do COMPREPLY+=("$candidate"); done
  } < <(command coppice __complete "${'$'}{COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
  case $kind in
    files) compopt -o default ;;
    directories) compopt -o dirnames ;;
  esac
  [[ ${'$'}{#COMPREPLY[@]} -eq 1 && ${'$'}{COMPREPLY[0]} == *[@=] ]] && compopt -o nospace
  return 0
}

complete -F _coppice coppice
`,
  zsh: String.raw`#compdef coppice
# zsh completion for coppice, printed by "coppice completion zsh"

_coppice() {
  local line candidate
  local -a answer described unfinished
  line="${'$'}{(j: :)words[1,CURRENT-1]} $PREFIX"
  answer=("${'$'}{(@f)$(command coppice __complete "$line" 2>/dev/null)}")
  case $answer[1] in
    files|directories)
      [[ $PREFIX == --*=* ]] && compset -P '*='
      if [[ $answer[1] == files ]]; then _files; else _files -/; fi
      return
      ;;
  esac
  for line in "${'$'}{(@)answer[2,-1]}"; do
    candidate=${'$'}{line%%$'\t'*}
    if [[ $candidate == *[@=] ]]; then
      unfinished+=("$candidate")
    elif [[ $line == *$'\t'* ]]; then
      described+=("$candidate:${'$'}{line#*$'\t'}")
    else
      described+=("$candidate")
    fi
  done
  (( $#unfinished )) && compadd -S '' -a unfinished
  (( $#described )) && _describe -t values coppice described
}

# Loaded by compinit from a file named after the function, or read by the user.
if [[ $funcstack[1] == _coppice ]]; then _coppice "$@"; else compdef _coppice coppice; fi
`,
  fish: String.raw`# fish completion for coppice, printed by "coppice completion fish"

function __coppice_complete
    set -l answer (command coppice __complete (commandline -cp | string join ' ') 2>/dev/null)
    set -l flag (commandline -ct | string match -r '^--[^=]*=')
    set -l path (commandline -ct | string replace -r '^--[^=]*=' '')
    switch "$answer[1]"
        case files
            string join -- \n "$flag"(__fish_complete_path "$path")
        case directories
            string join -- \n "$flag"(__fish_complete_directories "$path" '')
        case words
            string join -- \n $answer[2..-1]
    end
end

complete -c coppice -f -a '(__coppice_complete)'
`,
};
