//! The last question of `kmsctl config init`: the completion of the operator's shell, in the place where that shell looks
//! for it. No file of the shell's own is edited, and no completion that is there already is replaced.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh};

use crate::app::Context;
use crate::error::Result;
use crate::settings::Environment;
use crate::terminal::prompt;

/// Where a shell that asks for completions says which shell it is.
pub const COMPLETION_VARIABLE: &str = "COMPLETE";

/// The shells that may ask for completions.
pub const COMPLETED_SHELLS: Shells<'static> =
    Shells(&[&WholeWordBash, &Elvish, &Fish, &Powershell, &Zsh]);

const SYSTEM_PLACES: [(Shell, &str); 4] = [
    (Shell::Bash, "/usr/share/bash-completion/completions/kmsctl"),
    (Shell::Fish, "/usr/share/fish/vendor_completions.d/kmsctl.fish"),
    (Shell::Zsh, "/usr/share/zsh/vendor-completions/_kmsctl"),
    (Shell::Zsh, "/usr/share/zsh/site-functions/_kmsctl"),
];

/// Offers to install the completion, where the shell is known and has none yet. A no is no failure.
pub fn offer_completion(context: &Context) -> Result<()> {
    let Some((shell, place)) = completion_place(&context.environment) else {
        return Ok(());
    };
    let packaged =
        SYSTEM_PLACES.iter().any(|(other, place)| *other == shell && Path::new(place).exists());
    if packaged || place.symlink_metadata().is_ok() {
        return Ok(());
    }
    let question = format!("Install the completion for {shell} as {}?", place.display());
    if !prompt::ask_yes_no(context.terminal, &question)? {
        return Ok(());
    }
    super::init::write_new(&place, &registration_script(shell))?;
    context.terminal.say(&format!("Wrote {}.", place.display()));
    context.terminal.hint(&match (shell, place.parent()) {
        (Shell::Zsh, Some(folder)) => format!(
            "Zsh looks there with this line in ~/.zshrc, before `compinit`: fpath=({} $fpath)",
            folder.display()
        ),
        (Shell::Bash, _) => {
            "It works in the next shell; bash needs the package bash-completion for it.".to_owned()
        }
        _ => "It works in the next shell.".to_owned(),
    });
    Ok(())
}

/// Returns the script that makes a shell ask kmsctl itself, which knows values as well.
pub fn registration_script(shell: Shell) -> String {
    let mut script = Vec::new();
    let written = COMPLETED_SHELLS.completer(&shell.to_string()).map(|completer| {
        completer.write_registration(COMPLETION_VARIABLE, "kmsctl", "kmsctl", "kmsctl", &mut script)
    });
    debug_assert!(matches!(written, Some(Ok(()))), "every shell has a script");
    String::from_utf8_lossy(&script).into_owned()
}

/// Bash. It splits what is typed at `:` and `=`, and has each reply in place of the last part alone: an address would be completed
/// to one that it is no beginning of. This script puts the words together again, and the replies go without what stands before
/// that part. What does not add up to the line offers nothing.
struct WholeWordBash;

const BASH_SCRIPT: &str = r#"_kmsctl_complete() {
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
"#;

impl EnvCompleter for WholeWordBash {
    fn name(&self) -> &'static str {
        Bash.name()
    }

    fn is(&self, name: &str) -> bool {
        Bash.is(name)
    }

    fn write_registration(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: &str,
        buffer: &mut dyn io::Write,
    ) -> io::Result<()> {
        buffer.write_all(BASH_SCRIPT.as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        arguments: Vec<OsString>,
        directory: Option<&Path>,
        buffer: &mut dyn io::Write,
    ) -> io::Result<()> {
        Bash.write_complete(command, arguments, directory, buffer)
    }
}

/// Returns the operator's shell and where it looks for a user's own completions; `None` for a shell without such a place.
fn completion_place(environment: &Environment) -> Option<(Shell, PathBuf)> {
    let shell = environment.login_shell.as_deref()?.file_name()?.to_str()?;
    let own = |folder: Option<PathBuf>, file: &str| Some(folder?.join(file));
    let (shell, place) = match shell {
        "bash" => {
            (Shell::Bash, own(environment.data_directory(), "bash-completion/completions/kmsctl"))
        }
        "fish" => {
            (Shell::Fish, own(environment.config_directory(), "fish/completions/kmsctl.fish"))
        }
        "zsh" => (Shell::Zsh, own(environment.data_directory(), "zsh/site-functions/_kmsctl")),
        _ => return None,
    };
    Some((shell, place?))
}
