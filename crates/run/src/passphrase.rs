//! The CA key's passphrase: its sources, and how it stays hidden.
//!
//! In this order: `--ca-passphrase-file`, `--ca-passphrase-command`, a systemd credential named
//! `ca-passphrase`, `DTLS_CA_PASSPHRASE`, a prompt. None of them can be set from an inventory. It
//! is obtained only if the plan needs the CA's key.

mod file;
mod strength;

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub use strength::{Strength, prepare};

pub(crate) use strength::strength;

use base::secret::Secret;

/// The environment variable, meant for CI.
pub const VARIABLE: &str = "DTLS_CA_PASSPHRASE";
/// Set by [`take_from_environment`]: the descriptor to read it from.
const DESCRIPTOR: &str = "DTLS_CA_PASSPHRASE_FD";
const LONGEST: u64 = 4096;
/// Why a passphrase is rejected for a new key.
const TOO_FEW: &str = "it takes fewer than 10^8 guesses";
/// The value of the variable.
static TAKEN: OnceLock<Secret> = OnceLock::new();

/// The sources that the operator set.
#[derive(Debug, Clone, Default)]
pub struct Source {
    pub file: Option<PathBuf>,
    /// Run without a shell; its standard output is the passphrase.
    pub command: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    #[error("{path} cannot be read: {reason}")]
    File {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{} is open to other accounts (mode {mode:04o})", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} belongs to the account with uid {owner}, which knows what is in it", path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error("{} is neither a regular file nor a pipe", .0.display())]
    NoFile(PathBuf),
    #[error("the passphrase is too easy to guess: {TOO_FEW}")]
    TooWeak,
    #[error("--ca-passphrase-command {command:?}: {reason}")]
    Command { command: String, reason: String },
    #[error("the passphrase is empty")]
    Empty,
    #[error("the passphrase is longer than {LONGEST} bytes")]
    TooLong,
    /// A source other than the prompt.
    #[error("{place}: {fault}")]
    Given { place: String, fault: Box<Self> },
    #[error("the two passphrases differ")]
    Differ,
    #[error("the CA's passphrase is needed, and there is no terminal to ask on")]
    NobodyToAsk,
    #[error("the backup's passphrase is needed, and there is no terminal to ask on")]
    NobodyToAskForBackup,
    #[error("the prompt failed: {0}")]
    Prompt(std::io::Error),
}

impl PassphraseError {
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NobodyToAsk => {
                "use --ca-passphrase-file FILE, --ca-passphrase-command COMMAND, a systemd credential named ca-passphrase, or DTLS_CA_PASSPHRASE".to_owned()
            }
            Self::Open { path, .. } => format!(
                "chmod 600 {}; if others have accounts here, change the passphrase too",
                path.display()
            ),
            Self::Foreign { path, .. } => format!("chown $(id -u) {0} && chmod 600 {0}", path.display()),
            Self::TooWeak => "use several words that do not belong together, or what `openssl rand -base64 18` prints".to_owned(),
            Self::NobodyToAskForBackup => "use --backup-passphrase-file FILE".to_owned(),
            Self::File { .. } | Self::NoFile(_) => "it is a file with the passphrase in its first line".to_owned(),
            Self::Command { .. } => "the command is started without a shell and prints the passphrase in its first line: run it yourself to see what it prints".to_owned(),
            Self::Differ => "run the same command again and type the same passphrase twice".to_owned(),
            _ => "the passphrase is one line of at most 4096 bytes".to_owned(),
        }
    }
}

/// Removes `DTLS_CA_PASSPHRASE` from this process's environment before anything is started, and
/// from /proc/PID/environ: the program starts itself again without the variable and with the
/// passphrase in a pipe.
pub fn take_from_environment() -> std::io::Result<()> {
    if let Some(descriptor) = std::env::var(DESCRIPTOR)
        .ok()
        .and_then(|text| text.parse::<u32>().ok())
    {
        // Read to its end at once: a process that inherits the pipe finds it empty.
        let path = format!("/proc/self/fd/{descriptor}");
        let mut bytes = Vec::new();
        File::open(path)?
            .take(LONGEST + 2)
            .read_to_end(&mut bytes)?;
        let _ = TAKEN.set(Secret::new(bytes));
        return Ok(());
    }
    let Some(value) = std::env::var_os(VARIABLE) else {
        return Ok(());
    };
    let secret = Secret::new(std::os::unix::ffi::OsStringExt::into_vec(value));
    let (reader, mut writer) = std::io::pipe()?;
    // A pipe holds 64 KiB, so this write cannot block.
    let text = secret.expose();
    let limit = usize::try_from(LONGEST).unwrap_or(usize::MAX) + 1;
    writer.write_all(text.get(..limit.min(text.len())).unwrap_or_default())?;
    drop(writer);
    rustix::io::fcntl_setfd(reader.as_fd(), rustix::io::FdFlags::empty())?;
    let mut arguments = std::env::args_os();
    let name = arguments
        .next()
        .unwrap_or_else(|| OsString::from("dtls-deploy"));
    let error = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env_remove(VARIABLE)
        .env(DESCRIPTOR, reader.as_raw_fd().to_string())
        .exec();
    Err(error)
}

