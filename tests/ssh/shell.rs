//! The shells that a node may have, and a script run in one of them.

use std::ffi::OsString;
use std::io::{Seek as _, Write as _};
use std::process::{Command, Stdio};

use node::script::Script;

pub const DASH: &[&str] = &["dash"];
pub const BASH: &[&str] = &["bash", "--posix"];
pub const BUSYBOX: &[&str] = &["busybox", "ash"];

/// Makes three tests of each function that takes a shell: `function::dash`,
/// `function::bash` and `function::busybox`.
macro_rules! in_every_shell {
    ($($function:ident,)+) => {$(
        mod $function {
            use crate::shell::{BASH, BUSYBOX, DASH};

            #[test]
            fn dash() {
                super::$function(DASH);
            }

            #[test]
            fn bash() {
                super::$function(BASH);
            }

            #[test]
            fn busybox() {
                super::$function(BUSYBOX);
            }
        }
    )+};
}
pub(crate) use in_every_shell;

/// What a script of the run `run` answers in `shell`, which may have words before
/// it (a tracer), with these variables in its environment.
pub fn run(
    shell: &[&str],
    script: &Script,
    run: &str,
    variables: Vec<(&str, OsString)>,
) -> Vec<u8> {
    // No pipe: a process that stays behind would hold it open.
    let mut errors = tempfile::tempfile().unwrap();
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors.try_clone().unwrap())
        .spawn()
        .expect("apt-get install dash bash busybox strace");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.text(run).expose()).unwrap();
    drop(stdin);
    let answer = child.wait_with_output().unwrap().stdout;
    errors.rewind().unwrap();
    eprint!("{}", std::io::read_to_string(errors).unwrap_or_default());
    answer
}
