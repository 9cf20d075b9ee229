//! `dtls-deploy completions SHELL`: prints the code that makes a shell ask this program for
//! completions.
//!
//! The code calls the program again with [`VARIABLE`] set, at each press of the Tab key; [`answer`]
//! handles that call before anything else runs.

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::env::{CompleteEnv, Shells};

use super::Cli;
use run::Exit;

/// Set by the shell's code. Not clap's own `COMPLETE`, which may be in use for something else.
const VARIABLE: &str = "DTLS_DEPLOY_COMPLETE";
const NAME: &str = "dtls-deploy";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Fish,
    Zsh,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Answers the shell and exits, if a shell called the program for completions.
pub(super) fn answer() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .bin(NAME)
        .completer(NAME)
        .complete();
}

pub(super) fn main(arguments: &Arguments) -> Exit {
    let script = match arguments.shell {
        Shell::Bash => Some(include_str!("completions.bash").to_owned()),
        Shell::Fish => registration("fish"),
        Shell::Zsh => registration("zsh").map(|script| for_autoload(&script)),
    };
    let Some(script) = script else {
        base::output::error("Error: the completion could not be made\n");
        return Exit::Internal;
    };
    base::output::print(&script);
    Exit::Fine
}

/// clap's registration code. Not used for bash, where it would not complete words that bash splits,
/// such as `--limit=a:b`.
fn registration(shell: &str) -> Option<String> {
    let mut script = Vec::new();
    Shells::builtins()
        .completer(shell)?
        .write_registration(VARIABLE, NAME, NAME, NAME, &mut script)
        .ok()?;
    String::from_utf8(script).ok()
}

/// zsh runs a file in `fpath` as the body of a function on first use: that call must complete too.
fn for_autoload(script: &str) -> String {
    let Some((functions, compdef)) = script.trim_end().rsplit_once('\n') else {
        return script.to_owned();
    };
    let function = compdef.split(' ').nth(1).unwrap_or_default();
    format!(
        "{functions}\nif [ \"$funcstack[1]\" = \"_{NAME}\" ]; then\n    {function} \"$@\"\nelse\n    {compdef}\nfi\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_use_completes_in_zsh() {
        let script = for_autoload(&registration("zsh").unwrap());
        assert!(script.starts_with("#compdef dtls-deploy\n"), "{script}");
        assert!(
            script.ends_with(
                "    _clap_dynamic_completer_dtls_deploy \"$@\"\nelse\n    compdef _clap_dynamic_completer_dtls_deploy dtls-deploy\nfi\n"
            ),
            "{script}"
        );
    }

    #[test]
    fn every_shell_calls_with_the_same_variable() {
        for script in [
            include_str!("completions.bash").to_owned(),
            registration("fish").unwrap(),
            registration("zsh").unwrap(),
        ] {
            assert!(script.contains(&format!("{VARIABLE}=")), "{script}");
        }
    }
}