/// Finds the passphrase. `new`: it will encrypt a new key, so it must be hard to guess; a prompt
/// asks twice.
///
/// # Errors If the configured source has none, or if there is no terminal for a prompt.
pub fn obtain(source: &Source, new: bool) -> Result<Secret, PassphraseError> {
    let found = find(source, new)?;
    if new { strong(found) } else { Ok(found) }
}

/// Whether there is a passphrase without a prompt.
#[must_use]
pub fn is_given(source: &Source) -> bool {
    source.file.is_some()
        || source.command.is_some()
        || TAKEN.get().is_some()
        || credential().is_some()
}

/// How often a passphrase is tried: a typed one may contain a typo.
#[must_use]
pub fn tries(is_given: bool) -> usize {
    if !is_given && std::io::stdin().is_terminal() {
        TRIES
    } else {
        1
    }
}

/// Reports that the input was rejected; the prompt asks again.
pub fn not_accepted(why: &dyn std::fmt::Display) {
    base::output::error(&format!("Not accepted: {why}.\n"));
}

impl PassphraseError {
    /// Whether another answer to the prompt may be accepted.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        matches!(
            self,
            Self::Differ | Self::Empty | Self::TooLong | Self::TooWeak
        )
    }
}

/// systemd's credential, if there is one.
fn credential() -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    let path = PathBuf::from(directory).join("ca-passphrase");
    path.exists().then_some(path)
}

fn find(source: &Source, new: bool) -> Result<Secret, PassphraseError> {
    if let Some(path) = &source.file {
        return from_file(path.clone());
    }
    if let Some(command) = &source.command {
        return from_command(command);
    }
    if let Some(path) = credential() {
        return from_file(path);
    }
    if let Some(secret) = TAKEN.get() {
        let secret = Secret::new(first_line(secret.expose()).to_vec());
        return check_given(VARIABLE, secret);
    }
    if !std::io::stdin().is_terminal() {
        return Err(PassphraseError::NobodyToAsk);
    }
    if new {
        chosen("CA key")
    } else {
        asked("Passphrase of the CA key: ")
    }
}

/// A passphrase that is strong enough for a new key or backup.
fn strong(passphrase: Secret) -> Result<Secret, PassphraseError> {
    match strength(&passphrase) {
        Strength::TooWeak => Err(PassphraseError::TooWeak),
        Strength::Weak | Strength::Fine => Ok(passphrase),
    }
}

fn asked(question: &str) -> Result<Secret, PassphraseError> {
    let line = rpassword::prompt_password(question).map_err(PassphraseError::Prompt)?;
    check(Secret::from(line))
}

/// How often the prompt asks for an existing passphrase.
const TRIES: usize = 3;
/// How often it asks for a new one: each answer may be too weak or mistyped.
const CHOICES: usize = 10;

/// A new passphrase, typed twice. Prints what is wrong with it and asks again.
fn chosen(what: &str) -> Result<Secret, PassphraseError> {
    let once = || {
        let first = strong(asked(&format!("Choose a passphrase for the new {what}: "))?)?;
        if asked("Repeat the passphrase: ")? == first {
            Ok(first)
        } else {
            Err(PassphraseError::Differ)
        }
    };
    for _ in 1..CHOICES {
        match once() {
            Err(error @ PassphraseError::TooWeak) => {
                not_accepted(&error);
                let mut hint = error.hint();
                if let Some(first) = hint.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
                base::output::error(&format!("{hint}.\n"));
            }
            Err(error) if error.is_typed() => not_accepted(&error),
            other => return other,
        }
    }
    once()
}

/// The passphrase of a backup, from a file or a prompt; `new` as in [`obtain`].
pub(crate) fn obtain_for_backup(
    file: Option<PathBuf>,
    new: bool,
) -> Result<Secret, PassphraseError> {
    let found = match file {
        Some(path) => from_file(path)?,
        None if !std::io::stdin().is_terminal() => {
            return Err(PassphraseError::NobodyToAskForBackup);
        }
        None if new => chosen("backup")?,
        None => asked("Passphrase of the backup: ")?,
    };
    if new { strong(found) } else { Ok(found) }
}

