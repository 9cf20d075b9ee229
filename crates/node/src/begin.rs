//! Starts a program behind an account's login shell.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::r#become::nonce;
use super::{BecomeError, Output, Process};

/// Maximum bytes of output before the marker: messages of the day, lectures.
pub(super) const MOST_SAID: usize = 64 * 1024;

/// The line that a program prints first.
#[derive(Debug, Clone)]
pub struct Marker(String);

impl Marker {
    /// 128 random bits.
    pub fn new() -> Result<Self, BecomeError> {
        nonce().map(Self)
    }

    /// A shell command that prints the marker first. The command holds it in two halves, so that an
    /// echo of the command line is not mistaken for it.
    #[must_use]
    pub fn before(&self, program: &str) -> String {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        format!("echo {first}\"\"{second}; {program}")
    }

    /// The end of the line that is the marker.
    #[must_use]
    pub(super) fn end_in(&self, text: &[u8]) -> Option<usize> {
        let line = format!("{}\n", self.0);
        let begin = text
            .windows(line.len())
            .position(|window| window == line.as_bytes())?;
        Some(begin + line.len())
    }

    /// Splits the marker and everything before it from an output, if it is there.
    #[must_use]
    pub fn cut(&self, output: &mut Output) -> bool {
        let end = self.end_in(&output.stdout);
        output.stdout.drain(..end.unwrap_or(0));
        end.is_some()
    }

    /// The process from after the marker on; the process itself if it ends or prints too much
    /// before that.
    pub async fn skip(&self, mut process: Process, patience: Duration) -> Result<Process, Process> {
        let mut said = Vec::new();
        let mut buffer = vec![0; 8192];
        let heard = async {
            loop {
                let count = process.stdout.read(&mut buffer).await.unwrap_or(0);
                said.extend_from_slice(buffer.get(..count).unwrap_or_default());
                let end = self.end_in(&said);
                if end.is_some() || count == 0 || said.len() > MOST_SAID {
                    return end;
                }
            }
        };
        match tokio::time::timeout(patience, heard).await {
            Ok(Some(end)) => {
                let rest = std::io::Cursor::new(said.split_off(end));
                process.stdout = Box::new(rest.chain(process.stdout));
                Ok(process)
            }
            Ok(None) | Err(_) => Err(process),
        }
    }
}

/// The command line that runs `program`, a shell command, in /bin/sh.
#[must_use]
pub fn command_line(program: &str) -> String {
    format!(
        "exec /bin/sh -c 'eval \"$(printf \"$1\")\"' sh {}",
        word(program)
    )
}

/// One word of a command line, which printf turns into `text`: in single quotes, without characters
/// that other shells treat differently there. (fish knows `\'` and `\\`, csh takes `!` for its
/// history and ends a line at its end.)
pub(super) fn word(text: &str) -> String {
    let mut word = String::with_capacity(text.len() + 2);
    word.push('\'');
    for letter in text.chars() {
        match letter {
            '\'' => word.push_str("\\047"),
            '\\' => word.push_str("\\134"),
            '!' => word.push_str("\\041"),
            '\n' => word.push_str("\\012"),
            '%' => word.push_str("%%"),
            letter => word.push(letter),
        }
    }
    word.push('\'');
    word
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use base::shell::quote;

    /// Login shells, with the start-up file that each reads and a line for it.
    const SHELLS: [(&[&str], &str, &str); 6] = [
        (&["dash"], ".profile", "echo noise"),
        (&["bash"], ".bashrc", "echo noise; echo more"),
        (&["busybox", "ash"], ".profile", "echo noise"),
        (&["zsh"], ".zshenv", "echo noise"),
        (&["fish"], ".config/fish/config.fish", "echo noise"),
        (&["tcsh"], ".tcshrc", "echo noise"),
    ];

    /// What a login shell prints for a command line, as sshd starts it.
    fn through(shell: &[&str], file: &str, text: &str, line: &str) -> (Vec<u8>, bool) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, format!("{text}\n")).unwrap();
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", line])
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("SSH_CLIENT", "10.0.0.1 1 22")
            .output()
            .unwrap_or_else(|error| panic!("tests/prepare installs {shell:?}: {error}"));
        (output.stdout, output.status.success())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        /// Every family of shells passes its input on byte for byte, after the output of its
        /// start-up files.
        #[test]
        fn every_login_shell_runs_the_same(text in "[ -~\n\u{e9}\u{6f22}]{0,40}") {
            let marker = Marker::new().unwrap();
            let program = format!("exec /bin/sh -c {}", quote(&format!("printf %s {}", quote(&text))));
            let line = command_line(&marker.before(&program));
            for (shell, file, noise) in SHELLS {
                let (stdout, succeeded) = through(shell, file, noise, &line);
                prop_assert!(succeeded, "{shell:?}");
                let end = marker.end_in(&stdout);
                prop_assert!(end.is_some(), "{shell:?}: {}", String::from_utf8_lossy(&stdout));
                let rest = String::from_utf8_lossy(&stdout[end.unwrap()..]).into_owned();
                prop_assert_eq!(&rest, &text, "{:?}", shell);
            }
        }
    }

    #[test]
    fn a_start_up_file_that_ends_the_shell_is_noticed() {
        let marker = Marker::new().unwrap();
        let line = command_line(&marker.before("exec /bin/sh"));
        for (shell, file, _) in SHELLS {
            let (stdout, _) = through(shell, file, "echo no; exit 0", &line);
            // Login shells alone read .profile, and sshd starts none for a command. In fish and
            // tcsh only the file ends.
            let goes_on = file == ".profile" || shell == ["fish"] || shell == ["tcsh"];
            assert_eq!(marker.end_in(&stdout).is_some(), goes_on, "{shell:?}");
        }
    }
}
