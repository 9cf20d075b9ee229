//! Scripts for a node: the prelude, then calls of its functions.
//!
//! The text is a [`Secret`], because its arguments may be private keys.

use super::prelude;
use base::secret::Secret;
use base::shell::{push_quoted, quote, quoted_length};

/// One call: a function of the prelude and its arguments.
#[must_use]
pub fn call(function: &str, arguments: &[&str]) -> String {
    let mut text = function.to_owned();
    for argument in arguments {
        text.push(' ');
        text.push_str(&quote(argument));
    }
    text
}

/// A script in the making. Statements are shell text made of [`call`]s.
#[derive(Default)]
pub struct Script {
    statements: Vec<String>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Script({} statements)", self.statements.len())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.statements);
    }
}

impl Script {
    /// Adds a call of a prelude function.
    pub fn call(&mut self, function: &str, arguments: &[&str]) -> &mut Self {
        self.statement(call(function, arguments))
    }

    /// Adds a statement made with [`call`] and the shell's own connectives.
    pub fn statement(&mut self, statement: String) -> &mut Self {
        self.statements.push(statement);
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The calls as text, for [`Script::in_account`] of another script.
    #[must_use]
    pub fn body(&self) -> String {
        self.statements.join("\n")
    }

    /// Adds calls that run as another account of the node; `connective` is
    /// what follows the call, for instance `" || return 1"`.
    pub fn in_account(&mut self, account: &str, calls: &Script, connective: &str) -> &mut Self {
        let statement = format!(
            "{}{connective}",
            call("in_account", &[account, &calls.body()])
        );
        self.statement(statement)
    }

    /// The whole script for a shell's standard input. It is written where it
    /// stays: a text that grows leaves copies of its secrets behind.
    #[must_use]
    pub fn text(&self, run: &str) -> Secret {
        // What only a script tells another is unset.
        const BEGIN: &str = "unset DTLS_OWNER DTLS_ACCOUNT DTLS_ACCOUNT_ID\nDTLS_PRELUDE=";
        // The marker is on a line of its own whatever a start-up file has printed.
        const BODY: &str = "\ndtls_run() {\nprintf '\\n%s\\n' 'dtls-deploy answers'\neval \"$DTLS_PRELUDE\"\nrequire_builtin_printf\nlogin_home\n";
        const END: &str = "record done\n}\ndtls_run </dev/null\nexit $?\n";
        let functions = prelude::for_statements(&self.statements);
        let settings = format!("RUN={}\n", quote(run));
        let statements: usize = self.statements.iter().map(|one| one.len() + 1).sum();
        let length = [BEGIN, BODY, END]
            .iter()
            .map(|part| part.len())
            .sum::<usize>()
            + quoted_length(&functions)
            + quoted_length(&settings)
            + statements;
        let mut text = String::with_capacity(length);
        text.push_str(BEGIN);
        // Two words side by side are one.
        push_quoted(&mut text, &functions);
        push_quoted(&mut text, &settings);
        text.push_str(BODY);
        for statement in &self.statements {
            text.push_str(statement);
            text.push('\n');
        }
        text.push_str(END);
        Secret::from(text)
    }
}

/// Starts the shell that reads the script, on every family of login shells.
pub const SHELL_COMMAND: &str = "exec /bin/sh";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shells::{SHELLS, run};

    fn run_in(shell: &[&str], script: &Script) -> (bool, String) {
        let output = run(shell, script.text("test").expose());
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }

    #[test]
    fn hostile_arguments_arrive_byte_for_byte_in_every_shell() {
        let hostile = "a'b\"c`id`$(id)\\ \n\u{1b}[31m*?~ ;|&<>é\t{{x}} !x";
        for shell in SHELLS {
            let mut script = Script::default();
            script.call("record", &["value", hostile]);
            let (ok, stdout) = run_in(shell, &script);
            assert!(ok, "{shell:?}");
            let field = crate::answer::encoded(hostile.as_bytes());
            let expected = format!("\ndtls-deploy answers\nvalue\t{field}\ndone\n");
            assert_eq!(stdout, expected, "{shell:?}");
        }
    }

    #[test]
    fn a_script_cut_off_anywhere_runs_nothing() {
        let mut script = Script::default();
        script.call("record", &["ran"]);
        let text = script.text("test");
        let whole = text.expose();
        for shell in SHELLS {
            for cut in (0..whole.len() - 30).step_by(whole.len() / 40) {
                let output = run(shell, &whole[..cut]);
                assert_eq!(
                    String::from_utf8_lossy(&output.stdout),
                    "",
                    "{shell:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_text_is_as_long_as_was_foreseen() {
        let mut script = Script::default();
        script.call("record", &["it's", "'", ""]);
        let text = script.text("it's 'a' run");
        assert_eq!(text.spare(), 0);
        assert_eq!(quote("it's").capacity(), quote("it's").len());
    }

    #[test]
    fn calls_run_as_another_account() {
        for shell in SHELLS {
            let mut inner = Script::default();
            inner.call("record", &["it's", "quoted 'twice'"]);
            inner.statement("record as \"$(id -un)\"".to_owned());
            let mut script = Script::default();
            script.in_account("nobody", &inner, " || return 1");
            let (ok, stdout) = run_in(shell, &script);
            assert!(ok, "{shell:?}: {stdout}");
            let said = crate::answer::encoded(b"it's\tquoted 'twice'\nas\tnobody");
            assert_eq!(
                stdout,
                format!("\ndtls-deploy answers\nas\tnobody\t0\t{said}\ndone\n"),
                "{shell:?}"
            );
        }
    }
}