fn from_file(path: PathBuf) -> Result<Secret, PassphraseError> {
    let place = path.display().to_string();
    let bytes = file::read(path)?;
    check_given(&place, Secret::new(first_line(&bytes).to_vec()))
}

fn from_command(command: &str) -> Result<Secret, PassphraseError> {
    let failed = |reason: String| PassphraseError::Command {
        command: command.to_owned(),
        reason,
    };
    let words = shlex::split(command).unwrap_or_default();
    let Some((program, arguments)) = words.split_first() else {
        return Err(failed("it is empty".to_owned()));
    };
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(not_started(program, &error)))?;
    let bytes = zeroize::Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(format!("it failed ({})", output.status)));
    }
    let place = format!("--ca-passphrase-command {command:?}");
    check_given(&place, Secret::new(first_line(&bytes).to_vec()))
}

fn not_started(program: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no program {program} on this machine"),
        _ => format!("{program} cannot be started: {error}"),
    }
}

/// Whether the file or the program that was named can be used, before any host is asked: nothing
/// is read from a pipe, and no command is run.
///
/// # Errors If the passphrase cannot come from there.
pub fn check_source(source: &Source) -> Result<(), PassphraseError> {
    if let Some(path) = &source.file {
        return match std::fs::metadata(path) {
            Ok(found) if !found.is_file() => Ok(()),
            _ => from_file(path.clone()).map(drop),
        };
    }
    let Some(command) = &source.command else {
        return Ok(());
    };
    let words = shlex::split(command).unwrap_or_default();
    let is_there = words.first().is_some_and(|program| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        program.contains('/') && PathBuf::from(program).is_file()
            || std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    });
    match words.first() {
        Some(_) if is_there => Ok(()),
        Some(program) => Err(PassphraseError::Command {
            command: command.clone(),
            reason: not_started(program, &std::io::ErrorKind::NotFound.into()),
        }),
        None => from_command(command).map(drop),
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The same for a passphrase that was not typed; says where it comes from.
fn check_given(place: &str, secret: Secret) -> Result<Secret, PassphraseError> {
    check(secret).map_err(|fault| PassphraseError::Given {
        place: place.to_owned(),
        fault: Box::new(fault),
    })
}

fn check(secret: Secret) -> Result<Secret, PassphraseError> {
    if secret.is_empty() {
        return Err(PassphraseError::Empty);
    }
    if secret.len() as u64 > LONGEST {
        return Err(PassphraseError::TooLong);
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "correct horse\r\nsecond line\n").unwrap();
        let source = Source {
            file: Some(file.path().to_owned()),
            command: None,
        };
        assert_eq!(obtain(&source, false).unwrap().expose(), b"correct horse");
        std::fs::write(file.path(), "\n").unwrap();
        let error = obtain(&source, false).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(file.path().to_str().unwrap()), "{said}");
        assert_eq!(check_source(&source).unwrap_err().to_string(), said);
    }

    #[test]
    fn a_new_key_needs_a_passphrase_that_is_not_guessed_soon() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = Source {
            file: Some(file.path().to_owned()),
            command: None,
        };
        for (text, fine) in [
            ("x", false),
            ("password", false),
            ("only-for-the-lab", true),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let backup = |new| obtain_for_backup(source.file.clone(), new);
            for new in [obtain(&source, true), backup(true)] {
                assert_eq!(new.is_ok(), fine, "{text}");
                if let Err(error) = new {
                    assert!(matches!(error, PassphraseError::TooWeak), "{error:?}");
                    assert!(!format!("{error} {}", error.hint()).contains(text));
                }
            }
            // A passphrase in use is accepted, weak or not.
            assert!(
                obtain(&source, false).is_ok() && backup(false).is_ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_command_is_started_without_a_shell() {
        let source = |command: &str| Source {
            file: None,
            command: Some(command.to_owned()),
        };
        let said = obtain(&source("printf '%s\\n' 'a $HOME; b'"), false).unwrap();
        assert_eq!(said.expose(), b"a $HOME; b");
        assert!(matches!(
            obtain(&source("false"), false),
            Err(PassphraseError::Command { .. })
        ));
        // What was named is known to be missing before any host is asked, and nothing is run.
        for (command, fine) in [
            ("false", true),
            ("/no/such --x", false),
            ("no-such-1", false),
        ] {
            assert_eq!(check_source(&source(command)).is_ok(), fine, "{command}");
        }
        let error = obtain(&source("no-such-1 show ca"), false).unwrap_err();
        let said = format!("{error} {}", error.hint());
        assert!(
            said.contains("no-such-1 show ca") && !said.contains("4096"),
            "{said}"
        );
    }
}
