//! Settling what an earlier run left on a node: see `settle` in the prelude.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::script::{Script, call};
use base::shell::quote;

/// Seconds to wait for a script that is at work in a directory of an account's. An account
/// can keep its own host busy, and the run waits for all hosts.
const STAGE_SECONDS: &str = "20";

/// What a run left on a node.
#[derive(Debug, Default)]
pub struct Leftover {
    /// Directories in which it has a stage, by the account that acts there.
    pub directories: BTreeMap<String, Vec<String>>,
}

impl Leftover {
    /// The script that settles it. The node's own script may be at work for `seconds` more.
    #[must_use]
    pub fn settle(&self, run: &str, seconds: u32) -> Script {
        let mut script = Script::default();
        let mut stages = String::from("settle_stages() {\n");
        for (account, directories) in &self.directories {
            let paths: Vec<String> = directories
                .iter()
                .map(|directory| format!("{directory}/.dtls-deploy.{run}"))
                .collect();
            let arguments: Vec<&str> = std::iter::once(STAGE_SECONDS)
                .chain(paths.iter().map(String::as_str))
                .collect();
            // The word of the function, then its arguments.
            let arguments = quote(&call("", &arguments));
            let account = quote(account);
            let _ = writeln!(stages, "in_account {account} \"$1\"{arguments} || return 1");
        }
        stages.push_str(":\n}");
        script.statement(stages);
        script.call("settle", &[run, &seconds.to_string()]);
        script
    }
}
