//! The last question of `kmsctl config init`: the completion of the operator's shell, in the place where that shell looks
//! for it. No file of the shell's own is edited, and no completion that is there already is replaced.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::app::Context;
use crate::error::Result;
use crate::settings::Environment;
use crate::terminal::prompt;

/// Where a shell that asks for completions says which shell it is.
pub const COMPLETION_VARIABLE: &str = "COMPLETE";

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
    let shells = Shells::builtins();
    let written = shells.completer(&shell.to_string()).map(|completer| {
        completer.write_registration(COMPLETION_VARIABLE, "kmsctl", "kmsctl", "kmsctl", &mut script)
    });
    debug_assert!(matches!(written, Some(Ok(()))), "every shell has a script");
    String::from_utf8_lossy(&script).into_owned()
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
